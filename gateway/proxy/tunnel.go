package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"pomodoro.cc/gateway/transport"
	"pomodoro.cc/gateway/upstream"
)

// errUpgraded tells ReverseProxy's error handler that there is nothing left to
// answer.
var errUpgraded = errors.New("the connection was upgraded")

// upgrade takes an answer 101 over from ReverseProxy, which would keep the
// request's goroutine, its stack and the server's buffers for as long as the
// connection lives, and lose its frame borders. A nil error is not among its
// results.
func (a *attempts) upgrade(res *http.Response) error {
	x := a.x
	t, err := a.open(res)
	if err != nil {
		res.Body.Close()
		x.visit.Leave(upstream.Answered)
		a.try.end(nil)
		return err
	}
	x.tunnel, x.Stream = t, true
	x.visit.BecomeStream(a.route.Streams, t.goodbye)
	// From here on it ends by itself or by a drain. The end of the attempt, by a
	// cut too, closes the target's side.
	t.stop = context.AfterFunc(a.try, t.close)
	if !a.try.detach() {
		t.close() // the visitor has left
	}
	go t.pass(t.visitor, t.fromTarget)
	go t.pass(towardTarget{t}, t.visitor.WriteTo)
	return errUpgraded
}

// open takes the visitor's connection and tells it that the protocol changes.
func (a *attempts) open(res *http.Response) (*tunnel, error) {
	both, ok := res.Body.(io.ReadWriteCloser)
	protocol := res.Header.Get("Upgrade")
	if !ok || !strings.EqualFold(protocol, a.r.Header.Get("Upgrade")) {
		return nil, errBadAnswer
	}
	if err := check(res); err != nil {
		return nil, err
	}
	x := a.x
	head := x.out.Header().Clone()
	dropHops(res.Header)
	res.Header.Del("Content-Length")
	for name, values := range res.Header {
		head[name] = append(head[name], values...)
	}
	head.Set("Connection", "Upgrade")
	head.Set("Upgrade", protocol)
	conn, rw, err := http.NewResponseController(x.out.ResponseWriter).Hijack()
	if err != nil {
		return nil, err
	}
	x.out.status = http.StatusSwitchingProtocols
	var text bytes.Buffer
	text.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	head.Write(&text) // to memory
	text.WriteString("\r\n")
	v := &visitor{Conn: conn, buffered: rw.Reader}
	v.away.said = x.visit.Parted
	t := &tunnel{attempts: a, target: both, visitor: v}
	t.under.Store(2)
	if _, err := conn.Write(text.Bytes()); err != nil {
		t.close() // the two directions find it so
	}
	return t, nil
}

// tunnel is an upgraded connection. Two goroutines carry its bytes; the last one
// to end gives the lease back, so whoever waits for the visit waits for both.
type tunnel struct {
	attempts *attempts
	target   io.ReadWriteCloser
	visitor  *visitor
	toward   side // towards the target
	stop     func() bool
	under    atomic.Int32 // directions that have not ended
	closing  sync.Once

	mu    sync.Mutex // guards the fields below
	ended bool
	after func()
}

// pass carries one direction to its end. The other one goes on: both protocols
// and people half-close.
func (t *tunnel) pass(to interface {
	io.Writer
	CloseWrite() error
}, from func(io.Writer) (int64, error)) {
	_, err := from(to)
	if err == nil {
		err = to.CloseWrite()
	}
	if err != nil {
		t.close()
	}
	if t.under.Add(-1) == 0 {
		t.end()
	}
}

// close ends both directions.
func (t *tunnel) close() {
	t.closing.Do(func() {
		t.target.Close()
		t.visitor.Conn.Close()
	})
}

func (t *tunnel) end() {
	t.close()
	t.stop()
	a := t.attempts
	a.x.in.n.Add(t.toward.bytes)
	a.x.out.bytes += t.visitor.away.bytes
	t.mu.Lock()
	t.ended = true
	after := t.after
	t.mu.Unlock()
	if after != nil {
		after()
	}
	end := upstream.Answered
	if errors.Is(a.try.why(), upstream.ErrCut) {
		end = upstream.Cut
	}
	a.x.visit.Leave(end)
	a.try.end(nil)
}

// then calls f when the tunnel has ended.
func (t *tunnel) then(f func()) {
	t.mu.Lock()
	over := t.ended
	if !over {
		t.after = f
	}
	t.mu.Unlock()
	if over {
		f()
	}
}

// fromTarget passes the target's bytes to w, with memory only while bytes move.
func (t *tunnel) fromTarget(w io.Writer) (int64, error) {
	if from, ok := t.target.(io.WriterTo); ok {
		return from.WriteTo(w)
	}
	return io.Copy(w, struct{ io.Reader }{t.target})
}

// towardTarget is the target's side as the visitor's bytes see it.
type towardTarget struct{ *tunnel }

// Write passes the visitor's bytes to the target.
func (t towardTarget) Write(p []byte) (int, error) { return t.toward.write(t.target, p) }

// CloseWrite passes the visitor's end on; the target may go on sending.
func (t towardTarget) CloseWrite() error {
	if half, ok := t.target.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return t.target.Close()
}

// goodbye lets both ends go, each at a frame border of its own direction. The
// target answers the close frame, or the drain's patience ends.
func (t *tunnel) goodbye() {
	go func() { // a visitor who does not read must not hold up the others
		t.visitor.away.goodbye(t.visitor.Conn, goingAway)
		t.toward.goodbye(t.target, goingAwayMasked)
	}()
}

// visitor is the hijacked connection of an upgraded request. Bytes that the
// visitor sent along with the upgrade are in buffered, and come first.
type visitor struct {
	net.Conn
	buffered *bufio.Reader
	away     side
}

// WriteTo passes the visitor's bytes to w, with memory only while bytes move.
func (v *visitor) WriteTo(w io.Writer) (int64, error) {
	var sent int64
	if n := v.buffered.Buffered(); n > 0 {
		first := make([]byte, n)
		v.buffered.Read(first) // what is buffered comes at once and whole
		n, err := w.Write(first)
		if sent = int64(n); err != nil {
			return sent, err
		}
	}
	v.buffered = nil
	n, err := transport.Pump(w, v.Conn)
	return sent + n, err
}

// CloseWrite passes the target's end on; the visitor may go on sending.
func (v *visitor) CloseWrite() error {
	if half, ok := v.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return v.Conn.Close()
}

// Write passes the target's bytes to the visitor.
func (v *visitor) Write(p []byte) (int, error) { return v.away.write(v.Conn, p) }
