package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// ErrTaken says that another process holds the lock of a folder.
var ErrTaken = errors.New("another gateway runs on it; stop it, or take it over with run --takeover")

// Lock takes a state_dir for this process; closing the file gives it back, and so
// does the end of the process, however it comes. A process that is given the
// descriptor holds the lock too, until both have closed it (flock(2)).
func Lock(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("state_dir: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return nil, fmt.Errorf("state_dir: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrTaken
		}
		return nil, fmt.Errorf("state_dir %s: %w", dir, err)
	}
	return f, nil
}
