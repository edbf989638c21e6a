package swap

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pomodoro.cc/gateway/upstream"
)

// begins a swap of app to the target at url, which nobody attends to.
func begins(t *testing.T, app *Service, version string, build int64, url string) *Swap {
	t.Helper()
	return orders(t, app, Order{Targets: []Spec{{URL: url}}, Version: version, Build: build, Unattended: true})
}

// orders begins a swap of app.
func orders(t *testing.T, app *Service, o Order) *Swap {
	t.Helper()
	w, err := app.Begin(o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// visits is a request that came to app, and is on the target at url.
func visits(t *testing.T, app *Service, url string) *upstream.Visit {
	t.Helper()
	v := new(upstream.Visit)
	if err := v.Enter(app.Slot, upstream.Ask{Bucket: upstream.Buckets - 1, Cut: func(error) { go v.Leave(upstream.Cut) }}); err != nil {
		t.Fatal(err)
	}
	if got := v.Target.URL.String(); got != url {
		t.Fatalf("the request is on %s, want %s", got, url)
	}
	return v
}

// answers has a request come to the target at url, and be answered like that.
func answers(t *testing.T, app *Service, url string, a upstream.Attempt) {
	t.Helper()
	v := visits(t, app, url)
	v.Outcome(a)
	v.Leave(upstream.Answered)
}

// Patience begins when nothing new comes to the targets that leave, not when the
// first visitor went to the new ones.
func TestDrain_WhatCameJustBeforeItHasItsWholePatience(t *testing.T) {
	plan := Plan{Drain: Duration(10 * time.Second), Streams: Duration(10 * time.Second), Budget: Budget{Errors: 0.05, Sample: 1}}
	t.Run("on a new version that is taken back", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			plan.Watch = Duration(time.Hour)
			_, app := serving(t, planned(plan))
			w := begins(t, app, "v2", 0, "http://new")
			time.Sleep(time.Minute)
			late := visits(t, app, "http://new")
			answers(t, app, "http://new", upstream.Attempt{Error: true})
			time.Sleep(9 * time.Second)
			late.Leave(upstream.Answered)
			if r := ended(w); r.Result != RolledBack || r.Drained.Cut != 0 || r.Ledger.FinishedNew != 2 {
				t.Errorf("%s: %s; drained %+v, ledger %+v", r.Result, r.Text, r.Drained, r.Ledger)
			}
		})
	})
	t.Run("on the old version after a canary", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			plan.Watch, plan.Canary = 0, Steps{{Percent: 1, For: Duration(time.Minute)}}
			_, app := serving(t, planned(plan))
			w := begins(t, app, "v2", 0, "http://new")
			time.Sleep(59 * time.Second)
			late := visits(t, app, "http://old")
			time.Sleep(10 * time.Second)
			late.Leave(upstream.Answered)
			if r := ended(w); r.Result != Done || r.Drained.Cut != 0 || r.Ledger.FinishedOld != 1 {
				t.Errorf("%s: %s; drained %+v, ledger %+v", r.Result, r.Text, r.Drained, r.Ledger)
			}
		})
	})
	t.Run("on the old version, as the spare at the end of the watch", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			plan.Watch, plan.Canary, plan.Budget = Duration(time.Minute), nil, Budget{Errors: 0.9, Sample: 100}
			_, app := serving(t, planned(plan))
			w := begins(t, app, "v2", 0, "http://new")
			time.Sleep(59900 * time.Millisecond)
			late := visits(t, app, "http://new")
			late.Outcome(upstream.Attempt{Error: true})
			if err := late.Again([]*upstream.Target{late.Target}, func(error) { go late.Leave(upstream.Cut) }); err != nil || late.Target.URL.Host != "old" {
				t.Fatalf("tried again on %v, %v", late.Target, err)
			}
			time.Sleep(9 * time.Second)
			late.Leave(upstream.Answered)
			if r := ended(w); r.Result != Done || r.Drained.Cut != 0 || r.Ledger.Retried != 1 {
				t.Errorf("%s: %s; drained %+v, ledger %+v", r.Result, r.Text, r.Drained, r.Ledger)
			}
		})
	})
}

// Until their end the old targets must not be stopped.
func TestDrain_DetachedStreamsDoNotEndBeforeTheReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, app := serving(t, planned(Plan{Watch: Duration(time.Minute), Drain: Duration(10 * time.Second), Streams: Duration(10 * time.Second), Budget: Budget{Errors: 0.9, Sample: 100}}))
		stream := visits(t, app, "http://old")
		stream.BecomeStream(0, func() {})
		r := ended(orders(t, app, Order{Targets: []Spec{{URL: "http://new"}}, Version: "v2", Unattended: true, DetachStreams: true}))
		if r.Result != Done || r.StreamsLeft != 1 {
			t.Fatalf("%s: %s; %d streams left", r.Result, r.Text, r.StreamsLeft)
		}
		time.Sleep(time.Until(r.StreamsEnd))
		if _, streams := app.Slot.InFlight(); streams != 0 || r.StreamsEnd.After(r.Ended.Add(5*time.Second)) {
			t.Errorf("%d streams are there at their end, %s after the report", streams, r.StreamsEnd.Sub(r.Ended))
		}
	})
}

// A report that says "swapped" is no answer any more once another release serves.
func TestBegin_TheSameBuildIsRefusedWhenItsReleaseWasReplacedWhateverItLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, app := serving(t, planned(Plan{Drain: Duration(time.Second)}))
		visits(t, app, "http://old") // it never ends, and is cut
		if r := ended(begins(t, app, "v2", 2, "http://new")); r.Result != Lost {
			t.Fatalf("%s: %s", r.Result, r.Text)
		}
		if r := begins(t, app, "v2", 2, "http://new").Report(); r == nil || r.Result != Lost {
			t.Errorf("the same build while it serves: %+v, want its report", r)
		}
		if r := ended(begins(t, app, "v3", 3, "http://newer")); r.Result != Done {
			t.Fatalf("%s: %s", r.Result, r.Text)
		}
		_, err := app.Begin(Order{Targets: []Spec{{URL: "http://new"}}, Version: "v2", Build: 2, Unattended: true})
		var no *Refusal
		if !errors.As(err, &no) || no.Code != Superseded {
			t.Errorf("the same build when another serves: %v; want it refused", err)
		}
	})
}

// A job that CI runs again may have a container with another address.
func TestBegin_TheSameBuildWithOtherTargetsIsAnotherOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, app := serving(t, planned(Plan{Drain: Duration(time.Minute)}))
		for _, url := range []string{"http://a", "http://b", "http://a"} {
			r := ended(begins(t, app, "v2", 2, url))
			if serving, _ := app.Serving(); r.Result != Done || serving.Targets[0].URL != url {
				t.Errorf("to %s: %s: %s; %s serves", url, r.Result, r.Text, serving.Targets[0].URL)
			}
			if again := ended(begins(t, app, "v2", 2, url)); again.ID != r.ID {
				t.Errorf("to %s again: swap %s, %s; want the report of %s", url, again.ID, again.Result, r.ID)
			}
		}
		held := visits(t, app, "http://a")
		w := begins(t, app, "v3", 3, "http://b")
		synctest.Wait()
		_, err := app.Begin(Order{Targets: []Spec{{URL: "http://c"}}, Version: "v3", Build: 3, Unattended: true})
		var no *Refusal
		if !errors.As(err, &no) || no.Code != Locked {
			t.Errorf("to other targets while it is under way: %v; want it refused", err)
		}
		held.Leave(upstream.Answered)
		ended(w)
	})
}

func TestConclude_ANewVersionThatDiedDuringTheDrainIsNoSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, app := serving(t, planned(Plan{Drain: Duration(time.Minute)}))
		late := visits(t, app, "http://old")
		w := begins(t, app, "v2", 2, "http://new")
		synctest.Wait() // it drains
		app.Slot.SetHealth(app.Slot.Pool().Targets[0], upstream.Down, errors.New("gone"))
		late.Leave(upstream.Answered)
		if r := ended(w); r.Result != Lost || r.Exit != 5 || !strings.Contains(r.Text, "none of its targets can be reached") {
			t.Errorf("%s, exit %d: %s", r.Result, r.Exit, r.Text)
		}
		if r := ended(orders(t, app, Order{Rollback: true, Unattended: true})); r.Result != Done || r.Targets[0] != "http://old" {
			t.Errorf("rollback: %s to %v: %s", r.Result, r.Targets, r.Text)
		}
	})
}

func TestWatch_AVersionThatHangsIsTakenBackButNotForLongPollsThatTheOldOneHasToo(t *testing.T) {
	for name, c := range map[string]struct {
		before time.Duration // until the old version's answers
		want   Result
	}{
		"the old one answered at once": {time.Millisecond, RolledBack},
		"the old one let them wait":    {30 * time.Second, Done},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, app := serving(t, planned(Plan{Watch: Duration(10 * time.Second), Drain: Duration(time.Minute), Budget: Budget{Errors: 0.05, Slower: 3, Sample: 20}}))
				for range 20 {
					answers(t, app, "http://old", upstream.Attempt{Took: c.before})
				}
				w := begins(t, app, "v2", 2, "http://new")
				synctest.Wait()
				answers(t, app, "http://new", upstream.Attempt{Took: time.Millisecond}) // such as of a monitor
				var hanging []*upstream.Visit
				for range 4 {
					hanging = append(hanging, visits(t, app, "http://new"))
				}
				time.Sleep(11 * time.Second)
				for _, v := range hanging {
					v.Leave(upstream.ClientLeft)
				}
				if r := ended(w); r.Result != c.want {
					t.Errorf("%s, want %s: %s", r.Result, c.want, r.Text)
				}
			})
		})
	}
}
