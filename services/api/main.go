// Command api is the REST API of pomodoro.cc: it keeps pomodori and sessions.
package main

import (
	"log/slog"
	"os"
	"time"

	"pomodoro.cc/services/api/internal/store"
	"pomodoro.cc/services/internal/service"
)

func main() { os.Exit(service.Main("api", "127.0.0.1:8082", open)) }

func open(env *service.Env, log *slog.Logger) (service.Site, error) {
	dir := env.String("DATA_DIR", "./data")
	a := &api{log: log, now: time.Now, fakeLogin: env.Bool("POMODORO_FAKE_LOGIN")}
	if env.Err() != nil {
		return service.Site{}, nil // told by the caller; no file is made before
	}
	s, err := store.Open(dir)
	if err != nil {
		return service.Site{}, err
	}
	a.store = s
	if a.fakeLogin {
		log.Warn("anybody can log in at /auth/fake", "variable", "POMODORO_FAKE_LOGIN")
	}
	return service.Site{Handler: a.handler(), Ready: s.Ready, Run: s.Sweep, Close: s.Close}, nil
}
