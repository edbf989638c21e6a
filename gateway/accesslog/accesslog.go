// Package accesslog writes one JSON object per request and line. A request
// never waits for the log: when the writer is slow, blocked or out of space,
// lines are dropped, counted, and the next line says how many.
package accesslog

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	queueLines   = 4096
	queueBytes   = 16 << 20
	keepBytes    = 256 << 10             // a longer buffer is not kept for the next lines
	gathered     = 32 << 10              // bytes, or
	gathering    = 20 * time.Millisecond // since the first line: then what waits is written
	together     = 4096                  // written at once, unless one line is longer: what others write to the same pipe does not come between (PIPE_BUF, pipe(7))
	stopPatience = 2 * time.Second
)

// Entry is what is known of a request after its last byte. Its Path is decoded and
// has no query: a question mark in it is one that was encoded.
type Entry struct {
	Time             time.Time
	RequestID        string
	TraceID          string
	ClientIP         string // the visitor
	PeerIP           string // the other end of the connection
	Method           string
	Host             string
	Path             string
	Protocol         string
	Status           int
	BytesIn          int64
	BytesOut         int64
	Duration         time.Duration
	UpstreamDuration time.Duration
	Route            string
	Service          string
	Version          string
	Target           string
	Attempts         int
	Held             bool
	Reason           string
	UserAgent        string
}

// Log is a bounded queue of lines on their way to a writer. They are gathered for a
// moment and go out together: to wake a goroutine and to make a system call for each
// would cost more than all else that a line costs.
type Log struct {
	scratch sync.Pool     // of *[]byte: a line under construction
	dropped atomic.Uint64 // lines, since the beginning
	some    chan struct{} // told of the first line that waits
	enough  chan struct{} // told when there is no point in waiting for more

	mu      sync.Mutex // guards the fields below
	waiting batch
	writing batch     // its bytes are the writing goroutine's alone
	next    io.Writer // nil: none

	// Only the writing goroutine touches these.
	out  io.Writer
	told uint64 // how many of the dropped lines the log has spoken of
	torn bool   // the last line broke off in the middle
	own  []byte // a line that goes alone
}

// batch is lines, each with the newline that ends it; there is no other in them.
type batch struct {
	bytes []byte
	lines int
}

// New returns a Log to w. Lines wait in its queue until Run writes them. Where w can
// be closed, that is done when another takes its place, or at the end of Run.
func New(w io.Writer) *Log {
	l := &Log{out: w, some: make(chan struct{}, 1), enough: make(chan struct{}, 1)}
	l.scratch.New = func() any { return new(make([]byte, 0, 1<<10)) }
	return l
}

// Write queues the line of e, or drops it when the queue is full. It never
// waits for the writer, keeps nothing of e, and may be called from many
// goroutines at once.
func (l *Log) Write(e *Entry) {
	one := l.scratch.Get().(*[]byte)
	*one = appendEntry((*one)[:0], e)
	if !l.enqueue(*one) {
		l.dropped.Add(1)
	}
	l.scratch.Put(one)
}

// Direct sends lines to w, in place of the writer before, when those that wait have
// been written. It does not wait for that.
func (l *Log) Direct(w io.Writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	shut(l.next) // nothing was written to it
	l.next = w
	tell(l.some)
}

func (l *Log) enqueue(one []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting.lines+l.writing.lines >= queueLines || len(l.waiting.bytes)+len(l.writing.bytes)+len(one) > queueBytes {
		return false
	}
	l.waiting.bytes = append(l.waiting.bytes, one...)
	l.waiting.lines++
	if l.waiting.lines == 1 {
		tell(l.some)
	}
	if n := len(l.waiting.bytes); n >= gathered && n-len(one) < gathered {
		tell(l.enough)
	}
	return true
}

// tell leaves word that is found later; once is enough.
func tell(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Dropped tells how many lines were lost so far.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// Run writes lines until ctx ends, and then those that still wait. It is to be
// ended after the last request. A writer that blocks is waited for a little
// while at the end; the error says how many lines it kept from being written.
// Such a writer keeps its goroutine, so Run must not be called a second time.
func (l *Log) Run(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.writeUntil(ctx)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	patience := time.NewTimer(stopPatience)
	defer patience.Stop()
	select {
	case <-done:
		return nil
	case <-patience.C:
		l.mu.Lock()
		defer l.mu.Unlock()
		return fmt.Errorf("write access log: still blocked %s after the stop: %d lines wait unwritten", stopPatience, l.waiting.lines+l.writing.lines)
	}
}

func (l *Log) writeUntil(ctx context.Context) {
	gather := time.NewTimer(gathering)
	defer gather.Stop()
	for ctx.Err() == nil {
		select {
		case <-l.some:
		case <-ctx.Done():
		}
		gather.Reset(gathering)
		select {
		case <-l.enough:
		case <-gather.C:
		case <-ctx.Done():
		}
		l.writeWaiting()
	}
	for l.writeWaiting() {
	}
	shut(l.out)
}

// shut closes w. What was to be written to it has been, or is counted as lost.
func shut(w io.Writer) {
	if c, ok := w.(io.Closer); ok {
		c.Close()
	}
}

// writeWaiting writes what waits now, and tells whether there was anything. Then it
// turns to the next writer, if there is one.
func (l *Log) writeWaiting() bool {
	l.mu.Lock()
	l.writing, l.waiting = l.waiting, batch{bytes: l.writing.bytes}
	lines := l.writing.bytes
	l.mu.Unlock()

	l.write(lines)

	l.mu.Lock()
	l.writing = batch{}
	if cap(lines) <= keepBytes {
		l.writing.bytes = lines[:0]
	}
	next := l.next
	l.next = nil
	l.mu.Unlock()
	if next != nil {
		shut(l.out)
		l.out = next
	}
	return len(lines) > 0
}

// write writes lines, several at once while nothing fails. A failure costs the
// line that it met, is counted and never ends the log: a full disk may have space
// again for the next line.
func (l *Log) write(lines []byte) {
	for len(lines) > 0 {
		first := bytes.IndexByte(lines, '\n') + 1
		if l.torn || l.dropped.Load() > l.told {
			l.writeAlone(lines[:first])
			lines = lines[first:]
			continue
		}
		some := lines
		if len(lines) > together {
			some = lines[:max(first, bytes.LastIndexByte(lines[:together], '\n')+1)]
		}
		// The error would say nothing more: fewer bytes than given is a failure.
		n, _ := l.out.Write(some)
		if n < len(some) {
			whole := bytes.LastIndexByte(some[:n], '\n') + 1
			l.torn = n > whole
			l.dropped.Add(1)
			n = whole + bytes.IndexByte(some[whole:], '\n') + 1
		}
		lines = lines[n:]
	}
}

// writeAlone writes one line that says how many were dropped before it, and that
// begins with a newline where the last one was torn.
func (l *Log) writeAlone(line []byte) {
	dropped := l.dropped.Load()
	b := append(l.own[:0], '\n')
	b = append(b, line...)
	if dropped > l.told {
		b = append(b[:len(b)-len("}\n")], `,"dropped":`...)
		b = strconv.AppendUint(b, dropped-l.told, 10)
		b = append(b, "}\n"...)
	}
	l.own = b
	if !l.torn {
		b = b[1:]
	}
	n, _ := l.out.Write(b)
	if n == len(b) {
		l.told, l.torn = dropped, false
		return
	}
	if n > 0 {
		l.torn = !l.torn || n > 1 // only the newline: it has mended the line before
	}
	l.dropped.Add(1)
}
