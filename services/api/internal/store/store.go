// Package store says what the api keeps: the documents, how a repeated insert
// is known, and the errors that every store answers with. It keeps nothing.
package store

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"time"
)

// Errors that a caller can ask for.
var (
	ErrNotFound  = errors.New("not found")
	ErrKeyReused = errors.New("idempotency key was used for another request")
	// ErrGap says that an event log does not reach back to where it was asked.
	ErrGap = errors.New("events were missed")
)

// ErrOverlap says which entries of the same owner are in the way.
type ErrOverlap struct{ Conflicts []Pomodoro }

// Error tells how many there are.
func (e *ErrOverlap) Error() string {
	return fmt.Sprintf("overlaps with %d entries", len(e.Conflicts))
}

// How long things live that are not kept for ever.
const (
	SessionTTL = 5 * 24 * time.Hour // after the last use
	FlowTTL    = 10 * time.Minute   // from leaving for the provider to coming back
	// GoneTTL is how long a deleted entry is remembered: a repeated POST, or a
	// slow writer's second try, must not bring it back.
	GoneTTL = 30 * 24 * time.Hour
)

// Slide is how old a session's last use may be before it is written again, so
// that reading does not write on every request.
const Slide = time.Hour

// Once makes an insert repeatable. The id of what is inserted follows from the
// Idempotency-Key, so that a repetition finds what the first one has stored
// and no record beside the document can be lost.
type Once struct {
	ID    string
	Print []byte // of the request; nil when the client gave no key
}

// NewOnce returns the Once of a request of owner to path with this key and
// body. An empty key gives a random id: such a request cannot be repeated.
func NewOnce(owner, path, key string, body []byte) Once {
	if key == "" {
		return Once{ID: rand.Text()}
	}
	id := sha256.Sum256([]byte(owner + "\x00" + path + "\x00" + key))
	print := sha256.Sum256(body)
	return Once{ID: base32.StdEncoding.EncodeToString(id[:])[:26], Print: print[:]}
}

// Repeats tells whether the request is the one that stored a document with
// this print, or ErrKeyReused.
func (o Once) Repeats(print []byte) error {
	if string(o.Print) != string(print) {
		return ErrKeyReused
	}
	return nil
}

// User is who owns the documents, known by (Provider, ProviderID).
type User struct {
	ID         string
	Username   string
	Avatar     string
	Provider   string
	ProviderID string
}

// Todo is one thing to do. Times are UTC, in whole milliseconds.
type Todo struct {
	ID        string    `json:"id"`
	Text      string    `json:"text"`
	Completed bool      `json:"completed"`
	Order     float64   `json:"order"`
	Deleted   bool      `json:"deleted"`
	Pomodori  []string  `json:"pomodori"`
	CreatedAt time.Time `json:"createdAt"`
	UpdatedAt time.Time `json:"updatedAt"`
}

// Timer is what a user's clock is running, or, in a room, everybody's.
type Timer struct {
	Type         string      `json:"type"`
	Minutes      int         `json:"minutes"`
	StartedAt    time.Time   `json:"startedAt"`
	Tags         []string    `json:"tags,omitempty"`
	Todo         string      `json:"todo,omitempty"`
	Distractions []time.Time `json:"distractions,omitempty"`
}

// Tally counts entries and the time that they took.
type Tally struct {
	Count int
	Time  time.Duration
}

// Day is what a user has worked on one day: entries that are no breaks, each on
// the day on which it started.
type Day struct {
	Day             string // YYYY-MM-DD
	Full, Cancelled int
	Time            time.Duration
	Tags            map[string]Tally
}

// Event is one change in a user's log. Ids grow, with gaps.
type Event struct {
	ID   uint64
	Data []byte
}

// Person is somebody in a room.
type Person struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Room is what everybody in it sees.
type Room struct {
	Timer  *Timer
	People []Person // sorted by when they came
}

// PresenceTTL is how long somebody who is not heard of any more is in a room:
// the instance that held the connection has died.
const PresenceTTL = 45 * time.Second

// RoomTTL is how long a room keeps a timer that nobody touches.
const RoomTTL = 24 * time.Hour

// PresentLimit bounds the people of a room.
const PresentLimit = 100

// Instant is t as every store keeps it: UTC, in whole milliseconds.
func Instant(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
