// Command api is the REST API of pomodoro.cc: it keeps pomodori, todos, timers
// and sessions, and tells a user's devices and a team's members of changes.
package main

import (
	"errors"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"time"

	"pomodoro.cc/services/api/internal/embedded"
	"pomodoro.cc/services/api/internal/mongodb"
	"pomodoro.cc/services/api/internal/redisdb"
	"pomodoro.cc/services/internal/service"
)

func main() { os.Exit(service.Main("api", "127.0.0.1:8082", open)) }

// settings are what the environment says.
type settings struct {
	mongoURL  string // "": the embedded store keeps the documents
	redisURL  string // "": the embedded store keeps the sessions and the like
	dataDir   string // of the embedded store
	fakeLogin bool
	public    string
	authRate  int
	providers []*provider
}

func settingsFrom(env *service.Env) settings {
	s := settings{
		mongoURL:  env.String("MONGO_URL", ""),
		redisURL:  env.String("REDIS_URL", ""),
		dataDir:   env.String("DATA_DIR", "./data"),
		fakeLogin: env.Bool("POMODORO_FAKE_LOGIN"),
		public:    env.Origin("PUBLIC_URL", ""),
		providers: providersFrom(env),
	}
	rate := env.String("AUTH_RATE", "300")
	var err error
	if s.authRate, err = strconv.Atoi(rate); err != nil || s.authRate < 1 {
		env.Reject("AUTH_RATE", "%q is not a number of requests a minute", rate)
	}
	return s
}

func open(env *service.Env, log *slog.Logger) (service.Site, error) {
	s := settingsFrom(env)
	docs, live, opened, err := s.stores(env)
	if err != nil || env.Err() != nil { // what env has is told by the caller
		return service.Site{}, errors.Join(err, opened.Close())
	}
	a := newAPI(s, docs, live, log)
	if s.fakeLogin {
		log.Warn("anybody can log in at /auth/fake", "variable", "POMODORO_FAKE_LOGIN")
	}
	return a.site(opened), nil
}

// stores opens MongoDB and Redis where they are set, and the embedded store for
// what is not, which makes files: only when nothing is wrong in env.
func (s settings) stores(env *service.Env) (docs documents, live volatile, opened parts, err error) {
	if s.mongoURL != "" {
		mongo, err := mongodb.Open(s.mongoURL)
		if err != nil {
			env.Reject("MONGO_URL", "%v", err)
		} else {
			docs, opened = mongo, append(opened, part{"mongodb", mongo.Ready, mongo.Run, mongo.Close})
		}
	}
	if s.redisURL != "" {
		redis, err := redisdb.Open(s.redisURL)
		if err != nil {
			env.Reject("REDIS_URL", "%v", err)
		} else {
			live, opened = redis, append(opened, part{"redis", redis.Ready, redis.Run, redis.Close})
		}
	}
	if env.Err() != nil || s.mongoURL != "" && s.redisURL != "" {
		return docs, live, opened, nil
	}
	file, err := embedded.Open(s.dataDir)
	if err != nil {
		return nil, nil, opened, err
	}
	if docs == nil {
		docs = file
	}
	if live == nil {
		live = file
	}
	return docs, live, append(opened, part{"embedded store", file.Ready, file.Run, file.Close}), nil
}

func newAPI(s settings, docs documents, live volatile, log *slog.Logger) *api {
	return &api{
		docs: docs, live: live, log: log, now: time.Now, fakeLogin: s.fakeLogin, providers: s.providers,
		public: s.public, authRate: s.authRate, sockets: new(sync.WaitGroup),
	}
}

// site is a with its stores as a service.
func (a *api) site(opened parts) service.Site {
	leaving := make(chan struct{})
	leave := sync.OnceFunc(func() { close(leaving) })
	a.leaving = leaving
	return service.Site{
		Handler: a.handler(),
		Ready:   opened.Ready,
		Run:     opened.Run,
		Leave:   leave,
		Close: func() error {
			leave()
			a.sockets.Wait() // they use the stores until they have said goodbye
			return opened.Close()
		},
	}
}
