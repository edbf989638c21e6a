package takeover_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pomodoro.cc/gateway/takeover"
)

// running is a gateway that can be taken over from, at a socket of its own.
type running struct {
	takeover.Giver
	path  string
	tcp   *net.TCPListener
	did   chan string        // freeze, thaw, leave, in the order in which they happen
	left  context.CancelFunc // nothing of it is under way any more
	ended chan error
}

func runs(t *testing.T, change func(*running)) *running {
	t.Helper()
	tcp, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	r := &running{path: filepath.Join(t.TempDir(), "takeover.sock"), tcp: tcp, did: make(chan string, 10), ended: make(chan error, 1)}
	r.Freeze = func() (takeover.Offer, error) {
		r.did <- "freeze"
		return takeover.Offer{Listeners: map[string]*net.TCPListener{"http": tcp}, State: []string{"paused"}}, nil
	}
	r.Thaw = func() { r.did <- "thaw" }
	r.Leave = func() { r.did <- "leave" }
	r.Hear = func(line []byte) { r.did <- string(line) }
	if change != nil {
		change(r)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: r.path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, left := context.WithCancel(t.Context())
	r.left = left
	go func() { r.ended <- r.Serve(ctx, l) }()
	t.Cleanup(func() {
		l.Close()
		tcp.Close()
	})
	return r
}

// happened holds that these things happened, in this order.
func (r *running) happened(t *testing.T, want ...string) {
	t.Helper()
	for _, w := range want {
		if got := <-r.did; got != w {
			t.Fatalf("%s happened, want %s of %q", got, w, want)
		}
	}
}

func TestTakeover_AConnectionThatWaitsIsAcceptedByTheSuccessor(t *testing.T) {
	r := runs(t, nil)
	visitor, err := net.Dial("tcp", r.tcp.Addr().String()) // waits in the queue: nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	defer visitor.Close()
	h, err := takeover.Ask(t.Context(), r.path)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	var state []string
	if err := h.State(&state); err != nil || len(state) != 1 || state[0] != "paused" {
		t.Errorf("state %q, %v", state, err)
	}
	l := h.Listener("http", r.tcp.Addr().String())
	if l == nil {
		t.Fatal("no listener came")
	}
	defer l.Close()
	if h.Listener("http", r.tcp.Addr().String()) != nil {
		t.Error("a listener was given away twice")
	}
	if err := h.Serving(); err != nil {
		t.Fatal(err)
	}
	r.happened(t, "freeze", "leave")
	r.left()
	if err := <-r.ended; err != nil {
		t.Error(err)
	}
	r.tcp.Close() // as the one that leaves does
	go io.WriteString(visitor, "hello")
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got := make([]byte, 5)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
}

// A successor that needs no time to start closes its end within microseconds of
// what it was sent; the running gateway must have heard it all the same.
func TestTakeover_ASuccessorThatServesAtOnceIsHeard(t *testing.T) {
	for range 300 {
		r := runs(t, nil)
		h, err := takeover.Ask(t.Context(), r.path)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Serving(); err != nil {
			t.Fatal(err)
		}
		h.Close()
		r.happened(t, "freeze", "leave")
		r.left()
		if err := <-r.ended; err != nil {
			t.Fatal(err)
		}
	}
}

func TestTakeover_ASuccessorThatDiesChangesNothingAndTheNextOneMayTry(t *testing.T) {
	for name, dies := range map[string]func(*testing.T, *running){
		"before it has read": func(t *testing.T, r *running) {
			c, err := net.Dial("unix", r.path)
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
		},
		"before it serves": func(t *testing.T, r *running) {
			h, err := takeover.Ask(t.Context(), r.path)
			if err != nil {
				t.Fatal(err)
			}
			h.Close()
		},
		"in the middle of the word": func(t *testing.T, r *running) {
			c, err := net.Dial("unix", r.path)
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(c, "serv")
			c.Close()
		},
		"by saying something else": func(t *testing.T, r *running) {
			c, err := net.Dial("unix", r.path)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			io.WriteString(c, "SERVING\n")
			r.happened(t, "freeze", "thaw")
			r.did <- "freeze" // as the others
			r.did <- "thaw"
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := runs(t, nil)
			dies(t, r)
			r.happened(t, "freeze", "thaw")
			if _, err := net.Dial("tcp", r.tcp.Addr().String()); err != nil {
				t.Errorf("the running one does not listen any more: %v", err)
			}
			h, err := takeover.Ask(t.Context(), r.path)
			if err != nil {
				t.Fatalf("the next one: %v", err)
			}
			if err := h.Serving(); err != nil {
				t.Fatal(err)
			}
			r.happened(t, "freeze", "leave")
		})
	}
}

func TestTakeover_ASuccessorThatTakesTooLongIsGivenUp(t *testing.T) {
	r := runs(t, func(r *running) { r.Patience = time.Millisecond })
	h, err := takeover.Ask(t.Context(), r.path)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	r.happened(t, "freeze", "thaw")
	if l := h.Listener("http", r.tcp.Addr().String()); l != nil {
		l.Close()
	}
	if err := h.Serving(); err == nil || !strings.Contains(err.Error(), "has given this one up") {
		t.Errorf("serving after that: %v", err)
	}
}

func TestAsk_SaysWhyThereIsNothingToTakeOver(t *testing.T) {
	refuses := runs(t, func(r *running) {
		r.Freeze = func() (takeover.Offer, error) { return takeover.Offer{}, errors.New("a swap is under way") }
	})
	speaks := func(text string) string {
		path := filepath.Join(t.TempDir(), "s.sock")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				io.WriteString(c, text)
				c.Close()
			}
		}()
		return path
	}
	left := filepath.Join(t.TempDir(), "left.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: left, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	for _, c := range []struct {
		path, says string
		nobody     bool
	}{
		{filepath.Join(t.TempDir(), "none.sock"), "no gateway answers at", true},
		{left, "no gateway answers at", true},
		{refuses.path, "refused: a swap is under way", false},
		{speaks(""), "did not answer", false},
		{speaks("{"), "broke off", false},
		{speaks("220 mail.example ESMTP\n"), "speaks another language", false},
		{speaks(`{"names":["http"]}` + "\n"), "0 descriptors came for 1 listeners", false},
		{speaks(strings.Repeat("x", 2<<20)), "said too much", false},
	} {
		h, err := takeover.Ask(t.Context(), c.path)
		if err == nil {
			h.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.says) || errors.Is(err, takeover.ErrNobody) != c.nobody {
			t.Errorf("%v, want one that says %q", err, c.says)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := takeover.Ask(ctx, refuses.path); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestTakeover_TheSuccessorHoldsTheSameLock(t *testing.T) {
	lock, err := os.CreateTemp(t.TempDir(), "lock")
	if err != nil {
		t.Fatal(err)
	}
	r := runs(t, func(r *running) {
		offer := r.Freeze
		r.Freeze = func() (takeover.Offer, error) {
			o, err := offer()
			o.Lock = lock
			return o, err
		}
	})
	h, err := takeover.Ask(t.Context(), r.path)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	given := h.Lock()
	if given == nil || h.Lock() != nil {
		t.Fatal("the lock did not come, or came twice")
	}
	defer given.Close()
	one, err1 := lock.Stat()
	two, err2 := given.Stat()
	if err := errors.Join(err1, err2); err != nil || !os.SameFile(one, two) {
		t.Errorf("another file came: %v", err)
	}
	if l := h.Listener("http", r.tcp.Addr().String()); l == nil {
		t.Error("the listener did not come beside it")
	} else {
		l.Close()
	}
}

func TestTakeover_TheSuccessorLearnsWhenTheOtherHasLeft(t *testing.T) {
	r := runs(t, nil)
	h, err := takeover.Ask(t.Context(), r.path)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.Serving(); err != nil {
		t.Fatal(err)
	}
	r.happened(t, "freeze", "leave")
	left := make(chan error, 1)
	go func() { left <- h.Left(t.Context()) }()
	select {
	case err := <-left:
		t.Errorf("while it is at work: %v", err)
	case <-time.After(20 * time.Millisecond): // it would be told at once
	}
	if err := h.Tell([]string{"paused"}); err != nil {
		t.Error(err)
	}
	r.happened(t, `["paused"]`)
	r.left()
	if err := <-left; err != nil {
		t.Error(err)
	}
	if err := h.Tell("anybody"); err != nil {
		t.Errorf("to one that has left: %v", err)
	}
}

func TestListener_IsGivenForTheAddressThatItListensAtAlone(t *testing.T) {
	port := 0
	for _, c := range []struct {
		name, address string // %d is the port
		given         bool
	}{
		{"http", "127.0.0.1:%d", true},
		{"http", "127.0.0.1:0", true},
		{"http", "localhost:0", true},
		{"https", "127.0.0.1:%d", false},
		{"http", ":%d", false},
		{"http", "127.0.0.2:%d", false},
		{"http", "127.0.0.1:1", false},
		{"http", "nonsense", false},
	} {
		r := runs(t, nil)
		port = r.tcp.Addr().(*net.TCPAddr).Port
		h, err := takeover.Ask(t.Context(), r.path)
		if err != nil {
			t.Fatal(err)
		}
		address := c.address
		if strings.Contains(address, "%d") {
			address = fmt.Sprintf(address, port)
		}
		l := h.Listener(c.name, address)
		if (l != nil) != c.given {
			t.Errorf("%s at %s: %v", c.name, c.address, l)
		}
		if l != nil {
			l.Close()
		}
		h.Close()
	}
	var none *takeover.Handover
	if none.Listener("http", ":0") != nil || none.Lock() != nil || none.State(new(int)) != nil || none.Serving() != nil || none.Close() != nil {
		t.Error("no handover is not the same as one without listeners")
	}
}
