package gateway_test

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pomodoro.cc/gateway/admin"
	"pomodoro.cc/gateway/gatewaytest"
	"pomodoro.cc/gateway/state"
	"pomodoro.cc/gateway/swap"
)

// order begins a swap over the admin socket, as the command line does.
func order(t testing.TB, gw *gatewaytest.Gateway, service string, o map[string]any) (string, error) {
	t.Helper()
	res, err := client(gw).Send(t.Context(), http.MethodPost, "/v1/services/"+service+"/swaps", o)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var begun admin.Begun
	if err := json.NewDecoder(res.Body).Decode(&begun); err != nil {
		t.Fatal(err)
	}
	return begun.ID, nil
}

func client(gw *gatewaytest.Gateway) *admin.Client {
	return admin.NewClient(filepath.Join(filepath.Dir(gw.Path), "admin.sock"))
}

// report follows a swap to its end.
func report(t testing.TB, gw *gatewaytest.Gateway, id string) *swap.Report {
	t.Helper()
	res, err := client(gw).Do(t.Context(), http.MethodGet, "/v1/swaps/"+id+"/events")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := json.NewDecoder(res.Body)
	for {
		var e swap.Event
		if err := lines.Decode(&e); err != nil {
			t.Fatal(err)
		}
		if e.Report != nil {
			return e.Report
		}
	}
}

func swaps(t testing.TB, gw *gatewaytest.Gateway, o map[string]any) *swap.Report {
	t.Helper()
	id, err := order(t, gw, "app", o)
	if err != nil {
		t.Fatal(err)
	}
	return report(t, gw, id)
}

func to(version string, targets ...*gatewaytest.Upstream) map[string]any {
	var urls []string
	for _, u := range targets {
		urls = append(urls, u.URL)
	}
	return map[string]any{"targets": urls, "version": version, "watch": "0s", "drain": "10s"}
}

// swapping is a gateway in whose service a swap waits for its target to recover.
func swapping(t *testing.T) (gw *gatewaytest.Gateway, old, next *gatewaytest.Upstream, id string) {
	t.Helper()
	old, next = gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next")
	next.FallsIll()
	gw = gatewaytest.Start(t, gatewaytest.Service("app", old))
	id, err := order(t, gw, "app", to("v2", next))
	if err != nil {
		t.Fatal(err)
	}
	return gw, old, next, id
}

func TestSwap_ATargetThatNeverProvesItselfIsRefusedAndTheReportSaysWhy(t *testing.T) {
	old, bad := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "bad")
	bad.FallsIll()
	gw := gatewaytest.Start(t, gatewaytest.Service("app", old))
	o := to("v2", bad)
	o["patience"] = "300ms"
	r := swaps(t, gw, o)
	if r.Result != swap.NeverHealthy || r.Exit != 3 || len(r.Proofs) != 1 || r.Proofs[0].Status != 503 || r.Proofs[0].Body != "ill\n" && r.Proofs[0].Body != "ill" || r.Proofs[0].Tries == 0 {
		t.Errorf("report %+v", r)
	}
	if _, got := gw.Get("/"); got != "old" {
		t.Errorf("%q answers", got)
	}
}

func TestSwap_AVersionThatTurnsOutBadIsTakenBackAndVisitorsNoticeNothing(t *testing.T) {
	for name, bad := range map[string]func(*gatewaytest.Upstream){
		"answers 500": func(u *gatewaytest.Upstream) {
			u.Does(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
		},
		"breaks off": func(u *gatewaytest.Upstream) {
			u.Does(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		},
		"dies": func(u *gatewaytest.Upstream) {
			u.Does(func(_ http.ResponseWriter, r *http.Request) { u.Stops(); <-r.Context().Done() })
		},
	} {
		t.Run(name, func(t *testing.T) {
			old, next := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next")
			bad(next)
			gw := gatewaytest.Start(t, gatewaytest.Service("app", old))
			o := to("v2", next)
			o["watch"] = "1m"
			id, err := order(t, gw, "app", o)
			if err != nil {
				t.Fatal(err)
			}
			gatewaytest.Eventually(t, "it is taken back", func() bool {
				if res, got := gw.Get("/"); res.StatusCode != 200 || got != "old" {
					t.Fatalf("a visitor saw %d %q", res.StatusCode, got)
				}
				return gw.Status().Services[0].Swap == nil
			})
			r := report(t, gw, id)
			if r.Result != swap.RolledBack || r.Exit != 4 || r.Verdict == nil || r.Verdict.Why == "" || r.Ledger.Sum() != r.Ledger.Started {
				t.Errorf("report %+v", r)
			}
		})
	}
}

func TestSwap_AVersionThatHangsIsTakenBackWhenVisitorsLeaveUnanswered(t *testing.T) {
	old, next := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next")
	next.Does(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	gw := gatewaytest.Start(t, strings.Replace(gatewaytest.Service("app", old), "    targets:", "    swap: {sample: 1}\n    targets:", 1))
	gw.Get("/") // what the new one is compared with
	o := to("v2", next)
	o["watch"] = "1h"
	id, err := order(t, gw, "app", o)
	if err != nil {
		t.Fatal(err)
	}
	one := &http.Client{Timeout: time.Second} // it takes one that left and one that waits
	gatewaytest.Eventually(t, "it is taken back", func() bool {
		if res, err := one.Get(gw.URL + "/"); err == nil {
			res.Body.Close()
		}
		s := gw.Status().Services[0].Swap
		return s == nil || s.Phase == "back" || s.Phase == "drain"
	})
	if r := report(t, gw, id); r.Result != swap.RolledBack || !strings.Contains(r.Text, "p95 is") || r.Verdict.New.Unanswered != 2 || r.Ledger.Sum() != r.Ledger.Started {
		t.Errorf("report %+v, verdict %+v", r, r.Verdict)
	}
}

func TestSwap_AVersionWaitsForSlowVisitorsAndOnlyWhoHasSentAllWaitsForTheVersion(t *testing.T) {
	for name, c := range map[string]struct {
		sent int // of 1 MiB
		want swap.Result
	}{
		"the visitors still send":  {1, swap.Done},
		"the visitors wait for it": {1 << 20, swap.RolledBack},
	} {
		t.Run(name, func(t *testing.T) {
			old, next := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next")
			next.Does(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body); <-r.Context().Done() })
			gw := gatewaytest.Start(t, strings.Replace(gatewaytest.Service("app", old), "    targets:", "    swap: {sample: 1}\n    targets:", 1))
			gw.Get("/") // what the new one is compared with
			o := to("v2", next)
			o["watch"], o["drain"] = "2s", "100ms"
			id, err := order(t, gw, "app", o)
			if err != nil {
				t.Fatal(err)
			}
			gatewaytest.Eventually(t, "it is watched", func() bool { s := gw.Status().Services[0].Swap; return s != nil && s.Phase == "watch" })
			for range 4 {
				visitor, err := net.Dial("tcp", strings.TrimPrefix(gw.URL, "http://"))
				if err != nil {
					t.Fatal(err)
				}
				defer visitor.Close()
				go io.WriteString(visitor, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n"+strings.Repeat("x", c.sent))
			}
			gatewaytest.Eventually(t, "they came to the new version", func() bool { return next.Hits.Load() > 1 })
			if r := report(t, gw, id); r.Result != c.want {
				t.Errorf("%s: %s; want %s", r.Result, r.Text, c.want)
			}
		})
	}
}

func TestSwap_ACanaryGivesAShareOfTheVisitorsAndKeepsThem(t *testing.T) {
	old, next := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", old)+"access_log: \"off\"\n")
	o := to("v2", next)
	o["canary"], o["watch"] = "25%:1h", "1s"
	if _, err := order(t, gw, "app", o); err != nil {
		t.Fatal(err)
	}
	gatewaytest.Eventually(t, "the canary sings", func() bool { s := gw.Status().Services[0].Swap; return s != nil && s.Phase == "canary" })
	count := map[string]int{}
	const visitors = 10_000
	for i := range visitors {
		_, first := gw.Get("/")
		count[first]++
		if i >= 50 {
			continue
		}
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		one := &http.Client{Jar: jar}
		var seen string
		for range 5 {
			res, err := one.Get(gw.URL + "/")
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			if seen != "" && seen != string(b) {
				t.Fatalf("a visitor went from %q to %q", seen, b)
			}
			seen = string(b)
		}
	}
	if share := float64(count["next"]) / visitors; share < 0.24 || share > 0.26 {
		t.Errorf("%.2f %% of the visitors saw the new version, want 25 within one", 100*share)
	}
}

func TestSwap_ACanaryServesEverybodyWhenTheOldVersionDies(t *testing.T) {
	old, next := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next")
	gw := gatewaytest.Start(t, strings.Replace(gatewaytest.Service("app", old), "    targets:", "    hold: {for: 1s}\n    targets:", 1))
	o := to("v2", next)
	o["canary"] = "1%:1h"
	if _, err := order(t, gw, "app", o); err != nil {
		t.Fatal(err)
	}
	gatewaytest.Eventually(t, "the canary sings", func() bool { s := gw.Status().Services[0].Swap; return s != nil && s.Phase == "canary" })
	old.Stops()
	for range 20 {
		if res, got := gw.Get("/"); res.StatusCode != http.StatusOK || got != "next" {
			t.Fatalf("a visitor saw %d %q", res.StatusCode, got)
		}
	}
}

func TestSwap_OneAtATimeNamingTheHolder(t *testing.T) {
	old, next, third := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next"), gatewaytest.NewUpstream(t, "third")
	next.FallsIll()
	gw := gatewaytest.Start(t, gatewaytest.Service("app", old))
	o := to("v2", next)
	o["by"], o["build"] = "the first job", 7
	first, err := order(t, gw, "app", o)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := order(t, gw, "app", o); err != nil || again != first {
		t.Errorf("the same build again: %q, %v; want the swap under way", again, err)
	}
	_, err = order(t, gw, "app", to("v3", third))
	var no *admin.Refusal
	if !errors.As(err, &no) || no.Problem.Code != swap.Locked || !strings.Contains(no.Error(), "the first job") {
		t.Errorf("a second swap: %v", err)
	}
	waits := to("v3", third)
	waits["wait"], waits["build"] = true, 8
	second, err := order(t, gw, "app", waits)
	if err != nil {
		t.Fatal(err)
	}
	next.Recovers()
	if r := report(t, gw, first); r.Result != swap.Done {
		t.Errorf("the first: %s, %s", r.Result, r.Text)
	}
	if r := report(t, gw, second); r.Result != swap.Done {
		t.Errorf("the one that waited: %s, %s", r.Result, r.Text)
	}
	if _, got := gw.Get("/"); got != "third" {
		t.Errorf("%q answers", got)
	}

	// Its report would say that the old target, which may serve again, can be stopped.
	if _, err := order(t, gw, "app", o); !errors.As(err, &no) || no.Problem.Code != swap.Superseded || !strings.Contains(no.Error(), "serves now") {
		t.Errorf("the first build again: %v; want it refused", err)
	}
	if same, err := order(t, gw, "app", waits); err != nil || same != second {
		t.Errorf("the build that serves again: %q, %v; want its report", same, err)
	}
	late := to("v1", old)
	late["build"] = 6
	if _, err := order(t, gw, "app", late); !errors.As(err, &no) || no.Problem.Code != swap.Superseded {
		t.Errorf("an older build: %v", err)
	}
	if r := swaps(t, gw, map[string]any{"rollback": true, "watch": "0s"}); r.Result != swap.Done || r.Version != "v2" {
		t.Errorf("rollback: %s to %s, %s", r.Result, r.Version, r.Text)
	}
	if _, got := gw.Get("/"); got != "next" {
		t.Errorf("after the rollback %q answers", got)
	}
}

func TestSwap_ItCanBeCalledOffBeforePublish(t *testing.T) {
	gw, old, _, id := swapping(t)
	if _, err := client(gw).Do(t.Context(), http.MethodDelete, "/v1/swaps/"+id); err != nil {
		t.Fatal(err)
	}
	if r := report(t, gw, id); r.Result != swap.Cancelled || r.Exit != 1 {
		t.Errorf("report %+v", r)
	}
	if r := swaps(t, gw, to("v1", old)); r.Result != swap.Unchanged || r.Exit != 0 || len(r.From.Targets) != 1 {
		t.Errorf("to the targets that serve: %s, from %v", r.Result, r.From.Targets)
	}
}

// Two jobs of one build: one is interrupted before it follows the swap that both have.
func TestSwap_WhoeverOrderedItTooDecidesAloneOnceTheOtherHasLeft(t *testing.T) {
	for name, following := range map[string]bool{"that follows it": true, "that is about to": false} {
		t.Run(name, func(t *testing.T) {
			old, next := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next")
			next.FallsIll()
			gw := gatewaytest.Start(t, gatewaytest.Service("app", old))
			o := to("v2", next)
			o["build"] = 7
			id, err := order(t, gw, "app", o)
			if err != nil {
				t.Fatal(err)
			}
			if following {
				res, err := client(gw).Do(t.Context(), http.MethodGet, "/v1/swaps/"+id+"/events")
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
			}
			if same, err := order(t, gw, "app", o); err != nil || same != id {
				t.Fatalf("the same build: %q, %v", same, err)
			}
			leave := func() error {
				_, err := client(gw).Do(t.Context(), http.MethodDelete, "/v1/swaps/"+id+"?unless=shared")
				return err
			}
			var no *admin.Refusal
			if err := leave(); !errors.As(err, &no) || no.Problem.Code != swap.Shared {
				t.Errorf("the first to leave: %v; want it refused", err)
			}
			if err := leave(); err != nil {
				t.Errorf("the last one: %v", err)
			}
			if r := report(t, gw, id); r.Result != swap.Cancelled {
				t.Errorf("%s: %s", r.Result, r.Text)
			}
		})
	}
}

func TestSwap_WrongOrdersAreRefusedEachWithItsReason(t *testing.T) {
	old := gatewaytest.NewUpstream(t, "old")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", old))
	for want, o := range map[string]map[string]any{
		"version is missing":        {"targets": []string{"http://127.0.0.1:1"}},
		"no target":                 {"version": "v2"},
		"must begin with http://":   {"version": "v2", "targets": []string{"ftp://x"}},
		"is given twice":            {"version": "v2", "targets": []string{"http://x", "http://X:80/"}},
		"unknown field":             {"version": "v2", "tragets": []string{"http://x"}},
		`unknown field "wieght"`:    {"version": "v2", "targets": []any{map[string]any{"url": "http://x", "wieght": 3}}},
		"is no duration":            {"version": "v2", "targets": []string{"http://x"}, "watch": "soon"},
		"shares must grow":          {"version": "v2", "targets": []string{"http://x"}, "canary": "25%:1s,5%:1s"},
		"knows no earlier release":  {"rollback": true},
		`no release with version "`: {"rollback": true, "version": "v0"},
	} {
		if _, err := order(t, gw, "app", o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v; want %q", o, err, want)
		}
	}
	if _, err := order(t, gw, "ap", to("v2", old)); err == nil || !strings.Contains(err.Error(), `there is no service "ap"; there are ["app"]`) {
		t.Errorf("unknown service: %v", err)
	}
}

func TestSwap_ItsTargetsServeAfterARestartUntilTheFileNamesOthers(t *testing.T) {
	old, next, third := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next"), gatewaytest.NewUpstream(t, "third")
	rest := gatewaytest.Service("app", old)
	gw := gatewaytest.Start(t, rest)
	if r := swaps(t, gw, to("v2", next)); r.Result != swap.Done {
		t.Fatalf("%s: %s", r.Result, r.Text)
	}
	gw.Writes(rest + "  - {host: other.test, service: app}\n")
	if err := gw.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, got := gw.Get("/"); got != "next" {
		t.Errorf("after an unrelated reload %q answers", got)
	}
	gw.Restarts()
	if _, got := gw.Get("/"); got != "next" {
		t.Errorf("after the restart %q answers", got)
	}
	gw.Writes(gatewaytest.Service("app", third))
	if err := gw.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, got := gw.Get("/"); got != "third" {
		t.Errorf("after the file named others %q answers", got)
	}
}

// An earlier release wrote into the journal what the file said, as it was written.
func TestSwap_ItsTargetsServeAfterAnUpgradeWhoeverWroteTheJournal(t *testing.T) {
	old, next := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next")
	gw := gatewaytest.Start(t, oneService(old, ""))
	if r := swaps(t, gw, to("v2", next)); r.Result != swap.Done {
		t.Fatalf("%s: %s", r.Result, r.Text)
	}
	if err := gw.Stop(); err != nil {
		t.Fatal(err)
	}
	journal := state.NewFile(filepath.Join(filepath.Dir(gw.Path), "journal.json"))
	var doc map[string]any
	if err := journal.Load(&doc); err != nil {
		t.Fatal(err)
	}
	app := doc["services"].(map[string]any)["app"].(map[string]any)
	app["file"].([]any)[0].(map[string]any)["url"] = old.URL + "/"
	app["serving"].(map[string]any)["targets"].([]any)[0].(map[string]any)["url"] = "HTTP" + strings.TrimPrefix(next.URL, "http")
	if err := journal.Save(doc); err != nil {
		t.Fatal(err)
	}
	gw.Restarts()
	if s := gw.Status().Services[0]; s.Version != "v2" || s.Targets[0].URL != next.URL {
		t.Errorf("after the restart: %+v", s)
	}
	if err := gw.Reload(t.Context()); err != nil { // a file that was changed is put in force by it
		t.Fatal(err)
	}
	if _, got := gw.Get("/"); got != "next" {
		t.Errorf("after a reload of the same file %q answers", got)
	}
	if r := swaps(t, gw, map[string]any{"rollback": true, "watch": "0s"}); r.Result != swap.Done {
		t.Errorf("rollback: %s: %s", r.Result, r.Text)
	}
	if _, got := gw.Get("/"); got != "old" {
		t.Errorf("after the rollback %q answers", got)
	}
}

func TestSwap_ABuildThatTheGatewaysStopTookBackMayBeDeployedAgain(t *testing.T) {
	old, next := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", old))
	o := to("v2", next)
	o["build"], o["watch"], o["unattended"] = 5, "1h", true
	if _, err := order(t, gw, "app", o); err != nil {
		t.Fatal(err)
	}
	gatewaytest.Eventually(t, "it is watched", func() bool { s := gw.Status().Services[0].Swap; return s != nil && s.Phase == "watch" })
	gw.Restarts()
	if _, got := gw.Get("/"); got != "old" {
		t.Errorf("after the restart %q answers", got)
	}
	o["watch"] = "0s"
	if r := swaps(t, gw, o); r.Result != swap.Done {
		t.Errorf("the same build again: %s: %s", r.Result, r.Text)
	}
	if _, got := gw.Get("/"); got != "next" {
		t.Errorf("after the same build again %q answers", got)
	}
}

func TestSwap_TheTargetsThatServeTakeTheVersionAndBuildOfAnotherOrder(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	arrived, finish := make(chan struct{}), make(chan struct{})
	app.Does(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(arrived)
			<-finish
		}
		io.WriteString(w, "app")
	})
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	whole := make(chan string, 1)
	go func() {
		defer close(whole)
		res, err := http.Get(gw.URL + "/slow")
		if err != nil {
			t.Error(err)
			return
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Error(err)
		}
		whole <- string(b)
	}()
	<-arrived
	o := to("v9", app)
	o["build"] = 12
	if r := swaps(t, gw, o); r.Result != swap.Unchanged || !strings.Contains(r.Text, "go by this version") {
		t.Errorf("%s: %s", r.Result, r.Text)
	}
	close(finish)
	if got := <-whole; got != "app" {
		t.Errorf("the request under way saw %q", got)
	}
	late := to("v8", gatewaytest.NewUpstream(t, "late"))
	late["build"] = 11
	var no *admin.Refusal
	if _, err := order(t, gw, "app", late); !errors.As(err, &no) || no.Problem.Code != swap.Superseded {
		t.Errorf("an older build: %v; want it refused", err)
	}
	o["targets"] = []string{"HTTP" + strings.TrimPrefix(app.URL, "http") + "/"}
	if r := swaps(t, gw, o); r.Result != swap.Unchanged || !strings.Contains(r.Text, "nothing was changed") {
		t.Errorf("the same order again, written otherwise: %s: %s", r.Result, r.Text)
	}
	gw.Restarts()
	if s := gw.Status().Services[0]; s.Version != "v9" || s.Build != 12 || len(s.Targets) != 1 || s.Targets[0].Version != "v9" {
		t.Errorf("after the restart: %+v", s)
	}
}

func TestSwap_ADrainDoesNotWaitForASmallBodyThatIsStillToCome(t *testing.T) {
	old, next := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", old)+"limits: {body_timeout: 3s}\n")
	visitor, in := visit(t, gw, false)
	io.WriteString(visitor, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\nhello")
	o := to("v2", next)
	o["drain"] = "100ms"
	r := swaps(t, gw, o)
	if took := r.Ended.Sub(r.Published); r.Result != swap.Done || r.Drained.Cut != 0 || took > 2*time.Second {
		t.Errorf("a drain of 100 ms took %s: %s, %+v", took, r.Result, r.Drained)
	}
	io.WriteString(visitor, "abc")
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(res.Body); res.StatusCode != 200 || string(body) != "next" {
		t.Errorf("%s %q, reason %q", res.Status, body, res.Header.Get("X-Gateway-Reason"))
	}
}

func TestSwap_WhoStillWaitsForAConnectionAtTheCutGoesToTheNewVersion(t *testing.T) {
	old, next := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next")
	old.Does(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	gw := gatewaytest.Start(t, strings.Replace(gatewaytest.Service("app", old), "    targets:", "    connections: 1\n    targets:", 1))
	stream, err := http.Get(gw.URL) // has the connection, and the patience of a stream
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	visitor, in := visit(t, gw, false)
	io.WriteString(visitor, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc")
	gatewaytest.Eventually(t, "another one waits", func() bool { return gw.Status().Services[0].InFlight == 2 })
	o := to("v2", next)
	o["drain"] = "100ms"
	if _, err := order(t, gw, "app", o); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(res.Body); res.StatusCode != 200 || string(body) != "next" {
		t.Errorf("%s %q, reason %q", res.Status, body, res.Header.Get("X-Gateway-Reason"))
	}
	if hits := old.Hits.Load(); hits != 1 {
		t.Errorf("the old version was asked %d times", hits)
	}
}

func TestPause_HoldsAndResumeLetsGo(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	if _, err := client(gw).Send(t.Context(), http.MethodPost, "/v1/services/app/pause", map[string]any{"writes": true}); err != nil {
		t.Fatal(err)
	}
	if _, got := gw.Get("/"); got != "app" {
		t.Errorf("a read: %q", got)
	}
	answer := make(chan int)
	go func() {
		res, err := http.Post(gw.URL+"/", "text/plain", strings.NewReader("kept"))
		if err != nil {
			t.Error(err)
			close(answer)
			return
		}
		res.Body.Close()
		answer <- res.StatusCode
	}()
	gatewaytest.Eventually(t, "the write is held", func() bool { return gw.Status().Services[0].Held == 1 })
	if _, err := client(gw).Do(t.Context(), http.MethodPost, "/v1/services/app/resume"); err != nil {
		t.Fatal(err)
	}
	if got := <-answer; got != 200 {
		t.Errorf("status %d", got)
	}
}

func TestSwap_AnEventStreamHasItsPatienceAndThenAFarewell(t *testing.T) {
	old, next := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next")
	old.Does(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: one\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	gw := gatewaytest.Start(t, gatewaytest.Service("app", old))
	res, err := http.Get(gw.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	o := to("v2", next)
	o["streams"] = "300ms"
	r := swaps(t, gw, o)
	if r.Result != swap.Done || r.Drained.LetGo != 1 || r.Drained.Cut != 0 || r.Ended.Sub(r.Published).Milliseconds() < 300 {
		t.Errorf("report %+v", r)
	}
	if got, err := io.ReadAll(res.Body); err != nil || string(got) != "data: one\n\nevent: bye\ndata: drained\n\n" {
		t.Errorf("the visitor saw %q, %v", got, err)
	}
}

func TestSwap_ItsProgressIsPickedUpAfterItHasEnded(t *testing.T) {
	old, next := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", old))
	done := swaps(t, gw, to("v2", next))
	res, err := client(gw).Do(t.Context(), http.MethodGet, "/v1/swaps/"+done.ID+"/events?from=3")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var last swap.Event
	if err := json.NewDecoder(res.Body).Decode(&last); err != nil || last.Report == nil || last.Report.Result != swap.Done {
		t.Errorf("from the third event on: %+v, %v; want the report", last, err)
	}
}

func TestReload_WithoutAJournalNothingChangesAndNoServiceStaysLocked(t *testing.T) {
	a, b, next := gatewaytest.NewUpstream(t, "a"), gatewaytest.NewUpstream(t, "b"), gatewaytest.NewUpstream(t, "next")
	file := func(a, b *gatewaytest.Upstream, extra string) string {
		return "services:\n  a: {health: {interval: 50ms}, targets: [" + a.URL + "], swap: {watch: 1ms}}\n" +
			"  b: {health: {interval: 50ms}, targets: [" + b.URL + "], swap: {watch: 1ms}}\nroutes:\n  - {path: /a, service: a}\n  - {path: /b, service: b}\n" + extra
	}
	gw := gatewaytest.Start(t, file(a, b, ""))
	blocked := filepath.Join(filepath.Dir(gw.Path), "journal.json.new")
	if err := os.MkdirAll(filepath.Join(blocked, "x"), 0o700); err != nil { // where the journal is written
		t.Fatal(err)
	}
	gw.Writes(file(next, next, "  - {path: /c, service: a}\n"))
	if err := gw.Reload(t.Context()); err == nil {
		t.Fatal("reloaded without a journal")
	}
	if res, _ := gw.Get("/c"); res.StatusCode != 404 {
		t.Errorf("a route of the refused file answers %d", res.StatusCode)
	}
	if err := os.RemoveAll(blocked); err != nil {
		t.Fatal(err)
	}
	gatewaytest.Eventually(t, "no service is locked", func() bool { // the watch of the folder may try as well
		return !slices.ContainsFunc(gw.Status().Services, func(s admin.Service) bool { return s.Swap != nil })
	})
	if err := gw.Reload(t.Context()); err != nil {
		t.Errorf("with a journal again: %v", err)
	}
	if _, got := gw.Get("/c"); got != "next" {
		t.Errorf("%q answers", got)
	}
}

func TestReload_ThatWaitedForASwapToTheSameTargetsIsTaken(t *testing.T) {
	gw, _, next, id := swapping(t)
	gw.Writes(gatewaytest.Service("app", next) + "  - {path: /other, service: app}\n")
	reloaded := make(chan error, 1)
	go func() { reloaded <- gw.Reload(t.Context()) }()
	gatewaytest.Eventually(t, "the reload waits", func() bool { return strings.Contains(gw.Logs.String(), "waiting for swap "+id) })
	next.Recovers()
	if r := report(t, gw, id); r.Result != swap.Done {
		t.Errorf("the swap: %s, %s", r.Result, r.Text)
	}
	if err := <-reloaded; err != nil {
		t.Errorf("the reload: %v", err)
	}
	if _, got := gw.Get("/other"); got != "next" {
		t.Errorf("%q answers", got)
	}
}

func TestSwap_DetachedStreamsAreCountedAndTheirOwnPatienceSaysUntilWhen(t *testing.T) {
	old, next := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next")
	old.Does(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: 1\n\n")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	gw := gatewaytest.Start(t, strings.Replace(gatewaytest.Service("app", old), "{service: app}", "{service: app, streams: 1h}", 1)+"stop: {streams: 10ms}\n")
	res, err := http.Get(gw.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	o := to("v2", next)
	o["detach_streams"] = true
	r := swaps(t, gw, o)
	if r.Result != swap.Done || r.StreamsLeft != 1 || r.StreamsEnd.Sub(r.Published) < time.Hour {
		t.Errorf("%s with %d streams left until %s after the publish, want 1 for an hour and its parting", r.Result, r.StreamsLeft, r.StreamsEnd.Sub(r.Published))
	}
}

func TestMetrics_EveryResultOfASwapIsCountedByItsName(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	if r := swaps(t, gw, to("v1", app)); r.Result != swap.Unchanged {
		t.Fatalf("result %s", r.Result)
	}
	gatewaytest.Eventually(t, "it is counted", func() bool {
		return strings.Contains(gw.Metrics(), `gateway_swaps_total{result="unchanged",service="app"} 1`)
	})
}
