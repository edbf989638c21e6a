// Package certs is the TLS path: where a certificate comes from. Files that
// the operator brings, a local authority made once, or ACME through certmagic.
package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"
)

// Options say where certificates come from.
type Options struct {
	Mode       string // files, internal or acme
	Dir        string // where the authority or the ACME account and certificates are kept
	Hosts      []string
	Files      []Pair       // for files
	Email      string       // of the ACME account
	CA         string       // ACME directory; empty: Let's Encrypt
	CARootFile string       // PEM that the directory's own certificate is trusted by
	Log        *slog.Logger // events; nil: none
}

// Pair is a chain and its key in PEM files.
type Pair struct{ CertFile, KeyFile string }

// origin is where certificates come from.
type origin interface {
	certificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
	change(hosts []string, files []Pair) error
	expiries() map[string]time.Time
	run(context.Context)
}

// Source gives certificates for handshakes.
type Source struct {
	Mode   string // of the Options
	origin origin
	protos []string
	before func(http.Handler) http.Handler // nil: nothing is answered over plain HTTP
}

// New returns a Source. It reads files and makes the local authority where there
// is none; it asks nobody over the network before Run.
func New(o Options) (*Source, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Source{Mode: o.Mode, protos: []string{"h2", "http/1.1"}}
	var err error
	switch o.Mode {
	case "files":
		s.origin, err = newFiles(o)
	case "internal":
		s.origin, err = newAuthority(o)
	case "acme":
		var a *acme
		if a, err = newACME(o); err == nil {
			s.origin, s.before = a, a.issuer.HTTPChallengeHandler
			s.protos = append(s.protos, "acme-tls/1")
		}
	default:
		err = fmt.Errorf("unknown mode %q", o.Mode)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// TLSConfig is what a listener serves with. The caller must not change it.
func (s *Source) TLSConfig() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.origin.certificate, NextProtos: s.protos}
}

// HTTPChallenge answers the challenges of an ACME authority before h.
func (s *Source) HTTPChallenge(h http.Handler) http.Handler {
	if s.before == nil {
		return h
	}
	return s.before(h)
}

// Change gives certificates for these hosts, or from these files, in place of
// those before; files are read even when they are the same ones. An error changes
// nothing.
func (s *Source) Change(hosts []string, files []Pair) error { return s.origin.change(hosts, files) }

// Expiries tells until when the certificate of each name is valid; the zero time
// where there is none yet. It may be called from several goroutines at once.
func (s *Source) Expiries() map[string]time.Time { return s.origin.expiries() }

// Run obtains and renews, or looks at files again, until ctx ends.
func (s *Source) Run(ctx context.Context) { s.origin.run(ctx) }

// names are what a certificate is for.
func names(c *x509.Certificate) []string {
	list := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		list = append(list, ip.String())
	}
	if len(list) == 0 {
		list = append(list, c.Subject.CommonName)
	}
	return list
}
