package swap

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pomodoro.cc/gateway/upstream"
)

// waiting are settings whose targets are asked, and healthy once healthy is closed;
// http://old and http://api are so from the start.
func waiting() (settings Settings, asked, healthy chan struct{}) {
	asked, healthy = make(chan struct{}, 1), make(chan struct{})
	made := func(s Spec) (*upstream.Target, func(context.Context) error, error) {
		t, err := target(s)
		return t, func(ctx context.Context) error {
			if s.URL == "http://old" || s.URL == "http://api" {
				return nil
			}
			select {
			case asked <- struct{}{}:
			default:
			}
			select {
			case <-healthy:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}, err
	}
	settings = Settings{Make: made, CheckTargets: func([]Spec) error { return nil }, Every: time.Minute, Timeout: time.Minute, Rise: 1, Fall: 1, Plan: Plan{Patience: Duration(time.Minute)}}
	return settings, asked, healthy
}

// A service that only gets other settings waits for its swap, and with it the whole
// file: nothing of it is in force before all of it is.
func TestReload_WaitsForTheSwapOfAServiceAndChangesNothingWhenItIsLeft(t *testing.T) {
	settings, asked, healthy := waiting()
	all, app := serving(t, settings)
	w, err := app.Begin(Order{Targets: []Spec{{URL: "http://new"}}, Version: "v2", Unattended: true})
	if err != nil {
		t.Fatal(err)
	}
	<-asked
	other := settings
	other.Balance = upstream.RoundRobin
	desired := map[string]Desired{"app": {Targets: []Spec{{URL: "http://old"}}, Settings: other}, "api": {Targets: []Spec{{URL: "http://api"}}, Settings: settings}}
	left, leave := context.WithCancel(t.Context())
	leave()
	if err := all.Reload(left, "test", desired, func(map[string]*Service) error { t.Error("it took"); return nil }); err == nil {
		t.Error("no error")
	}
	if all.Get("api") != nil || app.differs(settings) {
		t.Error("half of it is in force")
	}
	reloaded := make(chan error, 1)
	go func() {
		reloaded <- all.Reload(t.Context(), "test", desired, func(next map[string]*Service) error {
			if running := app.Running(); running != nil {
				t.Errorf("it took during swap %s", running.ID)
			}
			if !next["api"].Slot.Pool().Fit() {
				t.Error("the new service has no target when its routes come")
			}
			return nil
		})
	}()
	close(healthy)
	if r := ended(w); r.Result != Done {
		t.Errorf("the swap: %s: %s", r.Result, r.Text)
	}
	if err := <-reloaded; err != nil {
		t.Error(err)
	}
	if all.Get("api") == nil || app.differs(other) || app.Slot.Pool().Targets[0].URL.Host != "new" {
		t.Error("the file is not in force")
	}
}

// It may wait for an hour, and what it publishes has proven itself just before.
func TestReload_ThatWaitsForASwapKeepsNoOtherServiceAndProvesNothingBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dead atomic.Bool
		settings := planned(Plan{Drain: Duration(2 * time.Hour), Streams: Duration(2 * time.Hour)})
		settings.Every, settings.Timeout, settings.Rise, settings.Fall = time.Second, time.Second, 1, 1
		settings.Make = func(s Spec) (*upstream.Target, func(context.Context) error, error) {
			made, err := target(s)
			return made, func(context.Context) error {
				if s.URL == "http://new" && dead.Load() {
					return errors.New("gone")
				}
				return nil
			}, err
		}
		all, app := serving(t, settings)
		both := func(app, api string) map[string]Desired {
			return map[string]Desired{"app": {Targets: []Spec{{URL: app}}, Settings: settings}, "api": {Targets: []Spec{{URL: api}}, Settings: settings}}
		}
		reloads(t, all, both("http://old", "http://api"))
		time.Sleep(5 * time.Second) // they are checked
		api := all.Get("api")
		late := visits(t, api, "http://api")
		w := begins(t, api, "v2", 0, "http://api-2")
		time.Sleep(time.Second) // it drains for an hour
		reloaded := make(chan error, 1)
		go func() {
			reloaded <- all.Reload(t.Context(), "test", both("http://new", "http://api-3"), func(map[string]*Service) error { return nil })
		}()
		time.Sleep(time.Minute)
		if r := ended(begins(t, app, "v2", 0, "http://between")); r.Result != Done {
			t.Errorf("a swap of the other service meanwhile: %s: %s", r.Result, r.Text)
		}
		dead.Store(true)
		time.Sleep(time.Hour)
		late.Leave(upstream.Answered)
		ended(w)
		if err := <-reloaded; CodeOf(err) != Unproven || app.Slot.Pool().Targets[0].URL.Host != "between" {
			t.Errorf("%v; %s serves, and the target of the file has been dead for an hour", err, app.Slot.Pool().Targets[0].URL)
		}
	})
}

// The latest change wins, also where a swap was about to lead away from its targets.
func TestReload_ToTheTargetsThatASwapUnderWayLeavesGoesBackToThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		settings := planned(Plan{Watch: Duration(time.Minute), Drain: Duration(time.Minute), Budget: Budget{Errors: 0.9, Sample: 100}})
		all, app := serving(t, settings)
		ended(begins(t, app, "v2", 2, "http://two"))
		w := begins(t, app, "v3", 3, "http://three")
		synctest.Wait() // it is watched
		settings.Balance = upstream.RoundRobin
		reloaded := make(chan error, 1)
		go func() {
			reloaded <- all.Reload(t.Context(), "test", map[string]Desired{"app": {Targets: []Spec{{URL: "http://two"}}, Settings: settings}}, func(map[string]*Service) error { return nil })
		}()
		if r := ended(w); r.Result != Done {
			t.Fatal(r.Text)
		}
		if err := <-reloaded; err != nil || app.Slot.Pool().Targets[0].URL.Host != "two" {
			t.Errorf("%v; %s serves, want what the file names", err, app.Slot.Pool().Targets[0].URL)
		}
	})
}

func TestReload_WhoIsLockedOutByItIsToldSo(t *testing.T) {
	settings, asked, healthy := waiting()
	all, app := serving(t, settings)
	other := settings
	other.Balance = upstream.RoundRobin
	reloaded := make(chan error, 1)
	go func() {
		desired := map[string]Desired{"app": {Targets: []Spec{{URL: "http://old"}}, Settings: other}, "api": {Targets: []Spec{{URL: "http://new"}}, Settings: settings}}
		reloaded <- all.Reload(t.Context(), "test", desired, func(map[string]*Service) error { return nil })
	}()
	<-asked
	_, err := app.Begin(Order{Targets: []Spec{{URL: "http://new"}}, Version: "v2", Unattended: true})
	var no *Refusal
	if !errors.As(err, &no) || no.Code != Locked || !strings.Contains(no.Text, "a reload") {
		t.Errorf("%v; want it refused because of the reload", err)
	}
	waits := orders(t, app, Order{Targets: []Spec{{URL: "http://new"}}, Version: "v2", Unattended: true, Wait: true})
	for list, more := waits.Events(0); len(list) == 0; list, more = waits.Events(0) {
		<-more
	}
	if phase, text := waits.Phase(); phase != "wait" || !strings.Contains(text, "a reload") {
		t.Errorf("one that waits: %s: %s; want it told of the reload", phase, text)
	}
	close(healthy)
	if err := <-reloaded; err != nil {
		t.Error(err)
	}
	ended(waits)
}

// Nothing of the file is in force without it, so the others need not go on either.
func TestReload_TheEndOfOneOfItsSwapsByCancelIsItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		settings, asked, _ := waiting()
		all, app := serving(t, settings)
		reloaded := make(chan error, 1)
		go func() {
			desired := map[string]Desired{"app": {Targets: []Spec{{URL: "http://new"}}, Settings: settings}, "api": {Targets: []Spec{{URL: "http://new"}}, Settings: settings}}
			reloaded <- all.Reload(t.Context(), "test", desired, func(map[string]*Service) error { return nil })
		}()
		<-asked
		synctest.Wait()
		w, began := app.Running(), time.Now()
		if !w.Cancel() {
			t.Fatal("too late")
		}
		if r := ended(w); r.Result != Cancelled || time.Since(began) > time.Second {
			t.Errorf("after %s: %s: %s", time.Since(began), r.Result, r.Text)
		}
		if err := <-reloaded; !errors.Is(err, errCancelled) {
			t.Errorf("the reload: %v", err)
		}
	})
}

// The rest of the file is in force.
func TestReload_TheOldTargetsTakeTheFilesSettingsWhenItsNewOnesAreTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		settings := planned(Plan{Watch: Duration(time.Minute), Drain: Duration(time.Second), Budget: Budget{Errors: 0.05, Sample: 1}})
		settings.Kind = "before"
		all, app := serving(t, settings)
		settings.Kind, settings.Balance = "after", upstream.RoundRobin
		desired := map[string]Desired{"app": {Targets: []Spec{{URL: "http://new"}}, Settings: settings}}
		reloads(t, all, desired)
		w, stays := app.Running(), visits(t, app, "http://new")
		answers(t, app, "http://new", upstream.Attempt{Error: true})
		time.Sleep(500 * time.Millisecond)
		old := visits(t, app, "http://old")
		stays.Leave(upstream.Answered)
		if r := ended(w); r.Result != RolledBack || r.Ledger.UnderWay != 1 {
			t.Fatalf("%s, ledger %+v", r.Result, r.Ledger)
		}
		old.Leave(upstream.Answered)
		pool := app.Slot.Pool()
		if pool.Targets[0].URL.Host != "old" || pool.Balance != upstream.RoundRobin || pool.Targets[0].Health() != upstream.Up {
			t.Errorf("%s serves, %s, by balance %d", pool.Targets[0].URL, pool.Targets[0].Health(), pool.Balance)
		}
		app.mu.Lock()
		defer app.mu.Unlock()
		if m := app.live[pool.Targets[0]]; len(app.live) != 1 || m == nil || m.kind != "after" {
			t.Errorf("%d targets are checked; the one that serves: %+v", len(app.live), m)
		}
	})
}

// A swap that is under way when routes.yaml drops its service ends, one that waits
// for it is refused, and neither leaves a check behind.
func TestReload_AServiceThatIsDroppedDuringItsSwapIsLetGoAfterIt(t *testing.T) {
	settings, asked, healthy := waiting()
	all, app := serving(t, settings)
	first, err := app.Begin(Order{Targets: []Spec{{URL: "http://new"}}, Version: "v2", Unattended: true})
	if err != nil {
		t.Fatal(err)
	}
	<-asked
	second, err := app.Begin(Order{Targets: []Spec{{URL: "http://newer"}}, Version: "v3", Unattended: true, Wait: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := all.Reload(t.Context(), "test", nil, func(map[string]*Service) error { return nil }); err != nil {
		t.Fatal(err)
	}
	refused := ended(second)
	if refused.Exit == 0 || !refused.Published.IsZero() {
		t.Errorf("the swap that waited: %+v", refused)
	}
	close(healthy)
	if r := ended(first); r.Result != Done {
		t.Errorf("the swap under way: %s: %s", r.Result, r.Text)
	}
	for deadline := time.After(time.Minute); app.checks() > 0; runtime.Gosched() {
		select {
		case <-deadline:
			t.Fatal("checks are left")
		default:
		}
	}
}

// A successor reads the journal of a frozen gateway, and relies on it.
func TestFreeze_IsRefusedDuringTheSwapOfAServiceThatTheFileDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, app := serving(t, planned(Plan{Drain: Duration(time.Minute)}))
		late := visits(t, app, "http://old")
		w := begins(t, app, "v2", 0, "http://new")
		synctest.Wait() // it drains
		drops(t, all)
		if err := all.Freeze(); err == nil {
			t.Errorf("frozen although swap %s is under way", w.ID)
		}
		if all.Swap(w.ID) != w {
			t.Error("who follows the swap does not find it any more")
		}
		late.Leave(upstream.Answered)
		ended(w)
		synctest.Wait() // the service is let go
		if err := all.Freeze(); err != nil {
			t.Fatal(err)
		}
	})
}

// Nobody can resume it any more.
func TestReload_AServiceThatIsDroppedHoldsNobodyByItsPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, app := serving(t, planned(Plan{Drain: Duration(time.Minute)}))
		late := visits(t, app, "http://old")
		w := begins(t, app, "v2", 0, "http://new")
		synctest.Wait() // it drains
		app.Pause(false, time.Hour)
		held := make(chan error, 1)
		go func() {
			v := new(upstream.Visit)
			v.Enter(app.Slot, upstream.Ask{})
			held <- v.Hold(t.Context(), 10*time.Second, 10)
			v.Leave(upstream.Answered)
		}()
		synctest.Wait()
		drops(t, all)
		app.Pause(false, time.Hour) // ordered before the drop
		began := time.Now()
		if err := <-held; err != nil || time.Since(began) > 0 {
			t.Errorf("after %s: %v; want the target that serves until the swap is over", time.Since(began), err)
		}
		if _, _, paused := app.Slot.Paused(); paused {
			t.Error("it is paused again")
		}
		late.Leave(upstream.Answered)
		ended(w)
	})
}

func TestStop_DuringTheProofOfADroppedServicesSwapCancelsIt(t *testing.T) {
	settings, asked, _ := waiting()
	all, app := serving(t, settings)
	w := begins(t, app, "v2", 0, "http://new")
	<-asked
	drops(t, all)
	all.Stop()
	if r := ended(w); r.Result != Cancelled {
		t.Errorf("%s, exit %d: %s", r.Result, r.Exit, r.Text)
	}
}

func TestJournal_ASwapOfADroppedServiceDoesNotWriteIntoTheOneThatCameBack(t *testing.T) {
	settings, asked, healthy := waiting()
	all, app := serving(t, settings)
	w := begins(t, app, "v2", 2, "http://new")
	<-asked
	drops(t, all)
	reloads(t, all, map[string]Desired{"app": {Targets: []Spec{{URL: "http://old"}}, Settings: settings}})
	if err := app.relabel(newSwap(app, Order{Targets: []Spec{{URL: "http://old"}}, Version: "v3", Build: 3})); !errors.Is(err, errRelabelled) {
		t.Error(err)
	}
	close(healthy)
	if r := ended(w); r.Result != Done {
		t.Errorf("the swap of the dropped one: %s: %s", r.Result, r.Text)
	}
	again, err := OpenJournal(app.journal.file)
	if err != nil {
		t.Fatal(err)
	}
	now, _ := all.Get("app").Serving()
	then, _, _ := again.recall("app", []Spec{{URL: "http://old"}}, settings.CheckTargets)
	if then.Targets[0].URL != now.Targets[0].URL || then.Version != now.Version {
		t.Errorf("%+v serves, after a restart %+v does", now, then)
	}
}

// drops reloads a file that names no service.
func drops(t *testing.T, all *Services) {
	t.Helper()
	reloads(t, all, nil)
}

func reloads(t *testing.T, all *Services, desired map[string]Desired) {
	t.Helper()
	if err := all.Reload(t.Context(), "test", desired, func(map[string]*Service) error { return nil }); err != nil {
		t.Fatal(err)
	}
}

func ended(w *Swap) *Report {
	for _, more := w.Events(0); w.Report() == nil; _, more = w.Events(0) {
		<-more
	}
	return w.Report()
}

func (s *Service) checks() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.live)
}
