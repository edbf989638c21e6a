package proxy

import (
	"io"
	"net/http"
)

// writer is the one wrapper between the server and the steps. It counts, knows
// whether the visitor has everything. It hides nothing of the writer below: Unwrap gives the
// deadlines, ReadFrom keeps splice.
type writer struct {
	http.ResponseWriter
	x      *Exchange
	status int
	bytes  int64
	behind bool // something was written that the visitor may not have yet
}

// Unwrap serves http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader notes the final status; 1xx go through.
func (w *writer) WriteHeader(status int) {
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.status, w.behind = status, true
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write counts.
func (w *writer) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	w.behind = true
	return n, err
}

// ReadFrom counts and lets the server splice.
func (w *writer) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(w.ResponseWriter, r)
	w.bytes += n
	w.behind = true
	return n, err
}

// FlushError sends what was written on to the visitor.
func (w *writer) FlushError() error {
	w.behind = false
	switch f := w.ResponseWriter.(type) {
	case interface{ FlushError() error }:
		return f.FlushError()
	case http.Flusher:
		f.Flush()
		return nil
	}
	return http.ErrNotSupported
}
