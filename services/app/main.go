// Command app serves the timer of pomodoro.cc: one page and its assets, all
// inside the binary.
package main

import (
	"embed"
	"log/slog"
	"os"

	"pomodoro.cc/services/internal/service"
)

//go:embed static
var static embed.FS

func main() { os.Exit(service.Main("app", "127.0.0.1:8081", open)) }

func open(_ *service.Env, _ *slog.Logger) (service.Site, error) {
	s, err := newSite(static)
	return service.Site{Handler: s}, err
}
