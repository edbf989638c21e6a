package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"pomodoro.cc/gateway"
	"pomodoro.cc/gateway/admin"
	"pomodoro.cc/gateway/gatewaytest"
	"pomodoro.cc/gateway/swap"
)

// The program is this test binary, told to be it.
func TestMain(m *testing.M) {
	if os.Getenv("BE_POMODORO_MAIN") != "" {
		main()
	}
	os.Exit(m.Run())
}

func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func socketOf(gw *gatewaytest.Gateway) string {
	return filepath.Join(filepath.Dir(gw.Path), "admin.sock")
}

func TestCommands_EachFailureHasItsMessageAndItsExitCode(t *testing.T) {
	app, ill := gatewaytest.NewUpstream(t, "app"), gatewaytest.NewUpstream(t, "ill")
	ill.FallsIll()
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	at := "--socket=" + socketOf(gw)
	locked := filepath.Join(t.TempDir(), "nobody.sock")
	bad := filepath.Join(t.TempDir(), "routes.yaml")
	if err := os.WriteFile(bad, []byte("version: 1\nroots: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"swop"}, 2, `unknown command "swop"`},
		{[]string{"swap"}, 2, "want one SERVICE"},
		{[]string{"swap", "app", at, "--target", ill.URL}, 2, "the version is missing"},
		{[]string{"swap", "app", at, "--version", "v2"}, 2, "no target"},
		{[]string{"swap", "app", at, "--version", "v2", "--target", "ftp://x"}, 2, "must begin with http://"},
		{[]string{"swap", "ap", at, "--version", "v2", "--target", ill.URL}, 2, `no service "ap"`},
		{[]string{"swap", "app", at, "--version", "v2", "--target", ill.URL, "--canary", "5"}, 2, "write a share and a time"},
		{[]string{"swap", "app", at, "--version", "v2", "--target", ill.URL, "--watch", "soon"}, 2, "invalid argument"},
		{[]string{"swap", "app", at, "--version", "v2", "--target", ill.URL, "--timeout", "100ms"}, 3, `GET /healthz: 503`},
		{[]string{"swap", "app", at, "--version", "v1", "--target", app.URL}, 0, "serve already"},
		{[]string{"rollback", "app", at}, 2, "knows no earlier release"},
		{[]string{"pause", "app", at, "--max", "0s"}, 2, "--max must be above 0"},
		{[]string{"history", "nobody", at}, 2, `no service "nobody"`},
		{[]string{"history", "a", "b"}, 2, "at most one SERVICE"},
		{[]string{"status", "--socket", locked}, 7, "nobody answers at socket"},
		{[]string{"check", bad}, 2, `unknown key "roots"`},
		{[]string{"check", bad + ".not"}, 2, "no such file"},
	} {
		code, out, errs := command(t, c.args...)
		if code != c.code || !strings.Contains(out+errs, c.says) {
			t.Errorf("%v: exit %d, want %d and %q\n%s%s", c.args, code, c.code, c.says, out, errs)
		}
	}
}

func TestCheck_SaysInJSONWhereEachProblemIs(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "routes.yaml")
	if err := os.WriteFile(bad, []byte("version: 1\nlisten: {http: :80}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, _ := command(t, "check", "--json", bad)
	var problems []map[string]any
	if err := json.Unmarshal([]byte(out), &problems); err != nil || code != 2 || len(problems) != 1 {
		t.Fatalf("exit %d, %v: %s", code, err, out)
	}
	if p := problems[0]; p["file"] != bad || p["line"] != 2.0 || p["column"] != 1.0 || p["message"] == nil || len(p) != 4 {
		t.Errorf("%v", p)
	}
}

func TestSwap_PrintsAReportAndTheHistoryKeepsIt(t *testing.T) {
	app, next := gatewaytest.NewUpstream(t, "app"), gatewaytest.NewUpstream(t, "next")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	at := "--socket=" + socketOf(gw)
	t.Setenv("CIRCLE_JOB", "deploy")
	t.Setenv("CIRCLE_BUILD_NUM", "42")
	code, out, errs := command(t, "swap", "app", at, "--target", next.URL, "--version", "v2", "--watch", "0s", "--json")
	var r swap.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v: %s%s", err, out, errs)
	}
	if code != 0 || r.Result != swap.Done || r.Build != 42 || !strings.HasPrefix(r.By, "circleci deploy 42") || !strings.Contains(errs, "publish: v2 serves") {
		t.Errorf("exit %d, report %+v\n%s", code, r, errs)
	}
	code, out, _ = command(t, "swap", "app", at, "--target", next.URL, "--version", "v2", "--json")
	var again swap.Report
	if err := json.Unmarshal([]byte(out), &again); err != nil || code != 0 || again.ID != r.ID {
		t.Errorf("the same build again: exit %d, %v, %s", code, err, out)
	}
	if code, out, _ := command(t, "history", "app", at); code != 0 || !strings.Contains(out, "v2") || !strings.Contains(out, "done") {
		t.Errorf("history: exit %d\n%s", code, out)
	}
	if code, out, _ := command(t, "rollback", "app", at, "--watch", "0s"); code != 0 || !strings.Contains(out, "finished on old") {
		t.Errorf("rollback: exit %d\n%s", code, out)
	}
	if _, got := gw.Get("/"); got != "app" {
		t.Errorf("%q answers", got)
	}
}

func TestSwap_WaitsForATakeoverWhenToldTo(t *testing.T) {
	app, next := gatewaytest.NewUpstream(t, "app"), gatewaytest.NewUpstream(t, "next")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	h, err := gateway.TakeOver(t.Context(), gw.Path)
	if err != nil || h == nil {
		t.Fatalf("%v, %v", h, err)
	}
	defer h.Close()
	args := []string{"swap", "app", "--socket", socketOf(gw), "--target", next.URL, "--version", "v2", "--watch", "0s"}
	if code, _, errs := command(t, args...); code != 6 || !strings.Contains(errs, "taking this gateway over") {
		t.Errorf("exit %d: %s", code, errs)
	}
	var out, errs gatewaytest.Buffer
	done := make(chan int)
	go func() { done <- run(t.Context(), append(args, "--wait"), &out, &errs) }()
	gatewaytest.Eventually(t, "it waits", func() bool { return strings.Contains(errs.String(), "waiting: another process is taking") })
	h.Close()
	if code := <-done; code != 0 {
		t.Errorf("exit %d: %s%s", code, out.String(), errs.String())
	}
}

func TestSwap_ARefusalIsAReportInJSONToo(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	at := "--socket=" + socketOf(gw)
	if code, out, _ := command(t, "history", "--json", at); code != 0 || out != "[]\n" {
		t.Errorf("history of nothing: exit %d, %q", code, out)
	}
	h, err := gateway.TakeOver(t.Context(), gw.Path) // until it closes, nothing may begin
	if err != nil || h == nil {
		t.Fatalf("%v, %v", h, err)
	}
	defer h.Close()
	for _, c := range []struct {
		args []string
		code int
		says string // Code
	}{
		{[]string{"swap", "app", "--version", "v2", "--target", app.URL}, 6, swap.Locked},
		{[]string{"swap", "nobody", "--version", "v2", "--target", app.URL}, 2, swap.Invalid},
	} {
		code, out, errs := command(t, append(c.args, "--json", at)...)
		var r swap.Report
		if err := json.Unmarshal([]byte(out), &r); err != nil || code != c.code || r.Exit != c.code || r.Result != swap.Refused || r.Code != c.says || r.Text == "" || !strings.Contains(errs, r.Text) {
			t.Errorf("%q: exit %d, %v: %s%s", c.args, code, err, out, errs)
		}
	}
	if code, _, errs := command(t, "reload", at); code != 6 || !strings.Contains(errs, "taking this gateway over") {
		t.Errorf("reload: exit %d: %s", code, errs)
	}
}

func TestReload_ItsExitCodeSaysWhatKeptIt(t *testing.T) {
	app, next, ill := gatewaytest.NewUpstream(t, "app"), gatewaytest.NewUpstream(t, "next"), gatewaytest.NewUpstream(t, "ill")
	ill.FallsIll()
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	at := "--socket=" + socketOf(gw)
	patient := func(patience string) string {
		return strings.Replace(gatewaytest.Service("app", ill), "    targets:", "    swap: {patience: "+patience+"}\n    targets:", 1)
	}
	gw.Writes(patient("100ms"))
	if code, _, errs := command(t, "reload", at); code != 3 || !strings.Contains(errs, "503") {
		t.Errorf("never healthy: exit %d: %s", code, errs)
	}
	gw.Writes("services: {}\nroots: []\n")
	if code, _, errs := command(t, "reload", at); code != 2 {
		t.Errorf("a bad file: exit %d: %s", code, errs)
	}
	blocked := filepath.Join(filepath.Dir(gw.Path), "journal.json.new") // where the journal is written
	if err := os.MkdirAll(filepath.Join(blocked, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	gw.Writes(gatewaytest.Service("app", next))
	if code, _, errs := command(t, "reload", at); code != 1 || !strings.Contains(errs, "the journal cannot be written") {
		t.Errorf("no journal: exit %d: %s", code, errs)
	}
	if err := os.RemoveAll(blocked); err != nil {
		t.Fatal(err)
	}
	gw.Writes(patient("1h"))
	ctx, interrupt := context.WithCancel(t.Context())
	done := make(chan int)
	var out, errs gatewaytest.Buffer
	go func() { done <- run(ctx, []string{"reload", at}, &out, &errs) }()
	gatewaytest.Eventually(t, "it proves", func() bool { return gw.Status().Services[0].Swap != nil })
	interrupt()
	if code := <-done; code != 1 || !strings.Contains(errs.String(), "interrupted") {
		t.Errorf("interrupted: exit %d: %s", code, errs.String())
	}
}

func TestSwap_AnInterruptCallsItOff(t *testing.T) {
	app, ill := gatewaytest.NewUpstream(t, "app"), gatewaytest.NewUpstream(t, "ill")
	ill.FallsIll()
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	ctx, interrupt := context.WithCancel(t.Context())
	var out, errs gatewaytest.Buffer
	done := make(chan int)
	go func() {
		done <- run(ctx, []string{"swap", "app", "--socket", socketOf(gw), "--target", ill.URL, "--version", "v2"}, &out, &errs)
	}()
	gatewaytest.Eventually(t, "it proves", func() bool { return strings.Contains(errs.String(), "prove") })
	interrupt()
	if code := <-done; code != 1 || !strings.Contains(out.String(), "cancelled before publish") {
		t.Errorf("exit %d: %s%s", code, out.String(), errs.String())
	}
}

func TestSwap_OfWhatServesAlreadyPrintsTheReportAndNoProgress(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	code, out, errs := command(t, "swap", "app", "--socket="+socketOf(gw), "--target", app.URL, "--version", "v1", "--json")
	var r swap.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 || r.Result != swap.Unchanged || errs != "" {
		t.Errorf("exit %d, %v, %s\nprogress: %q", code, err, out, errs)
	}
}

func TestSwap_AnInterruptBeforeTheGatewaysAnswerLeavesTheOutcomeUnknown(t *testing.T) {
	dir, err := os.MkdirTemp("", "gw") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "admin.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // the order is there
		interrupt()
		<-r.Context().Done()
	})}
	go server.Serve(l)
	defer server.Close()
	var out, errs bytes.Buffer
	code := run(ctx, []string{"swap", "app", "--socket", socket, "--target", "http://127.0.0.1:9", "--version", "v2"}, &out, &errs)
	if code != 8 || !strings.Contains(errs.String(), "whether the swap has begun is not known") {
		t.Errorf("exit %d: %s", code, errs.String())
	}
}

func TestSwap_AnInterruptLeavesASharedOneToTheOther(t *testing.T) {
	app, next := gatewaytest.NewUpstream(t, "app"), gatewaytest.NewUpstream(t, "next")
	next.FallsIll()
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	args := []string{"swap", "app", "--socket", socketOf(gw), "--target", next.URL, "--version", "v2", "--build", "3", "--watch", "0s"}
	follow := func(ctx context.Context) (errs *gatewaytest.Buffer, done chan int) {
		var out gatewaytest.Buffer
		errs, done = new(gatewaytest.Buffer), make(chan int, 1)
		go func() { done <- run(ctx, args, &out, errs) }()
		gatewaytest.Eventually(t, "it follows", func() bool { return strings.Contains(errs.String(), "prove") })
		return errs, done
	}
	_, first := follow(t.Context())
	ctx, interrupt := context.WithCancel(t.Context())
	errs, second := follow(ctx)
	interrupt()
	if code := <-second; code != 8 || !strings.Contains(errs.String(), "goes on without this one") {
		t.Errorf("the interrupted one: exit %d: %s", code, errs)
	}
	next.Recovers()
	if code := <-first; code != 0 {
		t.Errorf("the other: exit %d", code)
	}
}

func TestStatus_WatchPrintsEachChangeUntilInterrupted(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	ctx, interrupt := context.WithCancel(t.Context())
	var out, errs gatewaytest.Buffer
	done := make(chan int)
	go func() { done <- run(ctx, []string{"status", "--watch", "--socket", socketOf(gw)}, &out, &errs) }()
	gatewaytest.Eventually(t, "it is up", func() bool { return strings.Contains(out.String(), app.URL) })
	if code, _, errs := command(t, "pause", "app", "--socket", socketOf(gw)); code != 0 {
		t.Fatal(errs)
	}
	gatewaytest.Eventually(t, "the pause is shown", func() bool { return strings.Contains(out.String(), "app is paused: all requests") })
	interrupt()
	if code := <-done; code != 0 {
		t.Errorf("exit %d: %s", code, errs.String())
	}
}

func TestPause_SaysInJSONHowTheServiceIsNow(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	for _, c := range []struct {
		args           []string
		paused, writes bool
	}{
		{[]string{"pause", "app", "--max", "1m"}, true, false},
		{[]string{"pause", "app", "--writes"}, true, true},
		{[]string{"resume", "app"}, false, false},
		{[]string{"resume", "app"}, false, false},
	} {
		code, out, errs := command(t, append(c.args, "--json", "--socket", socketOf(gw))...)
		var got admin.Pause
		if err := json.Unmarshal([]byte(out), &got); code != 0 || err != nil {
			t.Fatalf("%q: exit %d: %v in %s%s", c.args, code, err, out, errs)
		}
		if got.Service != "app" || got.Paused != c.paused || got.Writes != c.writes || got.Until.After(time.Now()) != c.paused {
			t.Errorf("%q: %+v", c.args, got)
		}
	}
}

func TestMemory_TheCollectorWorksLessOftenUnlessTheOperatorSaysHowOften(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	t.Setenv("GOMEMLIMIT", "1GiB") // read by the runtime at the start only: nothing is set here
	t.Setenv("GOGC", "100")
	limitMemory(slog.New(slog.DiscardHandler))
	if got := debug.SetGCPercent(100); got != 100 {
		t.Errorf("with GOGC=100 in the environment the share is %d", got)
	}
	t.Setenv("GOGC", "")
	limitMemory(slog.New(slog.DiscardHandler))
	if got := debug.SetGCPercent(100); got != garbage {
		t.Errorf("the share is %d, want %d", got, garbage)
	}
}

func TestMemory_WhereMuchLivesLessMayBeGarbage(t *testing.T) {
	for live, want := range map[uint64]int{0: 400, 6 << 20: 400, 16 << 20: 400, 17 << 20: 200, 32 << 20: 200, 33 << 20: 100, 1 << 30: 100} {
		if got := share(live); got != want {
			t.Errorf("%d MiB: %d %%, want %d", live>>20, got, want)
		}
	}
}

// No file may grow by a byte, which is what a full disk means to a program.
func TestSwap_AFullDiskRefusesBeforeAnythingChanged(t *testing.T) {
	old, next := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next")
	dir, err := os.MkdirTemp("", "gw") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	config, socket := filepath.Join(dir, "routes.yaml"), filepath.Join(dir, "admin.sock")
	text := "version: 1\nlisten: {http: 127.0.0.1:0}\naccess_log: \"off\"\nstate_dir: " + dir + "\n" + gatewaytest.Service("app", old)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("sh", "-c", `ulimit -f 0; exec "$0" run --config "$1"`, self, config)
	c.Env = append(os.Environ(), "BE_POMODORO_MAIN=1")
	var logs gatewaytest.Buffer
	c.Stdout, c.Stderr = io.Discard, &logs
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	gatewaytest.Eventually(t, "the gateway answers", func() bool {
		code, out, _ := command(t, "status", "--socket", socket)
		return code == 0 && strings.Contains(out, "up")
	})
	code, out, errs := command(t, "swap", "app", "--socket", socket, "--target", next.URL, "--version", "v2", "--watch", "0s")
	if code != 1 || !strings.Contains(out, "refused before anything changed, because the journal cannot be written") {
		t.Errorf("exit %d: %s%s%s", code, out, errs, logs.String())
	}
	if _, out, _ := command(t, "status", "--socket", socket); !strings.Contains(out, old.URL) || strings.Contains(out, next.URL) {
		t.Errorf("the old target does not serve:\n%s", out)
	}
}

// The sites are served, by what the file names, and the alarm stays in sight.
func TestRun_WithADamagedJournalServesAndKeepsTheAlarmInSight(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	dir, err := os.MkdirTemp("", "gw") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	config, socket := filepath.Join(dir, "routes.yaml"), filepath.Join(dir, "admin.sock")
	text := "version: 1\nlisten: {http: 127.0.0.1:0}\naccess_log: \"off\"\nstate_dir: " + dir + "\n" + gatewaytest.Service("app", app)
	for path, content := range map[string]string{config: text, filepath.Join(dir, "journal.json"): "{half a docu"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self, "run", "--config", config)
	c.Env = append(os.Environ(), "BE_POMODORO_MAIN=1")
	c.Stdout, c.Stderr = io.Discard, io.Discard
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	gatewaytest.Eventually(t, "status shows the alarm and the target up", func() bool {
		code, out, _ := command(t, "status", "--socket", socket)
		return code == 0 && strings.Contains(out, "ALARM: the journal of swaps was damaged") && strings.Contains(out, " up ")
	})
}

// The port of the admin API is another's at first: the start waits for it.
func TestRun_AHangupBeforeItServesReloadsOnceItDoes(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	dir, err := os.MkdirTemp("", "gw") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	config, socket := filepath.Join(dir, "routes.yaml"), filepath.Join(dir, "admin.sock")
	text := "version: 1\nlisten: {http: 127.0.0.1:0}\naccess_log: \"off\"\nstate_dir: " + dir + "\n" + gatewaytest.Service("app", app)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self, "run", "--config", config)
	c.Env = append(os.Environ(), "BE_POMODORO_MAIN=1")
	var logs gatewaytest.Buffer
	c.Stdout, c.Stderr = io.Discard, &logs
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	gatewaytest.Eventually(t, "it starts", func() bool { return strings.Contains(logs.String(), `"name":"http"`) })
	changed := strings.Replace(text, "health: {interval: 50ms}", "health: {interval: 60ms}", 1)
	if err := os.WriteFile(config, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	other.Close()
	gatewaytest.Eventually(t, "the changed file is in force", func() bool {
		if strings.Contains(logs.String(), "panic") {
			t.Fatal(logs.String())
		}
		return strings.Contains(logs.String(), `"msg":"reloaded"`)
	})
}

// A gateway that is killed at any point of a swap comes back with the old or the
// new version: never with none, never with both.
func TestKill_AtAnyMomentOfASwapOneVersionServesAfterwards(t *testing.T) {
	kills := 200
	if testing.Short() {
		kills = 10
	}
	one, two := gatewaytest.NewUpstream(t, "one"), gatewaytest.NewUpstream(t, "two")
	dir, err := os.MkdirTemp("", "gw") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "routes.yaml")
	socket := filepath.Join(dir, "admin.sock")
	text := "version: 1\nlisten: {http: 127.0.0.1:0}\naccess_log: \"off\"\nstate_dir: " + dir + "\n" +
		strings.Replace(gatewaytest.Service("app", one), "health: {interval: 50ms}", "health: {interval: 10ms, rise: 1}", 1)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	start := func() (*exec.Cmd, string) {
		t.Helper()
		var logs gatewaytest.Buffer
		c := exec.Command(self, "run", "--config", config)
		c.Env = append(os.Environ(), "BE_POMODORO_MAIN=1")
		c.Stdout, c.Stderr = io.Discard, &logs
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		url := ""
		gatewaytest.Eventually(t, "the gateway is back", func() bool {
			for line := range strings.Lines(logs.String()) {
				var e struct{ Msg, Name, Address string }
				if json.Unmarshal([]byte(line), &e) == nil && e.Msg == "listening" && e.Name == "http" {
					url = "http://" + e.Address
				}
			}
			return url != "" && strings.Contains(logs.String(), `"admin"`)
		})
		return c, url
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	versions := map[string]int{}
	gateway, _ := start()
	targets := map[string]*gatewaytest.Upstream{"one": two, "two": one} // the other one
	serving := "one"
	span := 120 * time.Millisecond // follows what a swap takes on this machine, so that kills meet all of it
	for i := range kills {
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			c := exec.CommandContext(ctx, self, "swap", "app", "--socket", socket, "--target", targets[serving].URL, "--version", fmt.Sprint("v", i), "--watch", "5ms", "--drain", "1s")
			c.Env = append(os.Environ(), "BE_POMODORO_MAIN=1")
			c.Run() // its outcome is whatever the kill made of it
		}()
		timer := time.NewTimer(rand.N(span))
		<-timer.C
		if err := gateway.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		gateway.Wait()
		stop()
		<-ended
		var address string
		gateway, address = start()
		seen, before := map[string]bool{}, serving
		for range 4 {
			res, err := client.Get(address + "/")
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil || res.StatusCode != 200 {
				t.Fatalf("kill %d: status %d, %v", i, res.StatusCode, err)
			}
			seen[string(b)] = true
			serving = string(b)
		}
		if len(seen) != 1 || targets[serving] == nil {
			t.Fatalf("kill %d: %v serve", i, seen)
		}
		versions[serving]++
		if serving == before {
			span = min(span+span/4, 3*time.Second)
		} else {
			span = max(span-span/4, 10*time.Millisecond)
		}
	}
	gateway.Process.Kill()
	gateway.Wait()
	if len(versions) != 2 {
		t.Errorf("after %d kills only %v served: the kills did not meet the swap", kills, versions)
	}
}
