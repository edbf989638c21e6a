package testbed

import (
	"net"
	"net/url"
	"sync"
	"testing"
)

// Door stands between a service and its server. Shut, it looks like a server
// that was killed: connections break and new ones are refused, and what the
// server has kept is there when it opens again.
type Door struct {
	addr   string
	target string

	stall sync.RWMutex // held while nothing goes through

	mu    sync.Mutex // guards the fields below
	ln    net.Listener
	conns map[net.Conn]bool
	all   sync.WaitGroup
}

// NewDoor returns an open door to the server. It shuts with the test.
func NewDoor(t testing.TB, to *Server) *Door {
	t.Helper()
	d := &Door{target: to.Addr, addr: "127.0.0.1:0", conns: map[net.Conn]bool{}}
	d.Open(t)
	t.Cleanup(d.Shut)
	return d
}

// URL returns the server's URL with the door's address in it. A MongoDB is told
// not to look for other members of its set, which have doors of their own.
func (d *Door) URL(t testing.TB, of string) string {
	t.Helper()
	u, err := url.Parse(of)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = d.addr
	if u.Scheme == "mongodb" {
		q := u.Query()
		q.Set("directConnection", "true")
		u.RawQuery = q.Encode()
	}
	return u.String()
}

// Open lets connections through from now on.
func (d *Door) Open(t testing.TB) {
	t.Helper()
	ln, err := net.Listen("tcp", d.addr)
	if err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ln, d.addr = ln, ln.Addr().String()
	d.all.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return // shut
			}
			d.all.Go(func() { d.pass(ln, conn) })
		}
	})
}

// Shut breaks what is open and refuses what comes, and waits until it is so.
func (d *Door) Shut() {
	d.mu.Lock()
	if d.ln != nil {
		_ = d.ln.Close() // shut already, at the worst
		d.ln = nil
	}
	for conn := range d.conns {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a reset, as from a process that was killed
		}
		_ = conn.Close()
	}
	d.mu.Unlock()
	d.all.Wait()
}

// Stall lets nothing through until Resume: connections stay open and nobody
// answers, as with a server that hangs. A stalled door cannot be shut.
func (d *Door) Stall() { d.stall.Lock() }

// Resume ends a stall; what has waited goes through.
func (d *Door) Resume() { d.stall.Unlock() }

// write lets p through to conn, when nothing is stalled.
func (d *Door) write(conn net.Conn, p []byte) error {
	d.stall.RLock()
	defer d.stall.RUnlock()
	_, err := conn.Write(p)
	return err
}

// keep notes a connection, unless the door was shut since ln was open.
func (d *Door) keep(ln net.Listener, conn net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ln != ln {
		_ = conn.Close()
		return false
	}
	d.conns[conn] = true
	return true
}

func (d *Door) pass(ln net.Listener, in net.Conn) {
	out, err := net.Dial("tcp", d.target)
	if err != nil {
		_ = in.Close()
		return
	}
	if !d.keep(ln, in) || !d.keep(ln, out) {
		_, _ = in.Close(), out.Close()
		return
	}
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
		both.Go(func() {
			d.forward(way[0], way[1])
			_, _ = way[0].Close(), way[1].Close()
		})
	}
	both.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.conns, in)
	delete(d.conns, out)
}

// forward copies until either side, or Shut, breaks it.
func (d *Door) forward(to, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && d.write(to, buf[:n]) != nil || err != nil {
			return
		}
	}
}
