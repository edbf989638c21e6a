package transport

import (
	"errors"
	"fmt"
	"time"
)

// DialError says that no connection was established: no byte of the request was
// sent, so any request may be tried elsewhere.
type DialError struct{ Err error }

// Error says what the dial said.
func (e *DialError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *DialError) Unwrap() error { return e.Err }

// MalformedError says that a target's answer is no valid HTTP. The request was
// processed as far as anybody knows, and asking again would not help.
type MalformedError struct{ What string }

// Error says what is wrong with the answer.
func (e *MalformedError) Error() string { return "malformed answer: " + e.What }

func malformed(format string, args ...any) error {
	return &MalformedError{fmt.Sprintf(format, args...)}
}

// BodyError says that the request itself could not be sent as it came: its body
// ended in an error, or it holds what HTTP/1.1 cannot carry. The target did
// nothing wrong.
type BodyError struct{ Err error }

// Error says what the body said.
func (e *BodyError) Error() string { return "request: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *BodyError) Unwrap() error { return e.Err }

func isBody(err error) bool {
	var body *BodyError
	return errors.As(err, &body)
}

// ErrBusy says that every connection that the bounds allow was taken until the
// patience ended. Nothing was sent.
var ErrBusy = errors.New("no connection to the target became free in time")

// timeoutError says that a target did not answer, or not read on, in time. It is
// temporary so that crypto/tls does not take the connection for broken.
type timeoutError struct {
	what  string
	after time.Duration
}

func (e *timeoutError) Error() string   { return fmt.Sprintf("%s within %s", e.what, e.after) }
func (e *timeoutError) Timeout() bool   { return true }
func (e *timeoutError) Temporary() bool { return true }

// unsentError says that a connection failed before a byte of the request left.
type unsentError struct{ err error }

func (e *unsentError) Error() string {
	return "connection failed before the request was written: " + e.err.Error()
}
func (e *unsentError) Unwrap() error { return e.err }

// staleError says that a connection that had been idle ended without a byte of
// an answer. Whether the request was processed, nobody can tell.
type staleError struct{ err error }

func (e *staleError) Error() string {
	return "connection that had been idle ended without an answer: " + e.err.Error()
}
func (e *staleError) Unwrap() error { return e.err }

// begunError says that an exchange failed after a part of an answer had come.
type begunError struct{ err error }

func (e *begunError) Error() string { return "an answer had begun: " + e.err.Error() }
func (e *begunError) Unwrap() error { return e.err }

// Begun tells that a part of an answer, or an informational one, came before a
// request failed: the target has it, and asking again would be asking twice.
func Begun(err error) bool {
	var begun *begunError
	return errors.As(err, &begun)
}

// NeverSent tells that no byte of a failed request left: it may go out again,
// whatever its method.
func NeverSent(err error) bool {
	var dial *DialError
	var unsent *unsentError
	return errors.As(err, &dial) || errors.As(err, &unsent) || errors.Is(err, errStale)
}
