// Package proxy is the request path: look up, lease, forward through
// httputil.ReverseProxy, and say which failure is which answer.
package proxy

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"pomodoro.cc/gateway/transport"
	"pomodoro.cc/gateway/upstream"
)

// Route is what a request was matched to. It never changes.
type Route struct {
	Name, Service string
	Slot          *upstream.Slot
	Strip         string            // prefix whose segments are taken off before the target sees the path
	SetHeaders    map[string]string // fields of the answer, canonical; Strict-Transport-Security only over HTTPS
	Upgrades      []string          // protocols that may be upgraded to, lower case
	AllowHeaders  []string          // fields passed on that are dropped by default, canonical
	HashCookie    string            // key of Hash balance; empty: the visitor's address
	Streams       time.Duration     // patience of a drain with this route's streams; 0: the service's
	Retry         Retry
	Hold          Hold

	// Suspect is told of a target that could not be reached, so that it is
	// checked at once rather than at the next tick. Ejected and Retried count.
	Suspect func(*upstream.Target, error)
	Ejected func()
	Retried func()
}

// Hold bounds the waiting for a healthy target.
type Hold struct {
	For      time.Duration
	Requests int
	Body     int64 // bytes of a body kept for a further attempt
}

// Retry bounds repeated attempts; Budget is shared by the routes of a service.
type Retry struct {
	Attempts int
	Budget   *Budget
}

// Handler forwards requests. Lookup is a function so that a test can state the
// routing it needs in one line; its error may be an *Answer. The route that it returns
// is logged and counted beside an error too.
type Handler struct {
	Lookup func(*http.Request) (*Route, error)
	proxy  httputil.ReverseProxy
}

// New returns a Handler that routes by lookup. Faults that only a developer can
// act on go to faults.
func New(lookup func(*http.Request) (*Route, error), faults *log.Logger) *Handler {
	h := &Handler{Lookup: lookup}
	h.proxy = httputil.ReverseProxy{
		Rewrite:        rewrite,
		Transport:      service{},
		ErrorLog:       faults,
		BufferPool:     buffers{},
		ModifyResponse: check,
		ErrorHandler:   h.failed,
	}
	return h
}

// ServeHTTP is the request path: look up, lease, forward. The lease is taken in
// service.RoundTrip, below ReverseProxy, so that a retry can take another.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := From(r)
	defer x.in.end()
	var err error
	x.Route, err = h.Lookup(r)
	if err == nil {
		awaited := false
		if awaited, err = x.await(r); awaited && err == nil {
			x.Route, err = h.Lookup(r) // a reload may have come meanwhile
		}
	}
	if err != nil {
		h.failed(w, r, err)
		return
	}
	x.direct = w == http.ResponseWriter(&x.out) && r.TLS == nil && r.ProtoMajor == 1
	x.header = r.Header
	defer func() {
		r.Header = x.header
		x.release() // ReverseProxy does not close every answer that it cannot pass on
	}()
	if endToEnd(r.Header) {
		r.Header = nil
	}
	x.ctx.shown = true
	h.proxy.ServeHTTP(w, r)
}

// endToEnd tells whether h holds nothing that concerns one connection alone
// (RFC 9110 7.6.1), as nearly all do: then ReverseProxy, who copies a request's
// fields to take such ones out, is given none, and rewrite moves them to the target's
// request as they are; those of an answer are moved by check. A field Connection
// that says what HTTP/1.1 does anyway is taken out here.
func endToEnd(h http.Header) bool {
	for name, values := range h {
		if !isHop(name) {
			continue
		}
		if name != "Connection" || len(values) != 1 || !strings.EqualFold(values[0], "keep-alive") {
			return false
		}
		delete(h, name)
	}
	return true
}

// isHop tells whether a field concerns one connection alone, whatever Connection says.
func isHop(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// dropHops takes out what concerns one connection alone.
func dropHops(h http.Header) {
	for _, names := range h["Connection"] {
		for name := range strings.SplitSeq(names, ",") {
			h.Del(textproto.TrimString(name))
		}
	}
	for name := range h {
		if isHop(name) {
			delete(h, name)
		}
	}
}

// rewrite makes the request that a target sees. ReverseProxy has removed
// hop-by-hop fields, or there were none.
func rewrite(p *httputil.ProxyRequest) {
	x := From(p.In)
	client, host := forwarded(p.In, x)
	if p.In.Header == nil { // see ServeHTTP
		p.Out.Header = x.header
		for _, name := range [...]string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
			delete(x.header, name) // as ReverseProxy does, whatever a route allows
		}
	}
	out, route := p.Out.Header, x.Route
	// ReverseProxy drops queries that it cannot parse: the target decides.
	p.Out.URL.RawQuery, p.Out.URL.ForceQuery = p.In.URL.RawQuery, p.In.URL.ForceQuery
	if route.Strip != "" {
		strip(p.Out.URL, route.Strip)
	}
	for name := range out {
		if drops(name) && !contains(route.AllowHeaders, name) {
			delete(out, name)
		}
	}
	if up := strings.ToLower(out.Get("Upgrade")); up != "" {
		// RFC 6455 4.1: GET and no body. Anything else would open a tunnel past the routes.
		// HTTP/1.0 knows no upgrade (RFC 9110 7.8).
		if !p.In.ProtoAtLeast(1, 1) || p.In.Method != http.MethodGet || p.In.ContentLength != 0 || !contains(route.Upgrades, up) {
			delete(out, "Upgrade")
			delete(out, "Connection")
		}
	}
	if !p.In.ProtoAtLeast(1, 1) {
		delete(out, "Expect") // RFC 9110 10.1.1
	}
	delete(out, "Http2-Settings")
	delete(out, "Content-Length") // the transport's to write; a small map without it has room for the fields below
	scheme := "http"
	if x.HTTPS {
		scheme = "https"
	}
	x.fields = [...]string{client, x.ClientIP, host, scheme, x.ID}
	for i, name := range [...]string{"X-Forwarded-For", "X-Real-Ip", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Request-Id"} {
		out[name] = x.fields[i : i+1 : i+1]
	}
	x.trailer, p.Out.Trailer = p.In.Trailer, nil
	for name := range p.In.Trailer {
		if httpguts.ValidTrailerHeader(name) && (!drops(name) || contains(route.AllowHeaders, name)) && !steers(name) {
			if p.Out.Trailer == nil {
				p.Out.Trailer = http.Header{}
			}
			p.Out.Trailer[name] = nil
		}
	}
}

// forwarded is who asks and for which host, as the target is told: behind a
// trusted proxy, with what that says.
func forwarded(in *http.Request, x *Exchange) (client, host string) {
	client, host = x.ClientIP, in.Host
	if !x.Trusted {
		return client, host
	}
	if before := x.header.Values("X-Forwarded-For"); len(before) > 0 {
		peer, _, _ := net.SplitHostPort(in.RemoteAddr) // the server's own: always splits
		client = strings.Join(before, ", ") + ", " + peer
	}
	if before := x.header.Get("X-Forwarded-Host"); before != "" {
		host = before
	}
	return client, host
}

// drops tells whether a request's field means something to some applications
// that only a proxy of theirs may say.
func drops(name string) bool {
	if strings.ContainsRune(name, '_') || forwarding(name) {
		return true
	}
	switch name {
	case "X-Original-Url", "X-Rewrite-Url", "X-Original-Host", "X-Original-Uri", "Proxy":
		return true
	}
	return false
}

// steers tells whether a field says what becomes of a request: too late, in a trailer.
func steers(name string) bool {
	return name == "Upgrade" || name == "Http2-Settings" || name == "Cookie"
}

func forwarding(name string) bool {
	if name == "" || strings.IndexByte("XxFfHh", name[0]) < 0 {
		return false // most are not, and seen not to be at once
	}
	name = textproto.CanonicalMIMEHeaderKey(name)
	return strings.HasPrefix(name, "X-Forwarded-") || name == "Forwarded" || name == "X-Real-Ip" || name == "X-Request-Id" || name == "Host"
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

var errBadAnswer = errors.New("target answered with a status or an upgrade that is no valid HTTP")

// check refuses a status that would confuse the visitor's side, and adds the
// route's own fields. The transport has refused fields that are none.
func check(res *http.Response) error {
	x := fromContext(res.Request.Context())
	if x.answer != nil {
		res.Header = x.answer
	}
	if res.StatusCode < 100 {
		return errBadAnswer
	}
	delete(res.Header, ReasonHeader) // the gateway's alone
	dropReason(res.Trailer)          // where it is announced; the values come later
	if x.NewBucket {
		res.Header.Add("Set-Cookie", bucketCookie(x))
	}
	for name, value := range x.Route.SetHeaders {
		if x.HTTPS || name != "Strict-Transport-Security" { // not over plain HTTP (RFC 6797 7.2)
			res.Header.Set(name, value)
		}
	}
	if res.StatusCode != http.StatusSwitchingProtocols && x.out.x != nil {
		x.move(res)
	}
	return nil
}

// dropReason takes out of a target's trailer what only the gateway says.
func dropReason(trailer http.Header) {
	for name := range trailer {
		if strings.EqualFold(name, ReasonHeader) {
			delete(trailer, name)
		}
	}
}

// move hands the answer's fields to the visitor's side and leaves ReverseProxy
// none to copy. It leaves it no reason to flush either: leased does that, before
// it waits for the target, and only then.
func (x *Exchange) move(res *http.Response) {
	to := x.out.Header()
	for name, values := range res.Header {
		if before := to[name]; before != nil {
			values = append(before, values...)
		}
		to[name] = values
	}
	if to["Content-Type"] == nil {
		to["Content-Type"] = nil // net/http would guess one where there is no entry
	}
	res.Header, res.ContentLength = nil, 0
}

// failed says which failure is which answer.
func (h *Handler) failed(w http.ResponseWriter, r *http.Request, err error) {
	var own *Answer
	var tooLarge *http.MaxBytesError
	switch {
	case errors.Is(err, errUpgraded):
		return
	case errors.As(err, &own):
	case From(r).in.late.Load(): // the server takes it for the visitor's leaving
		own = &Answer{Status: http.StatusRequestTimeout, Reason: "body_timeout", Text: "the rest of the request did not come"}
	case r.Context().Err() != nil:
		// 499 as nginx writes it: nobody is there to read an answer.
		own = &Answer{Status: 499, Reason: "client_left", Text: "the visitor left"}
	case errors.Is(err, upstream.ErrCut):
		own = &Answer{Status: http.StatusServiceUnavailable, Reason: "cut", Text: "the target went away while it worked on this", RetryAfter: 1}
	case errors.As(err, &tooLarge):
		own = &Answer{Status: http.StatusRequestEntityTooLarge, Reason: "too_large", Text: "the body is larger than this site takes"}
	case errors.Is(err, upstream.ErrHoldFull), errors.Is(err, transport.ErrBusy):
		own = &Answer{Status: http.StatusServiceUnavailable, Reason: "hold_full", Text: "the service is not available now", RetryAfter: 2}
	case unsendable(err):
		own = &Answer{Status: http.StatusBadRequest, Reason: "bad_request", Text: "the request could not be passed on as it came"}
	case errors.Is(err, upstream.ErrPaused):
		own = &Answer{Status: http.StatusServiceUnavailable, Reason: "paused", Text: "the service is paused", RetryAfter: 2}
	case errors.Is(err, upstream.ErrHoldTimeout), errors.Is(err, upstream.ErrNoTarget):
		own = &Answer{Status: http.StatusServiceUnavailable, Reason: "hold_timeout", Text: "the service is not available now", RetryAfter: 2}
	case timeout(err):
		own = &Answer{Status: http.StatusGatewayTimeout, Reason: "target_timeout", Text: "the service took too long to answer"}
	case transport.NeverSent(err):
		own = &Answer{Status: http.StatusBadGateway, Reason: "connect_failed", Text: "the service cannot be reached", RetryAfter: 1}
	case errors.Is(err, errBadAnswer), malformed(err):
		own = &Answer{Status: http.StatusBadGateway, Reason: "bad_answer", Text: "the service gave no valid answer"}
	default:
		own = &Answer{Status: http.StatusBadGateway, Reason: "target_reset", Text: "the service broke off", RetryAfter: 1}
	}
	Fail(w, r, own)
}

func timeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}

func malformed(err error) bool {
	var bad *transport.MalformedError
	return errors.As(err, &bad)
}

// unsendable tells that the fault is the request's own, not the target's.
func unsendable(err error) bool {
	var body *transport.BodyError
	return errors.As(err, &body)
}
