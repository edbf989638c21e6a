package redisdb

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"pomodoro.cc/services/api/internal/store"
)

func timerKey(room string) string  { return "team:{" + room + "}:timer" }
func peopleKey(room string) string { return "team:{" + room + "}:people" }

// present is a person in a room as it is kept.
type present struct {
	Name string `json:"name"`
	Came int64  `json:"came"` // Unix milliseconds
	Seen int64  `json:"seen"` // Unix milliseconds
}

// EnterRoom puts p into the room, or says that p is still there; false when the
// room is full. Two who enter at once may both be the last one.
func (s *Store) EnterRoom(ctx context.Context, room string, p store.Person) (bool, error) {
	fail := func(err error) (bool, error) { return false, fmt.Errorf("enter room %s: %w", room, err) }
	all, err := s.redis.HGetAll(ctx, peopleKey(room)).Result()
	if err != nil {
		return fail(err)
	}
	now := time.Now().UnixMilli()
	here, old := decode(all, now)
	me, known := here[p.ID]
	if !known && len(here) >= store.PresentLimit {
		return false, nil
	}
	changed := me.Name != p.Name
	if !known {
		me.Came, changed = now, true
	}
	me.Name, me.Seen = p.Name, now
	value, err := json.Marshal(me)
	if err != nil {
		return fail(err)
	}
	_, err = s.redis.TxPipelined(ctx, func(t redis.Pipeliner) error {
		t.HSet(ctx, peopleKey(room), p.ID, value)
		t.Expire(ctx, peopleKey(room), 2*store.PresenceTTL)
		if len(old) > 0 {
			t.HDel(ctx, peopleKey(room), old...)
		}
		if changed || len(old) > 0 {
			t.Publish(ctx, wakeChannel, "room:"+room)
		}
		return nil
	})
	if err != nil {
		return fail(err)
	}
	return true, nil
}

// decode tells apart who is here and who was not heard of for too long.
func decode(all map[string]string, now int64) (here map[string]present, old []string) {
	here = map[string]present{}
	for id, value := range all {
		var p present
		if err := json.Unmarshal([]byte(value), &p); err != nil || now-p.Seen > store.PresenceTTL.Milliseconds() {
			old = append(old, id)
			continue
		}
		here[id] = p
	}
	return here, old
}

// LeaveRoom takes the person with this id out of the room.
func (s *Store) LeaveRoom(ctx context.Context, room, id string) error {
	_, err := s.redis.TxPipelined(ctx, func(t redis.Pipeliner) error {
		t.HDel(ctx, peopleKey(room), id)
		t.Publish(ctx, wakeChannel, "room:"+room)
		return nil
	})
	if err != nil {
		return fmt.Errorf("leave room %s: %w", room, err)
	}
	return nil
}

// SetRoomTimer keeps the timer of the room; nil is none.
func (s *Store) SetRoomTimer(ctx context.Context, room string, t *store.Timer) error {
	value, err := json.Marshal(t)
	if err == nil {
		_, err = s.redis.TxPipelined(ctx, func(p redis.Pipeliner) error {
			if t == nil {
				p.Del(ctx, timerKey(room))
			} else {
				p.Set(ctx, timerKey(room), value, store.RoomTTL)
			}
			p.Publish(ctx, wakeChannel, "room:"+room)
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("set timer of room %s: %w", room, err)
	}
	return nil
}

// Room returns the timer and the people of the room.
func (s *Store) Room(ctx context.Context, room string) (store.Room, error) {
	var timer *redis.StringCmd
	var people *redis.MapStringStringCmd
	_, err := s.redis.TxPipelined(ctx, func(t redis.Pipeliner) error {
		timer = t.Get(ctx, timerKey(room))
		people = t.HGetAll(ctx, peopleKey(room))
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return store.Room{}, fmt.Errorf("room %s: %w", room, err)
	}
	var r store.Room
	if raw, err := timer.Bytes(); err == nil {
		if err := json.Unmarshal(raw, &r.Timer); err != nil {
			return store.Room{}, fmt.Errorf("room %s: %w", room, err)
		}
	}
	here, _ := decode(people.Val(), time.Now().UnixMilli())
	for id, p := range here {
		r.People = append(r.People, store.Person{ID: id, Name: p.Name})
	}
	slices.SortFunc(r.People, func(a, b store.Person) int {
		return cmp.Or(cmp.Compare(here[a.ID].Came, here[b.ID].Came), cmp.Compare(a.ID, b.ID))
	})
	return r, nil
}
