package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"

	"pomodoro.cc/gateway/config"
	"pomodoro.cc/gateway/health"
	"pomodoro.cc/gateway/proxy"
	"pomodoro.cc/gateway/swap"
	"pomodoro.cc/gateway/transport"
	"pomodoro.cc/gateway/upstream"
)

// proxyVersions are the versions of the PROXY protocol, by their names in the file.
var proxyVersions = map[string]int{"v1": 1, "v2": 2}

// target makes a target with its transport and its check; nil: without one.
func target(conf config.Service, spec swap.Spec, total *transport.Total) (*upstream.Target, func(context.Context) error, error) {
	u, err := url.Parse(spec.URL)
	if err != nil {
		return nil, nil, err
	}
	secure, err := secureTo(conf.TLS)
	if err != nil {
		return nil, nil, err
	}
	version := proxyVersions[conf.ProxyProtocol]
	carrier, err := transport.New(u, transport.Options{
		Dial: conf.Timeouts.Dial, Header: conf.Timeouts.Header, Idle: conf.Timeouts.Idle, TLS: secure,
		Connections: conf.Connections, Total: total, Proxy: version, Source: whoAsks, Standard: conf.Transport == "std",
	})
	if err != nil {
		return nil, nil, err
	}
	t := upstream.NewTarget(u, spec.Version, spec.Weight, upstream.Down, carrier)
	if conf.Health.Off {
		t.Prove()
		return t, nil, nil
	}
	check := checkOf(conf.Health)
	check.Preface = transport.OwnProxyHeader(version)
	return t, health.NewProber(check, u, secure).Probe, nil
}

// secureTo reads what TLS to https targets goes by; nil: the defaults.
func secureTo(conf config.TargetTLS) (*tls.Config, error) {
	if conf == (config.TargetTLS{}) {
		return nil, nil
	}
	secure := &tls.Config{ServerName: conf.ServerName}
	if conf.CAFile != "" {
		pem, err := os.ReadFile(conf.CAFile)
		if err != nil {
			return nil, fmt.Errorf("tls.ca_file: %w", err)
		}
		secure.RootCAs = x509.NewCertPool()
		if !secure.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls.ca_file: %s holds no certificate in PEM", conf.CAFile)
		}
	}
	if conf.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(conf.CertFile, conf.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("tls.cert_file: %w", err)
		}
		secure.Certificates = []tls.Certificate{pair}
	}
	return secure, nil
}

// whoAsks is what a PROXY header says of a request: the visitor, whose port is
// not known when a trusted proxy stands between, and our own end.
func whoAsks(r *http.Request) (visitor, here netip.AddrPort) {
	visitor, _ = netip.ParseAddrPort(r.RemoteAddr)
	client, err := netip.ParseAddr(proxy.From(r).ClientIP)
	if err == nil && client != visitor.Addr().Unmap() {
		visitor = netip.AddrPortFrom(client, 0)
	}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		here, _ = netip.ParseAddrPort(local.String())
	}
	return visitor, here
}
