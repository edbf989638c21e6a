package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"pomodoro.cc/gateway/admin"
)

func statusCommand() *cobra.Command {
	c := &cobra.Command{Use: "status", Short: "Show services, targets, health and what is in flight", Args: exactly(0, "no argument"),
		Example: "  pomodoro-main status\n  pomodoro-main status --json | jq .services"}
	socket := socketFlag(c)
	asJSON := c.Flags().Bool("json", false, "as JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		res, err := admin.NewClient(*socket).Do(c.Context(), http.MethodGet, "/v1/status")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if *asJSON {
			_, err := io.Copy(c.OutOrStdout(), res.Body)
			return err
		}
		var s admin.Status
		if err := json.NewDecoder(res.Body).Decode(&s); err != nil {
			return fmt.Errorf("status: %w", err)
		}
		return table(c.OutOrStdout(), s)
	}
	return c
}

func table(out io.Writer, s admin.Status) error {
	fmt.Fprintf(out, "pomodoro-main %s, pid %d, up since %s, ready %t\n", s.Version, s.PID, s.Started.Format(time.RFC3339), s.Ready)
	if !s.Reload.OK {
		fmt.Fprintf(out, "last reload at %s was refused:\n%s\n", s.Reload.At.Format(time.RFC3339), s.Reload.Error)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SERVICE\tTARGET\tVERSION\tHEALTH\tIN FLIGHT\tHELD\tLAST ERROR")
	for _, one := range s.Services {
		if len(one.Targets) == 0 {
			fmt.Fprintf(w, "%s\t-\t\tno target\t%d\t%d\t\n", one.Name, one.InFlight, one.Held)
		}
		for _, t := range one.Targets {
			health := t.Health
			if t.Ejected {
				health += ", ejected"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%s\n", one.Name, t.URL, t.Version, health, t.InFlight, one.Held, t.LastError)
		}
	}
	return w.Flush()
}
