package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"
)

// Check is what is asked of a target. The zero Check is the one that
// WithDefaults makes of it: GET /healthz over HTTP every second, any 2xx within
// a second will do, two in a row change the target's state.
type Check struct {
	Protocol    string // http (default), h2c, grpc or tcp
	Path        string
	Host        string // of the request; default: the target's address
	Headers     map[string]string
	StatusMin   int    // the lowest status that passes; default 200
	StatusMax   int    // the highest; default 299
	Body        string // the first 64 KiB of the answer must contain it; empty: anything goes
	GRPCService string // asked for by the gRPC protocol; empty: the server as a whole
	Preface     string // written to each new connection before anything else: a PROXY header
	Timeout     time.Duration
	Interval    time.Duration
	Rise, Fall  int
}

// WithDefaults returns c with its empty fields filled in.
func (c Check) WithDefaults() Check {
	if c.Protocol == "" {
		c.Protocol = "http"
	}
	if c.Path == "" {
		c.Path = "/healthz"
	}
	if !strings.HasPrefix(c.Path, "/") { // or it would become part of the host
		c.Path = "/" + c.Path
	}
	if c.StatusMin <= 0 {
		c.StatusMin = 200
	}
	if c.StatusMax <= 0 {
		c.StatusMax = max(299, c.StatusMin)
	}
	if c.Timeout <= 0 {
		c.Timeout = time.Second
	}
	if c.Interval <= 0 {
		c.Interval = time.Second
	}
	if c.Rise <= 0 {
		c.Rise = 2
	}
	if c.Fall <= 0 {
		c.Fall = 2
	}
	return c
}

// Failure is a check that did not pass, in plain words.
type Failure struct {
	Check  string        // what was asked, such as "GET /healthz"
	Status int           // of the answer; 0: there was none
	Body   string        // its first 300 bytes
	Err    error         // why there was no answer, or why this one does not do
	Took   time.Duration // from the question to the failure

	limit time.Duration // how long an answer was waited for
}

// Error says it in one line.
func (f *Failure) Error() string {
	line := f.Check + ":"
	if f.Status != 0 {
		line += fmt.Sprintf(" %d", f.Status)
	}
	if f.Body != "" {
		line += fmt.Sprintf(" %q", f.Body)
	}
	switch {
	case f.Err == nil:
		return line
	case f.Status != 0:
		return line + ": " + f.why()
	}
	return line + " " + f.why()
}

// Unwrap returns why there was no answer.
func (f *Failure) Unwrap() error { return f.Err }

func (f *Failure) why() string {
	var dns *net.DNSError
	switch {
	case errors.Is(f.Err, context.DeadlineExceeded) && f.Status != 0:
		return fmt.Sprintf("the answer had no end within %s", f.limit)
	case errors.Is(f.Err, context.DeadlineExceeded):
		return fmt.Sprintf("no answer within %s", f.limit)
	case errors.Is(f.Err, context.Canceled):
		return "stopped before there was an answer"
	case errors.Is(f.Err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(f.Err, syscall.ECONNRESET), errors.Is(f.Err, syscall.EPIPE):
		return "connection reset"
	case errors.Is(f.Err, syscall.ENOENT):
		return "no such socket"
	case errors.Is(f.Err, syscall.EHOSTUNREACH), errors.Is(f.Err, syscall.ENETUNREACH):
		return "no route to it"
	case errors.Is(f.Err, io.ErrUnexpectedEOF):
		return "connection closed in the middle of the answer"
	case errors.Is(f.Err, io.EOF):
		return "connection closed without an answer"
	case errors.As(f.Err, &dns) && dns.IsNotFound:
		return "no such host " + dns.Name
	}
	return f.Err.Error()
}
