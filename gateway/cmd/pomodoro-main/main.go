// Command pomodoro-main is the gateway and the tool that speaks to it. It turns
// arguments, signals and output into parameters and an error into an exit code.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"pomodoro.cc/gateway/admin"
	"pomodoro.cc/gateway/config"
	"pomodoro.cc/gateway/swap"
)

// version is set by the build: -ldflags "-X main.version=…".
var version = "dev"

// The exit codes that scripts may rely on.
const (
	exitDone         = 0
	exitUnknown      = 1
	exitUsage        = 2 // usage or invalid configuration
	exitNeverHealthy = 3
	exitLocked       = 6
	exitUnreachable  = 7
	exitTimedOut     = 8 // outcome unknown
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program without the process.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use: "pomodoro-main", Short: "A reverse proxy that swaps upstreams without dropping a request",
		SilenceUsage: true, SilenceErrors: true,
	}
	root.Args = cobra.ArbitraryArgs
	root.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return c.Help()
		}
		text := fmt.Sprintf("unknown command %q", args[0])
		if like := c.SuggestionsFor(args[0]); len(like) > 0 {
			text += fmt.Sprintf("; did you mean %q?", like[0])
		}
		return usage{errors.New(text + "; see --help")}
	}
	root.SuggestionsMinimumDistance = 2
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage{err} })
	root.AddCommand(runCommand(), checkCommand(), schemaCommand(), reloadCommand(), statusCommand(), swapCommand(), rollbackCommand(), historyCommand(), pauseCommand(), resumeCommand(), versionCommand(), healthCommand())
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	var silent failed
	if !errors.As(err, &silent) {
		fmt.Fprintln(stderr, "pomodoro-main:", err)
	}
	return exitCode(err)
}

// usage marks an error of whoever typed the command.
type usage struct{ error }

// failed is an exit code whose reason has been said already.
type failed int

func (f failed) Error() string { return fmt.Sprintf("exit code %d", int(f)) }

func exitCode(err error) int {
	var code failed
	var refusal *admin.Refusal
	var problems config.Problems
	switch {
	case errors.As(err, &code):
		return int(code)
	case errors.Is(err, admin.ErrUnreachable):
		return exitUnreachable
	case errors.As(err, &refusal) && (refusal.Problem.Code == swap.Locked || refusal.Problem.Code == swap.Superseded):
		return exitLocked
	case errors.As(err, &refusal) && refusal.Problem.Code == swap.Unproven:
		return exitNeverHealthy
	case errors.As(err, &refusal) && refusal.Problem.Code == swap.Unwritten:
		return exitUnknown
	case errors.As(err, new(usage)), errors.As(err, &problems), errors.As(err, &refusal):
		return exitUsage
	}
	return exitUnknown
}

// exactly is cobra.ExactArgs with our exit code.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != n {
			return usage{fmt.Errorf("want %s; see --help", what)}
		}
		return nil
	}
}

func socketFlag(c *cobra.Command) *string {
	path := os.Getenv("POMODORO_SOCKET")
	if path == "" {
		path = "./data/gateway/admin.sock"
	}
	return c.Flags().String("socket", path, "admin socket of the running gateway (or $POMODORO_SOCKET)")
}
