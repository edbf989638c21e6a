package proxy

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync/atomic"

	"pomodoro.cc/gateway/upstream"
)

// canaryCookie keeps a visitor on one side of a canary. Its value is the
// visitor's bucket, so that the same visitors are first in each canary while the
// cookie lives.
const canaryCookie = "gateway_bucket"

// dealt gives each new visitor the next bucket. The stride is prime to
// upstream.Buckets: any 10,000 visitors in a row get 10,000 buckets, so a share
// is met exactly, and neighbours land far apart.
var (
	dealt atomic.Uint64
	begin = rand.Uint64N(upstream.Buckets)
)

const stride = 6181

// bucket returns the visitor's bucket while its service has a canary.
func bucket(r *http.Request, x *Exchange) int {
	if !x.Route.Slot.Canary() {
		return upstream.Buckets // in no share
	}
	if c, err := r.Cookie(canaryCookie); err == nil {
		if n, err := strconv.Atoi(c.Value); err == nil && n >= 0 && n < upstream.Buckets {
			x.Bucket = n + 1
			return n
		}
	}
	n := int((begin + dealt.Add(1)*stride) % upstream.Buckets)
	x.Bucket, x.NewBucket = n+1, true
	return n
}

func bucketCookie(x *Exchange) string {
	c := http.Cookie{Name: canaryCookie, Value: strconv.Itoa(x.Bucket - 1), Path: "/", MaxAge: 24 * 3600, HttpOnly: true, Secure: x.HTTPS, SameSite: http.SameSiteLaxMode}
	return c.String()
}
