package mongodb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"pomodoro.cc/services/api/internal/store"
	"pomodoro.cc/services/internal/testbed"
)

// overheard are the commands that a store has sent.
type overheard struct {
	mu       sync.Mutex // guards commands
	commands []bson.D
}

func (o *overheard) monitor() *event.CommandMonitor {
	return &event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
		var command bson.D
		if err := bson.Unmarshal(slices.Clone(e.Command), &command); err == nil {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.commands = append(o.commands, command)
		}
	}}
}

// query is one look for documents.
type query struct {
	collection string
	filter     bson.D
	command    bson.D // that can be explained
}

// queries are the looks that are in a command.
func queries(command bson.D) []query {
	get := func(d bson.D, name string) any {
		for _, e := range d {
			if e.Key == name {
				return e.Value
			}
		}
		return nil
	}
	name := command[0].Key
	collection, _ := command[0].Value.(string)
	plain := bson.D{}
	for _, e := range command {
		if !strings.HasPrefix(e.Key, "$") && !slices.Contains([]string{"lsid", "txnNumber", "writeConcern", "maxTimeMS"}, e.Key) {
			plain = append(plain, e)
		}
	}
	switch name {
	case "find":
		return []query{{collection, get(command, "filter").(bson.D), plain}}
	case "findAndModify":
		return []query{{collection, get(command, "query").(bson.D), plain}}
	case "aggregate":
		first := get(command, "pipeline").(bson.A)[0].(bson.D)
		return []query{{collection, get(first, "$match").(bson.D), plain}}
	case "update":
		var all []query
		for _, u := range get(command, "updates").(bson.A) {
			all = append(all, query{collection, get(u.(bson.D), "q").(bson.D), plain})
		}
		return all
	}
	return nil
}

// everything uses every method of the store, so that it sends each of its
// commands.
func everything(t *testing.T, s *Store) {
	t.Helper()
	ctx := t.Context()
	at := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	p := store.Pomodoro{Type: "pomodoro", Minutes: 25, StartedAt: at, Tags: []string{"a"}, Distractions: []time.Time{}}
	zone, err := time.LoadLocation("Europe/Rome")
	if err != nil {
		t.Fatal(err)
	}
	u, err := s.Login(ctx, store.User{Provider: "fake", ProviderID: "1"})
	if err != nil {
		t.Fatal(err)
	}
	once, todo := store.NewOnce(u.ID, "/", "key", nil), store.NewOnce(u.ID, "/", "todo", nil)
	later := p
	later.StartedAt = at.Add(time.Hour)
	add := func(p store.Pomodoro, once store.Once) error { _, _, err := s.Add(ctx, u.ID, p, once); return err }
	addTodo := func() error {
		_, _, err := s.AddTodo(ctx, u.ID, store.Todo{Pomodori: []string{}}, todo)
		return err
	}
	for i, step := range []func() error{
		func() error { _, err := s.Login(ctx, store.User{Provider: "fake", ProviderID: "1"}); return err },
		func() error { _, err := s.User(ctx, u.ID); return err },
		func() error { return s.SetAPIKey(ctx, u.ID, []byte("hash")) },
		func() error { _, err := s.APIKeyOwner(ctx, []byte("hash")); return err },
		func() error { return add(p, once) },
		func() error { return add(p, once) },
		func() error { return add(later, store.NewOnce(u.ID, "/", "", nil)) },
		func() error { _, err := s.Get(ctx, u.ID, once.ID); return err },
		func() error { _, _, err := s.List(ctx, u.ID, at, at.Add(time.Hour), 10); return err },
		func() error { _, err := s.Days(ctx, u.ID, at.AddDate(0, -6, 0), at.AddDate(0, 6, 0), zone); return err },
		func() error {
			_, err := s.Change(ctx, u.ID, once.ID, func(p store.Pomodoro) (store.Pomodoro, error) { return p, nil })
			return err
		},
		func() error { return s.Delete(ctx, u.ID, once.ID) },
		addTodo, addTodo,
		func() error { _, err := s.Todo(ctx, u.ID, todo.ID); return err },
		func() error {
			_, err := s.ChangeTodo(ctx, u.ID, todo.ID, func(t store.Todo) (store.Todo, error) { return t, nil })
			return err
		},
		func() error { _, err := s.Todos(ctx, u.ID, false); return err },
		func() error { _, err := s.Todos(ctx, u.ID, true); return err },
		func() error { return s.SetTimer(ctx, u.ID, &store.Timer{Type: "break", Minutes: 5}) },
		func() error { _, err := s.Timer(ctx, u.ID); return err },
	} {
		if err := step(); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
}

// opened is a store on a database of the test's own that has its indexes.
func opened(t *testing.T, monitor *event.CommandMonitor) *Store {
	t.Helper()
	mongo, _ := testbed.Shared(t)
	s, err := open(options.Client().ApplyURI(mongo.URL).SetMonitor(monitor), fmt.Sprintf("pomodoro_index_%d_%d", os.Getpid(), time.Now().UnixNano()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.users.Database().Drop(context.Background()), s.Close()); err != nil {
			t.Error(err)
		}
	})
	if err := s.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestQueries_EachHasAnIndex(t *testing.T) {
	var heard overheard
	s := opened(t, heard.monitor())
	everything(t, s)
	heard.mu.Lock()
	commands := slices.Clone(heard.commands)
	heard.mu.Unlock()
	asked := map[string]bool{}
	for _, command := range commands {
		for _, q := range queries(command) {
			asked[command[0].Key+" "+q.collection] = true
			if testbed.RealMongo() {
				explained(t, s, q)
			} else {
				indexed(t, s, q.collection, q.filter)
			}
		}
	}
	for _, want := range []string{"find pomodori", "aggregate pomodori", "update pomodori", "update ledgers", "find todos", "findAndModify users", "find apikeys"} {
		if !asked[want] {
			t.Errorf("the scene did not %s: %v", want, asked)
		}
	}
}

// indexed finds an index whose first key the filter gives, in each of its
// alternatives, and that has every field that the filter narrows down by.
func indexed(t *testing.T, s *Store, collection string, filter bson.D) {
	t.Helper()
	if filter[0].Key == "$or" {
		for _, alternative := range filter[0].Value.(bson.A) {
			indexed(t, s, collection, alternative.(bson.D))
		}
		return
	}
	given := map[string]bool{}
	for _, e := range filter {
		given[e.Key] = true
	}
	if given["_id"] {
		return
	}
	specs, err := s.users.Database().Collection(collection).Indexes().ListSpecifications(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range specs {
		var keys bson.D
		if err := bson.Unmarshal(spec.KeysDocument, &keys); err != nil {
			t.Fatal(err)
		}
		prefix := 0
		for prefix < len(keys) && given[keys[prefix].Key] {
			prefix++
		}
		// type is filtered on what the index has found: a break is one in five.
		if rest := len(given) - prefix; prefix > 0 && (rest == 0 || rest == 1 && given["type"]) {
			return
		}
	}
	t.Errorf("no index of %s serves %v", collection, filter)
}

// explained asks a real server how it would do it.
func explained(t *testing.T, s *Store, q query) {
	t.Helper()
	var plan bson.D
	err := s.users.Database().RunCommand(t.Context(), is("explain", q.command, "verbosity", "queryPlanner")).Decode(&plan)
	if err != nil {
		t.Fatalf("explain %v: %v", q.command, err)
	}
	said, err := bson.MarshalExtJSON(plan, false, false)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(said, []byte(`"COLLSCAN"`)) || bytes.Contains(said, []byte(`"SORT"`)) {
		t.Errorf("%s %v scans or sorts: %s", q.collection, q.filter, said)
	}
}

func TestIndexes_AreThoseThatAreDefined(t *testing.T) {
	s := opened(t, nil)
	for name, models := range indexes {
		specs, err := s.users.Database().Collection(name).Indexes().ListSpecifications(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(specs) != len(models)+1 { // and _id
			t.Errorf("%s has %d indexes, want %d", name, len(specs), len(models)+1)
		}
		for _, spec := range specs {
			unique := spec.Unique != nil && *spec.Unique
			if want := spec.Name == "provider_identity" || spec.Name == "hash"; unique != want {
				t.Errorf("%s of %s: unique %t, want %t", spec.Name, name, unique, want)
			}
			if ttl := spec.ExpireAfterSeconds; (ttl != nil) != (spec.Name == "gone_ttl") || ttl != nil && *ttl != int32(goneTTL.Seconds()) {
				t.Errorf("%s of %s expires after %v", spec.Name, name, ttl)
			}
		}
	}
}

func TestLedger_AWriteThatWasCutInHalfIsFinishedByTheNextOne(t *testing.T) {
	s := opened(t, nil)
	ctx := t.Context()
	at := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	p := store.Pomodoro{Type: "pomodoro", Minutes: 25, StartedAt: at, Tags: []string{}, Distractions: []time.Time{}}
	// What a process leaves that dies between its two writes.
	once := store.NewOnce("ann", "/", "key", nil)
	p.ID = once.ID
	half := entryOf("ann", p, once.Print)
	half.Rev, half.Op = 1, "dead"
	if won, err := s.commit(ctx, "ann", 0, half); !won || err != nil {
		t.Fatalf("commit: %t, %v", won, err)
	}
	// Another process, that knows nothing of it.
	other := p
	other.StartedAt = at.Add(10 * time.Minute)
	var overlap *store.ErrOverlap
	if _, _, err := s.Add(ctx, "ann", other, store.NewOnce("ann", "/", "", nil)); !errors.As(err, &overlap) || overlap.Conflicts[0].ID != once.ID {
		t.Errorf("what overlaps the half write: %v, want a conflict with it", err)
	}
	if got, err := s.Get(ctx, "ann", once.ID); err != nil || !got.StartedAt.Equal(at) {
		t.Errorf("the half write is %+v, %v", got, err)
	}
	if kept, stored, err := s.Add(ctx, "ann", p, once); err != nil || stored || kept.ID != once.ID {
		t.Errorf("its repetition: %+v, stored %t, %v", kept, stored, err)
	}
}

func TestLedger_WhatIsLateBringsNothingBack(t *testing.T) {
	s := opened(t, nil)
	ctx := t.Context()
	p := store.Pomodoro{Type: "pomodoro", Minutes: 25, StartedAt: time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC), Tags: []string{}, Distractions: []time.Time{}}
	kept, _, err := s.Add(ctx, "ann", p, store.NewOnce("ann", "/", "", nil))
	if err != nil {
		t.Fatal(err)
	}
	// A slow process has read this ledger, and is about to finish its write.
	l, err := s.settled(ctx, "ann")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(ctx, "ann", kept.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.apply(ctx, l.Last); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(ctx, "ann", kept.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the deleted entry: %v, want ErrNotFound", err)
	}
	if won, err := s.commit(ctx, "ann", l.Rev, l.Last); won || err != nil {
		t.Errorf("a write after an old revision: %t, %v, want that it loses", won, err)
	}
}

func TestLedger_AQueueBeforeASlowServerIsNoFailure(t *testing.T) {
	t.Parallel()
	slow := &event.CommandMonitor{Started: func(context.Context, *event.CommandStartedEvent) {
		time.Sleep(300 * time.Millisecond) // what the way there takes
	}}
	s := opened(t, slow)
	at := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	began := time.Now()
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			p := store.Pomodoro{Type: "pomodoro", Minutes: 25, StartedAt: at.Add(time.Duration(n) * time.Hour), Tags: []string{}, Distractions: []time.Time{}}
			if _, stored, err := s.Add(t.Context(), "ann", p, store.NewOnce("ann", "/", "", nil)); err != nil || !stored {
				t.Errorf("entry %d: stored %t, %v", n, stored, err)
			}
		})
	}
	all.Wait()
	if took := time.Since(began); took < writeTime {
		t.Fatalf("the queue took %s, and shows nothing below %s", took, writeTime)
	}
}
