package mongodb

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"pomodoro.cc/services/api/internal/store"
)

// goneTTL is store.GoneTTL: how long a mark of a deleted entry stays.
const goneTTL = store.GoneTTL

const (
	// writeTime bounds one write with all its attempts.
	writeTime = 8 * time.Second
	// queueTime bounds the wait for the owner's writes before it: these are
	// answered in order, and a slow server is not one that does not answer.
	queueTime = 30 * time.Second
)

// entry is a pomodoro as it is kept. A deleted one stays for a while, marked, so
// that nothing that is late can bring it back.
type entry struct {
	ID           string      `bson:"_id"`
	Owner        string      `bson:"owner"`
	Rev          int64       `bson:"rev"` // of the owner's ledger that wrote it
	Op           string      `bson:"op"`  // the write itself
	Gone         bool        `bson:"gone"`
	GoneAt       *time.Time  `bson:"goneAt,omitempty"`
	Type         string      `bson:"type"`
	Minutes      int         `bson:"minutes"`
	Start        time.Time   `bson:"start"`
	End          time.Time   `bson:"end"`
	CancelledAt  *time.Time  `bson:"cancelledAt,omitempty"`
	Tags         []string    `bson:"tags"`
	Distractions []time.Time `bson:"distractions"`
	Todo         string      `bson:"todo,omitempty"`
	Print        []byte      `bson:"print,omitempty"`
}

func entryOf(owner string, p store.Pomodoro, print []byte) entry {
	return entry{
		ID: p.ID, Owner: owner, Type: p.Type, Minutes: p.Minutes, Start: p.StartedAt, End: p.End(), CancelledAt: p.CancelledAt,
		Tags: p.Tags, Distractions: p.Distractions, Todo: p.Todo, Print: print,
	}
}

func (e entry) pomodoro() store.Pomodoro {
	return store.Pomodoro{
		ID: e.ID, Type: e.Type, Minutes: e.Minutes, StartedAt: e.Start, CancelledAt: e.CancelledAt,
		Tags: e.Tags, Distractions: e.Distractions, Todo: e.Todo,
	}
}

// ledger is an owner's place in the order of writes: how many there were, and
// the last one in full. A write is done, for good, when it is in the ledger;
// the collection of entries follows. Of two who race for one revision one wins,
// and whoever comes next first brings the collection up to the ledger. So who
// looks for overlaps sees every write before his own, none can come between his
// look and his write, and a process that dies in between leaves nothing that
// another one does not finish.
type ledger struct {
	Owner string `bson:"_id"`
	Rev   int64  `bson:"rev"`
	Last  entry  `bson:"last"`
}

// write puts what next makes into owner's ledger and into the collection. Next
// may be called several times; it reads a collection that is up to date. Its
// errors are returned as they are.
func (s *Store) write(ctx context.Context, owner string, next func(context.Context) (entry, error)) (entry, error) {
	// Races within this process are settled here, where they cost nothing.
	leave, err := s.turns.enter(ctx, owner)
	if err != nil {
		return entry{}, err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	op := rand.Text()
	for tried := ""; ; { // the id that an attempt without success was about
		l, err := s.settled(ctx, owner)
		if err != nil {
			return entry{}, err
		}
		if tried != "" {
			// The driver repeats what got no answer: the attempt that seems to
			// have lost may be the repetition of one that won.
			if e, err := s.find(ctx, owner, tried); err == nil && e.Op == op {
				return e, nil
			}
		}
		e, err := next(ctx)
		if err != nil {
			return entry{}, err
		}
		e.Rev, e.Op = l.Rev+1, op
		won, err := s.commit(ctx, owner, l.Rev, e)
		if err != nil {
			return entry{}, fmt.Errorf("write the ledger: %w", err)
		}
		if won {
			return e, s.apply(ctx, e)
		}
		tried = e.ID
	}
}

// settled returns owner's ledger once the collection has its last write.
func (s *Store) settled(ctx context.Context, owner string) (ledger, error) {
	var l ledger
	err := s.ledgers.FindOne(ctx, is("_id", owner)).Decode(&l)
	if missing(err) {
		return ledger{Owner: owner}, nil
	}
	if err != nil {
		return l, fmt.Errorf("read the ledger: %w", err)
	}
	err = s.pomodori.FindOne(ctx, is("_id", l.Last.ID, "rev", is("$gte", l.Rev)), options.FindOne().SetProjection(is("_id", 1))).Err()
	if missing(err) {
		err = s.apply(ctx, l.Last)
	}
	if err != nil {
		return l, fmt.Errorf("settle the ledger: %w", err)
	}
	return l, nil
}

// commit makes e the owner's next write after rev, unless another one is. This
// is the one step that decides.
func (s *Store) commit(ctx context.Context, owner string, rev int64, e entry) (won bool, err error) {
	if rev == 0 {
		_, err := s.ledgers.InsertOne(ctx, ledger{Owner: owner, Rev: e.Rev, Last: e})
		if mongo.IsDuplicateKeyError(err) {
			return false, nil
		}
		return err == nil, err
	}
	r, err := s.ledgers.UpdateOne(ctx, is("_id", owner, "rev", rev), is("$set", is("rev", e.Rev, "last", e)))
	if err != nil {
		return false, err
	}
	return r.MatchedCount == 1, nil
}

// apply brings a write of a ledger into the collection, unless it or a later one
// of the same entry is there.
func (s *Store) apply(ctx context.Context, e entry) error {
	_, err := s.pomodori.ReplaceOne(ctx, is("_id", e.ID, "rev", is("$lt", e.Rev)), e, options.Replace().SetUpsert(true))
	if mongo.IsDuplicateKeyError(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("bring the ledger into the collection: %w", err)
	}
	return nil
}

// find returns the entry with this id, of this owner, that is like the rest.
func (s *Store) find(ctx context.Context, owner, id string, like ...any) (entry, error) {
	var e entry
	err := s.pomodori.FindOne(ctx, append(is("_id", id, "owner", owner), is(like...)...)).Decode(&e)
	if missing(err) {
		err = store.ErrNotFound
	}
	return e, err
}

// look reads, in one query, the entry that has e's id, gone or not, and those
// that are in e's way.
func (s *Store) look(ctx context.Context, e entry) (known *entry, overlap *store.ErrOverlap, err error) {
	longest := store.LongestMinutes * time.Minute
	found, err := s.pomodori.Find(ctx, is("$or", bson.A{
		is("_id", e.ID, "owner", e.Owner),
		is("owner", e.Owner, "gone", false, "start", is("$gt", e.Start.Add(-longest), "$lt", e.End), "end", is("$gt", e.Start)),
	}))
	var others []entry
	if err == nil {
		err = found.All(ctx, &others)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("look for overlaps: %w", err)
	}
	slices.SortFunc(others, func(a, b entry) int { return a.Start.Compare(b.Start) })
	for i, o := range others {
		if o.ID == e.ID {
			known = &others[i]
			continue
		}
		if overlap == nil {
			overlap = new(store.ErrOverlap)
		}
		overlap.Conflicts = append(overlap.Conflicts, o.pomodoro())
	}
	return known, overlap, nil
}

// turns lets one write of an owner in at a time. Owners that share a place wait
// for each other, which costs time and nothing else.
type turns [64]chan struct{}

func newTurns() (t turns) {
	for i := range t {
		t[i] = make(chan struct{}, 1)
	}
	return t
}

func (t *turns) enter(ctx context.Context, owner string) (leave func(), err error) {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(owner)) // never fails
	place := t[sum.Sum32()%uint32(len(t))]
	ctx, cancel := context.WithTimeout(ctx, queueTime)
	defer cancel()
	select {
	case place <- struct{}{}:
		return func() { <-place }, nil
	case <-ctx.Done():
		return nil, errors.Join(errors.New("wait for the owner's other writes"), ctx.Err())
	}
}
