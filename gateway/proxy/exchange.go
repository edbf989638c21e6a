package proxy

import (
	"context"
	"net/http"
	"time"

	"pomodoro.cc/gateway/upstream"
)

// Exchange is what becomes known of one request on its way: the steps before the
// proxy and the log and metrics after it share it. One goroutine at a time
// writes it.
type Exchange struct {
	ID       string // request id
	ClientIP string // the visitor, as far as trusted proxies tell
	HTTPS    bool   // the visitor's own connection was encrypted
	Trusted  bool   // the peer is a trusted proxy
	Route    *Route
	Target   string
	Version  string
	Attempts int
	Held     bool
	Stream   bool
	Reason   string
	Upstream time.Duration // from the first attempt to the answer's head

	// Bucket is the visitor's in a canary, plus one; 0: there was none to look
	// up. NewBucket: the visitor does not know it yet.
	Bucket    int
	NewBucket bool

	visit  upstream.Visit
	tunnel *tunnel // of an upgraded connection
}

type exchangeKey struct{}

// With returns r carrying x.
func With(r *http.Request, x *Exchange) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
}

// From returns the Exchange of r; never nil.
func From(r *http.Request) *Exchange { return fromContext(r.Context()) }

func fromContext(ctx context.Context) *Exchange {
	if x, ok := ctx.Value(exchangeKey{}).(*Exchange); ok {
		return x
	}
	return new(Exchange)
}
