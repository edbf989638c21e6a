package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"pomodoro.cc/services/api/internal/store"
)

// guest is somebody in a room.
type guest struct {
	t    testing.TB
	conn *websocket.Conn
	last roomState
}

func join(t testing.TB, url, room string) *guest {
	t.Helper()
	conn, resp, err := websocket.Dial(t.Context(), url+"/api/team/"+room, nil)
	if err != nil {
		t.Fatalf("%v (%v)", err, resp)
	}
	t.Cleanup(func() { _ = conn.CloseNow() }) // it may be closed
	return &guest{t: t, conn: conn}
}

func (g *guest) says(message string) {
	g.t.Helper()
	if err := g.conn.Write(g.t.Context(), websocket.MessageText, []byte(message)); err != nil {
		g.t.Error(err)
	}
}

// hears waits for the next message.
func (g *guest) hears() (message struct {
	roomState
	Detail string
}) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	_, raw, err := g.conn.Read(ctx)
	if err == nil {
		err = json.Unmarshal(raw, &message)
	}
	if err != nil {
		g.t.Fatalf("waiting for a message: %v", err)
	}
	return message
}

// sees waits for a state of which like is true.
func (g *guest) sees(what string, like func(roomState) bool) {
	g.t.Helper()
	for !like(g.last) {
		m := g.hears()
		if m.Type != "state" || m.Now.IsZero() {
			g.t.Fatalf("waiting for %s: %+v", what, m)
		}
		g.last = m.roomState
	}
}

func names(of []store.Person) []string {
	all := []string{}
	for _, p := range of {
		all = append(all, p.Name)
	}
	return all
}

func present(want ...string) func(roomState) bool {
	return func(s roomState) bool { return slices.Equal(names(s.People), want) }
}

func running(minutes int) func(roomState) bool {
	return func(s roomState) bool {
		if minutes == 0 {
			return s.Timer == nil
		}
		return s.Timer != nil && s.Timer.Minutes == minutes
	}
}

func TestTeam_EverybodyInARoomSeesTheSameTimerAndWhoIsThere(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		const room = "the-team"
		ann := join(t, s.url, room)
		ann.sees("herself", present("guest"))
		ann.says(`{"type":"hello","name":" ann "}`)
		ann.sees("her name", present("ann"))
		bob := join(t, s.url, room)
		bob.says(`{"type":"hello","name":"bob"}`)
		bob.sees("both", present("ann", "bob"))
		ann.sees("both", present("ann", "bob"))
		elsewhere := join(t, s.url, room+"2")
		elsewhere.sees("nobody else", present("guest"))

		bob.says(`{"type":"start","kind":"custom","minutes":40}`)
		ann.sees("the timer", running(40))
		bob.sees("the timer", running(40))
		if a, b := ann.last.Timer, bob.last.Timer; !a.StartedAt.Equal(b.StartedAt) || a.Kind != "custom" {
			t.Errorf("ann sees %+v, bob sees %+v", a, b)
		}
		_ = bob.conn.CloseNow() // his train is in a tunnel
		ann.sees("that bob left", present("ann"))
		ann.sees("the timer still", running(40))
		late := join(t, s.url, room)
		late.sees("the timer that began before", running(40))
		ann.says(`{"type":"stop"}`)
		late.sees("the stop", running(0))
		if elsewhere.last.Timer != nil {
			t.Errorf("another room sees %+v", elsewhere.last.Timer)
		}
	})
}

func TestTeam_WhoIsLoggedInHasAName(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "ann")
		conn, _, err := websocket.Dial(t.Context(), s.url+"/api/team/named", &websocket.DialOptions{HTTPClient: &v.Client})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.CloseNow() }() // the test has ended
		(&guest{t: t, conn: conn}).sees("the name", present("ann"))
	})
}

func TestTeam_AMessageThatIsNoneIsToldAndTheRoomGoesOn(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		g := join(t, s.url, "bad-messages")
		g.sees("the room", present("guest"))
		for message, want := range map[string]string{
			`{`:                   "JSON",
			`[]`:                  "JSON",
			"{\"type\":\"\xff\"}": "UTF-8",
			`{"type":"dance"}`:    "type must be",
			`{"type":"hello"}`:    "name must have",
			`{"type":"hello","name":"` + strings.Repeat("n", 41) + `"}`: "name must have",
			`{"type":"start","kind":"pomodoro","minutes":26}`:           "minutes must be 25",
			`{"type":"start","kind":"nap","minutes":25}`:                "kind must be",
		} {
			g.says(message)
			if m := g.hears(); m.Type != "error" || !strings.Contains(m.Detail, want) {
				t.Errorf("%q: %s %q, want an error with %q", message, m.Type, m.Detail, want)
			}
		}
		g.says(`{"type":"start","kind":"pomodoro","minutes":25}`)
		g.sees("the timer", running(25))
	})
}

func TestTeam_WhoSaysTooMuchIsShownOut(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		for name, flood := range map[string]func(*guest) error{
			"a huge message": func(g *guest) error {
				return g.conn.Write(t.Context(), websocket.MessageText, make([]byte, messageLimit+1))
			},
			"a thousand messages": func(g *guest) (err error) {
				for i := 0; i < 1000 && err == nil; i++ {
					err = g.conn.Write(t.Context(), websocket.MessageText, fmt.Appendf(nil, `{"type":"hello","name":"%d"}`, i))
				}
				return nil // it may be shown out at any of them
			},
			"bytes": func(g *guest) error { return g.conn.Write(t.Context(), websocket.MessageBinary, []byte("{}")) },
		} {
			t.Run(name, func(t *testing.T) {
				g := join(t, s.url, "flooded")
				if err := flood(g); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				var err error
				for err == nil {
					_, _, err = g.conn.Read(ctx)
				}
				if code := websocket.CloseStatus(err); code != websocket.StatusPolicyViolation && code != websocket.StatusMessageTooBig {
					t.Errorf("the end was %v", err)
				}
			})
		}
	})
}

func TestTeam_OnlyPagesOfTheSiteEnter(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "")
		upgrade := []string{"Upgrade", "websocket", "Connection", "Upgrade", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="}
		v.says("GET", "/api/team/a", "", 403, append(upgrade, "Origin", "https://evil.test")...)
		v.says("GET", "/api/team/a", "", 403, append(upgrade, "Sec-Fetch-Site", "cross-site")...)
		v.says("GET", "/api/team/a", "", 426)
		v.says("GET", "/api/team/A", "", 404, upgrade...)
		v.says("GET", "/api/team/"+strings.Repeat("a", 65), "", 404, upgrade...)
		header := http.Header{"Origin": {s.url}}
		conn, _, err := websocket.Dial(t.Context(), s.url+"/api/team/a", &websocket.DialOptions{HTTPHeader: header})
		if err != nil {
			t.Fatalf("from the site: %v", err)
		}
		_ = conn.CloseNow()
	})
}

func TestTeam_ARoomHasALimit(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		for i := range store.PresentLimit {
			if in, err := s.api.live.EnterRoom(t.Context(), "full", store.Person{ID: fmt.Sprint(i), Name: "x"}); !in || err != nil {
				t.Fatalf("person %d: %v, %v", i, in, err)
			}
		}
		g := join(t, s.url, "full")
		_, _, err := g.conn.Read(t.Context())
		if websocket.CloseStatus(err) != websocket.StatusTryAgainLater {
			t.Errorf("one too many: %v", err)
		}
		if err := s.api.live.LeaveRoom(t.Context(), "full", "7"); err != nil {
			t.Fatal(err)
		}
		g = join(t, s.url, "full")
		g.sees("the room", func(r roomState) bool { return len(r.People) == store.PresentLimit })
	})
}
