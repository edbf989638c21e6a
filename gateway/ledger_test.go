package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pomodoro.cc/gateway/gatewaytest"
	"pomodoro.cc/gateway/swap"
)

func TestSwap_TheLedgerAddsUpOverTwoHundredSwapsUnderEveryKindOfClient(t *testing.T) {
	swapUnderLoad(t, 200)
}

// swapUnderLoad swaps to and fro under 64 clients that read, write, upload,
// download, follow events and keep WebSockets open, and checks each ledger.
func swapUnderLoad(t *testing.T, times int) {
	t.Helper()
	a, b := gatewaytest.NewUpstream(t, "a"), gatewaytest.NewUpstream(t, "b")
	a.Does(everyKind)
	b.Does(everyKind)
	gw := gatewaytest.Start(t, gatewaytest.Service("app", a)+"access_log: \"off\"\n")
	v := &visitors{gw: gw, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	defer v.client.CloseIdleConnections()
	// The load leaves the machine time for the swaps: it is the number of
	// requests under way that tests a ledger, not their rate.
	pace := time.NewTicker(2 * time.Millisecond)
	defer pace.Stop()
	kinds := []func(context.Context) error{v.reads, v.writes, v.reads, v.writes, v.uploads, v.downloads, v.follows, v.talks}
	ctx, end := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for n := range 64 {
		load.Go(func() {
			for {
				select {
				case <-pace.C:
				case <-ctx.Done():
					return
				}
				v.asked.Add(1)
				if err := kinds[n%len(kinds)](ctx); err != nil && ctx.Err() == nil {
					t.Errorf("client %d: %v", n, err)
					return
				}
			}
		})
	}
	next, other := b, a
	total := 0
	for i := range times {
		o := to(fmt.Sprint("v", i), next)
		o["streams"] = "5ms"
		r := swaps(t, gw, o)
		if r.Result != swap.Done || r.Ledger.Sum() != r.Ledger.Started || r.Ledger.Failed+r.Ledger.Cut != 0 {
			t.Fatalf("swap %d: %s (%s), ledger %+v, drained %+v", i, r.Result, r.Text, r.Ledger, r.Drained)
		}
		if n := r.From.Targets; len(n) != 1 || n[0].URL != other.URL {
			t.Fatalf("swap %d came from %v", i, n)
		}
		total += r.Ledger.Started
		next, other = other, next
	}
	end()
	load.Wait()
	// A request can be in two ledgers when it is under way as one closes.
	if asked := int(v.asked.Load()); total == 0 || total > asked+times*64 {
		t.Errorf("the ledgers hold %d requests, the clients asked %d", total, asked)
	}
	if v.farewells.Load() == 0 || v.goodbyes.Load() == 0 {
		t.Errorf("%d event streams had their farewell, %d WebSockets their close frame: the swaps met none", v.farewells.Load(), v.goodbyes.Load())
	}
}

const download = 64 << 10

// everyKind is a target that echoes, downloads, tells events and talks.
func everyKind(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/download":
		for range 8 {
			w.Write(make([]byte, download/8))
			w.(http.Flusher).Flush()
		}
	case "/events":
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: one\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	case "/talk":
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		io.Copy(c, rw)
	default:
		b, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		w.Write(b)
	}
}

// visitors are clients of every kind; each method is one request, and its error
// what a visitor would have noticed.
type visitors struct {
	gw                         *gatewaytest.Gateway
	client                     *http.Client
	asked, farewells, goodbyes atomic.Int64
}

func (v *visitors) ask(ctx context.Context, method, path string, body io.Reader, want []byte) error {
	r, err := http.NewRequestWithContext(ctx, method, v.gw.URL+path, body)
	if err != nil {
		return err
	}
	res, err := v.client.Do(r)
	if err != nil {
		return fmt.Errorf("lost: %w", err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || !bytes.Equal(got, want) {
		return fmt.Errorf("%s %s: status %d, %d bytes of %d, %w", method, path, res.StatusCode, len(got), len(want), err)
	}
	return nil
}

func (v *visitors) reads(ctx context.Context) error { return v.ask(ctx, http.MethodGet, "/", nil, nil) }

func (v *visitors) writes(ctx context.Context) error {
	const text = "a small body"
	return v.ask(ctx, http.MethodPost, "/", strings.NewReader(text), []byte(text))
}

func (v *visitors) uploads(ctx context.Context) error {
	body := bytes.Repeat([]byte("up"), 10_000)
	return v.ask(ctx, http.MethodPut, "/", io.MultiReader(bytes.NewReader(body)), body) // chunked: no length is known
}

func (v *visitors) downloads(ctx context.Context) error {
	return v.ask(ctx, http.MethodGet, "/download", nil, make([]byte, download))
}

// follows reads an event stream to its end, which must be a farewell.
func (v *visitors) follows(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, v.gw.URL+"/events", nil)
	if err != nil {
		return err
	}
	res, err := v.client.Do(r)
	if err != nil {
		return fmt.Errorf("events lost: %w", err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil || string(got) != "data: one\n\nevent: bye\ndata: drained\n\n" {
		return fmt.Errorf("an event stream ended with %q, %w", got, err)
	}
	v.farewells.Add(1)
	return nil
}

// talks keeps a WebSocket open until it is told to go.
func (v *visitors) talks(ctx context.Context) error {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", v.gw.Addr("http").String())
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	const frame = "\x81\x85\x00\x00\x00\x00hello"
	if _, err := io.WriteString(c, "GET /talk HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"+frame); err != nil {
		return err
	}
	in := bufio.NewReader(c)
	res, err := http.ReadResponse(in, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("no upgrade: %v, %w", res, err)
	}
	got, err := io.ReadAll(io.LimitReader(in, int64(len(frame)+4)))
	// A WebSocket that is let go before its first frame came back has no echo.
	if s, ok := strings.CutSuffix(string(got), "\x88\x02\x03\xf4"); !ok || s != "" && s != frame {
		return fmt.Errorf("a WebSocket ended with %q, %w", got, errors.Join(err))
	}
	v.goodbyes.Add(1)
	return nil
}
