package accesslog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pomodoro.cc/gateway/accesslog"
)

func entry() *accesslog.Entry {
	return &accesslog.Entry{
		Time:      time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.FixedZone("", 3600)),
		RequestID: "r1", TraceID: "t1", ClientIP: "192.0.2.1", PeerIP: "192.0.2.2",
		Method: "GET", Host: "example.org", Path: "/a", Protocol: "HTTP/1.1", Status: 200,
		BytesIn: 1, BytesOut: 2, Duration: 1500 * time.Microsecond, UpstreamDuration: time.Millisecond,
		Route: "site", Service: "app", Version: "v1", Target: "http://127.0.0.1:80", Attempts: 1,
		Held: true, Reason: "", UserAgent: "curl/8",
	}
}

// written returns what a log that writes these entries has written at its end.
func written(t *testing.T, entries ...*accesslog.Entry) string {
	t.Helper()
	var out bytes.Buffer
	log := accesslog.New(&out)
	for _, e := range entries {
		log.Write(e)
	}
	run(t, log)
	return out.String()
}

// run writes what is queued and returns.
func run(t *testing.T, log *accesslog.Log) {
	t.Helper()
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err := log.Run(stopped); err != nil {
		t.Fatal(err)
	}
}

func fields(t *testing.T, line string) map[string]any {
	t.Helper()
	var got map[string]any
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		t.Fatalf("%v in %q", err, line)
	}
	return got
}

func TestWrite_ARequestIsOneFlatObjectOnOneLine(t *testing.T) {
	const want = `{"time":"2026-01-02T02:04:05.678Z","request_id":"r1","trace_id":"t1","client_ip":"192.0.2.1",` +
		`"peer_ip":"192.0.2.2","method":"GET","host":"example.org","path":"/a","protocol":"HTTP/1.1","status":200,` +
		`"bytes_in":1,"bytes_out":2,"duration_seconds":0.001500,"upstream_duration_seconds":0.001000,"route":"site",` +
		`"service":"app","version":"v1","target":"http://127.0.0.1:80","attempts":1,"held":true,"reason":"","user_agent":"curl/8"}` + "\n"
	if got := written(t, entry(), entry()); got != want+want {
		t.Errorf("got\n%s, want this twice:\n%s", got, want)
	}
}

func TestWrite_StringsAreSafeToReadAndToParse(t *testing.T) {
	for name, c := range map[string]struct{ in, raw, want string }{
		"quotes and backslashes are escaped":     {`a"b\c`, `a\"b\\c`, `a"b\c`},
		"a line break does not end the line":     {"a\r\nb", `a\u000d\u000ab`, "a\r\nb"},
		"control characters are escaped":         {"\x00\x1b[31m\x7f\u009b", `\u0000\u001b[31m\u007f\u009b`, "\x00\x1b[31m\x7f\u009b"},
		"each byte that is no UTF-8 is replaced": {"a\xff\xc3(\xe2\x82", "a\uFFFD\uFFFD(\uFFFD\uFFFD", "a\uFFFD\uFFFD(\uFFFD\uFFFD"},
		"changes of direction are escaped":       {"a\u202eb\u2066c\u2028", `a\u202eb\u2066c\u2028`, "a\u202eb\u2066c\u2028"},
		"other letters stay as they are":         {"жé日\U0001F345", "жé日\U0001F345", "жé日\U0001F345"},
	} {
		t.Run(name, func(t *testing.T) {
			e := entry()
			e.UserAgent = c.in
			line := written(t, e)
			if !strings.HasSuffix(line, `"user_agent":"`+c.raw+"\"}\n") {
				t.Errorf("line ends %s, want %s", line[strings.Index(line, `"user_agent"`):], c.raw)
			}
			if got := fields(t, line)["user_agent"]; got != c.want {
				t.Errorf("parses as %q, want %q", got, c.want)
			}
		})
	}
}

func TestWrite_LongStringsAreShortenedBetweenLetters(t *testing.T) {
	e := entry()
	e.Path = "/" + strings.Repeat("é", 1<<20)
	e.UserAgent = strings.Repeat("\x01", 1<<20)
	e.Host = strings.Repeat("\x80", 1<<20)
	e.Method = strings.Repeat("M", 256)
	line := written(t, e)
	if len(line) > 32<<10 {
		t.Errorf("the line has %d bytes", len(line))
	}
	got := fields(t, line)
	if want := "/" + strings.Repeat("é", 2047) + "…"; got["path"] != want {
		t.Errorf("path has %d bytes, want %d", len(got["path"].(string)), len(want))
	}
	if got["method"] != e.Method {
		t.Errorf("a string as long as the limit became %q", got["method"])
	}
}

// flaky writes like a disk that is full at times: each Write takes the next of
// its room, and all of what it gets when there is none.
type flaky struct {
	bytes.Buffer
	room []int
}

func (f *flaky) Write(p []byte) (int, error) {
	if len(f.room) == 0 {
		return f.Buffer.Write(p)
	}
	room := f.room[0]
	f.room = f.room[1:]
	if room >= len(p) {
		return f.Buffer.Write(p)
	}
	n, _ := f.Buffer.Write(p[:room])
	return n, errors.New("no space left on device")
}

func TestRun_AFailedWriteIsCountedAndTheNextLineSaysSo(t *testing.T) {
	const whole = 1 << 20
	size := len(written(t, entry()))
	for name, c := range map[string]struct {
		together bool // the lines wait for the writer; else each is written before the next comes
		room     []int
		want     []float64 // dropped of each line that parses
	}{
		"nothing failed":                             {false, nil, []float64{0, 0, 0, 0}},
		"two failed in a row":                        {false, []int{whole, 0, 0}, []float64{0, 2}},
		"a torn line does not spoil the next":        {false, []int{whole, 40}, []float64{0, 1, 0}},
		"torn twice":                                 {false, []int{40, 40}, []float64{2, 0}},
		"torn, and then room for the newline alone":  {false, []int{40, 1}, []float64{2, 0}},
		"torn, and then no room":                     {false, []int{40, 0, whole}, []float64{2, 0}},
		"the last one failed, so nobody is told yet": {false, []int{whole, whole, whole, 0}, []float64{0, 0, 0}},

		"together: nothing failed":              {true, nil, []float64{0, 0, 0, 0}},
		"together: no room for any":             {true, []int{0}, []float64{1, 0, 0}},
		"together: no room after two":           {true, []int{2 * size}, []float64{0, 0, 1}},
		"together: the first is torn":           {true, []int{40}, []float64{1, 0, 0}},
		"together: the third is torn":           {true, []int{2*size + 40}, []float64{0, 0, 1}},
		"together: torn before its end":         {true, []int{2*size - 2}, []float64{0, 1, 0}},
		"together: the last is torn":            {true, []int{4*size - 2}, []float64{0, 0, 0}},
		"together: torn, and then the next too": {true, []int{size + 40, 40}, []float64{0, 2}},
		"together: full to the end":             {true, []int{0, 0, 0, 0}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			out := &flaky{room: c.room}
			var log *accesslog.Log
			synctest.Test(t, func(t *testing.T) {
				log = accesslog.New(out)
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				if !c.together {
					go func() { ended <- log.Run(ctx) }()
				}
				for range 4 {
					log.Write(entry())
					if !c.together {
						time.Sleep(time.Second) // the bubble's time
					}
				}
				if c.together {
					go func() { ended <- log.Run(ctx) }()
				}
				time.Sleep(time.Second)
				stop()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})

			var got []float64
			for line := range strings.Lines(out.String()) {
				var said struct{ Dropped float64 }
				if json.Unmarshal([]byte(line), &said) == nil {
					got = append(got, said.Dropped)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("dropped = %v, want %v, in\n%s", got, c.want, out)
			}
			if want := uint64(4 - len(c.want)); log.Dropped() != want {
				t.Errorf("Dropped() = %d, want %d", log.Dropped(), want)
			}
		})
	}
}

func TestRun_LinesThatWaitAreWrittenTogether(t *testing.T) {
	out := &pieces{}
	log := accesslog.New(out)
	long := entry()
	long.UserAgent = strings.Repeat("\x01", 2<<10)
	for range 100 {
		log.Write(entry())
	}
	log.Write(long)
	for range 100 {
		log.Write(entry())
	}
	run(t, log)
	one, another := written(t, entry()), written(t, long)
	if got, want := strings.Join(*out, ""), strings.Repeat(one, 100)+another+strings.Repeat(one, 100); got != want {
		t.Errorf("%d bytes, want 201 lines, %d bytes", len(got), len(want))
	}
	if most := 2*(100/(4096/len(one))+1) + 1; len(*out) > most {
		t.Errorf("%d writes, want at most %d", len(*out), most)
	}
	for _, p := range *out {
		if !strings.HasSuffix(p, "\n") || len(p) > 4096 && p != another {
			t.Errorf("a write of %d bytes, which others could come between, or not of whole lines: it ends in %q", len(p), p[max(0, len(p)-20):])
		}
	}
}

// pieces are what was written, call by call.
type pieces []string

func (p *pieces) Write(b []byte) (int, error) {
	*p = append(*p, string(b))
	return len(b), nil
}

func TestWrite_AfterTheEndHoldsUpNoRequest(t *testing.T) {
	log := accesslog.New(io.Discard)
	run(t, log)
	for range 3 {
		log.Write(entry())
	}
}

// stuck is a writer that blocks until it is let go.
type stuck struct {
	bytes.Buffer
	letGo chan struct{}
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.letGo
	return s.Buffer.Write(p)
}

func TestWrite_ABlockedWriterHoldsUpNoRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &stuck{letGo: make(chan struct{})}
		log := accesslog.New(out)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- log.Run(ctx) }()

		const many = 10_000
		for range many {
			log.Write(entry())
		}
		lost := log.Dropped()
		if lost == 0 {
			t.Error("nothing was dropped")
		}
		close(out.letGo)
		time.Sleep(time.Second) // the bubble's time
		log.Write(entry())
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}

		var lines, told uint64
		for line := range strings.Lines(out.String()) {
			lines++
			if n, said := fields(t, line)["dropped"]; said {
				told += uint64(n.(float64))
			}
		}
		if lines != many+1-lost || told != lost || log.Dropped() != lost {
			t.Errorf("%d lines, %d told as dropped, %d dropped of %d", lines, told, log.Dropped(), many+1)
		}
	})
}

func TestWrite_TheQueueIsBoundedInBytesToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the patience of a stop is the bubble's time
		var out bytes.Buffer
		log := accesslog.New(&out)
		e := entry()
		e.UserAgent = strings.Repeat("\x01", 4<<10)
		for range 2000 {
			log.Write(e)
		}
		run(t, log)
		if out.Len() > 16<<20 || out.Len() < 15<<20 || log.Dropped() == 0 {
			t.Errorf("%d bytes were queued, %d lines dropped", out.Len(), log.Dropped())
		}
	})
}

func TestRun_ABlockedWriterDoesNotHoldUpTheStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &stuck{letGo: make(chan struct{})}
		log := accesslog.New(out)
		ctx, stop := context.WithCancel(t.Context())
		log.Write(entry())
		log.Write(entry())
		ended := make(chan error, 1)
		go func() { ended <- log.Run(ctx) }()
		time.Sleep(time.Second) // the bubble's time
		stop()
		if err := <-ended; err == nil || !strings.Contains(err.Error(), "2 lines wait unwritten") {
			t.Errorf("Run: %v", err)
		}
		close(out.letGo)
	})
}

func TestWrite_LinesOfManyRequestsAreNotMixed(t *testing.T) {
	var out bytes.Buffer
	log := accesslog.New(&out)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- log.Run(ctx) }()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				log.Write(entry())
			}
		})
	}
	all.Wait()
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if want := strings.Repeat(written(t, entry()), 800); out.String() != want {
		t.Errorf("%d bytes, want 800 equal lines of %d in all", out.Len(), len(want))
	}
}

func TestWrite_AllocatesNothing(t *testing.T) {
	log := accesslog.New(io.Discard)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- log.Run(ctx) }()
	e := entry()
	if n := testing.AllocsPerRun(20_000, func() { log.Write(e) }); n != 0 {
		t.Errorf("%v allocations a line, want 0", n)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func FuzzWrite(f *testing.F) {
	f.Add("/a?b", "curl/8", "GET", int64(200), int64(1))
	f.Add("\xff\x00\u2028\"\\", "\xed\xa0\x80\U0010FFFF", "\xc3", int64(-1), int64(-1<<63))
	f.Add(strings.Repeat("é", 3000), strings.Repeat("\x80", 5000), strings.Repeat("x", 257), int64(0), int64(1<<63-1))
	f.Fuzz(func(t *testing.T, path, agent, method string, number, duration int64) {
		e := entry()
		e.Path, e.UserAgent, e.Method, e.Host, e.Route = path, agent, method, agent, path
		e.BytesIn, e.Duration = number, time.Duration(duration)
		line := written(t, e)
		if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
			t.Fatalf("not one line: %q", line)
		}
		var got struct {
			Path      string `json:"path"`
			UserAgent string `json:"user_agent"`
			Method    string `json:"method"`
			Host      string `json:"host"`
			Route     string `json:"route"`
			BytesIn   int64  `json:"bytes_in"`
		}
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		roundTrips(t, got.Path, path, 4<<10)
		roundTrips(t, got.UserAgent, agent, 4<<10)
		roundTrips(t, got.Method, method, 256)
		roundTrips(t, got.Host, agent, 256)
		roundTrips(t, got.Route, e.Route, 256)
		if got.BytesIn != number {
			t.Errorf("bytes_in = %d, want %d", got.BytesIn, number)
		}
	})
}

// roundTrips holds that got is in, with U+FFFD for each byte that is no UTF-8,
// and shortened only when in is longer than limit.
func roundTrips(t *testing.T, got, in string, limit int) {
	t.Helper()
	if len(in) <= limit {
		if want := string([]rune(in)); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
		return
	}
	begin, cut := strings.CutSuffix(got, "…")
	if !cut {
		t.Errorf("%q is not marked as shortened", got)
	}
	for end := limit - 4; end <= limit; end++ {
		if begin == string([]rune(in[:end])) {
			return
		}
	}
	t.Errorf("%q is not how %q begins", begin, in)
}

func BenchmarkWrite(b *testing.B) {
	log := accesslog.New(io.Discard)
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- log.Run(ctx) }()
	e := entry()
	b.ReportAllocs()
	for b.Loop() {
		log.Write(e)
	}
	b.ReportMetric(float64(log.Dropped())/float64(b.N), "dropped/op")
	stop()
	if err := <-ended; err != nil {
		b.Error(err)
	}
}

// place is where lines go; it notes that it was closed.
type place struct {
	bytes.Buffer
	closed bool
}

func (p *place) Close() error { p.closed = true; return nil }

func TestDirect_NoLineIsLostBetweenTwoWriters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var first, skipped, second place
		log := accesslog.New(&first)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		log.Write(entry()) // waits
		go func() { ended <- log.Run(ctx) }()
		log.Direct(&skipped)
		log.Direct(&second)
		time.Sleep(time.Second) // the bubble's time
		synctest.Wait()
		if !first.closed || !skipped.closed || second.closed {
			t.Errorf("closed: %t, %t, %t; want all but the last", first.closed, skipped.closed, second.closed)
		}
		log.Write(entry())
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		one := written(t, entry())
		if first.String() != one || skipped.Len() > 0 || second.String() != one || !second.closed {
			t.Errorf("first:\n%sskipped:\n%ssecond:\n%sclosed %t", first.String(), skipped.String(), second.String(), second.closed)
		}
	})
}
