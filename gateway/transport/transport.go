// Package transport makes the connections to targets: an http.RoundTripper with
// the settings that a proxy needs, in place of the defaults made for clients.
package transport

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Options are the bounds on one target's connections. Zero durations mean no bound.
type Options struct {
	Dial   time.Duration // to establish a connection, TLS included
	Header time.Duration // from the request's last byte to the answer's head
	Idle   time.Duration // an idle connection is closed after this: keep it below the target's own
	TLS    *tls.Config   // for https targets; nil: the system's roots
}

// maxHead bounds the head of an answer: a target with more is broken or hostile.
const maxHead = 1 << 20

// DialError says that no connection was established: no byte of the request was
// sent, so any request may be tried elsewhere.
type DialError struct{ Err error }

// Error says what the dial said.
func (e *DialError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *DialError) Unwrap() error { return e.Err }

// New returns a RoundTripper for one target. The target's URL chooses the
// protocol: http, https (HTTP/2 where the target offers it), h2c, or unix for
// HTTP/1.1 over a socket file. The caller closes idle connections when the
// target is gone.
func New(target *url.URL, o Options) (*http.Transport, error) {
	dialer := &net.Dialer{Timeout: o.Dial, KeepAlive: 15 * time.Second}
	t := &http.Transport{
		// Nothing from the environment, nothing invented, nothing unpacked.
		Proxy:                  nil,
		DisableCompression:     true,
		TLSClientConfig:        o.TLS,
		TLSHandshakeTimeout:    o.Dial,
		ResponseHeaderTimeout:  o.Header,
		IdleConnTimeout:        o.Idle,
		ExpectContinueTimeout:  time.Second,
		MaxIdleConnsPerHost:    1024,
		MaxResponseHeaderBytes: maxHead,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if target.Scheme == "unix" {
				network, addr = "unix", target.Path
			}
			c, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, &DialError{err}
			}
			if tcp, ok := c.(*net.TCPConn); ok {
				return &conn{TCPConn: tcp}, nil
			}
			return c, nil
		},
	}
	protocols := new(http.Protocols)
	switch target.Scheme {
	case "http", "unix":
		protocols.SetHTTP1(true)
	case "https":
		protocols.SetHTTP1(true)
		protocols.SetHTTP2(true)
	case "h2c":
		protocols.SetUnencryptedHTTP2(true)
	default:
		return nil, fmt.Errorf("target %q: unknown scheme %q; use http, https, h2c or unix", target, target.Scheme)
	}
	t.Protocols = protocols
	return t, nil
}

// Scheme and host of a request as http.Transport wants them for target.
func Address(target *url.URL) (scheme, host string) {
	switch target.Scheme {
	case "h2c":
		return "http", target.Host
	case "unix":
		return "http", "localhost"
	}
	return target.Scheme, target.Host
}
