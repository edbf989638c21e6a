package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"pomodoro.cc/gateway/admin"
	"pomodoro.cc/gateway/swap"
)

func swapCommand() *cobra.Command {
	var order swap.Order
	var urls []string
	c := &cobra.Command{Use: "swap SERVICE --target URL [--target URL...] --version V", Short: "Replace the targets of a service without dropping a request",
		Long: "Proves the new targets, publishes them, watches them, drains the old ones and reports.\n" +
			"Exit 0 says that nothing of the old targets is under way any more: they may be stopped.\n\n" +
			"Exit codes: 0 done, nothing lost; 1 unknown error or cancelled; 2 usage; 3 never healthy, the old ones serve;\n" +
			"4 swapped and taken back; 5 swapped, but requests were cut or lost; 6 locked, or superseded by a newer build;\n" +
			"7 gateway not reachable; 8 outcome unknown.",
		Args:    exactly(1, "one SERVICE"),
		Example: "  pomodoro-main swap app --target http://10.0.0.7:80 --version v42 --build $CIRCLE_BUILD_NUM\n  pomodoro-main swap app --target http://app-43:80 --version v43 --canary 5%:30s,25%:30s --json"}
	follow := swapFlags(c, &order)
	c.Flags().StringArrayVar(&urls, "target", nil, "address of a new target; more than once for several")
	c.Flags().StringVar(&order.Version, "version", "", "version that the targets run")
	c.Flags().Int64Var(&order.Build, "build", 0, "number of the build: the same one again does nothing twice, an older one is refused; default $CIRCLE_BUILD_NUM")
	c.RunE = func(c *cobra.Command, args []string) error {
		for _, u := range urls {
			order.Targets = append(order.Targets, swap.Spec{URL: u})
		}
		if text := os.Getenv("CIRCLE_BUILD_NUM"); order.Build == 0 && text != "" {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return usage{fmt.Errorf("CIRCLE_BUILD_NUM=%q is no number", text)}
			}
			order.Build = n
		}
		return follow(c, args[0])
	}
	return c
}

func rollbackCommand() *cobra.Command {
	order := swap.Order{Rollback: true}
	c := &cobra.Command{Use: "rollback SERVICE", Short: "Swap back to the release before, or to any in the history", Args: exactly(1, "one SERVICE"),
		Example: "  pomodoro-main rollback app\n  pomodoro-main rollback app --to v41"}
	follow := swapFlags(c, &order)
	c.Flags().StringVar(&order.Version, "to", "", "version to go back to; default: the one before the present one")
	c.RunE = func(c *cobra.Command, args []string) error { return follow(c, args[0]) }
	return c
}

// swapFlags adds what swap and rollback share, and returns what sends the order
// and follows the swap to its end.
func swapFlags(c *cobra.Command, order *swap.Order) func(*cobra.Command, string) error {
	socket := socketFlag(c)
	asJSON := c.Flags().Bool("json", false, "the report as JSON")
	durations := map[string]**swap.Duration{"timeout": &order.Patience, "watch": &order.Watch, "drain": &order.Drain, "streams": &order.Streams}
	for name, help := range map[string]string{
		"timeout": "for the new targets to prove themselves", "watch": "of new against old, with a way back; 0s: none",
		"drain": "for requests under way on the old targets", "streams": "for streams and WebSockets on them; default: that of drain, if given",
	} {
		c.Flags().Duration(name, 0, help+"; default: the service's own (routes.yaml)")
	}
	canary := c.Flags().String("canary", "", "shares of the visitors before all of them, like 5%:30s,25%:1m")
	c.Flags().BoolVar(&order.Wait, "wait", false, "wait for another swap of this service, or a takeover of the gateway, rather than be refused")
	c.Flags().BoolVar(&order.DetachStreams, "detach-streams", false, "be done when only streams are left on the old targets")
	c.Flags().StringVar(&order.By, "by", "", "who asks, for the history; default: the CircleCI job, or the user")
	return func(c *cobra.Command, service string) error {
		for name, field := range durations {
			if c.Flags().Changed(name) {
				d, err := c.Flags().GetDuration(name)
				if err != nil || d < 0 {
					return usage{fmt.Errorf("--%s must not be negative", name)}
				}
				value := swap.Duration(d)
				*field = &value
			}
		}
		if *canary != "" {
			steps, err := swap.ParseSteps(*canary)
			if err != nil {
				return usage{err}
			}
			order.Canary = &steps
		}
		if order.By == "" {
			order.By = actor()
		}
		client := admin.NewClient(*socket)
		report, err := carryOut(c, client, service, order)
		var no *admin.Refusal
		if *asJSON && errors.As(err, &no) { // the report of one that was never begun
			report = &swap.Report{Service: service, Result: swap.Refused, Exit: exitCode(err), Text: no.Problem.Detail, Code: no.Problem.Code,
				Version: order.Version, Build: order.Build, Targets: []string{}, By: order.By, Rollback: order.Rollback}
			for _, target := range order.Targets {
				report.Targets = append(report.Targets, target.URL)
			}
			return errors.Join(err, json.NewEncoder(c.OutOrStdout()).Encode(report))
		}
		if err != nil {
			return err
		}
		if *asJSON {
			err = json.NewEncoder(c.OutOrStdout()).Encode(report)
		} else {
			err = reportTable(c.OutOrStdout(), report)
		}
		if err != nil {
			return err
		}
		if report.Exit != 0 {
			return failed(report.Exit)
		}
		return nil
	}
}

// actor says who asks: the CI job by its own variables, or the user.
func actor() string {
	if job := os.Getenv("CIRCLE_JOB"); job != "" {
		by := "circleci " + job
		for _, name := range []string{"CIRCLE_BUILD_NUM", "CIRCLE_USERNAME", "CIRCLE_SHA1"} {
			if v := os.Getenv(name); v != "" {
				by += " " + v
			}
		}
		return by
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "uid " + strconv.Itoa(os.Getuid())
}

// carryOut sends the order and follows the swap until its report. An interrupt
// calls the swap off; where that is too late it is followed to its end, and left
// alone where another command has the same swap.
func carryOut(c *cobra.Command, client *admin.Client, service string, order *swap.Order) (*swap.Report, error) {
	ctx := c.Context()
	begun, err := begin(c, client, service, order)
	var no *admin.Refusal
	if err != nil && ctx.Err() != nil && !errors.As(err, &no) { // the gateway may have the order
		fmt.Fprintf(c.ErrOrStderr(), "pomodoro-main: %v: whether the swap has begun is not known; ask the gateway with status and history\n", err)
		return nil, failed(exitTimedOut)
	}
	if err != nil {
		return nil, err
	}
	following, leave := context.WithCancel(context.WithoutCancel(ctx))
	defer leave()
	called := context.AfterFunc(ctx, func() {
		fmt.Fprintln(c.ErrOrStderr(), "interrupted: calling the swap off, if nothing is published yet")
		res, err := client.Do(context.WithoutCancel(ctx), http.MethodDelete, "/v1/swaps/"+begun.ID+"?unless=shared")
		var late *admin.Refusal
		if errors.As(err, &late) && late.Problem.Code == swap.Shared {
			fmt.Fprintln(c.ErrOrStderr(), "another command has the same swap: it goes on without this one")
			leave()
			return
		}
		if errors.As(err, &late) && late.Problem.Status == http.StatusConflict {
			fmt.Fprintln(c.ErrOrStderr(), "it is published already: following it to its end")
			return
		}
		if err != nil {
			fmt.Fprintln(c.ErrOrStderr(), "pomodoro-main:", err)
			return
		}
		res.Body.Close()
	})
	defer called()
	const tries = 20 // a gateway that is started again is back within seconds
	from := 0
	for try := 0; ; try++ {
		report, err := followEvents(following, c.ErrOrStderr(), client, begun.ID, &from)
		if report != nil {
			return report, nil
		}
		if following.Err() != nil {
			return nil, failed(exitTimedOut)
		}
		if try == tries || errors.As(err, &no) {
			fmt.Fprintf(c.ErrOrStderr(), "pomodoro-main: the gateway was lost during swap %s and its outcome is not known: %v; ask it with status and history\n", begun.ID, err)
			return nil, failed(exitTimedOut)
		}
		if errors.Is(err, admin.ErrUnreachable) {
			fmt.Fprintf(c.ErrOrStderr(), "pomodoro-main: %v; trying again\n", err)
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// begin sends the order. One that waits for another swap waits for a takeover too,
// and is then sent to the successor.
func begin(c *cobra.Command, client *admin.Client, service string, order *swap.Order) (begun admin.Begun, _ error) {
	for said := ""; ; {
		res, err := client.Send(c.Context(), http.MethodPost, "/v1/services/"+url.PathEscape(service)+"/swaps", order)
		var no *admin.Refusal
		if err == nil {
			defer res.Body.Close()
			if err = json.NewDecoder(res.Body).Decode(&begun); err != nil {
				err = fmt.Errorf("swap: %w", err)
			}
			return begun, err
		}
		if !order.Wait || !errors.As(err, &no) || no.Problem.Code != swap.Locked {
			return begun, err
		}
		if no.Problem.Detail != said {
			said = no.Problem.Detail
			fmt.Fprintln(c.ErrOrStderr(), "waiting:", said)
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-c.Context().Done():
			return begun, err
		}
	}
}

// followEvents prints progress as it comes. Without a report the connection broke.
func followEvents(ctx context.Context, out io.Writer, client *admin.Client, id string, from *int) (*swap.Report, error) {
	res, err := client.Do(ctx, http.MethodGet, fmt.Sprintf("/v1/swaps/%s/events?from=%d", id, *from))
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e swap.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("progress: %w", err)
		}
		if !e.Beat {
			*from++
		}
		if e.Report != nil {
			return e.Report, nil
		}
		if e.Text == "" {
			continue // it lives and has nothing to say yet
		}
		fmt.Fprintf(out, "%s %s: %s\n", e.At.Format(time.TimeOnly), e.Phase, e.Text)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	return nil, io.ErrUnexpectedEOF
}

// reportTable is the account for people.
func reportTable(out io.Writer, r *swap.Report) error {
	fmt.Fprintf(out, "%s: %s\n", r.Result, r.Text)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "swap\t%s\nservice\t%s\nversion\t%s, before %s\nby\t%s\ntook\t%.1f s\n", r.ID, r.Service, r.Version, r.From.Version, r.By, r.Seconds)
	if !r.Published.IsZero() {
		l := r.Ledger
		fmt.Fprintf(w, "requests\t%d\n  finished on old\t%d\n  finished on new\t%d\n  held, then answered\t%d\n  retried, then answered\t%d\n  failed\t%d\n  cut\t%d\n  visitor left\t%d\n  still under way\t%d\nstreams let go\t%d\n",
			l.Started, l.FinishedOld, l.FinishedNew, l.Held, l.Retried, l.Failed, l.Cut, l.ClientLeft, l.UnderWay, r.Drained.LetGo)
	}
	if v := r.Verdict; v != nil {
		fmt.Fprintf(w, "failures old, new\t%.1f %%, %.1f %%\np95 old, new\t%s, %s\nworst route\t%s\nfailed requests\t%q\n", 100*v.Old.Failures(), 100*v.New.Failures(), v.Old.P95, v.New.P95, v.WorstRoute, v.RequestIDs)
	}
	return w.Flush()
}

func historyCommand() *cobra.Command {
	c := &cobra.Command{Use: "history [SERVICE]", Short: "Show the last swaps", Args: func(_ *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usage{errors.New("want at most one SERVICE; see --help")}
		}
		return nil
	},
		Example: "  pomodoro-main history\n  pomodoro-main history app --json | jq '.[0].ledger'"}
	socket := socketFlag(c)
	asJSON := c.Flags().Bool("json", false, "as JSON")
	c.RunE = func(c *cobra.Command, args []string) error {
		path := "/v1/history"
		if len(args) == 1 {
			path += "?service=" + url.QueryEscape(args[0])
		}
		res, err := admin.NewClient(*socket).Do(c.Context(), http.MethodGet, path)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if *asJSON {
			_, err := io.Copy(c.OutOrStdout(), res.Body)
			return err
		}
		var list []*swap.Report
		if err := json.NewDecoder(res.Body).Decode(&list); err != nil {
			return fmt.Errorf("history: %w", err)
		}
		w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "ENDED\tSERVICE\tVERSION\tBUILD\tRESULT\tLOST\tSECONDS\tBY")
		for _, r := range list {
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%d\t%.1f\t%s\n", r.Ended.Format(time.DateTime), r.Service, r.Version, r.Build, r.Result, r.Ledger.Cut+r.Ledger.Failed, r.Seconds, r.By)
		}
		return w.Flush()
	}
	return c
}

func pauseCommand() *cobra.Command {
	c := &cobra.Command{Use: "pause SERVICE", Short: "Hold the requests of a service until resume", Args: exactly(1, "one SERVICE"),
		Example: "  pomodoro-main pause api --writes --max 20s"}
	send := orderFlags(c)
	writes := c.Flags().Bool("writes", false, "hold only requests with unsafe methods")
	most := c.Flags().Duration("max", 30*time.Second, "resume by itself after this")
	c.RunE = func(c *cobra.Command, args []string) error {
		if *most <= 0 {
			return usage{errors.New("--max must be above 0")}
		}
		return send(c, "/v1/services/"+url.PathEscape(args[0])+"/pause", admin.PauseOrder{Writes: *writes, Max: swap.Duration(*most)}, "paused")
	}
	return c
}

func resumeCommand() *cobra.Command {
	c := &cobra.Command{Use: "resume SERVICE", Short: "Let held requests go", Args: exactly(1, "one SERVICE"),
		Example: "  pomodoro-main resume api"}
	send := orderFlags(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		return send(c, "/v1/services/"+url.PathEscape(args[0])+"/resume", nil, "resumed")
	}
	return c
}

// orderFlags adds what pause, resume and reload share, and returns what sends the
// order and says done, or gives the answer as JSON.
func orderFlags(c *cobra.Command) func(c *cobra.Command, path string, body any, done string) error {
	socket := socketFlag(c)
	asJSON := c.Flags().Bool("json", false, "the result as JSON")
	return func(c *cobra.Command, path string, body any, done string) error {
		res, err := admin.NewClient(*socket).Send(c.Context(), http.MethodPost, path, body)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if *asJSON {
			_, err := io.Copy(c.OutOrStdout(), res.Body)
			return err
		}
		fmt.Fprintln(c.OutOrStdout(), done)
		return nil
	}
}
