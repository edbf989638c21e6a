package state_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pomodoro.cc/gateway/state"
)

func TestFile_WhatWasNeverSavedIsNoError(t *testing.T) {
	got := "as it was"
	if err := state.NewFile(filepath.Join(t.TempDir(), "j")).Load(&got); err != nil || got != "as it was" {
		t.Errorf("Load = %v, %q", err, got)
	}
}

func TestFile_ADamagedOneIsAnAlarmAndTheLastGoodOneIsUsed(t *testing.T) {
	for name, damage := range map[string]func(string) string{
		"torn":     func(s string) string { return s[:len(s)/2] },
		"empty":    func(string) string { return "" },
		"edited":   func(s string) string { return strings.Replace(s, "two", "owt", 1) },
		"a future": func(s string) string { return strings.Replace(s, `"format":1`, `"format":9`, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "j")
			f := state.NewFile(path)
			for _, s := range []string{"one", "two"} {
				if err := f.Save(s); err != nil {
					t.Fatal(err)
				}
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(damage(string(b))), 0o600); err != nil {
				t.Fatal(err)
			}

			var got string
			if err := f.Load(&got); !errors.Is(err, state.ErrDamaged) || got != "one" {
				t.Errorf("Load = %v, %q; want one, with an alarm", err, got)
			}
			// The damaged one never takes the place of the good one.
			if err := f.Save("three"); err != nil {
				t.Fatal(err)
			}
			if aside, err := os.ReadFile(path + ".damaged"); err != nil || string(aside) != damage(string(b)) {
				t.Errorf("kept aside: %q, %v", aside, err)
			}
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := f.Load(&got); !errors.Is(err, state.ErrDamaged) || got != "one" {
				t.Errorf("after another Save: Load = %v, %q", err, got)
			}
		})
	}
}

func TestFile_AFailedSaveLeavesWhatWasThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	f := state.NewFile(path)
	if err := f.Save("kept"); err != nil {
		t.Fatal(err)
	}
	if err := f.Save(func() {}); err == nil {
		t.Error("a function was saved")
	}
	var got string
	if err := f.Load(&got); err != nil || got != "kept" {
		t.Errorf("Load = %v, %q", err, got)
	}
	if left, err := filepath.Glob(path + ".new*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestLock_IsOnesAloneUntilEveryDescriptorOfItIsClosed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	one, err := state.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := state.Lock(dir); !errors.Is(err, state.ErrTaken) {
		t.Errorf("a second one: %v", err)
	}
	fd, err := syscall.Dup(int(one.Fd())) // as a successor is given it
	if err != nil {
		t.Fatal(err)
	}
	one.Close()
	if _, err := state.Lock(dir); !errors.Is(err, state.ErrTaken) {
		t.Errorf("when the first has gone and the successor has not: %v", err)
	}
	syscall.Close(fd)
	last, err := state.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	last.Close()
}
