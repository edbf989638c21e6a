// Package takeover passes the listening sockets of a running gateway to its
// successor. The descriptors themselves go over a unix socket (SCM_RIGHTS,
// unix(7)): both processes then accept from one queue, so that no connection
// that waits in it is reset, which a second socket on the same port
// (SO_REUSEPORT) cannot promise.
//
// The talk is three steps. The successor connects; the running gateway freezes
// what both would write, and sends its listeners; the successor says that it
// serves, and the other leaves. A successor that dies before that has changed
// nothing: the end of the connection thaws the running one. After that it stays
// open as long as the one that leaves is at work: its end tells that it has left,
// however that came.
package takeover

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"
)

// ErrNobody says that no gateway answers at the socket: there is nothing to take
// over.
var ErrNobody = errors.New("no gateway answers")

const (
	serving = "serving\n"
	most    = 16               // listeners in one message; the kernel takes 253
	longest = 1 << 20          // bytes of State and names
	waiting = 10 * time.Second // for an answer of the running gateway
)

// Offer is what a running gateway hands over.
type Offer struct {
	Listeners map[string]*net.TCPListener // by name; they stay the giver's
	Lock      *os.File                    // of what both may write; it stays the giver's too; nil: none
	State     any                         // what only its memory knows, as JSON
}

type message struct {
	Names   []string        `json:"names,omitempty"` // of the listeners, in the order of their descriptors
	Lock    bool            `json:"lock,omitempty"`  // its descriptor is the last
	State   json.RawMessage `json:"state,omitempty"`
	Refused string          `json:"refused,omitempty"`
}

// Giver is the side of the running gateway.
type Giver struct {
	// Freeze stops whatever a successor would not know of, and returns what it
	// gets; an error refuses the takeover and is told to it.
	Freeze func() (Offer, error)
	// Thaw is called when a successor left without serving.
	Thaw func()
	// Leave is called when it serves. It must not wait.
	Leave func()
	// Hear is called with each line of JSON that the successor says after that.
	Hear func(line []byte)
	// Patience is how long a successor may take until it serves; 0: a minute.
	Patience time.Duration
}

// Serve answers successors at l, one after the other, until ctx ends: then l is
// closed, and after it the talk under way. One that has taken over is the last: it
// learns by the end of the talk that this gateway has left.
func (g Giver) Serve(ctx context.Context, l *net.UnixListener) error {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("takeover: %w", err)
		}
		hangUp := context.AfterFunc(ctx, func() {
			l.Close()
			c.Close()
		})
		taken := g.give(c)
		if taken {
			<-ctx.Done()
		}
		hangUp()
		c.Close()
		if taken {
			return nil
		}
	}
}

func (g Giver) give(c *net.UnixConn) (taken bool) {
	offer, err := g.Freeze()
	if err != nil {
		sendTo(c, message{Refused: err.Error()}, nil) // a successor that has left needs no reason
		return false
	}
	defer func() {
		if !taken {
			g.Thaw()
		}
	}()
	state, err := json.Marshal(offer.State)
	if err != nil {
		sendTo(c, message{Refused: err.Error()}, nil)
		return false
	}
	m := message{State: state}
	var files []*os.File
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	for name, l := range offer.Listeners {
		f, err := l.File()
		if err != nil {
			sendTo(c, message{Refused: fmt.Sprintf("listener %s: %v", name, err)}, nil)
			return false
		}
		m.Names, files = append(m.Names, name), append(files, f)
	}
	given := files
	if offer.Lock != nil {
		m.Lock, given = true, append(given, offer.Lock)
	}
	if sendTo(c, m, given) != nil {
		return false
	}
	patience := g.Patience
	if patience == 0 {
		patience = time.Minute
	}
	c.SetReadDeadline(time.Now().Add(patience))
	said := make([]byte, len(serving))
	n, err := io.ReadFull(c, said)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		// What it says from now on fails, and it knows; what it said before is heard.
		c.CloseRead()
		c.SetReadDeadline(time.Time{})
		_, err = io.ReadFull(c, said[n:])
	}
	if err != nil || string(said) != serving {
		return false
	}
	g.Leave()
	c.SetReadDeadline(time.Time{})
	for lines := bufio.NewScanner(c); lines.Scan(); {
		g.Hear(lines.Bytes())
	}
	return true
}

// sendTo writes m as one line; the descriptors go with its first byte.
func sendTo(c *net.UnixConn, m message, files []*os.File) error {
	line, err := json.Marshal(m)
	if err != nil {
		return err
	}
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = syscall.UnixRights(fds...)
	}
	c.SetWriteDeadline(time.Now().Add(waiting))
	line = append(line, '\n')
	n, _, err := c.WriteMsgUnix(line, rights, nil)
	if err != nil || n == len(line) {
		// A write of nothing would fail where the successor, who has all that it
		// needs, says that it serves and closes before it.
		return err
	}
	_, err = c.Write(line[n:])
	return err
}

// Handover is what a successor has received. Close it when it is not going to
// serve: the running gateway then goes on.
type Handover struct {
	conn      *net.UnixConn
	listeners map[string]net.Listener
	lock      *os.File
	state     json.RawMessage
}

// Ask asks the gateway at the socket file for its listeners. ErrNobody: none
// runs there. Another error: it runs and refuses, or did not answer.
func Ask(ctx context.Context, path string) (*Handover, error) {
	c, err := new(net.Dialer).DialContext(ctx, "unix", path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("takeover: %w at %s", ErrNobody, path)
	case err != nil:
		return nil, fmt.Errorf("takeover: %w", err)
	}
	h := &Handover{conn: c.(*net.UnixConn), listeners: map[string]net.Listener{}}
	if err := h.receive(); err != nil {
		h.Close()
		return nil, fmt.Errorf("takeover: %w", err)
	}
	return h, nil
}

func (h *Handover) receive() error {
	h.conn.SetReadDeadline(time.Now().Add(waiting))
	line, rights := make([]byte, 64<<10), make([]byte, syscall.CmsgSpace(4*most))
	n, rn, _, _, err := h.conn.ReadMsgUnix(line, rights)
	if err != nil {
		return fmt.Errorf("the running gateway did not answer: %w", err)
	}
	files, err := filesOf(rights[:rn])
	defer func() {
		for _, f := range files {
			f.Close() // net.FileListener has its own
		}
	}()
	if err != nil {
		return err
	}
	line = line[:n]
	for len(line) == 0 || line[len(line)-1] != '\n' {
		if len(line) > longest {
			return errors.New("the running gateway said too much")
		}
		more := make([]byte, 64<<10)
		n, err := h.conn.Read(more)
		if err != nil {
			return fmt.Errorf("the running gateway broke off: %w", err)
		}
		line = append(line, more[:n]...)
	}
	var m message
	if err := json.Unmarshal(line, &m); err != nil {
		return fmt.Errorf("the running gateway speaks another language: %w", err)
	}
	if m.Refused != "" {
		return fmt.Errorf("the running gateway refused: %s", m.Refused)
	}
	if m.Lock && len(files) > 0 {
		last := len(files) - 1
		h.lock, files = files[last], files[:last]
	}
	if len(files) != len(m.Names) {
		return fmt.Errorf("%d descriptors came for %d listeners", len(files), len(m.Names))
	}
	h.state = m.State
	for i, name := range m.Names {
		l, err := net.FileListener(files[i])
		if err != nil {
			return fmt.Errorf("listener %s: %w", name, err)
		}
		h.listeners[name] = l
	}
	return nil
}

func filesOf(rights []byte) (files []*os.File, err error) {
	if len(rights) == 0 {
		return nil, nil
	}
	messages, err := syscall.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		fds, err := syscall.ParseUnixRights(&m)
		if err != nil {
			return files, err
		}
		for _, fd := range fds {
			syscall.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "listener"))
		}
	}
	return files, nil
}

// Listener returns the listener of that name if it listens at address, nil
// otherwise. It is the caller's from then on. A nil Handover has none.
func (h *Handover) Listener(name, address string) net.Listener {
	if h == nil {
		return nil
	}
	l := h.listeners[name]
	if l == nil || !sameAddress(l.Addr(), address) {
		return nil
	}
	delete(h.listeners, name)
	return l
}

// sameAddress tells whether a socket that is bound to have is what address asks
// for. Port 0 is any: who asked for it got have.
func sameAddress(have net.Addr, address string) bool {
	want, err := net.ResolveTCPAddr("tcp", address)
	got, ok := have.(*net.TCPAddr)
	if err != nil || !ok || want.Port != 0 && want.Port != got.Port {
		return false
	}
	return want.IP.Equal(got.IP) || len(want.IP) == 0 && got.IP.IsUnspecified()
}

// Lock returns the lock that the running gateway holds as well; it is the caller's
// from then on. nil: none came. A nil Handover has none.
func (h *Handover) Lock() *os.File {
	if h == nil {
		return nil
	}
	f := h.lock
	h.lock = nil
	return f
}

// State decodes what the running gateway told of its memory.
func (h *Handover) State(into any) error {
	if h == nil || len(h.state) == 0 {
		return nil
	}
	return json.Unmarshal(h.state, into)
}

// Serving tells the other gateway to leave. Its listeners that were not asked
// for are closed here, and by it. After an error it goes on, if it lives.
func (h *Handover) Serving() error {
	if h == nil {
		return nil
	}
	h.drop()
	h.conn.SetWriteDeadline(time.Now().Add(waiting))
	if _, err := io.WriteString(h.conn, serving); err != nil {
		return fmt.Errorf("takeover: the gateway that ran has given this one up: %w", err)
	}
	return nil
}

// Tell says v, as JSON, to the other gateway while it leaves. One that has left
// does not need to know.
func (h *Handover) Tell(v any) error {
	if h == nil {
		return nil
	}
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	h.conn.SetWriteDeadline(time.Now().Add(waiting))
	h.conn.Write(append(line, '\n'))
	return nil
}

// Left waits until the other gateway, which Serving told to leave, has ended. An
// error: ctx ended first.
func (h *Handover) Left(ctx context.Context) error {
	if h == nil {
		return nil
	}
	defer context.AfterFunc(ctx, func() { h.conn.Close() })()
	h.conn.SetReadDeadline(time.Time{})
	io.Copy(io.Discard, h.conn) // it says no more: whatever ends this is the end of it, or of ctx
	if err := ctx.Err(); err != nil {
		return err
	}
	return h.Close()
}

// Close ends the takeover.
func (h *Handover) Close() error {
	if h == nil {
		return nil
	}
	h.drop()
	return h.conn.Close()
}

// drop closes what was not asked for.
func (h *Handover) drop() {
	for _, l := range h.listeners {
		l.Close()
	}
	h.listeners = nil
	if h.lock != nil {
		h.lock.Close()
		h.lock = nil
	}
}
