package main

import (
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"pomodoro.cc/gateway"
)

func runCommand() *cobra.Command {
	c := &cobra.Command{Use: "run", Short: "Serve what routes.yaml says", Args: exactly(0, "no argument"),
		Example: "  pomodoro-main run\n  pomodoro-main run --config /etc/pomodoro/routes.yaml"}
	path := c.Flags().String("config", "routes.yaml", "the file to serve")
	c.RunE = func(c *cobra.Command, _ []string) error {
		log := slog.New(slog.NewJSONHandler(c.ErrOrStderr(), nil))
		g, err := gateway.New(gateway.Options{ConfigPath: *path, Version: version, Log: log, Stdout: c.OutOrStdout()})
		if err != nil {
			return err
		}
		hangup := make(chan os.Signal, 1)
		signal.Notify(hangup, syscall.SIGHUP)
		defer signal.Stop(hangup)
		ended := make(chan error, 1)
		go func() { ended <- g.Run(c.Context()) }()
		for {
			select {
			case <-hangup:
				g.Reload(c.Context()) // says itself what became of it
			case err := <-ended:
				return err
			}
		}
	}
	return c
}
