package gateway_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"pomodoro.cc/gateway/gatewaytest"
)

// The benchmarks send requests through a whole gateway over real sockets.
// Client and target speak raw TCP out of buffers that they keep, so that
// allocs/op are the gateway's own; ns/op hold all three.

const kibibyte = 1 << 10

// frame returns where the message at the head of b ends, false while it is not
// whole. Only what the two ends of a benchmark send has to be understood.
func frame(b []byte) (int, bool) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return 0, false
	}
	end += 4
	if _, after, ok := bytes.Cut(b[:end], []byte("\r\nContent-Length: ")); ok {
		length := 0
		for _, c := range after {
			if c < '0' || c > '9' {
				break
			}
			length = length*10 + int(c-'0')
		}
		end += length
	}
	return end, len(b) >= end
}

// exchange reads one whole message into buffer and returns it.
func exchange(c io.Reader, buffer []byte) ([]byte, error) {
	have := 0
	for {
		if end, whole := frame(buffer[:have]); whole {
			return buffer[:end], nil
		}
		n, err := c.Read(buffer[have:])
		have += n
		if err != nil {
			return nil, err
		}
	}
}

// target answers every request with 1 KiB until the benchmark ends.
func target(b *testing.B) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	answer := []byte("HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2026 00:00:00 GMT\r\nContent-Type: text/plain\r\nContent-Length: " +
		strconv.Itoa(kibibyte) + "\r\n\r\n" + strings.Repeat("x", kibibyte))
	var serving sync.WaitGroup
	ended := make(chan struct{})
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				<-ended
				c.Close()
			})
			serving.Go(func() {
				buffer := make([]byte, 16*kibibyte)
				for {
					if _, err := exchange(c, buffer); err != nil {
						return
					}
					if _, err := c.Write(answer); err != nil {
						return
					}
				}
			})
		}
	})
	b.Cleanup(func() {
		l.Close()
		close(ended)
		serving.Wait()
	})
	return "http://" + l.Addr().String()
}

func proxied(b *testing.B, method, accessLog string, body int) {
	b.Helper()
	url := target(b)
	gw := gatewaytest.Start(b, fmt.Sprintf("access_log: %s\nservices:\n  app:\n    health: {off: true}\n    targets: [%s]\nroutes:\n  - {service: app}\n", accessLog, url))
	c, err := net.Dial("tcp", gw.Addr("http").String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	request := method + " /app/1k HTTP/1.1\r\nHost: bench.test\r\nUser-Agent: bench\r\nAccept: */*\r\n"
	if body > 0 {
		request += "Content-Type: application/octet-stream\r\nContent-Length: " + strconv.Itoa(body) + "\r\n"
	}
	raw := []byte(request + "\r\n" + strings.Repeat("y", body))
	buffer := make([]byte, 16*kibibyte)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(raw); err != nil {
			b.Fatal(err)
		}
		answer, err := exchange(c, buffer)
		if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 ")) || !bytes.HasSuffix(answer, []byte("xxxx")) {
			b.Fatal(errors.Join(err, fmt.Errorf("answer %.200q", answer)))
		}
	}
}

func BenchmarkGateway_ProxiedGET(b *testing.B) {
	b.Run("log=off", func(b *testing.B) { proxied(b, "GET", "off", 0) })
	b.Run("log=file", func(b *testing.B) { proxied(b, "GET", filepath.Join(b.TempDir(), "access.log"), 0) })
}

func BenchmarkGateway_ProxiedPOST(b *testing.B) {
	b.Run("log=off", func(b *testing.B) { proxied(b, "POST", "off", kibibyte) })
	b.Run("log=file", func(b *testing.B) { proxied(b, "POST", filepath.Join(b.TempDir(), "access.log"), kibibyte) })
}
