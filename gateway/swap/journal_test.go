package swap

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"pomodoro.cc/gateway/state"
)

func TestJournal_AReportThatCouldNotBeWrittenIsWrittenWithTheNextChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.json")
	j, err := OpenJournal(state.NewFile(path))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(path+".new", "x"), 0o700); err != nil { // where it is written
		t.Fatal(err)
	}
	if err := j.finish(&Report{ID: "one", Service: "app"}); err == nil {
		t.Error("written where nothing can be")
	}
	if got := j.History("app"); len(got) != 1 || got[0].ID != "one" {
		t.Errorf("history %v", got)
	}
	if err := os.RemoveAll(path + ".new"); err != nil {
		t.Fatal(err)
	}
	if err := j.finish(&Report{ID: "two", Service: "app", Ended: time.Now()}); err != nil {
		t.Fatal(err)
	}
	again, err := OpenJournal(state.NewFile(path))
	if err != nil {
		t.Fatal(err)
	}
	if got := again.History("app"); len(got) != 2 || got[1].ID != "one" {
		t.Errorf("after a restart: history %v", got)
	}
}

func TestJournal_ASwapInterruptedInItsDrainIsTheOneThatARollbackGoesBackFrom(t *testing.T) {
	_, app := serving(t, Settings{Make: proven})
	v1, v2, v3 := release("v1"), release("v2"), release("v3")
	var last *Swap
	for _, step := range [][2]Release{{v1, v2}, {v2, v3}} {
		app.serving = step[0]
		last = newSwap(app, Order{Targets: step[1].Targets, Version: step[1].Version})
		if err := app.journal.intend(last); err != nil {
			t.Fatal(err)
		}
		if err := app.journal.commit(app, app.file, step[1], step[0]); err != nil {
			t.Fatal(err)
		}
	}
	again, err := OpenJournal(app.journal.file)
	if err != nil {
		t.Fatal(err)
	}
	if got := again.before("app", ""); got == nil || got.Version != "v2" {
		t.Errorf("before v3 there was %+v", got)
	}
	if got := again.before("app", "v2"); got == nil || got.Targets[0] != v2.Targets[0] {
		t.Errorf("v2 was %+v", got)
	}
	if r := again.History("app")[0]; r.ID != last.ID || r.Result != Interrupted || r.From.Version != "v2" {
		t.Errorf("the report says %+v", r)
	}
}

func TestJournal_OrdersThatChangeNothingDoNotCostTheWayBack(t *testing.T) {
	swapped := &Report{ID: "app-1", Service: "app", Result: Done, Version: "v2", From: release("v1"), Published: time.Now()}
	history, services := []*Report{swapped}, map[string]record{"app": {}, "api": {}}
	for range 3 * remembered {
		for _, name := range []string{"app", "api", "gone", "gone too"} {
			history = latest(append(history, &Report{Service: name, Result: Unchanged}), services)
		}
	}
	if history[0] != swapped {
		t.Errorf("the swap is gone, the oldest is %+v", history[0])
	}
	if want := 1 + 3*remembered; len(history) != want {
		t.Errorf("%d reports are kept, want %d", len(history), want)
	}
	j := &Journal{doc: document{Services: services, History: history}}
	if got := j.before("app", ""); got == nil || got.Version != "v1" {
		t.Errorf("before v2 there was %+v", got)
	}
}

func release(version string) Release {
	return Release{Version: version, Targets: []Spec{{URL: "http://" + version, Version: version}}}
}
