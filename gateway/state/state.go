// Package state keeps what must survive: on one machine in a file of the
// state_dir. It knows nothing of what the document says.
package state

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// ErrDamaged says that a stored document is not what was written.
var ErrDamaged = errors.New("damaged")

// File is one JSON document that is replaced as a whole: by a temporary file,
// fsync and rename, so that whenever the process or the machine stops either the
// old or the new one is there. The one before is kept beside it, as PATH.last,
// for the day that the newer one is found damaged; one that cannot be read is kept
// as PATH.damaged. Safe for concurrent use.
type File struct {
	path string
	mu   sync.Mutex // one Save at a time
}

// NewFile returns the document at path; nothing is read or made yet.
func NewFile(path string) *File { return &File{path: path} }

// sealed is a document with its checksum.
type sealed struct {
	Format int             `json:"format"`
	SHA256 string          `json:"sha256"`
	Body   json.RawMessage `json:"body"`
}

const format = 1

// Load reads the document into v. What was never saved leaves v as it is and is
// no error. When the newest one is damaged the one before is read and the error
// wraps ErrDamaged: v is usable, and somebody should know. When both are damaged
// v is as it was.
func (f *File) Load(v any) error {
	err := read(f.path, v)
	if err == nil {
		return nil
	}
	missing := errors.Is(err, fs.ErrNotExist)
	if before := read(f.path+".last", v); before != nil {
		if missing && errors.Is(before, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("state: %s: %w, and the one before it: %v; start from routes.yaml by removing both", f.path, err, before)
	}
	return fmt.Errorf("state: %s: %w; the one before it is used", f.path, err)
}

func read(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var s sealed
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	if s.Format != format {
		return fmt.Errorf("%w: format %d is not known", ErrDamaged, s.Format)
	}
	if sum(s.Body) != s.SHA256 {
		return fmt.Errorf("%w: the checksum does not match", ErrDamaged)
	}
	if err := json.Unmarshal(s.Body, v); err != nil {
		return fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	return nil
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// Save replaces the document. When it fails, for want of space for instance, the
// one stored before is untouched.
func (f *File) Save(v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	whole, err := json.Marshal(sealed{Format: format, SHA256: sum(body), Body: body})
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.replace(whole); err != nil {
		return fmt.Errorf("state: save %s: %w", f.path, err)
	}
	return nil
}

func (f *File) replace(b []byte) (err error) {
	dir := filepath.Dir(f.path)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	// One name, so that a killed process leaves one file at most, and the next Save takes it.
	t, err := os.OpenFile(f.path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(t.Name())
		}
	}()
	_, err = t.Write(b)
	err = errors.Join(err, t.Sync(), t.Close())
	if err != nil {
		return err
	}
	// A second name for the old one first: there is no moment without a document.
	last := f.path + ".last"
	switch err := read(f.path, new(json.RawMessage)); {
	case err == nil:
		os.Remove(last)
		if err := os.Link(f.path, last); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist): // it must not replace a good one, and who can read it may want to
		if err := os.Rename(f.path, f.path+".damaged"); err != nil {
			return err
		}
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := os.Rename(t.Name(), f.path); err != nil {
		return err
	}
	return d.Sync()
}
