package main

import (
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"pomodoro.cc/gateway/admin"
)

func reloadCommand() *cobra.Command {
	c := &cobra.Command{Use: "reload", Short: "Put routes.yaml in force, all of it or nothing", Args: exactly(0, "no argument"),
		Example: "  pomodoro-main reload\n  pomodoro-main reload --socket /run/pomodoro/admin.sock --json"}
	socket := socketFlag(c)
	asJSON := c.Flags().Bool("json", false, "the result as JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		res, err := admin.NewClient(*socket).Do(c.Context(), http.MethodPost, "/v1/reload")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if *asJSON {
			_, err := io.Copy(c.OutOrStdout(), res.Body)
			return err
		}
		fmt.Fprintln(c.OutOrStdout(), "reloaded")
		return nil
	}
	return c
}
