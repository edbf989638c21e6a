package transport_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"pomodoro.cc/gateway/transport"
)

// forward is a proxy of one target: what is left of the head is net/http's.
func forward(tr transport.Transport, target string, ended func(int64, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out, err := http.NewRequestWithContext(r.Context(), http.MethodGet, target, nil)
		if err != nil {
			panic(err)
		}
		res, err := tr.RoundTrip(out)
		if err != nil {
			panic(err)
		}
		defer res.Body.Close()
		if res.ContentLength >= 0 {
			w.Header().Set("Content-Length", strconv.FormatInt(res.ContentLength, 10))
		}
		ended(res.Body.(io.WriterTo).WriteTo(w))
	})
}

func TestSplice_TheBodyArrivesWholeAndTheConnectionIsKept(t *testing.T) {
	for _, size := range []int{0, 100, 10_000, 100_000, 3 << 20} {
		body := bytes.Repeat([]byte("0123456789"), size/10)
		for name, answer := range map[string]string{
			"counted": "HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + string(body),
			"chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("a\r\n0123456789\r\n", size/10) + "0\r\n\r\n",
		} {
			if size > 100_000 && name == "chunked" {
				continue
			}
			target := listen(t, answers(answer))
			tr := open(t, target, transport.Options{Header: 30e9})
			if size == 0 {
				continue // http.NoBody: nothing to write
			}
			done := make(chan error, 1)
			front := httptest.NewServer(forward(tr, target, func(_ int64, err error) { done <- err }))
			for range 3 {
				res, err := http.Get(front.URL)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(res.Body)
				res.Body.Close()
				if err != nil || !bytes.Equal(got, body) {
					t.Errorf("%s, %d bytes: %d came, %v", name, size, len(got), err)
				}
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
			if s := tr.Stats(); s.Open != 1 || s.Idle != 1 {
				t.Errorf("%s, %d bytes: %+v, want one idle connection", name, size, s)
			}
			front.Close()
		}
	}
}

func TestSplice_ItIsKnownWhichSideBrokeOff(t *testing.T) {
	const size = 50 << 20
	head := "HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(size) + "\r\n\r\n"
	asked := make(chan bool, 1)
	target := listen(t, func(c *net.TCPConn, in *bufio.Reader) {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		io.WriteString(c, head)
		asked <- true
		if r.URL.Path == "/cut" {
			io.WriteString(c, strings.Repeat("x", 1<<20))
			return
		}
		for b := bytes.Repeat([]byte("x"), 1<<16); err == nil; {
			_, err = c.Write(b)
		}
	})
	for _, path := range []string{"/cut", "/left"} {
		tr := open(t, target, transport.Options{})
		done := make(chan error, 1)
		front := httptest.NewServer(forward(tr, target+path, func(_ int64, err error) { done <- err }))
		res, err := http.Get(front.URL)
		if err != nil {
			t.Fatal(err)
		}
		<-asked
		if path == "/left" {
			res.Body.Close()
		} else if _, err := io.Copy(io.Discard, res.Body); err == nil {
			t.Error("the visitor was not told that the answer is not whole")
		}
		err = <-done
		var write *transport.WriteError
		if leftOrWrote := errors.As(err, &write) || errors.Is(err, syscall.EPIPE); path == "/cut" && (leftOrWrote || !errors.Is(err, io.ErrUnexpectedEOF)) || err == nil {
			t.Errorf("%s: error %v", path, err)
		}
		if s := tr.Stats(); s.Open != 0 {
			t.Errorf("%s: %+v, want no connection", path, s)
		}
		res.Body.Close()
		front.Close()
	}
}

func BenchmarkDownload(b *testing.B) {
	const size = 10 << 20
	for _, splice := range []bool{true, false} {
		b.Run("splice="+strconv.FormatBool(splice), func(b *testing.B) {
			target := listen(b, rawTarget(answerOf(size), 0))
			tr := open(b, target, transport.Options{Header: 30e9})
			front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				out := request(b, r.Context(), http.MethodGet, target, nil)
				res, err := tr.RoundTrip(out)
				if err != nil {
					b.Error(err)
					return
				}
				defer res.Body.Close()
				w.Header().Set("Content-Length", strconv.Itoa(size))
				if splice {
					res.Body.(io.WriterTo).WriteTo(w)
				} else {
					io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{res.Body}, make([]byte, 32<<10))
				}
			}))
			defer front.Close()
			visitor := &http.Client{Transport: &http.Transport{WriteBufferSize: 4 << 10, ReadBufferSize: 256 << 10}}
			defer visitor.CloseIdleConnections()
			b.SetBytes(size)
			spent := cpu(b)
			for b.Loop() {
				res, err := visitor.Get(front.URL)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, res.Body); err != nil {
					b.Fatal(err)
				}
				res.Body.Close()
			}
			b.ReportMetric(spent()/1e3, "cpu-ms/op")
		})
	}
}
