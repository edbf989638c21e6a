package main

import (
	"bytes"
	"context"
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
		Example: "  pomodoro-main status\n  pomodoro-main status --watch\n  pomodoro-main status --json | jq .services"}
	socket := socketFlag(c)
	asJSON := c.Flags().Bool("json", false, "as JSON")
	watch := c.Flags().Bool("watch", false, "again whenever something changed, until interrupted")
	c.RunE = func(c *cobra.Command, _ []string) error {
		client := admin.NewClient(*socket)
		if !*watch {
			now, err := status(c.Context(), client, *asJSON)
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write(now)
			return err
		}
		return watchStatus(c, client, *asJSON)
	}
	return c
}

// connections says how many there are, and how long one may be idle.
func connections(c *admin.Connections) string {
	if c == nil {
		return ""
	}
	text := fmt.Sprintf("%d open, %d idle", c.Open, c.Idle)
	if c.IdleLimit > 0 {
		text += fmt.Sprintf(", up to %.3gs", c.IdleLimit)
	}
	if c.Learned != "" {
		text += " (" + c.Learned + ")"
	}
	return text
}

// watchStatus prints the status each time it is another than before. A gateway
// that is away for a moment is waited for; one that was never there is an error.
func watchStatus(c *cobra.Command, client *admin.Client, asJSON bool) error {
	const every = 500 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	var shown string
	for {
		now, err := status(c.Context(), client, asJSON)
		switch {
		case c.Context().Err() != nil:
			return nil
		case err != nil && shown == "":
			return err
		case err != nil:
			now = fmt.Appendf(nil, "%v\n", err)
		}
		if string(now) != shown {
			shown = string(now)
			if !asJSON {
				fmt.Fprintf(c.OutOrStdout(), "-- %s\n", time.Now().Format(time.TimeOnly))
			}
			if _, err := c.OutOrStdout().Write(now); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-c.Context().Done():
			return nil
		}
	}
}

// status asks once and returns what is to be printed.
func status(ctx context.Context, client *admin.Client, asJSON bool) ([]byte, error) {
	res, err := client.Do(ctx, http.MethodGet, "/v1/status")
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if asJSON {
		return io.ReadAll(res.Body)
	}
	var s admin.Status
	if err := json.NewDecoder(res.Body).Decode(&s); err != nil {
		return nil, fmt.Errorf("status: %w", err)
	}
	var out bytes.Buffer
	if err := table(&out, s); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func table(out io.Writer, s admin.Status) error {
	fmt.Fprintf(out, "pomodoro-main %s, pid %d, up since %s, ready %t\n", s.Version, s.PID, s.Started.Format(time.RFC3339), s.Ready)
	if !s.Reload.OK {
		fmt.Fprintf(out, "last reload at %s was refused:\n%s\n", s.Reload.At.Format(time.RFC3339), s.Reload.Error)
	}
	for _, alarm := range s.Alarms {
		fmt.Fprintf(out, "ALARM: %s\n", alarm)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SERVICE\tTARGET\tVERSION\tSLOT\tHEALTH\tIN FLIGHT\tHELD\tCONNECTIONS\tLAST ERROR")
	for _, one := range s.Services {
		if len(one.Targets) == 0 {
			fmt.Fprintf(w, "%s\t-\t\t\tno target\t%d\t%d\t\t\n", one.Name, one.InFlight, one.Held)
		}
		for _, t := range one.Targets {
			health := t.Health
			if t.Ejected {
				health += ", ejected"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\n", one.Name, t.URL, t.Version, t.Slot, health, t.InFlight, one.Held, connections(t.Connections), t.LastError)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, one := range s.Services {
		if one.Paused != "" {
			fmt.Fprintf(out, "%s is paused: %s\n", one.Name, one.Paused)
		}
		if one.Swap != nil {
			fmt.Fprintf(out, "%s: swap %s, %s: %s\n", one.Name, one.Swap.ID, one.Swap.Phase, one.Swap.Text)
		}
	}
	return nil
}
