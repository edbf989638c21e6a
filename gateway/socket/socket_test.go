package socket

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// place is a path that is short enough for a socket.
func place(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "state", "admin.sock")
}

func listen(t *testing.T, path string, by func(string) (*Listener, error)) *Listener {
	t.Helper()
	l, err := by(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if err := l.Appear(); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestListen_TheFileIsForOwnerAndGroupAndAlone(t *testing.T) {
	path := place(t)
	l := listen(t, path, Listen)
	if got := l.Addr().String(); got != path {
		t.Errorf("it says that it listens on %s, want %s", got, path)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o660 {
		t.Errorf("mode %o, want 660", got)
	}
	all, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(all) != 1 {
		t.Errorf("the folder holds %v, %v; want the socket alone", all, err)
	}
	if _, err := Listen(path); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a second one: %v, want EADDRINUSE", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Close the file is there: %v", err)
	}
}

func TestListen_WhatADeadProcessLeftIsReplaced(t *testing.T) {
	path := place(t)
	dead := listen(t, path, Listen)
	dead.UnixListener.Close() // as the kernel does: the file stays
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	listen(t, path, Listen)
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestReplace_TheFileIsTheSuccessorsFromThenOn(t *testing.T) {
	path := place(t)
	old := listen(t, path, Listen)
	fresh := listen(t, path, Replace)
	if err := old.Close(); err != nil {
		t.Error(err)
	}
	accepted := make(chan error, 1)
	go func() {
		c, err := fresh.Accept()
		if err == nil {
			c.Close()
		}
		accepted <- err
	}()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the successor's file went with the old one: %v", err)
	}
	c.Close()
	if err := <-accepted; err != nil {
		t.Error(err)
	}
}

func TestReplace_OneThatNeverAppearsChangesNothing(t *testing.T) {
	path := place(t)
	old := listen(t, path, Listen)
	fresh, err := Replace(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := fresh.Close(); err != nil {
		t.Error(err)
	}
	accepted := make(chan error, 1)
	go func() {
		c, err := old.Accept()
		if err == nil {
			c.Close()
		}
		accepted <- err
	}()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := <-accepted; err != nil {
		t.Error(err)
	}
	if all, err := os.ReadDir(filepath.Dir(path)); err != nil || len(all) != 1 {
		t.Errorf("the folder holds %v, %v; want the old socket alone", all, err)
	}
}

func TestReplace_ALongPathIsRefusedWithWhatToDo(t *testing.T) {
	_, err := Replace(filepath.Join(t.TempDir(), strings.Repeat("x", longest)))
	if err == nil || !strings.Contains(err.Error(), "choose a shorter one") {
		t.Errorf("got %v", err)
	}
}

func TestFits_WhateverFitsCanBeListenedOn(t *testing.T) {
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for n := 80; n < longest; n++ { // the folder's length
		path := filepath.Join(dir, strings.Repeat("x", n-len(dir)-1), "takeover.sock")
		if err := Fits(path); err != nil {
			continue
		}
		l, err := Replace(path)
		if err != nil {
			t.Errorf("folder of %d bytes: %v", n, err)
			continue
		}
		l.Close()
	}
}
