package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"pomodoro.cc/gateway"
	"pomodoro.cc/gateway/takeover"
)

// takeoverPatience is how long a swap that is under way may keep a successor waiting.
const takeoverPatience = 5 * time.Minute

func runCommand() *cobra.Command {
	c := &cobra.Command{Use: "run", Short: "Serve what routes.yaml says", Args: exactly(0, "no argument"),
		Example: "  pomodoro-main run\n  pomodoro-main run --config /etc/pomodoro/routes.yaml\n  pomodoro-main run --takeover   # a new version of the gateway, beside the old one"}
	path := c.Flags().String("config", "routes.yaml", "the file to serve")
	take := c.Flags().Bool("takeover", false, "receive the listeners of the gateway that runs on the same state_dir, if there is one, and let it leave")
	c.RunE = func(c *cobra.Command, _ []string) error {
		// Whoever reads stdout or stderr may die; the sites go on. A line that cannot
		// be written is then an error, which counts it.
		signal.Ignore(syscall.SIGPIPE)
		log := slog.New(slog.NewJSONHandler(c.ErrOrStderr(), nil))
		limitMemory(log)
		hangup := make(chan os.Signal, 1) // one that comes too early waits here
		signal.Notify(hangup, syscall.SIGHUP)
		defer signal.Stop(hangup)
		var handover *takeover.Handover
		if *take {
			ctx, enough := context.WithTimeout(c.Context(), takeoverPatience)
			defer enough()
			var err error
			if handover, err = gateway.TakeOver(ctx, *path); err != nil {
				return err
			}
		}
		g, err := gateway.New(gateway.Options{ConfigPath: *path, Version: version, Log: log, Stdout: c.OutOrStdout(), Handover: handover})
		if err != nil {
			return err
		}
		go tidy(c.Context()) // they end with the program and have nothing to finish
		go spare(c.Context())
		ended := make(chan error, 1)
		go func() { ended <- g.Run(c.Context()) }()
		begun := g.Begun()
		var hangups <-chan os.Signal
		for {
			select {
			case <-begun:
				begun, hangups = nil, hangup
			case <-hangups:
				g.Reload(c.Context()) // says itself what became of it
			case err := <-ended:
				return err
			}
		}
	}
	return c
}
