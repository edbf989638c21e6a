package mongodb

import (
	"context"
	"crypto/rand"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"pomodoro.cc/services/api/internal/store"
)

// user is a user as it is kept.
type user struct {
	ID         string `bson:"_id"`
	Username   string `bson:"username"`
	Avatar     string `bson:"avatar"`
	Provider   string `bson:"provider"`
	ProviderID string `bson:"providerId"`
}

// Login returns the user of (u.Provider, u.ProviderID), made if it is new and
// with name and avatar brought up to date.
func (s *Store) Login(ctx context.Context, u store.User) (store.User, error) {
	identity := is("provider", u.Provider, "providerId", u.ProviderID)
	for {
		var kept user
		err := s.users.FindOneAndUpdate(ctx, identity, is("$set", is("username", u.Username, "avatar", u.Avatar)),
			options.FindOneAndUpdate().SetReturnDocument(options.After)).Decode(&kept)
		if missing(err) {
			kept = user(u)
			kept.ID = rand.Text()
			_, err = s.users.InsertOne(ctx, kept)
			if mongo.IsDuplicateKeyError(err) {
				continue // of two first logins the other was first: there is one to update now
			}
		}
		if err != nil {
			return store.User{}, fmt.Errorf("log in: %w", err)
		}
		return store.User(kept), nil
	}
}

// User returns the user with this id, or ErrNotFound.
func (s *Store) User(ctx context.Context, id string) (store.User, error) {
	var kept user
	err := s.users.FindOne(ctx, is("_id", id)).Decode(&kept)
	if missing(err) {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.User{}, fmt.Errorf("user %s: %w", id, err)
	}
	return store.User(kept), nil
}

// SetAPIKey makes hash the one API key of owner; a former one ends.
func (s *Store) SetAPIKey(ctx context.Context, owner string, hash []byte) error {
	_, err := s.apiKeys.ReplaceOne(ctx, is("_id", owner), is("_id", owner, "hash", hash), options.Replace().SetUpsert(true))
	if err != nil {
		return fmt.Errorf("set API key: %w", err)
	}
	return nil
}

// APIKeyOwner returns whose key has this hash, or ErrNotFound.
func (s *Store) APIKeyOwner(ctx context.Context, hash []byte) (string, error) {
	var kept struct {
		Owner string `bson:"_id"`
	}
	err := s.apiKeys.FindOne(ctx, is("hash", hash)).Decode(&kept)
	if missing(err) {
		err = store.ErrNotFound
	}
	if err != nil {
		return "", fmt.Errorf("API key: %w", err)
	}
	return kept.Owner, nil
}
