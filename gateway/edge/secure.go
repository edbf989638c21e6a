package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// secure is a listener that has shaken hands before it gives a connection away.
// net/http would do that itself, but only with a *tls.Conn, whose bytes nobody
// can look at. So HTTP/2 goes to it as it is, which frames its messages, and
// HTTP/1.1 as a secureConn, whose heads are looked at as those of plain
// connections are.
type secure struct {
	net.Listener
	server *Server
	config *tls.Config // the options', with the protocols that are spoken

	ready chan net.Conn
	life  context.Context // of the listener, and so of handshakes
	end   context.CancelFunc
}

func newSecure(l net.Listener, s *Server) *secure {
	config := s.options.TLS.Clone()
	for _, proto := range []string{"h2", "http/1.1"} {
		if !slices.Contains(config.NextProtos, proto) {
			config.NextProtos = append(config.NextProtos, proto)
		}
	}
	life, end := context.WithCancel(context.Background())
	return &secure{Listener: l, server: s, config: config, ready: make(chan net.Conn), life: life, end: end}
}

// run accepts until Close. Each handshake has a goroutine, which the timeout or
// Close ends. Any other error passes, as when there are no descriptors left: it
// waits a moment longer each time.
func (l *secure) run() {
	const first, last = 5 * time.Millisecond, time.Second
	pause := first
	for {
		c, err := l.Listener.Accept()
		if err == nil {
			pause = first
			go l.shake(c)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if l.server.options.ErrorLog != nil {
			l.server.options.ErrorLog.Error("accept", "error", err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-l.life.Done():
		}
		timer.Stop()
		pause = min(2*pause, last)
	}
}

func (l *secure) shake(raw net.Conn) {
	c := tls.Server(direct(raw), l.config)
	if l.server.options.HeaderTimeout > 0 {
		raw.SetDeadline(time.Now().Add(l.server.options.HeaderTimeout))
	}
	if err := c.HandshakeContext(l.life); err != nil {
		l.refuse(raw, err)
		return
	}
	raw.SetDeadline(time.Time{})
	var ready net.Conn = c
	if state := c.ConnectionState(); state.NegotiatedProtocol != "h2" {
		ready = &secureConn{Conn: c, state: &state, visitor: Visitor{conn: c, server: l.server}}
	}
	select {
	case l.ready <- ready:
	case <-l.life.Done():
		c.Close()
	}
}

func (l *secure) refuse(raw net.Conn, err error) {
	var record tls.RecordHeaderError
	if errors.As(err, &record) && record.Conn != nil && strings.Contains("GET / HEAD  POST  PUT / OPTIO", string(record.RecordHeader[:])) {
		io.WriteString(raw, "HTTP/1.0 400 Bad Request\r\nConnection: close\r\n"+l.server.mark(raw.RemoteAddr(), http.StatusBadRequest)+"\r\nThis port speaks HTTPS.\n") // who spoke otherwise may not read it
	}
	raw.Close()
	if l.server.options.ErrorLog != nil {
		l.server.options.ErrorLog.Debug("TLS handshake", "peer", raw.RemoteAddr().String(), "error", err)
	}
}

// Accept returns the next connection whose handshake is done.
func (l *secure) Accept() (net.Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.life.Done():
		return nil, net.ErrClosed
	}
}

// Close ends the listener and the handshakes under way.
func (l *secure) Close() error {
	l.end()
	return l.Listener.Close()
}

// secureConn is HTTP/1.1 over TLS, whose request heads are looked at.
type secureConn struct {
	*tls.Conn
	state   *tls.ConnectionState
	visitor Visitor
}

// Read is the Visitor's.
func (c *secureConn) Read(p []byte) (int, error) { return c.visitor.Read(p) }

// Write writes, and marks an answer of net/http's own.
func (c *secureConn) Write(p []byte) (int, error) { return c.visitor.write(c.Conn, p) }

// SetReadDeadline is the Visitor's.
func (c *secureConn) SetReadDeadline(t time.Time) error { return c.visitor.SetReadDeadline(t) }

// SetDeadline sets both.
func (c *secureConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// Close closes.
func (c *secureConn) Close() error {
	c.visitor.close()
	return c.Conn.Close()
}

func (c *secureConn) seen() *Visitor { return &c.visitor }

type stateKey struct{}

// tellRequests gives the contexts of a connection's requests what they are asked
// for: the connection itself, whose leaving ends them, and for tellTLS its state,
// which net/http looks for in a *tls.Conn only.
func tellRequests(ctx context.Context, c net.Conn) context.Context {
	v := visitorAt(c)
	if v == nil {
		return ctx
	}
	ctx, v.leave = context.WithCancel(ctx)
	if s, ok := c.(*secureConn); ok {
		ctx = context.WithValue(ctx, stateKey{}, s.state)
	}
	return context.WithValue(ctx, visitorKey{}, v)
}

func tellTLS(r *http.Request) {
	if r.TLS == nil {
		r.TLS, _ = r.Context().Value(stateKey{}).(*tls.ConnectionState)
	}
}
