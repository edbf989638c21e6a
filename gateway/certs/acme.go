package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// acme is certificates of a public authority, obtained and renewed by certmagic.
type acme struct {
	log    *slog.Logger
	cache  *certmagic.Cache
	magic  *certmagic.Config
	issuer *certmagic.ACMEIssuer

	mu    sync.Mutex // guards hosts
	hosts []string
	more  chan struct{} // told when hosts have changed
}

func newACME(o Options) (*acme, error) {
	a := &acme{log: o.Log, hosts: o.Hosts, more: make(chan struct{}, 1)}
	template := certmagic.ACMEIssuer{CA: o.CA, Email: o.Email, Agreed: true, Logger: zap.NewNop()}
	if template.CA == "" {
		template.CA = certmagic.LetsEncryptProductionCA
	}
	if o.CARootFile != "" {
		pem, err := os.ReadFile(o.CARootFile)
		if err != nil {
			return nil, fmt.Errorf("ca_root_file: %w", err)
		}
		template.TrustedRoots = x509.NewCertPool()
		if !template.TrustedRoots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_root_file %s holds no PEM certificate", o.CARootFile)
		}
	}
	a.cache = certmagic.NewCache(certmagic.CacheOptions{Logger: zap.NewNop(), GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return a.magic, nil }})
	a.magic = certmagic.New(a.cache, certmagic.Config{Storage: &certmagic.FileStorage{Path: o.Dir}, Logger: zap.NewNop(), OnEvent: a.tell})
	a.issuer = certmagic.NewACMEIssuer(a.magic, template)
	a.magic.Issuers = []certmagic.Issuer{a.issuer}
	return a, nil
}

// tell makes an event of each attempt's end. certmagic tries again by itself, less
// and less often.
func (a *acme) tell(ctx context.Context, event string, about map[string]any) error {
	switch {
	case event == "cert_obtained":
		a.log.Info("certificates: obtained", "host", about["identifier"], "renewal", about["renewal"], "issuer", about["issuer"])
	case event == "cert_failed" && ctx.Err() == nil: // else the gateway stops
		a.log.Error("certificates: not obtained, tried again later", "host", about["identifier"], "renewal", about["renewal"], "error", fmt.Sprint(about["error"]))
	}
	return nil
}

func (a *acme) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return a.magic.GetCertificate(hello)
}

// change obtains for hosts that are new. One that has left is renewed until the
// next start.
func (a *acme) change(hosts []string, _ []Pair) error {
	a.mu.Lock()
	a.hosts = hosts
	a.mu.Unlock()
	select {
	case a.more <- struct{}{}:
	default: // told already
	}
	return nil
}

func (a *acme) names() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.hosts
}

func (a *acme) expiries() map[string]time.Time {
	ends := map[string]time.Time{}
	for _, host := range a.names() {
		ends[host] = time.Time{}
		for _, c := range a.cache.AllMatchingCertificates(host) {
			ends[host] = c.Leaf.NotAfter
		}
	}
	return ends
}

// run obtains and renews. What it cannot begin with, as where the storage is
// damaged, is tried again after a change.
func (a *acme) run(ctx context.Context) {
	var begun []string
	for {
		hosts := slices.DeleteFunc(slices.Clone(a.names()), func(h string) bool { return slices.Contains(begun, h) })
		if err := a.magic.ManageAsync(ctx, hosts); err == nil {
			begun = append(begun, hosts...)
		} else if ctx.Err() == nil {
			a.log.Error("certificates: not obtained", "hosts", hosts, "error", err)
		}
		select {
		case <-a.more:
		case <-ctx.Done():
			return
		}
	}
}
