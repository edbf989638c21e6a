package redisdb

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"pomodoro.cc/services/api/internal/store"
)

const (
	logged = 256            // events of a user that are kept for who comes back
	logTTL = 24 * time.Hour // after the last one
)

// The log of a user is a stream, and a hash that says its last id and behind
// which id it is complete. Ids are the server's microseconds, so that they grow
// even when Redis has lost everything. The braces keep both on one node.
func logKeys(owner string) []string {
	return []string{"events:{" + owner + "}", "events:{" + owner + "}:log"}
}

// nextID is the Lua that both scripts begin with: last, and an id above it.
const nextID = `
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local last = tonumber(redis.call('HGET', KEYS[1], 'last') or '0')
local function text(n) return string.format('%.0f', n) end
`

var publish = redis.NewScript(nextID + `
local id = text(math.max(last + 1, now))
if last == 0 then
	redis.call('HSET', KEYS[1], 'began', text(math.max(last, now) - 1))
elseif redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[2]) then
	local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1][1]
	redis.call('HSET', KEYS[1], 'began', string.match(first, '^%d+'))
end
redis.call('HSET', KEYS[1], 'last', id)
redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[2], id .. '-0', 'data', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[3])
redis.call('PUBLISH', ARGV[4], ARGV[5])
return id`)

var lastEvent = redis.NewScript(nextID + `
if last == 0 then
	last = now
	redis.call('HSET', KEYS[1], 'last', text(last), 'began', text(last))
	redis.call('EXPIRE', KEYS[1], ARGV[1])
end
return text(last)`)

// Publish appends data to owner's log and wakes who watches it, on every
// instance. When it cannot, the log is dropped, now or as soon as Redis answers:
// who watches is told to reload then, and nobody goes on as if nothing had
// happened.
func (s *Store) Publish(ctx context.Context, owner string, data []byte) error {
	err := publish.Run(ctx, s.redis, logKeys(owner), data, logged, int(logTTL.Seconds()), wakeChannel, "events:"+owner).Err()
	if err == nil {
		return nil
	}
	if s.drop(ctx, owner) != nil {
		s.remember(owner)
	}
	return fmt.Errorf("publish an event: %w", err)
}

// drop lets go of owner's log. A Redis that is full refuses to append and can
// still delete.
func (s *Store) drop(ctx context.Context, owner string) error {
	_, err := s.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Del(ctx, logKeys(owner)...)
		p.Publish(ctx, wakeChannel, "events:"+owner)
		return nil
	})
	return err
}

// dropIncomplete drops the logs that lack an event, and keeps in mind those that
// could not be dropped either.
func (s *Store) dropIncomplete(ctx context.Context) {
	s.mu.Lock()
	owners := s.incomplete
	s.incomplete = nil
	s.mu.Unlock()
	for owner := range owners {
		if s.drop(ctx, owner) != nil {
			s.remember(owner)
		}
	}
}

func (s *Store) remember(owner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.incomplete == nil {
		s.incomplete = map[string]bool{}
	}
	s.incomplete[owner] = true
}

// LastEvent returns the id behind which the next event of owner will be.
func (s *Store) LastEvent(ctx context.Context, owner string) (uint64, error) {
	said, err := lastEvent.Run(ctx, s.redis, logKeys(owner), int(logTTL.Seconds())).Text()
	if err == nil {
		var id uint64
		if id, err = strconv.ParseUint(said, 10, 64); err == nil {
			return id, nil
		}
	}
	return 0, fmt.Errorf("last event: %w", err)
}

// EventsAfter returns the events of owner behind id, or ErrGap.
func (s *Store) EventsAfter(ctx context.Context, owner string, id uint64) ([]store.Event, error) {
	keys := logKeys(owner)
	var bounds *redis.SliceCmd
	var found *redis.XMessageSliceCmd
	_, err := s.redis.TxPipelined(ctx, func(p redis.Pipeliner) error {
		bounds = p.HMGet(ctx, keys[0], "began", "last")
		found = p.XRange(ctx, keys[1], strconv.FormatUint(id+1, 10)+"-0", "+")
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("events after %d: %w", id, err)
	}
	began, last := number(bounds.Val()[0]), number(bounds.Val()[1])
	if last == 0 || id < began || id > last {
		return nil, fmt.Errorf("events after %d: %w", id, store.ErrGap)
	}
	var events []store.Event
	for _, m := range found.Val() {
		at, _, _ := strings.Cut(m.ID, "-")
		data, _ := m.Values["data"].(string)
		events = append(events, store.Event{ID: number(at), Data: []byte(data)})
	}
	return events, nil
}

// number reads what a script of ours has written; nothing is 0.
func number(said any) uint64 {
	text, _ := said.(string)
	n, _ := strconv.ParseUint(text, 10, 64)
	return n
}
