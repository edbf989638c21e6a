package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"

	"pomodoro.cc/services/api/internal/store"
)

var roomForm = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

const (
	messageLimit = 4 << 10 // bytes of what a client says
	messageRate  = 100     // of one client in one beat
	nameLimit    = 40      // characters
)

// saying is what a client says.
type saying struct {
	Type    string `json:"type"`
	Name    string `json:"name"`
	Kind    string `json:"kind"`
	Minutes int    `json:"minutes"`
}

// roomTimer is a room's timer as it is told.
type roomTimer struct {
	Kind      string    `json:"kind"`
	Minutes   int       `json:"minutes"`
	StartedAt time.Time `json:"startedAt"`
}

// roomState is what everybody in a room is told.
type roomState struct {
	Type   string         `json:"type"`
	Room   string         `json:"room"`
	Timer  *roomTimer     `json:"timer"`
	People []store.Person `json:"people"`
	Now    time.Time      `json:"now"`
}

// team lets a visitor into a room, who need not be logged in.
func (a *api) team(w http.ResponseWriter, r *http.Request) {
	room := r.PathValue("room")
	if !roomForm.MatchString(room) {
		fail(w, http.StatusNotFound, "a room's name has 1 to 64 of a-z, 0-9 and -")
		return
	}
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
		fail(w, http.StatusUpgradeRequired, "a room is a WebSocket")
		return
	}
	if !ofThisSite(r) {
		fail(w, http.StatusForbidden, "a room is entered from the site itself")
		return
	}
	member := &member{api: a, room: room, person: store.Person{ID: rand.Text(), Name: a.nameOf(r)}}
	a.sockets.Add(1)
	defer a.sockets.Done()
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		a.log.Info("a WebSocket was refused", "error", err.Error())
		return // answered
	}
	defer func() { _ = conn.CloseNow() }() // closed already, or broken
	conn.SetReadLimit(messageLimit)
	member.conn = conn
	member.stay(context.WithoutCancel(r.Context()))
}

// ofThisSite tells whether a page of this site, or no browser, asks. A browser
// sends cookies along with any site's WebSocket and asks nobody (RFC 6455, 10.2).
func ofThisSite(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
	default:
		return false
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && strings.EqualFold(u.Host, r.Host)
}

// nameOf is the name of who is logged in, or guest.
func (a *api) nameOf(r *http.Request) string {
	if id, err := a.known(r); err == nil {
		if user, err := a.docs.User(r.Context(), id); err == nil && user.Username != "" {
			return user.Username
		}
	}
	return "guest"
}

// member is one connection in a room.
type member struct {
	*api
	conn *websocket.Conn
	room string
	told string // the last state without its time

	mu     sync.Mutex // guards person: the reader renames it, the writer keeps it present
	person store.Person
}

// enter puts the person into the room, or says that it is still there.
func (m *member) enter(ctx context.Context) (bool, error) {
	m.mu.Lock()
	person := m.person
	m.mu.Unlock()
	return m.live.EnterRoom(ctx, m.room, person)
}

// stay tells the client the state of the room until the client or the service
// leaves. The reader is a goroutine of its own, and has ended when stay returns.
func (m *member) stay(ctx context.Context) {
	ctx, leave := context.WithCancel(ctx)
	woken, stop := m.live.Watch("room:" + m.room)
	defer stop()
	entered, err := m.enter(ctx)
	if err != nil || !entered {
		leave()
		_ = m.conn.Close(websocket.StatusTryAgainLater, "the room is full, or cannot be reached") // or it is gone
		return
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer leave()
		m.listen(ctx)
	}()
	m.follow(ctx, woken)
	leave()
	<-ended
	gone, cancel := context.WithTimeout(context.WithoutCancel(ctx), tellTime)
	defer cancel()
	if err := m.live.LeaveRoom(gone, m.room, m.person.ID); err != nil {
		m.log.Warn("somebody seems to stay in a room until the presence expires", "error", err.Error())
	}
}

// follow tells every change until ctx ends or the service leaves.
func (m *member) follow(ctx context.Context, woken <-chan struct{}) {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		var again <-chan time.Time
		if err := m.tellState(ctx); err != nil {
			again = time.After(lookAgain)
		}
		select {
		case <-ctx.Done():
			return
		case <-m.leaving:
			// The client comes back at once, to whoever serves then.
			_ = m.conn.Close(websocket.StatusServiceRestart, "the service leaves")
			return
		case <-woken:
		case <-again:
		case <-tick.C:
			alive, cancel := context.WithTimeout(ctx, slowest)
			err := m.conn.Ping(alive)
			cancel()
			if err != nil {
				return
			}
			_, _ = m.enter(ctx) // the next state, or the next beat, tells whether it is there
		}
	}
}

// tellState writes the state when it differs from the one told before. An error
// is the store's: it is asked again. One of the connection ends the reader too.
func (m *member) tellState(ctx context.Context) error {
	room, err := m.live.Room(ctx, m.room)
	if err != nil {
		return err
	}
	state := roomState{Type: "state", Room: m.room, People: room.People}
	if state.People == nil {
		state.People = []store.Person{}
	}
	if t := room.Timer; t != nil {
		state.Timer = &roomTimer{t.Type, t.Minutes, t.StartedAt}
	}
	raw, err := json.Marshal(state)
	if err != nil || string(raw) == m.told {
		return err
	}
	m.told = string(raw)
	state.Now = store.Instant(m.now())
	m.send(ctx, state)
	return nil
}

func (m *member) send(ctx context.Context, what any) {
	raw, err := json.Marshal(what)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, slowest)
	defer cancel()
	_ = m.conn.Write(ctx, websocket.MessageText, raw) // the reader learns it too
}

// listen does what the client says, until it leaves or says too much.
func (m *member) listen(ctx context.Context) {
	var said int
	window := time.Now()
	for {
		kind, raw, err := m.conn.Read(ctx)
		if err != nil {
			return
		}
		if time.Since(window) > beat {
			said, window = 0, time.Now()
		}
		if said++; said > messageRate || kind != websocket.MessageText {
			_ = m.conn.Close(websocket.StatusPolicyViolation, "text messages, and not so many")
			return
		}
		if err := m.obey(ctx, raw); err != nil {
			m.send(ctx, map[string]string{"type": "error", "detail": err.Error()})
		}
	}
}

// obey does what one message says. Its errors are for the client.
func (m *member) obey(ctx context.Context, raw []byte) error {
	s, err := understand(raw)
	if err != nil {
		return err
	}
	switch s.Type {
	case "hello":
		m.mu.Lock()
		m.person.Name = s.Name
		m.mu.Unlock()
		_, err = m.enter(ctx)
	case "start":
		err = m.live.SetRoomTimer(ctx, m.room, &store.Timer{Type: s.Kind, Minutes: s.Minutes, StartedAt: store.Instant(m.now())})
	case "stop":
		err = m.live.SetRoomTimer(ctx, m.room, nil)
	}
	if err != nil {
		m.log.Error("a room's state was not kept", "error", err.Error())
		return errors.New("the store did not answer; say it again")
	}
	return nil
}

// understand reads a message and checks it.
func understand(raw []byte) (saying, error) {
	var s saying
	if !utf8.Valid(raw) || json.Unmarshal(raw, &s) != nil {
		return s, errors.New("a message is a JSON object in UTF-8")
	}
	switch s.Type {
	case "hello":
		s.Name = strings.TrimSpace(s.Name)
		if n := utf8.RuneCountInString(s.Name); n < 1 || n > nameLimit {
			return s, errors.New("name must have 1 to 40 characters")
		}
	case "start":
		wrong := fields{}
		checkLength(wrong, s.Kind, s.Minutes)
		if why, bad := wrong["type"]; bad {
			return s, errors.New("kind " + why)
		}
		if why, bad := wrong["minutes"]; bad {
			return s, errors.New("minutes " + why)
		}
	case "stop":
	default:
		return s, errors.New("type must be hello, start or stop")
	}
	return s, nil
}
