package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	look   = time.Minute         // between two looks at the files
	remind = 24 * time.Hour      // between two warnings about the same certificate
	soon   = 14 * 24 * time.Hour // who renews in time has done it by then
)

// files are certificates that the operator brings. Whoever renews them need not
// tell: they are looked at again by and by.
type files struct {
	log    *slog.Logger
	served atomic.Pointer[[]tls.Certificate] // never empty

	mu     sync.Mutex // guards the fields below
	pairs  []Pair
	failed string    // what was wrong at the last look
	warned time.Time // when an operator was last told what ends soon
}

func newFiles(o Options) (*files, error) {
	f := &files{log: o.Log}
	return f, f.change(nil, o.Files)
}

// certificate returns the first that fits.
func (f *files) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	list := *f.served.Load()
	for i := range list {
		if hello.SupportsCertificate(&list[i]) == nil {
			return &list[i], nil
		}
	}
	return &list[0], nil // an unknown name is answered with 421, not with a broken handshake
}

func (f *files) change(_ []string, pairs []Pair) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	list, err := load(pairs)
	if err != nil {
		return err
	}
	f.pairs, f.failed = pairs, ""
	f.serve(list)
	f.warn()
	return nil
}

// run looks at the files until ctx ends. Where one does not fit, as in the middle of
// a renewal, those read before are served on.
func (f *files) run(ctx context.Context) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			f.lookAgain()
		case <-ctx.Done():
			return
		}
	}
}

func (f *files) lookAgain() {
	f.mu.Lock()
	defer f.mu.Unlock()
	list, err := load(f.pairs)
	switch {
	case err == nil:
		if f.serve(list) {
			f.warned = time.Time{}
		}
		f.failed = ""
	case err.Error() != f.failed: // said once, not at every look
		f.log.Error("certificates: the files do not fit, those read before are served on", "error", err)
		f.failed = err.Error()
	}
	if time.Since(f.warned) >= remind {
		f.warn()
	}
}

// serve serves list, and tells whether that is something new.
func (f *files) serve(list []tls.Certificate) bool {
	before := f.served.Swap(&list)
	if before == nil {
		return true
	}
	same := slices.EqualFunc(*before, list, func(a, b tls.Certificate) bool { return a.Leaf.Equal(b.Leaf) })
	if !same {
		f.log.Info("certificates: other ones are served, read from their files")
	}
	return !same
}

// warn speaks of what has ended or will soon.
func (f *files) warn() {
	f.warned = time.Now()
	for i, c := range *f.served.Load() {
		if end := c.Leaf.NotAfter; time.Until(end) < soon {
			f.log.Warn("certificates: one has ended or will soon", "file", f.pairs[i].CertFile, "names", names(c.Leaf), "end", end)
		}
	}
}

// expiries tells of each name the certificate that ends first.
func (f *files) expiries() map[string]time.Time {
	ends := map[string]time.Time{}
	for _, c := range *f.served.Load() {
		for _, name := range names(c.Leaf) {
			if end, known := ends[name]; !known || c.Leaf.NotAfter.Before(end) {
				ends[name] = c.Leaf.NotAfter
			}
		}
	}
	return ends
}

func load(pairs []Pair) (list []tls.Certificate, err error) {
	if len(pairs) == 0 {
		return nil, errors.New("mode files needs at least one certificate")
	}
	for _, p := range pairs {
		c, err := tls.LoadX509KeyPair(p.CertFile, p.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("certificate %s: %w", p.CertFile, err)
		}
		list = append(list, c)
	}
	return list, nil
}
