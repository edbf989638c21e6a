// Package socket listens on unix sockets whose files a dead process may have left
// and a successor may replace.
package socket

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// longest is what the kernel takes as the path of a unix socket (unix(7)).
const longest = 107

// Listener is a listening unix socket. Its file is where others look for it from
// Appear until Close, unless a successor puts its own there.
type Listener struct {
	*net.UnixListener
	path    string
	private string // the folder that the file is in before Appear
	mine    os.FileInfo
}

// Listen readies a socket, with mode 0660, to take the place of the file that a
// dead process left. One that answers is another's, an error that is
// syscall.EADDRINUSE.
func Listen(path string) (*Listener, error) {
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, fmt.Errorf("socket %s: another gateway answers there; stop it, or take it over with run --takeover: %w", path, syscall.EADDRINUSE)
	}
	return Replace(path)
}

// Fits says what is wrong with a path as that of a socket; nil when nothing is. A
// socket is made beside its place first, under a name of up to 14 bytes.
func Fits(path string) error {
	if n := max(len(path), len(filepath.Dir(path))+len("/.s4294967295/s")); n > longest {
		return fmt.Errorf("socket %s: the path is longer than a socket's may be by %d bytes; choose a shorter one", path, n-longest)
	}
	return nil
}

// Free says what keeps a socket from a path that Fits; nil when nothing does. It
// takes the place of whatever is there: that must be a socket. Below a file the
// error is syscall.ENOTDIR.
func Free(path string) error {
	there, err := os.Stat(path)
	switch {
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("socket %s: the path leads through a file; choose another (%w)", path, syscall.ENOTDIR)
	case err != nil: // nothing is there yet, or it is not ours to see
		return nil
	case there.IsDir():
		return fmt.Errorf("socket %s: a folder is there; name a file in it", path)
	case there.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("socket %s: what is there is no socket; move it away, or choose another path", path)
	}
	return nil
}

// Replace is Listen for a successor: whoever answers there loses the file at
// Appear, and goes on with the connections that it has.
func Replace(path string) (_ *Listener, err error) {
	if err := cmp.Or(Fits(path), Free(path)); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	// In a folder of our own first: there is no moment with a wider mode, nor one
	// without a socket, and until Appear nothing has changed.
	private, err := os.MkdirTemp(filepath.Dir(path), ".s")
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	defer func() {
		if err != nil {
			os.RemoveAll(private)
		}
	}()
	temporary := filepath.Join(private, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: temporary, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	mine, err := os.Stat(temporary)
	if err := errors.Join(err, os.Chmod(temporary, 0o660)); err != nil {
		l.Close()
		return nil, fmt.Errorf("socket: %w", err)
	}
	return &Listener{UnixListener: l, path: path, private: private, mine: mine}, nil
}

// Appear puts the file in its place. Who has connected there before stays with
// whom it has connected to.
func (l *Listener) Appear() error {
	if err := os.Rename(filepath.Join(l.private, "s"), l.path); err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	return os.RemoveAll(l.private)
}

// Addr is where others find it.
func (l *Listener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// Close closes the listener.
func (l *Listener) Close() error {
	os.RemoveAll(l.private) // gone already, if it appeared
	if there, err := os.Stat(l.path); err == nil && os.SameFile(there, l.mine) {
		if err := os.Remove(l.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(err, l.UnixListener.Close())
		}
	}
	return l.UnixListener.Close()
}
