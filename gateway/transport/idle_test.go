package transport

import (
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestPatience_IsClearlyBelowWhatTheTargetAllows(t *testing.T) {
	const ms = time.Millisecond
	never := time.Duration(math.MaxInt64)
	for name, c := range map[string]struct {
		own            time.Duration
		learn          func(*patience)
		at             time.Duration
		limit, careful time.Duration
		from           Evidence
	}{
		"nothing is known: only a connection as good as fresh carries what must not be repeated": {0, func(*patience) {}, 0, never, briefly, Configured},
		"the operator's limit stands":                         {30 * time.Second, func(*patience) {}, 0, 30 * time.Second, briefly, Configured},
		"what was announced is kept away from":                {time.Minute, func(p *patience) { p.said = 4 * time.Second }, 0, 3 * time.Second, 2 * time.Second, Announced},
		"what survived so long may be trusted for half of it": {0, func(p *patience) { p.open(10 * time.Second) }, 0, never, 5 * time.Second, Configured},
		"an observed end is kept away from":                   {time.Minute, func(p *patience) { p.open(40 * ms); p.ended(80*ms, 0) }, 0, 60 * ms, 20 * ms, Observed},
		"the earliest end counts":                             {0, func(p *patience) { p.ended(80*ms, 0); p.ended(40*ms, 0); p.ended(120*ms, 0) }, 0, 30 * ms, briefly, Observed},
		"an end at once is no idle limit":                     {0, func(p *patience) { p.ended(briefly/2, 0) }, 0, never, briefly, Configured},
		"a connection open beyond it disproves it":            {0, func(p *patience) { p.ended(80*ms, 0); p.open(200 * ms) }, 0, never, 100 * ms, Configured},
		"with time it is believed less":                       {0, func(p *patience) { p.ended(80*ms, 0) }, doubling, 120 * ms, briefly, Observed},
		"a restart is forgotten in the end":                   {0, func(p *patience) { p.ended(80*ms, 0) }, 20 * doubling, never, briefly, Configured},
		"a limit below everything bounds the careful too":     {8 * ms, func(p *patience) { p.open(time.Second) }, 0, 8 * ms, 6 * ms, Configured},
	} {
		t.Run(name, func(t *testing.T) {
			p := patience{own: c.own}
			c.learn(&p)
			limit, from := p.limit(c.at)
			if careful := p.careful(c.at); limit != c.limit || from != c.from || careful != c.careful {
				t.Errorf("limit %s (%s), careful %s; want %s (%s), %s", limit, from, careful, c.limit, c.from, c.careful)
			}
		})
	}
}

func TestProxyHeader_SaysWhoConnectedToWhom(t *testing.T) {
	four, six := netip.MustParseAddrPort("192.0.2.1:1000"), netip.MustParseAddrPort("[2001:db8::1]:2000")
	mapped := netip.MustParseAddrPort("[::ffff:192.0.2.9]:9")
	for name, c := range map[string]struct {
		version  int
		from, to netip.AddrPort
		want     string
	}{
		"version 1, IPv4":              {1, four, mapped, "PROXY TCP4 192.0.2.1 192.0.2.9 1000 9\r\n"},
		"version 1, IPv6":              {1, six, six, "PROXY TCP6 2001:db8::1 2001:db8::1 2000 2000\r\n"},
		"version 1, of two families":   {1, four, six, "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 1000 2000\r\n"},
		"version 1, unknown":           {1, netip.AddrPort{}, four, "PROXY UNKNOWN\r\n"},
		"version 2, IPv4":              {2, four, mapped, signature + "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x09\x03\xe8\x00\x09"},
		"version 2, IPv6":              {2, six, six, signature + "\x21\x21\x00\x24" + strings.Repeat("\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01", 2) + "\x07\xd0\x07\xd0"},
		"version 2, of its own accord": {2, netip.AddrPort{}, netip.AddrPort{}, signature + "\x20\x00\x00\x00"},
	} {
		if got := string(proxyHeader(c.version, c.from, c.to)); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestPool_TakesTheLastUsedOneThatWillDo(t *testing.T) {
	idle := func(ago time.Duration) *conn {
		near, far := net.Pipe()
		t.Cleanup(func() { near.Close(); far.Close() })
		s := newSocket(near)
		return &conn{tlsOrSocket: s, sock: s, heard: now() - ago, since: now()}
	}
	for name, c := range map[string]struct {
		ago        []time.Duration // the last one came back last
		need       need
		want, open int // which is taken, -1: none; how many are left, taken or idle
	}{
		"the last used":                           {[]time.Duration{2, 1, 0}, need{}, 2, 3},
		"none for a fresh start":                  {[]time.Duration{0}, need{fresh: true}, -1, 1},
		"not one whose answer began too long ago": {[]time.Duration{2, 1, 60}, need{}, 1, 2},
		"none that was idle for too long":         {[]time.Duration{60, 61}, need{}, -1, 0},
		"none that is not clearly below the limit for what must not be lost": {[]time.Duration{20, 10}, need{careful: true}, -1, 2},
		"one that is, behind one that is not":                                {[]time.Duration{20, 0, 10}, need{careful: true}, 1, 3},
	} {
		t.Run(name, func(t *testing.T) {
			p := &pool{dialer: &dialer{}}
			p.patience.own, p.patience.survived = 30*time.Second, 10*time.Second
			for _, ago := range c.ago {
				p.idle = append(p.idle, idle(ago*time.Second))
			}
			all := slices.Clone(p.idle)
			p.open = len(all)
			p.mu.Lock()
			got := p.take(netip.AddrPort{}, c.need)
			p.mu.Unlock()
			if at := slices.Index(all, got); at != c.want || p.open != c.open {
				t.Errorf("took %d, %d open; want %d, %d", at, p.open, c.want, c.open)
			}
		})
	}
}
