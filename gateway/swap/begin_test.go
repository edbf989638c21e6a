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

// serving is services at work, of which app is the one, with the target http://old.
func serving(t *testing.T, settings Settings) (all *Services, app *Service) {
	t.Helper()
	journal, err := OpenJournal(state.NewFile(filepath.Join(t.TempDir(), "journal.json")))
	if err != nil {
		t.Fatal(err)
	}
	all = NewServices(journal, slog.New(slog.DiscardHandler), nil)
	t.Cleanup(all.Stop)
	if err := all.Adopt(map[string]Desired{"app": {Targets: []Spec{{URL: "http://old"}}, Settings: settings}}); err != nil {
		t.Fatal(err)
	}
	all.Start()
	return all, all.Get("app")
}

// target is a target that is made of s, and not healthy yet.
func target(s Spec) (*upstream.Target, error) {
	u, err := url.Parse(s.URL)
	if err != nil {
		return nil, err
	}
	return upstream.NewTarget(u, s.Version, 1, upstream.Down, http.DefaultTransport), nil
}

// proven makes targets that count as healthy and are never asked.
func proven(s Spec) (*upstream.Target, func(context.Context) error, error) {
	made, err := target(s)
	if err == nil {
		made.Prove()
	}
	return made, nil, err
}

// planned are the settings of a service whose targets are proven.
func planned(plan Plan) Settings {
	plan.Patience = Duration(time.Minute)
	return Settings{Make: proven, CheckTargets: func([]Spec) error { return nil }, Plan: plan}
}

// A job that CI runs twice at once is one swap, and both get its report.
func TestBegin_TheSameOrderInTheSameInstantIsOneSwap(t *testing.T) {
	_, app := serving(t, planned(Plan{}))
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
			ended(w)
		}
	}
}
