// Package redisdb keeps in Redis what ends by itself: sessions, logins on their
// way, counts, event logs and rooms. Every instance of the api that uses the
// same Redis sees the same.
package redisdb

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"pomodoro.cc/services/api/internal/store"
	"pomodoro.cc/services/api/internal/wake"
)

// answerTime is how long Redis may take for one answer. It is a machine that is
// near and does all in memory: later it hangs.
const answerTime = time.Second

// wakeChannel carries the topics that have changed, to every instance.
const wakeChannel = "wake"

// Store is one Redis. Its methods may be called at the same time.
type Store struct {
	redis *redis.Client
	wake.Hub

	mu         sync.Mutex      // guards incomplete
	incomplete map[string]bool // owners whose log lacks an event
}

// silent drops what the client library would write to stderr: each of its
// errors reaches a caller here too, and the log is JSON.
type silent struct{}

// Printf writes nothing.
func (silent) Printf(context.Context, string, ...any) {}

// Open prepares the connection to the Redis at url; it connects when it is used
// first, so that the service can start before Redis does.
func Open(url string) (*Store, error) {
	options, err := redis.ParseURL(url)
	if err != nil {
		return nil, fmt.Errorf("open redis: %w", err)
	}
	options.DialTimeout, options.ReadTimeout, options.WriteTimeout = answerTime, answerTime, answerTime
	options.PoolTimeout = 2 * answerTime
	options.MaxRetries = 1
	options.ContextTimeoutEnabled = true
	options.DisableIdentity = true
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	redis.SetLogger(silent{})
	return &Store{redis: redis.NewClient(options)}, nil
}

// Close closes the connections.
func (s *Store) Close() error { return s.redis.Close() }

// Ready reports whether Redis answers.
func (s *Store) Ready(ctx context.Context) error { return s.redis.Ping(ctx).Err() }

// Run hears which topics have changed, until ctx ends. After a broken connection
// everybody looks again: what was published meanwhile is not repeated. It also
// drops the logs that could not be kept.
func (s *Store) Run(ctx context.Context) error {
	heard := s.redis.Subscribe(ctx, wakeChannel)
	defer func() { _ = heard.Close() }() // nothing is lost with it
	messages := heard.ChannelWithSubscriptions(redis.WithChannelHealthCheckInterval(answerTime))
	tick := time.NewTicker(answerTime)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.dropIncomplete(ctx)
		case m := <-messages:
			switch m := m.(type) {
			case *redis.Message:
				s.Wake(m.Payload)
			case *redis.Subscription:
				s.WakeAll()
			}
		}
	}
}

// named is the key of what a secret stands for. The secret itself is not in
// Redis: who can read a dump cannot use it.
func named(kind, secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return kind + ":" + hex.EncodeToString(sum[:])
}

// session is the value of a session.
type session struct {
	User    string `json:"user"`
	Expires int64  `json:"expires"` // Unix milliseconds
}

// BeginSession lets token stand for the user from now on.
func (s *Store) BeginSession(ctx context.Context, token, user string, now time.Time) error {
	value, err := json.Marshal(session{User: user, Expires: now.Add(store.SessionTTL).UnixMilli()})
	if err == nil {
		err = s.redis.Set(ctx, named("sess", token), value, store.SessionTTL).Err()
	}
	if err != nil {
		return fmt.Errorf("begin session: %w", err)
	}
	return nil
}

// SessionUser returns the user of token, or ErrNotFound, and prolongs nothing.
func (s *Store) SessionUser(ctx context.Context, token string, now time.Time) (string, error) {
	known, err := s.session(ctx, token, now)
	return known.User, err
}

func (s *Store) session(ctx context.Context, token string, now time.Time) (session, error) {
	raw, err := s.redis.Get(ctx, named("sess", token)).Bytes()
	if errors.Is(err, redis.Nil) {
		err = store.ErrNotFound
	}
	var known session
	if err == nil {
		err = json.Unmarshal(raw, &known)
	}
	if err == nil && now.UnixMilli() >= known.Expires {
		err = store.ErrNotFound
	}
	if err != nil {
		return session{}, fmt.Errorf("session: %w", err)
	}
	return known, nil
}

// Session returns the user of token, or ErrNotFound. The session's life is
// prolonged when it is used; then renewed is true and the cookie should be too.
func (s *Store) Session(ctx context.Context, token string, now time.Time) (user string, renewed bool, err error) {
	known, err := s.session(ctx, token, now)
	if err != nil {
		return "", false, err
	}
	if time.UnixMilli(known.Expires).Sub(now) > store.SessionTTL-store.Slide {
		return known.User, false, nil
	}
	known.Expires = now.Add(store.SessionTTL).UnixMilli()
	value, err := json.Marshal(known)
	if err != nil {
		return "", false, fmt.Errorf("session: %w", err)
	}
	// XX: one that was logged out meanwhile must not come back.
	err = s.redis.SetArgs(ctx, named("sess", token), value, redis.SetArgs{Mode: "XX", TTL: store.SessionTTL}).Err()
	if errors.Is(err, redis.Nil) {
		return "", false, fmt.Errorf("session: %w", store.ErrNotFound)
	}
	// A Redis that is full can read and not write: the session is valid as it
	// is, and the next request tries again to prolong it.
	return known.User, err == nil, nil
}

// EndSession destroys the session of token. One that does not exist is no error.
func (s *Store) EndSession(ctx context.Context, token string) error {
	if err := s.redis.Del(ctx, named("sess", token)).Err(); err != nil {
		return fmt.Errorf("log out: %w", err)
	}
	return nil
}

// BeginFlow keeps value for whoever comes back with state.
func (s *Store) BeginFlow(ctx context.Context, state string, value []byte) error {
	if err := s.redis.Set(ctx, named("flow", state), value, store.FlowTTL).Err(); err != nil {
		return fmt.Errorf("begin login: %w", err)
	}
	return nil
}

// EndFlow returns what state stands for, once; then and after FlowTTL it is
// ErrNotFound.
func (s *Store) EndFlow(ctx context.Context, state string) ([]byte, error) {
	value, err := s.redis.GetDel(ctx, named("flow", state)).Bytes()
	if errors.Is(err, redis.Nil) {
		err = store.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("end login: %w", err)
	}
	return value, nil
}

// Count counts one more of name in this window, and tells how many there were
// and when the window ends.
func (s *Store) Count(ctx context.Context, name string, window time.Duration) (n int, left time.Duration, err error) {
	now := time.Now()
	at := now.Truncate(window)
	key := "rate:" + name + ":" + strconv.FormatInt(at.Unix(), 10)
	var counted *redis.IntCmd
	_, err = s.redis.TxPipelined(ctx, func(p redis.Pipeliner) error {
		counted = p.Incr(ctx, key)
		p.Expire(ctx, key, 2*window)
		return nil
	})
	if err != nil {
		return 0, 0, fmt.Errorf("count %s: %w", name, err)
	}
	return int(counted.Val()), at.Add(window).Sub(now), nil
}
