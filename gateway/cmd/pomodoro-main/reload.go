package main

import "github.com/spf13/cobra"

func reloadCommand() *cobra.Command {
	c := &cobra.Command{Use: "reload", Short: "Put routes.yaml in force, all of it or nothing", Args: exactly(0, "no argument"),
		Example: "  pomodoro-main reload\n  pomodoro-main reload --socket /run/pomodoro/admin.sock --json"}
	send := orderFlags(c)
	c.RunE = func(c *cobra.Command, _ []string) error { return send(c, "/v1/reload", nil, "reloaded") }
	return c
}
