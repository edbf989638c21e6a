package transport_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pomodoro.cc/gateway/transport"
)

// A target closes connections that are idle for 50 ms, and requests come in
// bursts that far apart: what is sent on an idle connection meets its end.
// KEEPALIVE_RACE=20000 sends so many; without it a second's worth.
//
// The look at a connection and the write cannot be one step. A burst in which
// this machine itself stood still for as long as the transport keeps away from
// the limit proves nothing about the transport, and is not counted against it.
func TestTransport_NoRequestIsLostOrDoubledAtTheTargetsIdleLimit(t *testing.T) {
	const idle, burst = 50 * time.Millisecond, 64
	requests := 20 * burst
	if n, err := strconv.Atoi(os.Getenv("KEEPALIVE_RACE")); err == nil {
		requests = n
	}
	var seen sync.Map // request id → *atomic.Int32
	target := listen(t, func(c *net.TCPConn, in *bufio.Reader) {
		for {
			c.SetReadDeadline(time.Now().Add(idle))
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			io.Copy(io.Discard, r.Body)
			n, _ := seen.LoadOrStore(r.URL.Path, new(atomic.Int32))
			n.(*atomic.Int32).Add(1)
			io.WriteString(c, ok)
		}
	})
	tr := open(t, target, transport.Options{Idle: 30 * time.Second})
	stood := standstill(t)

	var failed atomic.Int32
	var excused int
	sent := 0
	for sent < requests {
		stood.Store(0)
		var all sync.WaitGroup
		var lost []error
		var mu sync.Mutex
		for range burst {
			id, method, body := fmt.Sprint("/", sent), http.MethodGet, ""
			if sent++; sent%2 == 0 {
				method, body = http.MethodPost, "x"
			}
			r := request(t, context.Background(), method, target+id, strings.NewReader(body))
			all.Go(func() {
				res, err := tr.RoundTrip(r)
				if err == nil {
					_, err = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
				if err != nil {
					mu.Lock()
					lost = append(lost, fmt.Errorf("%s %s: %w", method, id, err))
					mu.Unlock()
				}
			})
		}
		all.Wait()
		if len(lost) > 0 && time.Duration(stood.Load()) > idle/8 {
			excused += len(lost)
			lost = nil
		}
		for _, err := range lost {
			t.Error(err)
		}
		failed.Add(int32(len(lost)))
		pause := time.NewTimer(idle + time.Duration(rand.Int64N(int64(8*time.Millisecond))) - 4*time.Millisecond)
		<-pause.C
	}
	doubled := 0
	seen.Range(func(_, n any) bool {
		if n.(*atomic.Int32).Load() > 1 {
			doubled++
		}
		return true
	})
	if doubled > 0 {
		t.Errorf("%d requests came twice", doubled)
	}
	t.Logf("%d requests, %d failed, %d doubled; %d failed while the machine stood still; %+v", sent, failed.Load(), doubled, excused, tr.Stats())
}

// standstill notes the longest time for which a goroutine that wants to run
// every millisecond did not.
func standstill(t *testing.T) *atomic.Int64 {
	var longest atomic.Int64
	stop := make(chan bool)
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for last := time.Now(); ; {
			select {
			case <-stop:
				return
			case <-tick.C:
				now := time.Now()
				longest.Store(max(longest.Load(), int64(now.Sub(last))))
				last = now
			}
		}
	})
	t.Cleanup(func() { close(stop); done.Wait() })
	return &longest
}
