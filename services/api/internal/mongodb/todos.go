package mongodb

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"pomodoro.cc/services/api/internal/store"
)

// todo is a todo as it is kept.
type todo struct {
	ID        string    `bson:"_id"`
	Owner     string    `bson:"owner"`
	Rev       int64     `bson:"rev"`
	Text      string    `bson:"text"`
	Completed bool      `bson:"completed"`
	Order     float64   `bson:"order"`
	Deleted   bool      `bson:"deleted"`
	Pomodori  []string  `bson:"pomodori"`
	CreatedAt time.Time `bson:"createdAt"`
	UpdatedAt time.Time `bson:"updatedAt"`
	Print     []byte    `bson:"print,omitempty"`
}

func todoOf(owner string, t store.Todo, rev int64, print []byte) todo {
	return todo{t.ID, owner, rev, t.Text, t.Completed, t.Order, t.Deleted, t.Pomodori, t.CreatedAt, t.UpdatedAt, print}
}

func (t todo) todo() store.Todo {
	return store.Todo{ID: t.ID, Text: t.Text, Completed: t.Completed, Order: t.Order, Deleted: t.Deleted,
		Pomodori: t.Pomodori, CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt}
}

// Todos returns those of owner that are not deleted, or all of them, sorted by
// order and then by when they were made.
func (s *Store) Todos(ctx context.Context, owner string, deletedToo bool) (found []store.Todo, err error) {
	filter := is("owner", owner, "deleted", false)
	if deletedToo {
		filter = is("owner", owner, "deleted", is("$in", bson.A{false, true}))
	}
	cursor, err := s.todos.Find(ctx, filter, options.Find().SetSort(is("order", 1, "createdAt", 1, "_id", 1)))
	var kept []todo
	if err == nil {
		err = cursor.All(ctx, &kept)
	}
	if err != nil {
		return nil, fmt.Errorf("list todos: %w", err)
	}
	for _, t := range kept {
		found = append(found, t.todo())
	}
	return found, nil
}

// AddTodo inserts t for owner. When once has stored a todo before, that one is
// returned as it is now, and stored is false.
func (s *Store) AddTodo(ctx context.Context, owner string, t store.Todo, once store.Once) (kept store.Todo, stored bool, err error) {
	t.ID = once.ID
	_, err = s.todos.InsertOne(ctx, todoOf(owner, t, 1, once.Print))
	if mongo.IsDuplicateKeyError(err) {
		var first todo
		if first, err = s.findTodo(ctx, owner, once.ID); err == nil {
			return first.todo(), false, once.Repeats(first.Print)
		}
	}
	if err != nil {
		return store.Todo{}, false, fmt.Errorf("add todo: %w", err)
	}
	return t, true, nil
}

func (s *Store) findTodo(ctx context.Context, owner, id string) (todo, error) {
	var t todo
	err := s.todos.FindOne(ctx, is("_id", id, "owner", owner)).Decode(&t)
	if missing(err) {
		err = store.ErrNotFound
	}
	return t, err
}

// Todo returns owner's todo with this id, a deleted one too, or ErrNotFound.
func (s *Store) Todo(ctx context.Context, owner, id string) (store.Todo, error) {
	t, err := s.findTodo(ctx, owner, id)
	if err != nil {
		return store.Todo{}, fmt.Errorf("get todo: %w", err)
	}
	return t.todo(), nil
}

// ChangeTodo replaces owner's todo with what change makes of it. Change may be
// called several times, when others change the same todo; an error from it
// leaves the todo.
func (s *Store) ChangeTodo(ctx context.Context, owner, id string, change func(store.Todo) (store.Todo, error)) (store.Todo, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	fail := func(err error) (store.Todo, error) { return store.Todo{}, fmt.Errorf("change todo: %w", err) }
	for {
		old, err := s.findTodo(ctx, owner, id)
		if err != nil {
			return fail(err)
		}
		t, err := change(old.todo())
		if err != nil {
			return fail(err)
		}
		t.ID = id
		r, err := s.todos.ReplaceOne(ctx, is("_id", id, "rev", old.Rev), todoOf(owner, t, old.Rev+1, old.Print))
		if err != nil {
			return fail(err)
		}
		if r.MatchedCount == 1 {
			return t, nil
		}
	}
}

// timer is a running timer as it is kept.
type timer struct {
	Owner        string      `bson:"_id"`
	Running      bool        `bson:"running"`
	Type         string      `bson:"type"`
	Minutes      int         `bson:"minutes"`
	StartedAt    time.Time   `bson:"startedAt"`
	Tags         []string    `bson:"tags"`
	Todo         string      `bson:"todo"`
	Distractions []time.Time `bson:"distractions"`
}

// Timer returns what owner's clock is running, or nil.
func (s *Store) Timer(ctx context.Context, owner string) (*store.Timer, error) {
	var t timer
	err := s.timers.FindOne(ctx, is("_id", owner)).Decode(&t)
	if missing(err) || err == nil && !t.Running {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get timer: %w", err)
	}
	return &store.Timer{Type: t.Type, Minutes: t.Minutes, StartedAt: t.StartedAt, Tags: t.Tags, Todo: t.Todo, Distractions: t.Distractions}, nil
}

// SetTimer keeps what owner's clock is running; nil is nothing.
func (s *Store) SetTimer(ctx context.Context, owner string, t *store.Timer) error {
	kept := timer{Owner: owner}
	if t != nil {
		kept = timer{owner, true, t.Type, t.Minutes, t.StartedAt, t.Tags, t.Todo, t.Distractions}
	}
	if _, err := s.timers.ReplaceOne(ctx, is("_id", owner), kept, options.Replace().SetUpsert(true)); err != nil {
		return fmt.Errorf("set timer: %w", err)
	}
	return nil
}
