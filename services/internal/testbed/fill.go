package testbed

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// Fill leaves a Redis no room for anything more: it answers every write that
// needs memory with OOM, as one does that has reached its maxmemory.
func (s *Server) Fill(t testing.TB) { s.configure(t, "1") }

// Empty gives it room again.
func (s *Server) Empty(t testing.TB) { s.configure(t, "0") }

func (s *Server) configure(t testing.TB, maxmemory string) {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 64)
	if _, err := fmt.Fprintf(conn, "CONFIG SET maxmemory %s\r\n", maxmemory); err != nil {
		t.Fatal(err)
	}
	n, err := conn.Read(answer)
	if err != nil || !strings.HasPrefix(string(answer[:n]), "+OK") {
		t.Fatalf("CONFIG SET maxmemory %s: %s %v", maxmemory, answer[:n], err)
	}
}
