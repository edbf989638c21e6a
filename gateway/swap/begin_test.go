package swap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
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

// What serves when its turn comes is what it goes back from.
func TestRollback_ThatWaitsForASwapGoesBackFromWhatThatPutInPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, app := serving(t, planned(Plan{Drain: Duration(time.Second), Watch: Duration(time.Minute), Budget: Budget{Errors: 0.9, Sample: 100}}))
		ended(begins(t, app, "v1", 1, "http://one"))
		ended(begins(t, app, "v2", 2, "http://two"))
		third := begins(t, app, "v3", 3, "http://three")
		time.Sleep(time.Second) // it is watched
		back := orders(t, app, Order{Rollback: true, Wait: true, Unattended: true})
		var no *Refusal
		if w, err := app.Begin(Order{Targets: []Spec{{URL: "http://one"}}, Version: "v1", Build: 1, Wait: true}); !errors.As(err, &no) || no.Code != Superseded {
			t.Errorf("build 1: swap %v, %v; want it refused, and not the rollback, which has yet to see where it goes", w, err)
		}
		if r := ended(third); r.Result != Done {
			t.Fatal(r.Text)
		}
		if r := ended(back); r.Result != Done || r.Version != "v2" || r.Build != 2 || r.Targets[0] != "http://two" {
			t.Errorf("from %s back to %s, build %d, %v: %s: %s", r.From.Version, r.Version, r.Build, r.Targets, r.Result, r.Text)
		}
		if now, _ := app.Serving(); now.Version != "v2" || now.Build != 2 || now.Targets[0].URL != "http://two" {
			t.Errorf("%+v serves", now)
		}
	})
}

// A job that is interrupted and run again finds its own first swap, which is about
// to end.
func TestBegin_AnOrderIsNotItsTwinThatWasCalledOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var well atomic.Bool
		settings := planned(Plan{})
		settings.Every, settings.Timeout, settings.Rise = time.Second, time.Second, 1
		settings.Make = func(s Spec) (*upstream.Target, func(context.Context) error, error) {
			made, err := target(s)
			return made, func(context.Context) error {
				if s.URL == "http://new" && !well.Load() {
					time.Sleep(500 * time.Millisecond) // as a check that is under way
					return errors.New("ill")
				}
				return nil
			}, err
		}
		_, app := serving(t, settings)
		first := begins(t, app, "v2", 2, "http://new")
		time.Sleep(100 * time.Millisecond)
		if !first.Cancel() {
			t.Fatal("too late")
		}
		well.Store(true)
		w := orders(t, app, Order{Targets: []Spec{{URL: "http://new"}}, Version: "v2", Build: 2, Unattended: true, Wait: true})
		if r := ended(w); r.Result != Done {
			t.Errorf("%s: %s", r.Result, r.Text)
		}
		if r := ended(first); r.Result != Cancelled {
			t.Errorf("the first: %s: %s", r.Result, r.Text)
		}
	})
}
