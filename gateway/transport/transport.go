// Package transport makes the connections to targets. For HTTP/1.1 it is an
// http.RoundTripper of its own that works on the calling goroutine: made for a
// proxy, which must know what was sent, never meet a connection that the target
// has closed, and pass on exactly what came. HTTP/2 is net/http's, whose own
// HTTP/1.1 stays selectable.
package transport

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

// Options are the bounds on one target's connections. Zero values mean no bound.
type Options struct {
	Dial   time.Duration // to establish a connection, TLS included, or to wait for a place
	Header time.Duration // from the request's last byte to the answer's head
	Idle   time.Duration // an idle connection is closed after this, or sooner: see Stats
	TLS    *tls.Config   // for https targets; nil: the system's roots

	Connections int    // most at once to this target; requests above wait in order
	Total       *Total // most at once to all targets that share it

	// Proxy is the version of the PROXY protocol, 1 or 2, that tells the target
	// who asks, as Source says; 0: none. HTTP/1.1 only.
	Proxy  int
	Source func(*http.Request) (visitor, gateway netip.AddrPort)

	// Standard chooses net/http's Transport in place of ours.
	Standard bool
}

// Transport carries requests to one target. Safe for concurrent use.
type Transport interface {
	http.RoundTripper

	// CloseIdleConnections closes what is idle now, and what becomes idle before
	// the next request.
	CloseIdleConnections()

	// Stats says what is open at this moment.
	Stats() Stats
}

// Stats is what is known of a target's connections.
type Stats struct {
	Open int // idle ones included
	Idle int

	// IdleLimit is how long a connection may be idle until we close it; 0: for
	// ever. Learned tells where it comes from when not from Options.Idle.
	IdleLimit time.Duration
	Learned   Evidence
}

// maxHead bounds the head of an answer: a target with more is broken or hostile.
const maxHead = 256 << 10

// New returns a Transport for one target. The target's URL chooses the protocol:
// http, https (HTTP/2 where the target offers it), h2c, or unix for HTTP/1.1
// over a socket file. The caller closes idle connections when the target is gone.
func New(target *url.URL, o Options) (Transport, error) {
	if o.Proxy != 0 && (o.Standard || target.Scheme == "h2c") {
		return nil, fmt.Errorf("target %q: the PROXY protocol needs HTTP/1.1 and transport auto: one connection speaks for one visitor", target)
	}
	d := newDialer(target, o)
	switch target.Scheme {
	case "http", "unix", "https", "h2c":
	default:
		return nil, fmt.Errorf("target %q: unknown scheme %q; use http, https, h2c or unix", target, target.Scheme)
	}
	switch {
	case o.Standard:
		return newStandard(target, d, o), nil
	case target.Scheme == "h2c":
		return newStandard(target, d, o), nil
	case target.Scheme == "https" && o.Proxy == 0:
		return newNegotiated(target, d, o), nil
	}
	return newH1(d, o), nil
}

// Address is scheme and host of a request as net/http wants them for target.
func Address(target *url.URL) (scheme, host string) {
	switch target.Scheme {
	case "h2c":
		return "http", target.Host
	case "unix":
		return "http", "localhost"
	}
	return target.Scheme, target.Host
}

// place is where target listens, with the port that its scheme implies.
func place(target *url.URL) (network, address string) {
	if target.Scheme == "unix" {
		return "unix", target.Path
	}
	port := target.Port()
	if port == "" {
		port = "80"
		if target.Scheme == "https" {
			port = "443"
		}
	}
	return "tcp", net.JoinHostPort(target.Hostname(), port)
}
