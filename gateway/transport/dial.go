package transport

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

// dialer opens connections to one target.
type dialer struct {
	network, address string
	timeout          time.Duration
	secure           *tls.Config // nil: plain
	proxy            int
	source           func(*http.Request) (visitor, gateway netip.AddrPort)
	open             func(ctx context.Context, network, address string) (net.Conn, error)
}

func newDialer(target *url.URL, o Options) *dialer {
	d := &dialer{timeout: o.Dial, proxy: o.Proxy, source: o.Source, open: (&net.Dialer{KeepAlive: 15 * time.Second}).DialContext}
	d.network, d.address = place(target)
	if target.Scheme == "https" {
		d.secure = &tls.Config{}
		if o.TLS != nil {
			d.secure = o.TLS.Clone()
		}
		if d.secure.ServerName == "" {
			d.secure.ServerName = target.Hostname()
		}
	}
	return d
}

var (
	onlyH1 = []string{"http/1.1"}
	either = []string{"h2", "http/1.1"}
)

// keyOf is the visitor that a connection speaks for: with the PROXY protocol it
// must never carry another's request.
func (d *dialer) keyOf(r *http.Request) netip.AddrPort {
	if d.proxy == 0 || d.source == nil {
		return netip.AddrPort{}
	}
	visitor, _ := d.source(r)
	return visitor
}

// introduction is the PROXY header for a connection that is to speak for r's
// visitor; nil: none.
func (d *dialer) introduction(r *http.Request) []byte {
	if d.proxy == 0 {
		return nil
	}
	var visitor, gateway netip.AddrPort
	if d.source != nil {
		visitor, gateway = d.source(r)
	}
	return proxyHeader(d.proxy, visitor, gateway)
}

// dial connects, writes preface, and agrees on TLS; what was agreed on is
// returned too. Its errors say that nothing was sent; that of ctx's end is in it.
func (d *dialer) dial(ctx context.Context, preface []byte, protocols []string) (*conn, string, error) {
	within := ctx
	if d.timeout > 0 {
		var cancel context.CancelFunc
		within, cancel = context.WithTimeout(ctx, d.timeout)
		defer cancel()
	}
	c, agreed, err := d.connect(within, preface, protocols)
	switch {
	case err == nil:
		c.heard = now() // it is as good as one that has just answered
		return c, agreed, nil
	case ctx.Err() != nil:
		return nil, "", &unsentError{context.Cause(ctx)}
	}
	return nil, "", &DialError{err}
}

func (d *dialer) connect(ctx context.Context, preface []byte, protocols []string) (*conn, string, error) {
	plain, err := d.open(ctx, d.network, d.address)
	if err != nil {
		return nil, "", err
	}
	sock := newSocket(plain)
	c := &conn{tlsOrSocket: sock, sock: sock}
	if len(preface) > 0 { // some dozen bytes into an empty buffer
		if _, err := plain.Write(preface); err != nil {
			plain.Close()
			return nil, "", fmt.Errorf("PROXY header to %s: %w", d.address, err)
		}
	}
	if d.secure == nil {
		return c, "", nil
	}
	conf := d.secure.Clone()
	conf.NextProtos = protocols
	secure := tls.Client(sock, conf)
	if err := secure.HandshakeContext(ctx); err != nil {
		plain.Close()
		return nil, "", fmt.Errorf("TLS with %s: %w", d.address, err)
	}
	c.tlsOrSocket = secure
	return c, secure.ConnectionState().NegotiatedProtocol, nil
}
