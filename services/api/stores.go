package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"pomodoro.cc/services/api/internal/store"
)

// users are those who have ever logged in.
type users interface {
	Login(ctx context.Context, u store.User) (store.User, error)
	User(ctx context.Context, id string) (store.User, error)
}

// apiKeys are what programs log in with, one of each user.
type apiKeys interface {
	SetAPIKey(ctx context.Context, owner string, hash []byte) error
	APIKeyOwner(ctx context.Context, hash []byte) (owner string, err error)
}

// pomodori are the entries. No two of one owner overlap, whoever races whom.
type pomodori interface {
	Add(ctx context.Context, owner string, p store.Pomodoro, once store.Once) (kept store.Pomodoro, stored bool, err error)
	Get(ctx context.Context, owner, id string) (store.Pomodoro, error)
	Change(ctx context.Context, owner, id string, change func(store.Pomodoro) (store.Pomodoro, error)) (store.Pomodoro, error)
	Delete(ctx context.Context, owner, id string) error
	List(ctx context.Context, owner string, from, to time.Time, limit int) (found []store.Pomodoro, more bool, err error)
	Days(ctx context.Context, owner string, from, to time.Time, zone *time.Location) ([]store.Day, error)
}

// todos are the things to do. They are never removed, only marked.
type todos interface {
	AddTodo(ctx context.Context, owner string, t store.Todo, once store.Once) (kept store.Todo, stored bool, err error)
	Todo(ctx context.Context, owner, id string) (store.Todo, error)
	ChangeTodo(ctx context.Context, owner, id string, change func(store.Todo) (store.Todo, error)) (store.Todo, error)
	Todos(ctx context.Context, owner string, deletedToo bool) ([]store.Todo, error)
}

// timers are the running clocks, one of each user.
type timers interface {
	Timer(ctx context.Context, owner string) (*store.Timer, error)
	SetTimer(ctx context.Context, owner string, t *store.Timer) error
}

// documents are what must never be lost.
type documents interface {
	users
	apiKeys
	pomodori
	todos
	timers
}

// sessions are the logins, and flows those that have left for their provider.
type sessions interface {
	BeginSession(ctx context.Context, token, user string, now time.Time) error
	Session(ctx context.Context, token string, now time.Time) (user string, renewed bool, err error)
	SessionUser(ctx context.Context, token string, now time.Time) (user string, err error)
	EndSession(ctx context.Context, token string) error
}

type flows interface {
	BeginFlow(ctx context.Context, state string, value []byte) error
	EndFlow(ctx context.Context, state string) (value []byte, err error)
}

// limits count what is rate limited.
type limits interface {
	Count(ctx context.Context, name string, window time.Duration) (n int, left time.Duration, err error)
}

// events are the changes of each user, for who was away for a moment.
type events interface {
	Publish(ctx context.Context, owner string, data []byte) error
	LastEvent(ctx context.Context, owner string) (id uint64, err error)
	EventsAfter(ctx context.Context, owner string, id uint64) ([]store.Event, error)
}

// rooms are where a team shares a timer.
type rooms interface {
	EnterRoom(ctx context.Context, room string, p store.Person) (entered bool, err error)
	LeaveRoom(ctx context.Context, room, id string) error
	SetRoomTimer(ctx context.Context, room string, t *store.Timer) error
	Room(ctx context.Context, room string) (store.Room, error)
}

// wakers tell that events:OWNER or room:ROOM has changed, on any instance.
type wakers interface {
	Watch(topic string) (woken <-chan struct{}, stop func())
}

// volatile is what ends by itself: logins, counts, streams, presence.
type volatile interface {
	sessions
	flows
	limits
	events
	rooms
	wakers
}

// part is a store behind the api, as the frame sees it.
type part struct {
	name  string
	ready func(context.Context) error
	run   func(context.Context) error
	close func() error
}

// parts are the stores that were opened.
type parts []part

// Ready asks all of them at once, and names those that do not answer.
func (ps parts) Ready(ctx context.Context) error {
	problems := make([]error, len(ps))
	var asked sync.WaitGroup
	for i, p := range ps {
		asked.Go(func() {
			if err := p.ready(ctx); err != nil {
				problems[i] = fmt.Errorf("%s: %w", p.name, err)
			}
		})
	}
	asked.Wait()
	return errors.Join(problems...)
}

// Run runs what the stores do in the background until ctx ends. The first that
// fails ends the others.
func (ps parts) Run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var running sync.WaitGroup
	for _, p := range ps {
		running.Go(func() {
			if err := p.run(ctx); err != nil {
				stop(fmt.Errorf("%s: %w", p.name, err))
			}
		})
	}
	running.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// Close closes all, the last opened first.
func (ps parts) Close() error {
	var problems []error
	for i := len(ps) - 1; i >= 0; i-- {
		if err := ps[i].close(); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", ps[i].name, err))
		}
	}
	return errors.Join(problems...)
}
