package gateway_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pomodoro.cc/gateway/certs"
	"pomodoro.cc/gateway/gatewaytest"
)

// shakes asks for host over TLS and returns the certificate that it is given.
func shakes(t *testing.T, gw *gatewaytest.Gateway, host string) *x509.Certificate {
	t.Helper()
	c, err := tls.Dial("tcp", gw.Addr("https").String(), &tls.Config{ServerName: host, InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0]
}

// renews writes a new certificate for shop.test and its key.
func renews(t *testing.T, crt, key string) {
	t.Helper()
	s, err := certs.New(certs.Options{Mode: "internal", Dir: t.TempDir(), Hosts: []string{"shop.test"}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.TLSConfig().GetCertificate(new(tls.ClientHelloInfo))
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{crt: {Type: "CERTIFICATE", Bytes: c.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHTTPS_AReloadReadsRenewedFilesAndTheirEndIsShown(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	dir := t.TempDir()
	crt, key := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	renews(t, crt, key)
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app)+fmt.Sprintf("tls: {mode: files, certificates: [{cert_file: %s, key_file: %s}]}\n", crt, key))
	first := shakes(t, gw, "shop.test")
	renews(t, crt, key)
	if err := gw.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	now := shakes(t, gw, "shop.test")
	if now.Equal(first) {
		t.Error("the old certificate is served")
	}
	if want := fmt.Sprintf("gateway_certificate_expiry_timestamp_seconds{host=\"shop.test\"} %v\n", float64(now.NotAfter.Unix())); !strings.Contains(gw.Metrics(), want) {
		t.Errorf("the metrics lack %s", want)
	}
}

func TestHTTPS_TheLocalAuthoritySignsForTheHostsOfANewRoute(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	rest := strings.Replace(gatewaytest.Service("app", app), "{service", "{host: one.test, service", 1) + "tls: {mode: internal}\n"
	gw := gatewaytest.Start(t, rest)
	gw.Writes(strings.Replace(rest, "routes:\n", "routes:\n  - {host: two.test, service: app}\n", 1))
	if err := gw.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := shakes(t, gw, "two.test").VerifyHostname("two.test"); err != nil {
		t.Error(err)
	}
	if strings.Contains(gw.Logs.String(), "next start") {
		t.Errorf("a warning is wrong:\n%s", gw.Logs.String())
	}
}

func TestHTTPS_AnAuthorityThatGivesNoCertificateIsAnEvent(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app)+"tls: {mode: acme, hosts: [shop.test], ca: \"https://127.0.0.1:1/directory\"}\n")
	gatewaytest.Eventually(t, "an event names the host and the reason", func() bool {
		for line := range strings.Lines(gw.Logs.String()) {
			if strings.Contains(line, `"level":"ERROR"`) && strings.Contains(line, "shop.test") && strings.Contains(line, "connection refused") {
				return true
			}
		}
		return false
	})
	if want := "gateway_certificate_expiry_timestamp_seconds{host=\"shop.test\"} 0\n"; !strings.Contains(gw.Metrics(), want) {
		t.Errorf("the metrics lack %s", want)
	}
}
