package gateway

import (
	"crypto/rand"
	"encoding/hex"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"pomodoro.cc/gateway/accesslog"
	"pomodoro.cc/gateway/edge"
	"pomodoro.cc/gateway/metrics"
	"pomodoro.cc/gateway/proxy"
)

// handler is the order in which a request meets things. Where secure is an
// address, plain requests are sent there.
func (g *Gateway) handler(https bool, secure string) http.Handler {
	return through(g.proxy,
		g.identify(https), // who asks, under which id
		g.account,         // log and metrics, whatever happens below
		g.recoverPanic,
		refuse, // what no target should ever see
		encode,
		toHTTPS(secure),
		g.limit,
	)
}

// through wraps final so that a request meets the steps in the order written.
func through(final http.Handler, steps ...func(http.Handler) http.Handler) http.Handler {
	for _, step := range slices.Backward(steps) {
		final = step(final)
	}
	return final
}

// identify gives the request its Exchange: its id, and the visitor's address as
// far as trusted proxies tell it.
func (g *Gateway) identify(https bool) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			trusted := g.now.Load().file.TrustedProxies
			peer, _ := netip.ParseAddrPort(r.RemoteAddr) // the server's own: always parses
			client := peer.Addr().Unmap()
			x := &proxy.Exchange{HTTPS: https, Trusted: within(trusted, client)}
			if x.Trusted {
				client = forwardedClient(r.Header.Values("X-Forwarded-For"), trusted, client)
				x.HTTPS = https || r.Header.Get("X-Forwarded-Proto") == "https"
				x.ID = r.Header.Get("X-Request-Id")
			}
			if v := edge.VisitorOf(r.Context()); v != nil {
				x.Leaving = v
			}
			x.ClientIP = textOf(client, r.RemoteAddr)
			if !plainID(x.ID) {
				x.ID = newID()
			}
			next.ServeHTTP(w, proxy.With(r, x))
		})
	}
}

// textOf is a in text, without memory for it where remote has that text already.
func textOf(a netip.Addr, remote string) string {
	if host, _, err := net.SplitHostPort(remote); err == nil && a.Is4() {
		var text [len("255.255.255.255")]byte
		if string(a.AppendTo(text[:0])) == host {
			return host
		}
	}
	return a.String()
}

func within(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// forwardedClient walks X-Forwarded-For from its end: the last address that no
// trusted proxy has is the visitor's.
func forwardedClient(fields []string, trusted []netip.Prefix, peer netip.Addr) netip.Addr {
	hops := strings.Split(strings.Join(fields, ","), ",")
	for _, hop := range slices.Backward(hops) {
		a, ok := addressOf(strings.TrimSpace(hop))
		if !ok {
			return peer
		}
		peer = a.Unmap()
		if !within(trusted, peer) {
			break
		}
	}
	return peer
}

// addressOf reads an address of X-Forwarded-For; some proxies write its port too.
func addressOf(hop string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(hop); err == nil {
		return a, true
	}
	if with, err := netip.ParseAddrPort(hop); err == nil {
		return with.Addr(), true
	}
	bare, opened := strings.CutPrefix(hop, "[")
	bare, closed := strings.CutSuffix(bare, "]")
	a, err := netip.ParseAddr(bare)
	return a, err == nil && opened && closed && a.Is6()
}

func plainID(id string) bool {
	if len(id) < 8 || len(id) > 128 {
		return false
	}
	return !strings.ContainsFunc(id, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
	})
}

func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// account counts and logs a request when its last byte is sent.
func (g *Gateway) account(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started := time.Now()
		x := proxy.From(r)
		w = x.Record(w, r)
		defer func() {
			if !x.Upgraded() {
				g.count(r, x, time.Since(started))
				return
			}
			x.Ends(func() { g.count(r, x, time.Since(started)) })
		}()
		next.ServeHTTP(w, r)
	})
}

func (g *Gateway) count(r *http.Request, x *proxy.Exchange, took time.Duration) {
	snapshot := g.now.Load()
	route, service, numbers := "", "", snapshot.unrouted
	if x.Route != nil {
		route, service = x.Route.Name, x.Route.Service
		if n := snapshot.numbersOf(x.Route); n != nil {
			numbers = n
		}
	}
	in := x.Received()
	status, out := x.Sent()
	if status == 0 {
		status = http.StatusOK
	}
	numbers.Observe(r.Method, status, x.Reason, in, out, took)
	if snapshot.file.AccessLog == "off" {
		return
	}
	peer, _, _ := net.SplitHostPort(r.RemoteAddr)
	g.log.Write(&accesslog.Entry{
		Time: time.Now(), RequestID: x.ID, TraceID: traceID(r.Header.Get("Traceparent")),
		ClientIP: x.ClientIP, PeerIP: peer, Method: r.Method, Host: r.Host, Path: r.URL.Path, Protocol: r.Proto,
		Status: status, BytesIn: in, BytesOut: out, Duration: took, UpstreamDuration: x.Upstream,
		Route: route, Service: service, Version: x.Version, Target: x.Target, Attempts: x.Attempts, Held: x.Held,
		Reason: x.Reason, UserAgent: r.UserAgent(),
	})
}

// unread counts and logs what could not be read as a request, which net/http has
// answered, and returns the fields that mark such an answer.
func (g *Gateway) unread(peer net.Addr, status int) string {
	reason, id := metrics.BadRequest, newID()
	if status == http.StatusRequestHeaderFieldsTooLarge {
		reason = metrics.TooLarge
	}
	snapshot := g.now.Load()
	snapshot.unrouted.Observe("", status, reason, 0, 0, 0)
	if snapshot.file.AccessLog != "off" {
		ip, _, _ := net.SplitHostPort(peer.String())
		g.log.Write(&accesslog.Entry{Time: time.Now(), RequestID: id, ClientIP: ip, PeerIP: ip, Status: status, Reason: reason})
	}
	return proxy.ReasonHeader + ": " + reason + "\r\nX-Request-Id: " + id
}

// traceID is the second field of a traceparent (W3C Trace Context 3.2).
func traceID(parent string) string {
	if parent == "" {
		return ""
	}
	if fields := strings.Split(parent, "-"); len(fields) >= 4 && len(fields[1]) == 32 {
		return fields[1]
	}
	return ""
}

// recoverPanic keeps the fault of one request from the others. An aborted
// answer stays aborted: the visitor must see that it is not whole.
func (g *Gateway) recoverPanic(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch fault := recover(); fault {
			case nil:
			case http.ErrAbortHandler:
				if x := proxy.From(r); x.Reason == "" {
					x.Reason = "target_reset"
					if r.Context().Err() != nil {
						x.Reason = "client_left"
					}
				}
				panic(fault)
			default:
				g.faults.Error("request failed", "fault", fault, "request_id", proxy.From(r).ID)
				proxy.From(r).Reason = "internal"
				panic(http.ErrAbortHandler)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// refuse answers requests that are ambiguous or that no target should see.
func refuse(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if why := suspicious(r); why != "" {
			proxy.Fail(w, r, &proxy.Answer{Status: http.StatusBadRequest, Reason: "bad_request", Text: why})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// encode makes the path one that is passed on as it came.
func encode(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proxy.Encode(r.URL)
		next.ServeHTTP(w, r)
	})
}

// suspicious says what is wrong with a request; empty when nothing is.
func suspicious(r *http.Request) string {
	target := r.RequestURI
	switch {
	case r.Method == http.MethodConnect || r.Method == http.MethodTrace:
		return "this method is not served"
	case !strings.HasPrefix(target, "/") && !hasSchemeFold(target):
		return "the request target must begin with a slash"
	case target[0] != '/' && r.URL.Host == "": // RFC 9110 4.2.1
		return "the request target names no host"
	case r.URL.User != nil:
		return "the request target holds user information"
	case strings.ContainsFunc(target, func(c rune) bool { return c <= ' ' || c == '#' || c >= 0x7f }):
		return "the request target holds a character that must be percent-encoded"
	case !plainHost(r.Host):
		return "the Host field names no host"
	case r.ProtoMajor == 1 && r.ProtoMinor == 0 && len(r.TransferEncoding) > 0:
		return "HTTP/1.0 knows no Transfer-Encoding" // RFC 9112 6.1
	}
	if length := r.Header["Content-Length"]; r.ProtoMajor > 1 && len(length) > 0 && (len(length) > 1 || strings.ContainsFunc(length[0], notDigit)) {
		return "Content-Length is not a number" // net/http takes it for 0 (RFC 9113 8.1.1)
	}
	for name := range r.Header {
		if strings.ContainsAny(name, " \t[]") {
			return "a field name holds a character that none may"
		}
	}
	return ""
}

func notDigit(c rune) bool { return c < '0' || c > '9' }

func hasSchemeFold(target string) bool {
	for _, scheme := range []string{"http://", "https://"} {
		if len(target) > len(scheme) && strings.EqualFold(target[:len(scheme)], scheme) {
			return true
		}
	}
	return false
}

// plainHost tells whether host is a name or address with at most one port
// (RFC 9110 7.2, RFC 3986 3.2.2 without percent-encoding and sub-delims).
func plainHost(host string) bool {
	name, port := host, ""
	if strings.HasPrefix(host, "[") {
		end := strings.IndexByte(host, ']')
		if end < 0 {
			return false
		}
		if a, err := netip.ParseAddr(host[1:end]); err != nil || !a.Is6() || a.Zone() != "" {
			return false
		}
		name, port = "v6", host[end+1:]
	} else if colon := strings.IndexByte(host, ':'); colon >= 0 {
		name, port = host[:colon], host[colon:]
	}
	if port != "" {
		if port[0] != ':' {
			return false
		}
		if _, err := strconv.ParseUint(port[1:], 10, 16); err != nil && port != ":" {
			return false
		}
	}
	return name != "" && !strings.ContainsFunc(name, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_')
	})
}

// limit bounds the body, and the wait for it.
func (g *Gateway) limit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		limits := &g.now.Load().file.Limits
		most := limits.BodyBytes
		if most > 0 {
			if r.ContentLength > most {
				proxy.Fail(w, r, &proxy.Answer{Status: http.StatusRequestEntityTooLarge, Reason: "too_large", Text: "the body is larger than this site takes"})
				return
			}
			r.Body = http.MaxBytesReader(w, r.Body, most)
		}
		// Over HTTP/2 a body of unknown length may be half of a conversation (gRPC). So
		// it may over HTTP/1.1 once its answer has begun, which ends the bound.
		if limits.BodyTimeout > 0 && (r.ContentLength > 0 || r.ContentLength < 0 && r.ProtoMajor == 1) {
			proxy.From(r).BodyWithin(limits.BodyTimeout)
		}
		next.ServeHTTP(w, r)
	})
}
