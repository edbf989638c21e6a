package main

import (
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

func healthCommand() *cobra.Command {
	return &cobra.Command{Use: "health URL", Short: "Ask a URL; exit 0 when it answers 2xx or 3xx (for container health checks)", Args: exactly(1, "one URL"),
		Example: "  pomodoro-main health http://127.0.0.1:9090/readyz",
		RunE: func(c *cobra.Command, args []string) error {
			r, err := http.NewRequestWithContext(c.Context(), http.MethodGet, args[0], nil)
			if err != nil {
				return usage{err}
			}
			client := http.Client{Timeout: 2 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			res, err := client.Do(r)
			if err != nil {
				return err
			}
			defer res.Body.Close()
			if res.StatusCode < 200 || res.StatusCode > 399 {
				return fmt.Errorf("%s: %s", args[0], res.Status)
			}
			return nil
		}}
}
