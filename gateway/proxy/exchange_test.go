package proxy

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// deadline is a server's side whose read deadline is only noted.
type deadline struct {
	http.ResponseWriter
	at    time.Time
	moved int
}

func (d *deadline) SetReadDeadline(t time.Time) error {
	d.at = t
	d.moved++
	return nil
}

func TestBodyWithin_EveryReadMayWaitThatLongHoweverLongAllOfThemTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, w := new(Exchange), &deadline{ResponseWriter: httptest.NewRecorder()}
		r := httptest.NewRequest(http.MethodPost, "/", io.NopCloser(readerFunc(func(p []byte) (int, error) {
			if left := time.Until(w.at); left < time.Minute || left > time.Minute*9/8 {
				t.Errorf("a read may wait for %s", left)
			}
			return 1, nil
		})))
		x.Record(w, r)
		x.BodyWithin(time.Minute)
		for _, pause := range []time.Duration{0, time.Second, 59 * time.Second, 5 * time.Minute} {
			for range 10 {
				time.Sleep(pause)
				r.Body.Read(make([]byte, 1))
			}
		}
		moved := w.moved
		for range 1000 {
			r.Body.Read(make([]byte, 1))
		}
		if w.moved > moved+1 {
			t.Errorf("a thousand reads at once move the deadline %d times", w.moved-moved)
		}
	})
}

// The reader of an announced length does not look for the end, which in HTTP/2 comes
// by itself.
func TestReceived_ABodyOfAnnouncedLengthIsWholeWithItsLastByte(t *testing.T) {
	x := new(Exchange)
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("ab"))
	x.Record(httptest.NewRecorder(), r)
	for _, more := range []bool{true, false} {
		if _, err := r.Body.Read(make([]byte, 1)); err != nil || x.in.unread() != more {
			t.Errorf("%v: more to come %t, want %t", err, x.in.unread(), more)
		}
	}
}

// net/http's HTTP/2 dereferences nil in whoever uses its writer once the handler has
// returned, and a body may be read by another goroutine until then.
func TestBodyWithin_TheServersWriterIsLeftAloneOnceTheServerHasItBack(t *testing.T) {
	for _, major := range []int{1, 2} {
		w, done := &returned{ResponseWriter: httptest.NewRecorder(), moved: make(chan bool, 1)}, make(chan struct{})
		r := httptest.NewRequest(http.MethodPost, "/", io.NopCloser(readerFunc(func(p []byte) (int, error) {
			select {
			case <-w.moved:
				return 1, nil
			case <-done:
				return 0, io.EOF
			}
		})))
		r.ProtoMajor = major
		x := new(Exchange)
		x.Record(w, r)
		x.BodyWithin(time.Nanosecond)
		var reading sync.WaitGroup
		r.Body.Read(make([]byte, 1))
		reading.Go(func() {
			for err := error(nil); err == nil; {
				_, err = r.Body.Read(make([]byte, 1))
			}
		})
		x.in.end()
		w.back = true // without a lock: the race detector tells who still uses it
		close(done)
		reading.Wait()
	}
}

// returned is a server's writer that knows whether the server has it back.
type returned struct {
	http.ResponseWriter
	back  bool
	moved chan bool
}

func (w *returned) SetReadDeadline(time.Time) error {
	if w.back {
		panic("the server has its writer back")
	}
	select {
	case w.moved <- true:
	default:
	}
	return nil
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
