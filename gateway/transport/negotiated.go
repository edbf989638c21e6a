package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
)

// negotiated carries requests to an https target by what it chooses in the TLS
// handshake: HTTP/2 by net/http, HTTP/1.1 by ours. It is asked before the first
// request, because whoever carries a request may close its body.
type negotiated struct {
	h1     *h1
	h2     *standard
	dialer *dialer
	chosen atomic.Int32  // protocol
	first  chan net.Conn // the connection on which it chose HTTP/2
}

type protocol = int32

const (
	unknown protocol = iota
	http1
	http2
)

// errOtherProtocol says that a target which chose HTTP/2 before does not now. The
// next request goes out by HTTP/1.1.
var errOtherProtocol = errors.New("the target speaks no HTTP/2 any more")

func newNegotiated(target *url.URL, d *dialer, o Options) *negotiated {
	t := &negotiated{h1: newH1(d, o), h2: newStandard(target, d, o), dialer: d, first: make(chan net.Conn, 1)}
	t.h2.Protocols = new(http.Protocols)
	t.h2.Protocols.SetHTTP2(true)
	t.h2.DialTLSContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		select {
		case c := <-t.first:
			return c, nil
		default:
		}
		c, err := t.ask(ctx)
		if err == nil && c == nil {
			err = &unsentError{errOtherProtocol}
		}
		return c, err
	}
	return t
}

// ask connects and notes what the target chooses. The connection is nil when
// that is HTTP/1.1.
func (t *negotiated) ask(ctx context.Context) (net.Conn, error) {
	c, agreed, err := t.dialer.dial(ctx, nil, either)
	if err != nil {
		return nil, err
	}
	if agreed != "h2" {
		t.chosen.Store(http1)
		c.Close()
		return nil, nil
	}
	t.chosen.Store(http2)
	t.h2.count(c.sock)
	return c.tlsOrSocket.(*tls.Conn), nil // an https target's dialer has TLS
}

// RoundTrip sends r and returns the answer once its head is there. An upgrade
// needs HTTP/1.1 (RFC 9113 8.6).
func (t *negotiated) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header["Upgrade"] != nil {
		return t.h1.RoundTrip(r)
	}
	if t.chosen.Load() == unknown {
		c, err := t.ask(r.Context())
		if err != nil {
			if r.Body != nil {
				r.Body.Close()
			}
			return nil, err
		}
		if c != nil {
			select {
			case t.first <- c:
			default:
				c.Close() // another request has asked too
			}
			defer t.closeFirst()
		}
	}
	if t.chosen.Load() == http1 {
		return t.h1.RoundTrip(r)
	}
	return t.h2.RoundTrip(r)
}

// closeFirst closes a connection that nobody took: another one carried the request
// of who asked on it.
func (t *negotiated) closeFirst() {
	select {
	case c := <-t.first:
		c.Close()
	default:
	}
}

// CloseIdleConnections closes what is idle on either side.
func (t *negotiated) CloseIdleConnections() {
	t.h1.CloseIdleConnections()
	t.h2.CloseIdleConnections()
}

// Stats adds both sides; the limit is HTTP/1.1's.
func (t *negotiated) Stats() Stats {
	s := t.h1.Stats()
	s.Open += t.h2.Stats().Open
	return s
}
