// Package mongodb keeps the documents in MongoDB, or in a server that speaks
// its protocol. It uses no transactions: every promise rests on single commands
// being atomic, so that one server without a replica set suffices.
package mongodb

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"
)

const (
	selectTime = 2 * time.Second // to find a server
	answerTime = 4 * time.Second // for one command
	lookTime   = time.Second     // between looks whether the server is there, which bounds how long it seems to be away
)

// Store is one database. Its methods may be called at the same time.
type Store struct {
	client *mongo.Client

	users    *mongo.Collection
	apiKeys  *mongo.Collection
	ledgers  *mongo.Collection
	pomodori *mongo.Collection
	todos    *mongo.Collection
	timers   *mongo.Collection

	turns turns

	indexed  atomic.Bool
	indexing chan struct{} // a place for the one that creates indexes
}

// Open prepares the connection to the server at uri, which may name a database;
// it connects when it is used first, so that the service can start before the
// server does.
func Open(uri string) (*Store, error) {
	parsed, err := connstring.ParseAndValidate(uri)
	if err != nil {
		return nil, fmt.Errorf("open mongodb: %w", err)
	}
	name := parsed.Database
	if name == "" {
		name = "pomodoro"
	}
	return open(options.Client().ApplyURI(uri), name)
}

func open(o *options.ClientOptions, name string) (*Store, error) {
	// What is acknowledged is in the journal of most of the servers.
	journaled := writeconcern.Majority()
	on := true
	journaled.Journal = &on
	o.SetServerSelectionTimeout(selectTime).SetConnectTimeout(selectTime).SetHeartbeatInterval(lookTime).SetTimeout(answerTime).SetWriteConcern(journaled)
	client, err := mongo.Connect(o)
	if err != nil {
		return nil, fmt.Errorf("open mongodb: %w", err)
	}
	db := client.Database(name)
	return &Store{
		client: client, users: db.Collection("users"), apiKeys: db.Collection("apikeys"), ledgers: db.Collection("ledgers"),
		pomodori: db.Collection("pomodori"), todos: db.Collection("todos"), timers: db.Collection("timers"), turns: newTurns(), indexing: make(chan struct{}, 1),
	}, nil
}

// Close closes the connections.
func (s *Store) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	return s.client.Disconnect(ctx)
}

// indexes are those that the queries need, by collection. Ledgers and timers
// are found by _id alone, and so is a document whose id is known.
var indexes = map[string][]mongo.IndexModel{
	"users": {
		{Keys: bson.D{{Key: "provider", Value: 1}, {Key: "providerId", Value: 1}}, Options: options.Index().SetName("provider_identity").SetUnique(true)},
	},
	"apikeys": {
		{Keys: bson.D{{Key: "hash", Value: 1}}, Options: options.Index().SetName("hash").SetUnique(true)},
	},
	"pomodori": {
		// The look for overlaps reads nothing but this index.
		{Keys: bson.D{{Key: "owner", Value: 1}, {Key: "gone", Value: 1}, {Key: "start", Value: 1}, {Key: "end", Value: 1}}, Options: options.Index().SetName("owner_span")},
		{Keys: bson.D{{Key: "goneAt", Value: 1}}, Options: options.Index().SetName("gone_ttl").SetExpireAfterSeconds(int32(goneTTL.Seconds()))},
	},
	"todos": {
		{Keys: bson.D{{Key: "owner", Value: 1}, {Key: "deleted", Value: 1}, {Key: "order", Value: 1}, {Key: "createdAt", Value: 1}, {Key: "_id", Value: 1}}, Options: options.Index().SetName("owner_order")},
	},
}

// Run creates the indexes as soon as the server answers, and again after it was
// away: it may be another one then. It ends with ctx.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		_ = s.index(ctx) // Ready tells
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Ready reports whether the server answers and has the indexes.
func (s *Store) Ready(ctx context.Context) error {
	if err := s.client.Ping(ctx, nil); err != nil {
		s.indexed.Store(false)
		return err
	}
	return s.index(ctx)
}

// index creates the indexes unless that is done. It waits for another one that
// is at it, as long as ctx: who asks whether the server is ready wants to know soon.
func (s *Store) index(ctx context.Context) error {
	if s.indexed.Load() {
		return nil
	}
	select {
	case s.indexing <- struct{}{}:
		defer func() { <-s.indexing }()
	case <-ctx.Done():
		return fmt.Errorf("wait for the indexes: %w", ctx.Err())
	}
	if s.indexed.Load() {
		return nil
	}
	for name, models := range indexes {
		if _, err := s.users.Database().Collection(name).Indexes().CreateMany(ctx, models); err != nil {
			return fmt.Errorf("create the indexes of %s: %w", name, err)
		}
	}
	s.indexed.Store(true)
	return nil
}

// is makes a filter of names and values in turn.
func is(pairs ...any) bson.D {
	d := make(bson.D, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		d = append(d, bson.E{Key: pairs[i].(string), Value: pairs[i+1]})
	}
	return d
}

// missing tells whether err says that there is no such document.
func missing(err error) bool { return errors.Is(err, mongo.ErrNoDocuments) }
