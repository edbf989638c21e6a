// Package accesslog writes one JSON object per request and line. A request
// never waits for the log: when the writer is slow, blocked or out of space,
// lines are dropped, counted, and the next line says how many.
package accesslog

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	queueLines   = 4096
	queueBytes   = 16 << 20
	keepBytes    = 4 << 10 // a longer buffer is not kept for the next line
	stopPatience = 2 * time.Second
)

// Entry is what is known of a request after its last byte. A Path is logged
// only up to its first question mark.
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

// Log is a bounded queue of lines on their way to a writer.
type Log struct {
	out     io.Writer
	queue   chan *line
	free    chan *line
	queued  atomic.Int64  // bytes in queue
	dropped atomic.Uint64 // lines, since the beginning

	// Only the writing goroutine touches these.
	told uint64 // how many of the dropped lines the log has spoken of
	torn bool   // the last line broke off in the middle
}

// A line is a newline, for the case that the line before was torn, and then an
// object with the newline that ends it.
type line struct{ bytes []byte }

// New returns a Log to w. Lines wait in its queue until Run writes them.
func New(w io.Writer) *Log {
	return &Log{out: w, queue: make(chan *line, queueLines), free: make(chan *line, queueLines)}
}

// Write queues the line of e, or drops it when the queue is full. It never
// waits for the writer, keeps nothing of e, and may be called from many
// goroutines at once.
func (l *Log) Write(e *Entry) {
	one := l.blank()
	one.bytes = appendEntry(append(one.bytes[:0], '\n'), e)
	size := int64(len(one.bytes))
	if l.queued.Add(size) <= queueBytes {
		select {
		case l.queue <- one:
			return
		default:
		}
	}
	l.queued.Add(-size)
	l.dropped.Add(1)
	l.recycle(one)
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
		return fmt.Errorf("write access log: still blocked %s after the stop: %d lines wait unwritten", stopPatience, len(l.queue)+1)
	}
}

func (l *Log) writeUntil(ctx context.Context) {
	for {
		select {
		case one := <-l.queue:
			l.write(one)
		case <-ctx.Done():
			for range len(l.queue) {
				l.write(<-l.queue)
			}
			return
		}
	}
}

// write makes one Write call. A failure is counted and never ends the log: a
// full disk may have space again for the next line.
func (l *Log) write(one *line) {
	l.queued.Add(-int64(len(one.bytes)))
	dropped := l.dropped.Load()
	if dropped > l.told {
		b := one.bytes[:len(one.bytes)-len("}\n")]
		b = append(b, `,"dropped":`...)
		b = strconv.AppendUint(b, dropped-l.told, 10)
		one.bytes = append(b, "}\n"...)
	}
	b := one.bytes[1:]
	if l.torn {
		b = one.bytes
	}
	// The error would say nothing more: fewer bytes than given is a failure.
	n, _ := l.out.Write(b)
	switch {
	case n == len(b):
		l.told, l.torn = dropped, false
	case n > 0:
		l.torn = !l.torn || n > 1 // only the newline: it has mended the line before
		l.dropped.Add(1)
	default:
		l.dropped.Add(1)
	}
	l.recycle(one)
}

func (l *Log) blank() *line {
	select {
	case one := <-l.free:
		return one
	default:
		return &line{bytes: make([]byte, 0, 1024)}
	}
}

func (l *Log) recycle(one *line) {
	if cap(one.bytes) > keepBytes {
		return
	}
	select {
	case l.free <- one:
	default:
	}
}
