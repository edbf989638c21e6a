package swap

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"pomodoro.cc/gateway/state"
	"pomodoro.cc/gateway/upstream"
)

// A job that CI runs twice at once is one swap, and both get its report.
func TestBegin_TheSameOrderInTheSameInstantIsOneSwap(t *testing.T) {
	journal, err := OpenJournal(state.NewFile(filepath.Join(t.TempDir(), "journal.json")))
	if err != nil {
		t.Fatal(err)
	}
	all := NewServices(journal, slog.New(slog.DiscardHandler), nil)
	t.Cleanup(all.Stop)
	proven := func(s Spec) (*upstream.Target, func(context.Context) error, error) {
		u, err := url.Parse(s.URL)
		if err != nil {
			return nil, nil, err
		}
		target := upstream.NewTarget(u, s.Version, 1, upstream.Down, http.DefaultTransport)
		target.Prove()
		return target, nil, nil
	}
	settings := Settings{Make: proven, CheckTargets: func([]Spec) error { return nil }, Plan: Plan{Patience: Duration(time.Minute)}}
	if err := all.Adopt(map[string]Desired{"app": {Targets: []Spec{{URL: "http://old"}}, Settings: settings}}); err != nil {
		t.Fatal(err)
	}
	all.Start()
	app := all.Get("app")
	type begun struct {
		swap *Swap
		err  error
	}
	for build := int64(1); build <= 40; build++ {
		const jobs = 4
		together, answers := make(chan struct{}), make(chan begun, jobs)
		for range jobs {
			go func() {
				<-together
				w, err := app.Begin(Order{Targets: []Spec{{URL: fmt.Sprint("http://new-", build)}}, Version: "v", Build: build, Unattended: true, Wait: build%2 == 0})
				answers <- begun{w, err}
			}()
		}
		close(together)
		swaps := map[string]*Swap{}
		for range jobs {
			a := <-answers
			if a.err != nil {
				t.Fatalf("build %d: %v", build, a.err)
			}
			swaps[a.swap.ID] = a.swap
		}
		if len(swaps) != 1 {
			t.Fatalf("build %d: %d swaps, want one", build, len(swaps))
		}
		for _, w := range swaps {
			for _, more := w.Events(0); w.Report() == nil; _, more = w.Events(0) {
				<-more
			}
		}
	}
}
