// Command blog serves the posts of pomodoro.cc, rendered once at the start.
package main

import (
	"embed"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"pomodoro.cc/services/internal/service"
)

//go:embed posts pages templates
var files embed.FS

func main() { os.Exit(service.Main("blog", "127.0.0.1:4000", open)) }

func open(env *service.Env, log *slog.Logger) (service.Site, error) {
	site := env.Origin("SITE_URL", "https://pomodoro.cc")
	drafts := env.Bool("BLOG_DRAFTS")
	if env.Err() != nil {
		return service.Site{}, nil // told by the caller
	}
	return newSite(files, site, drafts, time.Now(), log)
}

// newSite renders the blog; made is when, which is what its pages say.
func newSite(files fs.FS, site string, drafts bool, made time.Time, log *slog.Logger) (service.Site, error) {
	posts, err := readPosts(files, "posts", drafts)
	if err != nil {
		return service.Site{}, err
	}
	b, err := render(files, site, posts, made)
	if err != nil {
		return service.Site{}, err
	}
	log.Info("rendered", "posts", len(posts), "drafts", drafts)
	return service.Site{Handler: b}, nil
}
