// Package certs is the TLS path: where a certificate comes from. Files that
// the operator brings, a local authority made once, or ACME through certmagic.
package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// Options say where certificates come from.
type Options struct {
	Mode       string // files, internal or acme
	Dir        string // where the authority or the ACME account and certificates are kept
	Hosts      []string
	Files      []Pair // for files
	Email      string // of the ACME account
	CA         string // ACME directory; empty: Let's Encrypt
	CARootFile string // PEM that the directory's own certificate is trusted by
	Log        *slog.Logger
}

// Pair is a chain and its key in PEM files.
type Pair struct{ CertFile, KeyFile string }

// Source gives certificates for handshakes.
type Source struct {
	get    func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	protos []string
	magic  *certmagic.Config
	issuer *certmagic.ACMEIssuer
	hosts  []string
}

// New returns a Source. It reads files and makes the local authority where there
// is none; it asks nobody over the network before Run.
func New(o Options) (*Source, error) {
	s := &Source{hosts: o.Hosts, protos: []string{"h2", "http/1.1"}}
	switch o.Mode {
	case "files":
		return s, s.files(o.Files)
	case "internal":
		return s, s.internal(o)
	case "acme":
		return s, s.acme(o)
	}
	return nil, fmt.Errorf("unknown mode %q", o.Mode)
}

func (s *Source) files(pairs []Pair) error {
	if len(pairs) == 0 {
		return errors.New("mode files needs at least one certificate")
	}
	var list []tls.Certificate
	for _, p := range pairs {
		c, err := tls.LoadX509KeyPair(p.CertFile, p.KeyFile)
		if err != nil {
			return fmt.Errorf("certificate %s: %w", p.CertFile, err)
		}
		list = append(list, c)
	}
	s.get = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		for i := range list {
			if hello.SupportsCertificate(&list[i]) == nil {
				return &list[i], nil
			}
		}
		return &list[0], nil // an unknown name is answered with 421, not with a broken handshake
	}
	return nil
}

func (s *Source) acme(o Options) error {
	storage := &certmagic.FileStorage{Path: o.Dir}
	cache := certmagic.NewCache(certmagic.CacheOptions{Logger: zap.NewNop(), GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return s.magic, nil }})
	s.magic = certmagic.New(cache, certmagic.Config{Storage: storage, Logger: zap.NewNop()})
	template := certmagic.ACMEIssuer{CA: o.CA, Email: o.Email, Agreed: true, Logger: zap.NewNop()}
	if template.CA == "" {
		template.CA = certmagic.LetsEncryptProductionCA
	}
	if o.CARootFile != "" {
		pem, err := os.ReadFile(o.CARootFile)
		if err != nil {
			return fmt.Errorf("ca_root_file: %w", err)
		}
		template.TrustedRoots = x509.NewCertPool()
		if !template.TrustedRoots.AppendCertsFromPEM(pem) {
			return fmt.Errorf("ca_root_file %s holds no PEM certificate", o.CARootFile)
		}
	}
	s.issuer = certmagic.NewACMEIssuer(s.magic, template)
	s.magic.Issuers = []certmagic.Issuer{s.issuer}
	s.get = s.magic.GetCertificate
	s.protos = append(s.protos, "acme-tls/1")
	return nil
}

// TLSConfig is what a listener serves with. The caller must not change it.
func (s *Source) TLSConfig() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.get, NextProtos: s.protos}
}

// HTTPChallenge answers the challenges of an ACME authority before h.
func (s *Source) HTTPChallenge(h http.Handler) http.Handler {
	if s.issuer == nil {
		return h
	}
	return s.issuer.HTTPChallengeHandler(h)
}

// Run obtains and renews until ctx ends. Only mode acme has something to do.
func (s *Source) Run(ctx context.Context) error {
	if s.magic == nil {
		return nil
	}
	if err := s.magic.ManageAsync(ctx, s.hosts); err != nil {
		return fmt.Errorf("obtain certificates: %w", err)
	}
	<-ctx.Done()
	return nil
}
