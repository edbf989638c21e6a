package certs_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pomodoro.cc/gateway/certs"
)

// handshake returns what a visitor sees who asks for host and trusts the
// authority of dir.
func handshake(t *testing.T, s *certs.Source, dir, host string) (tls.ConnectionState, error) {
	t.Helper()
	root, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	if !trusted.AppendCertsFromPEM(root) {
		t.Fatal("ca.crt holds no certificate")
	}
	client, server := net.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- tls.Server(server, s.TLSConfig()).Handshake()
		server.Close()
	}()
	c := tls.Client(client, &tls.Config{ServerName: host, RootCAs: trusted, NextProtos: []string{"h2"}})
	err = c.Handshake()
	state := c.ConnectionState()
	client.Close()
	<-done // fails where the visitor does not trust what it sees
	return state, err
}

func TestInternal_TheAuthorityIsMadeOnceAndSignsForTheHosts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	o := certs.Options{Mode: "internal", Dir: dir, Hosts: []string{"shop.test", "10.1.2.3"}}
	first, err := certs.New(o)
	if err != nil {
		t.Fatal(err)
	}
	again, err := certs.New(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*certs.Source{first, again} {
		for _, host := range []string{"shop.test", "localhost", "127.0.0.1", "10.1.2.3"} {
			if state, err := handshake(t, s, dir, host); err != nil || state.NegotiatedProtocol != "h2" {
				t.Errorf("%s: %q, %v", host, state.NegotiatedProtocol, err)
			}
		}
		if _, err := handshake(t, s, dir, "other.test"); err == nil {
			t.Error("a name that is not ours is signed for")
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "ca.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("ca.key: %v, %v", info.Mode(), err)
	}
}

func TestInternal_ADamagedAuthorityIsNotReplacedSilently(t *testing.T) {
	dir := t.TempDir()
	o := certs.Options{Mode: "internal", Dir: dir}
	if _, err := certs.New(o); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := certs.New(o); err == nil || !strings.Contains(err.Error(), "remove ca.crt and ca.key for a new one") {
		t.Errorf("%v", err)
	}
}

func TestFiles_TheCertificateThatFitsIsGivenAndTheFirstToStrangers(t *testing.T) {
	var pairs []certs.Pair
	for _, host := range []string{"one.test", "two.test"} {
		pairs = append(pairs, pair(t, host))
	}
	s, err := certs.New(certs.Options{Mode: "files", Files: pairs})
	if err != nil {
		t.Fatal(err)
	}
	for asked, want := range map[string]string{"one.test": "one.test", "two.test": "two.test", "stranger.test": "one.test", "": "one.test"} {
		c, err := s.TLSConfig().GetCertificate(&tls.ClientHelloInfo{
			ServerName: asked, SupportedVersions: []uint16{tls.VersionTLS13}, SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
		})
		if err != nil || !slices.Contains(c.Leaf.DNSNames, want) {
			t.Errorf("%q gets %v, %v; want that of %s", asked, c.Leaf.DNSNames, err, want)
		}
	}
}

// pair makes a certificate for host, by a local authority of its own.
func pair(t *testing.T, host string) certs.Pair {
	t.Helper()
	s, err := certs.New(certs.Options{Mode: "internal", Dir: t.TempDir(), Hosts: []string{host}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.TLSConfig().GetCertificate(new(tls.ClientHelloInfo))
	if err != nil {
		t.Fatal(err)
	}
	return store(t, c)
}

func TestNew_SaysWhatIsWrong(t *testing.T) {
	notPEM := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(notPEM, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	one, two := pair(t, "one.test"), pair(t, "two.test")
	occupied := filepath.Join(notPEM, "certs") // below a file
	for _, c := range []struct {
		o    certs.Options
		says string
	}{
		{certs.Options{Mode: "magic"}, `unknown mode "magic"`},
		{certs.Options{Mode: "files"}, "at least one certificate"},
		{certs.Options{Mode: "files", Files: []certs.Pair{{CertFile: "no.crt", KeyFile: "no.key"}}}, "certificate no.crt: open no.crt"},
		{certs.Options{Mode: "files", Files: []certs.Pair{{CertFile: one.CertFile, KeyFile: two.KeyFile}}}, "private key does not match"},
		{certs.Options{Mode: "internal", Dir: occupied}, "local authority in " + occupied},
		{certs.Options{Mode: "acme", Dir: t.TempDir(), CARootFile: "no.pem"}, "ca_root_file: open no.pem"},
		{certs.Options{Mode: "acme", Dir: t.TempDir(), CARootFile: notPEM}, "holds no PEM certificate"},
	} {
		if _, err := certs.New(c.o); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, want one that says %q", c.o, err, c.says)
		}
	}
}

// store writes c into files, as an operator brings them.
func store(t *testing.T, c *tls.Certificate) certs.Pair {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	p := certs.Pair{CertFile: filepath.Join(t.TempDir(), "crt.pem"), KeyFile: filepath.Join(t.TempDir(), "key.pem")}
	for path, block := range map[string]*pem.Block{p.CertFile: {Type: "CERTIFICATE", Bytes: c.Certificate[0]}, p.KeyFile: {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// served is the certificate that a visitor of host gets.
func served(t *testing.T, s *certs.Source, host string) *x509.Certificate {
	t.Helper()
	c, err := s.TLSConfig().GetCertificate(&tls.ClientHelloInfo{
		ServerName: host, SupportedVersions: []uint16{tls.VersionTLS13}, SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c.Leaf
}

func replace(t *testing.T, old, by string) {
	t.Helper()
	if err := os.Rename(by, old); err != nil {
		t.Fatal(err)
	}
}

func TestFiles_RenewedOnesAreServedWithoutAWordAndHalfAPairIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events bytes.Buffer
		old := pair(t, "one.test")
		s, err := certs.New(certs.Options{Mode: "files", Files: []certs.Pair{old}, Log: slog.New(slog.NewTextHandler(&events, nil))})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { s.Run(ctx); close(ended) }()
		first := served(t, s, "one.test")
		time.Sleep(time.Hour) // the bubble's time
		renewed := pair(t, "one.test")

		replace(t, old.CertFile, renewed.CertFile)
		time.Sleep(5 * time.Minute)
		if !served(t, s, "one.test").Equal(first) {
			t.Error("a certificate is served whose key is not there")
		}
		replace(t, old.KeyFile, renewed.KeyFile)
		time.Sleep(5 * time.Minute)
		if now := served(t, s, "one.test"); now.Equal(first) || !s.Expiries()["one.test"].Equal(now.NotAfter) {
			t.Error("the renewed certificate is not served, or its end is not told")
		}
		stop()
		<-ended
		if n := strings.Count(events.String(), "private key does not match"); n != 1 {
			t.Errorf("the key that does not match was told %d times, want once:\n%s", n, events.String())
		}
	})
}

func TestFiles_AnEndThatIsNearIsToldAtTheStartAndEveryDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events bytes.Buffer
		old := pair(t, "one.test") // for 90 days
		start := func() *certs.Source {
			s, err := certs.New(certs.Options{Mode: "files", Files: []certs.Pair{old}, Log: slog.New(slog.NewTextHandler(&events, nil))})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		start()
		if events.Len() > 0 {
			t.Errorf("of a new one:\n%s", events.String())
		}
		time.Sleep(80 * 24 * time.Hour) // the bubble's time
		s := start()
		told := func() int { return strings.Count(events.String(), "file="+old.CertFile) }
		if told() != 1 {
			t.Errorf("at the start:\n%s", events.String())
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { s.Run(ctx); close(ended) }()
		time.Sleep(24*time.Hour + time.Minute)
		stop()
		<-ended
		if told() != 2 {
			t.Errorf("after a day:\n%s", events.String())
		}
	})
}

func TestChange_HostsAndFilesAreOthersFromThenOnAndAnErrorChangesNothing(t *testing.T) {
	dir := t.TempDir()
	s, err := certs.New(certs.Options{Mode: "internal", Dir: dir, Hosts: []string{"one.test"}})
	if err != nil {
		t.Fatal(err)
	}
	first := served(t, s, "one.test")
	if err := s.Change([]string{"one.test"}, nil); err != nil || !served(t, s, "one.test").Equal(first) {
		t.Errorf("the same hosts: %v, or another certificate", err)
	}
	if err := s.Change([]string{"one.test", "two.test"}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := handshake(t, s, dir, "two.test"); err != nil {
		t.Error(err)
	}

	one, two := pair(t, "one.test"), pair(t, "two.test")
	if s, err = certs.New(certs.Options{Mode: "files", Files: []certs.Pair{one}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Change(nil, []certs.Pair{two, {CertFile: one.CertFile, KeyFile: two.KeyFile}}); err == nil || !slices.Contains(served(t, s, "two.test").DNSNames, "one.test") {
		t.Errorf("%v, or another certificate", err)
	}
	if err := s.Change(nil, []certs.Pair{two}); err != nil || !slices.Contains(served(t, s, "two.test").DNSNames, "two.test") {
		t.Errorf("%v, or the old certificate", err)
	}
}
