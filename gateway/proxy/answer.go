package proxy

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"strconv"
	"strings"
)

// ReasonHeader carries the reason of every answer that the gateway made itself.
const ReasonHeader = "X-Gateway-Reason"

// Answer is an answer that the gateway makes itself: a status, a stable reason
// code, a sentence for people, and when to come again (seconds; 0: not said).
type Answer struct {
	Status     int
	Reason     string
	Text       string
	RetryAfter int
	Location   string // of a redirect
}

// Error makes an Answer an error, so that a look-up can return it.
func (a *Answer) Error() string { return a.Reason + ": " + a.Text }

// Fail writes a as a problem document (RFC 9457) or a small page, by what the
// visitor accepts, and notes it for log and metrics.
func Fail(w http.ResponseWriter, r *http.Request, a *Answer) {
	x := From(r)
	x.Reason = a.Reason
	h := w.Header()
	clear(h)
	h.Set(ReasonHeader, a.Reason)
	h.Set("X-Request-Id", x.ID)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if a.Location != "" {
		h.Set("Location", a.Location)
	}
	if a.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(a.RetryAfter))
	}
	if a.Status == http.StatusBadRequest {
		h.Set("Connection", "close") // what else this connection says is not to be trusted
	}
	title := http.StatusText(a.Status)
	var body []byte
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		h.Set("Content-Type", "text/html; charset=utf-8")
		body = fmt.Appendf(nil, "<!doctype html><meta charset=utf-8><meta name=viewport content=\"width=device-width\"><title>%[1]d %[2]s</title>"+
			"<h1>%[2]s</h1><p>%[3]s</p><p><small>%[1]d · %[4]s · %[5]s</small></p>\n",
			a.Status, html.EscapeString(title), html.EscapeString(a.Text), html.EscapeString(a.Reason), html.EscapeString(x.ID))
	} else {
		h.Set("Content-Type", "application/problem+json")
		body, _ = json.Marshal(map[string]any{ // strings and a number: cannot fail
			"type": "about:blank", "title": title, "status": a.Status, "detail": a.Text, "reason": a.Reason, "request_id": x.ID,
		})
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(a.Status)
	if r.Method != http.MethodHead {
		w.Write(body) // a visitor who left does not read it
	}
}
