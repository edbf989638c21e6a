package sockio_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"pomodoro.cc/gateway/sockio"
)

// pair is two ends of a connection of a network: the near one as a Conn, and as
// what it was made of.
func pair(t testing.TB, network string) (near *sockio.Conn, plain, far net.Conn) {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if plain, err = net.Dial(network, l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	if near = sockio.New(plain); near == nil {
		t.Fatal("no Conn")
	}
	t.Cleanup(func() {
		near.Close()
		far.Close()
	})
	return near, plain, far
}

func TestNew_GivesNothingForWhatHasNoDescriptor(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	if c := sockio.New(near); c != nil {
		t.Errorf("%v", c)
	}
}

func TestConn_CarriesWhatANetConnCarries(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			near, _, far := pair(t, network)
			sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<17) // 2 MiB: more than the kernel takes at once
			go func() {
				io.Copy(far, far) // gives back what comes, and then its end
				far.(interface{ CloseWrite() error }).CloseWrite()
			}()
			var writing sync.WaitGroup
			writing.Go(func() {
				if n, err := near.Write(sent); n != len(sent) || err != nil {
					t.Errorf("written: %d, %v", n, err)
				}
				near.Conn.(interface{ CloseWrite() error }).CloseWrite()
			})
			got, err := io.ReadAll(near)
			writing.Wait()
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("%d bytes came back, %v", len(got), err)
			}
			if n, err := near.Read(nil); n != 0 || err != nil {
				t.Errorf("a read of nothing: %d, %v", n, err)
			}
			if n, err := near.Write(nil); n != 0 || err != nil {
				t.Errorf("a write of nothing: %d, %v", n, err)
			}
		})
	}
}

func TestConn_WritesOfTwoAreNotMixed(t *testing.T) {
	near, _, far := pair(t, "tcp")
	const size = 1 << 20
	var writing sync.WaitGroup
	for _, b := range []string{"a", "b"} {
		writing.Go(func() { near.Write([]byte(strings.Repeat(b, size))) })
	}
	go func() {
		writing.Wait()
		near.Close()
	}()
	got, err := io.ReadAll(far)
	if err != nil || len(got) != 2*size {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if first := bytes.Count(got[:size], got[:1]); first != size {
		t.Errorf("of the first megabyte %d bytes are of the first writer", first)
	}
}

// Each failure is the one that the net.Conn itself would give: who asks for a
// deadline, for net.ErrClosed or for ECONNRESET gets the same answer, and the log
// the same words.
func TestConn_FailsAsItsNetConnDoes(t *testing.T) {
	past := time.Unix(1, 0)
	reset := func(c net.Conn) {
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
	one := make([]byte, 1)
	read := func(c net.Conn) error { _, err := c.Read(one); return err }
	write := func(c net.Conn) error {
		for {
			if _, err := c.Write(make([]byte, 1<<20)); err != nil {
				return err
			}
		}
	}
	for name, c := range map[string]struct {
		prepare func(plain, far net.Conn)
		do      func(net.Conn) error
	}{
		"read beyond the deadline":  {func(plain, _ net.Conn) { plain.SetReadDeadline(past) }, read},
		"write beyond the deadline": {func(plain, _ net.Conn) { plain.SetWriteDeadline(past) }, write},
		"read after Close":          {func(plain, _ net.Conn) { plain.Close() }, read},
		"write after Close":         {func(plain, _ net.Conn) { plain.Close() }, write},
		"read after the end":        {func(_, far net.Conn) { far.Close() }, read},
		"read after a reset":        {func(_, far net.Conn) { reset(far) }, read},
		"write after CloseWrite":    {func(plain, _ net.Conn) { plain.(*net.TCPConn).CloseWrite() }, write},
		"no room until the deadline": {func(plain, _ net.Conn) {
			plain.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		}, write},
	} {
		t.Run(name, func(t *testing.T) {
			said := func(direct bool) string {
				near, plain, far := pair(t, "tcp")
				c.prepare(plain, far)
				var use net.Conn = plain
				if direct {
					use = near
				}
				err := c.do(use)
				var slow net.Error
				text := strings.NewReplacer(plain.LocalAddr().String(), "NEAR", plain.RemoteAddr().String(), "FAR").Replace(err.Error())
				return fmt.Sprintf("%s timeout=%t closed=%t deadline=%t eof=%t %T", text, errors.As(err, &slow) && slow.Timeout(),
					errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded), err == io.EOF, err)
			}
			if want, got := said(false), said(true); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestConn_AReadThatWaitsEndsWithTheConnection(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(near *sockio.Conn)
		want error
	}{
		"by Close":      {func(near *sockio.Conn) { near.Close() }, net.ErrClosed},
		"by a deadline": {func(near *sockio.Conn) { near.SetReadDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			near, _, far := pair(t, "tcp")
			got := make(chan error)
			go func() {
				for {
					if _, err := near.Read(make([]byte, 1)); err != nil {
						got <- err
						return
					}
					near.Write([]byte("b"))
				}
			}()
			far.Write([]byte("a"))
			far.Read(make([]byte, 1)) // it reads, and reads again
			c.end(near)
			if err := <-got; !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

func TestConn_LooksWithoutReading(t *testing.T) {
	near, _, far := pair(t, "tcp")
	if got := near.Look(); got != sockio.Silent {
		t.Errorf("nothing sent: %d", got)
	}
	far.Write([]byte("a"))
	for near.Look() == sockio.Silent { // until it has come
		runtime.Gosched()
	}
	if got := near.Look(); got != sockio.Unread {
		t.Errorf("a byte sent: %d", got)
	}
	if n, err := near.Read(make([]byte, 2)); n != 1 || err != nil {
		t.Errorf("the byte is gone: %d, %v", n, err)
	}
	far.Close()
	for near.Look() == sockio.Silent {
		runtime.Gosched()
	}
	if got := near.Look(); got != sockio.Ended {
		t.Errorf("ended by the other: %d", got)
	}
	near.Close()
	if got := near.Look(); got != sockio.Ended {
		t.Errorf("closed by us: %d", got)
	}
}

func TestConn_TakesNoMemory(t *testing.T) {
	near, _, far := pair(t, "tcp")
	b, back := make([]byte, 64), make([]byte, 64)
	if n := testing.AllocsPerRun(100, func() {
		near.Write(b)
		far.Read(back)
		far.Write(back)
		near.Read(b)
		near.Look()
	}); n > 0 {
		t.Errorf("%v allocations for a write, a read and a look", n)
	}
}

// What the detour through the scheduler costs: compare sockio with net.
func BenchmarkConn(b *testing.B) {
	for _, direct := range []bool{false, true} {
		b.Run(map[bool]string{false: "net", true: "sockio"}[direct], func(b *testing.B) {
			near, plain, far := pair(b, "tcp")
			var use net.Conn = plain
			if direct {
				use = near
			}
			p := make([]byte, 128)
			for b.Loop() {
				use.Write(p)
				io.ReadFull(far, p)
				far.Write(p)
				io.ReadFull(use, p)
			}
		})
	}
}

// The race detector knows that what one did before it wrote happened before what
// another does who has read: without that, this test fails under -race.
func TestConn_OrdersMemoryForTheRaceDetector(t *testing.T) {
	near, _, far := pair(t, "tcp")
	other := sockio.New(far)
	told, heard := 0, 0
	go func() {
		told = 1
		near.Write([]byte("a"))
	}()
	other.Read(make([]byte, 1))
	if told != 1 {
		t.Error("not told")
	}
	go func() {
		near.Read(make([]byte, 1))
		heard = told
		near.Write([]byte("b"))
	}()
	told = 2
	other.Write([]byte("a"))
	other.Read(make([]byte, 1))
	if heard != 2 {
		t.Error("not heard")
	}
}
