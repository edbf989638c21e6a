package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// errConfig marks what the operator has to correct: exit code 2.
var errConfig = errors.New("configuration")

// Open makes a Site from the environment. What it finds wrong there it tells
// env; any other error is its own. Env may know of problems already: Open looks
// for its own all the same, so that all are told at once, and leaves no file.
type Open func(env *Env, log *slog.Logger) (Site, error)

// Main runs a service until SIGTERM or SIGINT and returns its exit code:
// 0 done, 1 failed, 2 wrong usage or configuration. A second signal ends the
// process at once.
func Main(name, listen string, open Open) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	defer stop()
	err := run(ctx, name, listen, os.Args[1:], os.Getenv, os.Stdout, open)
	if err == nil {
		return 0
	}
	fmt.Fprintf(os.Stderr, "%s: %s\n", name, strings.ReplaceAll(err.Error(), "\n", "\n  "))
	if errors.Is(err, errConfig) {
		return 2
	}
	return 1
}

func run(ctx context.Context, name, listen string, args []string, getenv func(string) string, out io.Writer, open Open) error {
	if len(args) == 2 && args[0] == "health" {
		return Health(ctx, args[1])
	}
	if len(args) != 0 {
		return fmt.Errorf("%w: unknown arguments %q; usage: %s, or %s health URL", errConfig, args, name, name)
	}
	log := slog.New(slog.NewJSONHandler(out, nil)).With("service", name)
	env := NewEnv(getenv)
	listen = env.String("LISTEN", listen)
	if _, _, err := net.SplitHostPort(listen); err != nil {
		env.Reject("LISTEN", "%q is not host:port", listen)
	}
	server := New(name, Site{}, env, log)
	site, err := open(env, log)
	if bad := env.Err(); bad != nil {
		bad = fmt.Errorf("%w: %w", errConfig, bad)
		if site.Close != nil {
			bad = errors.Join(bad, site.Close())
		}
		return bad
	}
	if err != nil {
		return err
	}
	server.site = site
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		err = fmt.Errorf("listen (LISTEN=%s): %w", listen, err)
		if site.Close != nil {
			err = errors.Join(err, site.Close())
		}
		return err
	}
	return server.Run(ctx, ln)
}

// Health asks url once and returns nil when the answer is 2xx: the check of a
// container that has no shell.
func Health(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("%w: health %q: %w", errConfig, url, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("health: GET %s: %s", url, resp.Status)
	}
	return nil
}
