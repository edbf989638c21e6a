package edge

import (
	"bytes"
	"net"
	"runtime"
	"slices"
	"strconv"
)

// write writes p to c. What begins an answer while no handler has a request is
// net/http's own, to bytes that it cannot take for one: it comes as a whole, and
// gets the fields of Options.Own.
func (v *Visitor) write(c net.Conn, p []byte) (int, error) {
	if v.server.options.Own == nil || v.handled.Load() {
		if v.server.busy.Load() > 0 {
			runtime.Gosched() // answers that are ready leave one after another (ADR 20)
		}
		return c.Write(p)
	}
	line, rest, found := bytes.Cut(p, []byte("\r\n"))
	status, ok := statusOf(line)
	if !found || !ok {
		return c.Write(p)
	}
	marked := slices.Concat(line, []byte("\r\n"), []byte(v.server.mark(c.RemoteAddr(), status)), rest)
	if n, err := c.Write(marked); err != nil {
		return min(n, len(p)), err
	}
	return len(p), nil
}

// mark is the lines of the fields for an answer that no handler makes.
func (s *Server) mark(peer net.Addr, status int) string {
	if s.options.Own == nil {
		return ""
	}
	fields := s.options.Own(peer, status)
	if fields == "" {
		return ""
	}
	return fields + "\r\n"
}

// statusOf reads the status of an error's status line.
func statusOf(line []byte) (int, bool) {
	after, found := bytes.CutPrefix(line, []byte("HTTP/1.1 "))
	if !found || len(after) < 3 {
		return 0, false
	}
	status, err := strconv.Atoi(string(after[:3]))
	return status, err == nil && status >= 400
}
