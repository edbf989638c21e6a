package transport_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"pomodoro.cc/gateway/transport"
)

// rawTarget answers requests without parsing them: what is measured is the
// transport. A request ends with its blank line and carries length bytes more.
func rawTarget(answer string, length int) func(*net.TCPConn, *bufio.Reader) {
	return func(c *net.TCPConn, _ *bufio.Reader) {
		in, out := bufio.NewReaderSize(c, 64<<10), []byte(answer)
		for {
			for {
				line, err := in.ReadSlice('\n')
				if err != nil {
					return
				}
				if len(line) == 2 {
					break
				}
			}
			if _, err := in.Discard(length); err != nil {
				return
			}
			if _, err := c.Write(out); err != nil {
				return
			}
		}
	}
}

func answerOf(size int) string {
	return "HTTP/1.1 200 OK\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Type: text/html; charset=utf-8\r\n" +
		"Content-Length: " + strconv.Itoa(size) + "\r\nCache-Control: no-cache\r\nEtag: \"0123456789abcdef\"\r\nVary: Accept-Encoding\r\n\r\n" +
		strings.Repeat("x", size)
}

func BenchmarkRoundTrip(b *testing.B) {
	for _, one := range []struct {
		name     string
		standard bool
	}{{"ours", false}, {"std", true}} {
		for _, size := range []int{1 << 10, 64 << 10, 1 << 20} {
			b.Run(one.name+"/get="+strconv.Itoa(size), func(b *testing.B) { roundTrips(b, one.standard, size, 0) })
		}
		b.Run(one.name+"/post=1024", func(b *testing.B) { roundTrips(b, one.standard, 1<<10, 1<<10) })
		b.Run(one.name+"/post=1048576", func(b *testing.B) { roundTrips(b, one.standard, 0, 1<<20) })
	}
}

func roundTrips(b *testing.B, standard bool, size, body int) {
	target := listen(b, rawTarget(answerOf(size), body))
	tr := open(b, target, transport.Options{Standard: standard, Header: 60e9, Idle: 30e9})
	ctx := b.Context()
	buf := make([]byte, 32<<10)
	sent := bytes.Repeat([]byte("x"), body)
	b.ReportAllocs()
	b.SetBytes(int64(size + body))
	spent := cpu(b)
	for b.Loop() {
		r := request(b, ctx, http.MethodGet, target, nil)
		if body > 0 {
			r.Method, r.ContentLength, r.Body = http.MethodPost, int64(body), io.NopCloser(struct{ io.Reader }{bytes.NewReader(sent)}) // a visitor's body can only be read
		}
		r.Header["User-Agent"] = []string{"bench/1"}
		r.Header["Accept"] = []string{"text/html"}
		r.Header["X-Forwarded-For"] = []string{"192.0.2.1"}
		res, err := tr.RoundTrip(r)
		if err != nil {
			b.Fatal(err)
		}
		for err == nil {
			_, err = res.Body.Read(buf)
		}
		if err != io.EOF {
			b.Fatal(err)
		}
		res.Body.Close()
	}
	b.ReportMetric(spent(), "cpu-µs/op")
}

// cpu measures the processor's time that the whole process takes from now on,
// the target's and the visitor's share included: on a busy machine it says more
// than the clock. The function returns microseconds for each of b's rounds.
func cpu(b *testing.B) func() float64 {
	total := func() int64 {
		var used syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
			b.Fatal(err)
		}
		return used.Utime.Nano() + used.Stime.Nano()
	}
	before := total()
	return func() float64 { return float64(total()-before) / 1e3 / float64(b.N) }
}
