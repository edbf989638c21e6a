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
