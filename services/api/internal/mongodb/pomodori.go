package mongodb

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"pomodoro.cc/services/api/internal/store"
)

// errRepeated ends a write that another one has done before.
var errRepeated = errors.New("repeated")

// Add inserts p for owner, unless it overlaps. When once has stored an entry
// before, that one is returned as it is now, or as it was when it was deleted,
// and stored is false.
func (s *Store) Add(ctx context.Context, owner string, p store.Pomodoro, once store.Once) (kept store.Pomodoro, stored bool, err error) {
	p.ID = once.ID
	var first *entry // with this id, known before
	next := func(ctx context.Context) (entry, error) {
		e := entryOf(owner, p, once.Print)
		known, overlap, err := s.look(ctx, e)
		switch {
		case err != nil:
			return e, err
		case known != nil:
			first = known
			return e, errors.Join(once.Repeats(known.Print), errRepeated)
		case overlap != nil:
			return e, overlap
		}
		return e, nil
	}
	// What is in the way already needs no place in the order of writes.
	e, err := next(ctx)
	if err == nil {
		e, err = s.write(ctx, owner, next)
	}
	switch {
	case errors.Is(err, store.ErrKeyReused):
		return store.Pomodoro{}, false, fmt.Errorf("add pomodoro: %w", store.ErrKeyReused)
	case errors.Is(err, errRepeated):
		return first.pomodoro(), once.Print == nil, nil // without a key only this request has the id
	case err != nil:
		return store.Pomodoro{}, false, fmt.Errorf("add pomodoro: %w", err)
	}
	return e.pomodoro(), true, nil
}

// Get returns owner's entry with this id, or ErrNotFound.
func (s *Store) Get(ctx context.Context, owner, id string) (store.Pomodoro, error) {
	e, err := s.find(ctx, owner, id, "gone", false)
	if err != nil {
		return store.Pomodoro{}, fmt.Errorf("get pomodoro: %w", err)
	}
	return e.pomodoro(), nil
}

// Change replaces owner's entry with what change makes of it, unless that
// overlaps. Change may be called several times; an error from it is returned as
// it is and leaves the entry.
func (s *Store) Change(ctx context.Context, owner, id string, change func(store.Pomodoro) (store.Pomodoro, error)) (store.Pomodoro, error) {
	e, err := s.write(ctx, owner, func(ctx context.Context) (entry, error) {
		old, err := s.find(ctx, owner, id, "gone", false)
		if err != nil {
			return entry{}, err
		}
		p, err := change(old.pomodoro())
		if err != nil {
			return entry{}, err
		}
		p.ID = id
		e := entryOf(owner, p, old.Print)
		_, overlap, err := s.look(ctx, e)
		if err == nil && overlap != nil {
			err = overlap
		}
		return e, err
	})
	if err != nil {
		return store.Pomodoro{}, fmt.Errorf("change pomodoro: %w", err)
	}
	return e.pomodoro(), nil
}

// Delete marks owner's entry with this id as gone, or returns ErrNotFound.
func (s *Store) Delete(ctx context.Context, owner, id string) error {
	_, err := s.write(ctx, owner, func(ctx context.Context) (entry, error) {
		e, err := s.find(ctx, owner, id, "gone", false)
		now := time.Now()
		e.Gone, e.GoneAt = true, &now
		return e, err
	})
	if err != nil {
		return fmt.Errorf("delete pomodoro: %w", err)
	}
	return nil
}

// within are the entries of owner that start in [from, to).
func within(owner string, from, to time.Time) bson.D {
	return is("owner", owner, "gone", false, "start", is("$gte", from, "$lt", to))
}

// List returns the entries of owner that start in [from, to), sorted by start,
// at most limit of them, and whether there are more.
func (s *Store) List(ctx context.Context, owner string, from, to time.Time, limit int) (found []store.Pomodoro, more bool, err error) {
	cursor, err := s.pomodori.Find(ctx, within(owner, from, to), options.Find().SetSort(is("start", 1)).SetLimit(int64(limit+1)))
	var entries []entry
	if err == nil {
		err = cursor.All(ctx, &entries)
	}
	if err != nil {
		return nil, false, fmt.Errorf("list pomodori: %w", err)
	}
	if more = len(entries) > limit; more {
		entries = entries[:limit]
	}
	for _, e := range entries {
		found = append(found, e.pomodoro())
	}
	return found, more, nil
}

// Days counts the work of owner that started in [from, to) by the days of zone,
// in order; days without any are left out.
func (s *Store) Days(ctx context.Context, owner string, from, to time.Time, zone *time.Location) ([]store.Day, error) {
	var counted []struct {
		Days []struct {
			Day             string `bson:"_id"`
			Full, Cancelled int
			MS              int64 `bson:"ms"`
		} `bson:"days"`
		Tags []struct {
			ID    struct{ Day, Tag string } `bson:"_id"`
			Count int
			MS    int64 `bson:"ms"`
		} `bson:"tags"`
	}
	cursor, err := s.pomodori.Aggregate(ctx, dayPipeline(owner, from, to, zone))
	if err == nil {
		err = cursor.All(ctx, &counted)
	}
	if err != nil {
		return nil, fmt.Errorf("count days: %w", err)
	}
	var days []store.Day
	at := map[string]int{}
	for _, c := range counted {
		for _, d := range c.Days {
			at[d.Day] = len(days)
			days = append(days, store.Day{Day: d.Day, Full: d.Full, Cancelled: d.Cancelled,
				Time: time.Duration(d.MS) * time.Millisecond, Tags: map[string]store.Tally{}})
		}
		for _, t := range c.Tags {
			days[at[t.ID.Day]].Tags[t.ID.Tag] = store.Tally{Count: t.Count, Time: time.Duration(t.MS) * time.Millisecond}
		}
	}
	return days, nil
}

// dayPipeline counts by day, and by day and tag, in one pass. The days are made
// from the offsets of zone as this program knows them, so that every store and
// every server agrees on them.
func dayPipeline(owner string, from, to time.Time, zone *time.Location) mongo.Pipeline {
	worked := append(within(owner, from, to), bson.E{Key: "type", Value: is("$in", bson.A{"pomodoro", "custom"})})
	// A field that is not there is less than every date.
	cancelled := is("$gt", bson.A{"$cancelledAt", time.Unix(0, 0)})
	return mongo.Pipeline{
		is("$match", worked),
		is("$project", is(
			"day", is("$dateToString", is("format", "%Y-%m-%d", "date", is("$add", bson.A{"$start", offsets(from, to, zone)}))),
			"ms", is("$subtract", bson.A{"$end", "$start"}),
			"full", is("$cond", bson.A{cancelled, 0, 1}),
			"cancelled", is("$cond", bson.A{cancelled, 1, 0}),
			"tags", 1,
		)),
		is("$facet", is(
			"days", bson.A{
				is("$group", is("_id", "$day", "full", is("$sum", "$full"), "cancelled", is("$sum", "$cancelled"), "ms", is("$sum", "$ms"))),
				is("$sort", is("_id", 1)),
			},
			"tags", bson.A{
				is("$unwind", "$tags"),
				is("$group", is("_id", is("day", "$day", "tag", "$tags"), "count", is("$sum", 1), "ms", is("$sum", "$ms"))),
			},
		)),
	}
}

// offsets is an expression for the milliseconds that zone is ahead at $start,
// which is in [from, to).
func offsets(from, to time.Time, zone *time.Location) any {
	ahead := func(at time.Time) int64 {
		_, seconds := at.In(zone).Zone()
		return int64(seconds) * 1000
	}
	var branches bson.A
	at := from
	for {
		_, change := at.In(zone).ZoneBounds()
		if change.IsZero() || !change.Before(to) {
			break
		}
		branches = append(branches, is("case", is("$lt", bson.A{"$start", change}), "then", ahead(at)))
		at = change
	}
	if branches == nil {
		return ahead(from)
	}
	return is("$switch", is("branches", branches, "default", ahead(at)))
}
