package gateway_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pomodoro.cc/gateway"
	"pomodoro.cc/gateway/gatewaytest"
	"pomodoro.cc/gateway/swap"
)

// oneService is a file whose swaps have no watch.
func oneService(target *gatewaytest.Upstream, more string) string {
	return strings.Replace(gatewaytest.Service("app", target), "targets:", "swap: {watch: 0s"+more+"}\n    targets:", 1)
}

// saved writes the file again and again until the watch is in place and it is tried.
func saved(t *testing.T, gw *gatewaytest.Gateway, file string, target *gatewaytest.Upstream) {
	t.Helper()
	gatewaytest.Eventually(t, "the save is noticed", func() bool {
		gw.Writes(file)
		return strings.Contains(gw.Logs.String(), "checking "+target.URL)
	})
}

func serves(t *testing.T, gw *gatewaytest.Gateway, name string) {
	t.Helper()
	gatewaytest.Eventually(t, name+" serves", func() bool { _, got := gw.Get("/"); return got == name })
}

func TestReload_ASaveDuringAProofIsPutInForceAfterIt(t *testing.T) {
	old, next, third := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next"), gatewaytest.NewUpstream(t, "third")
	next.FallsIll()
	third.FallsIll()
	gw := gatewaytest.Start(t, oneService(old, ""))
	saved(t, gw, oneService(next, ""), next)
	gw.Writes(oneService(third, ""))
	next.Recovers()
	serves(t, gw, "next")
	gatewaytest.Eventually(t, "the second save is tried", func() bool { return strings.Contains(gw.Logs.String(), "checking "+third.URL) })
	res, err := client(gw).Do(t.Context(), http.MethodGet, "/v1/config")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err != nil || !strings.Contains(string(b), next.URL) {
		t.Errorf("the configuration in force is said to be %s, %v", b, err)
	}
	third.Recovers()
	serves(t, gw, "third")
}

func TestReload_ASaveOfARefusedFileIsTriedAgainAfterAnother(t *testing.T) {
	old, next := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next")
	next.FallsIll()
	gw := gatewaytest.Start(t, oneService(old, ", patience: 300ms"))
	file := oneService(next, ", patience: 300ms")
	saved(t, gw, file, next)
	gatewaytest.Eventually(t, "it is refused", func() bool { return !gw.Status().Reload.OK })
	next.Recovers()
	again := false
	gatewaytest.Eventually(t, "it is tried again", func() bool { // the watch looks now and then, and sees either
		if again = !again; again {
			gw.Writes(oneService(old, ", patience: 300ms"))
		} else {
			gw.Writes(file)
		}
		_, got := gw.Get("/")
		return got == "next"
	})
}

func TestReload_ASaveWhileASuccessorStartsIsPutInForceWhenThatOneLeaves(t *testing.T) {
	old, next := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next")
	gw := gatewaytest.Start(t, oneService(old, ""))
	h, err := gateway.TakeOver(t.Context(), gw.Path)
	if err != nil || h == nil {
		t.Fatalf("%v, %v", h, err)
	}
	gatewaytest.Eventually(t, "the save is refused", func() bool {
		gw.Writes(oneService(next, ""))
		return strings.Contains(gw.Status().Reload.Error, "taking this gateway over")
	})
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	serves(t, gw, "next")
}

// twoServices is a file of app, which everything leads to, and api below /api.
func twoServices(app, api *gatewaytest.Upstream, settings string) string {
	return fmt.Sprintf("services:\n  app: {health: {interval: 50ms}, swap: {watch: 0s, patience: 300ms}, targets: [%s]%s}\n  api: {health: {interval: 50ms}, swap: {watch: 0s, patience: 300ms}, targets: [%s]}\nroutes:\n  - {service: app}\n  - {path: /api, service: api}\n", app.URL, settings, api.URL)
}

func TestReload_ANewServiceProvesItselfBeforeItsRoutesLeadToIt(t *testing.T) {
	app, api := gatewaytest.NewUpstream(t, "app"), gatewaytest.NewUpstream(t, "api")
	api.FallsIll()
	gw := gatewaytest.Start(t, oneService(app, ""))
	gw.Writes(twoServices(app, api, ""))
	if err := gw.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "service api: target "+api.URL+" is not healthy") {
		t.Errorf("with an ill one: %v", err)
	}
	if _, got := gw.Get("/api"); got != "app" {
		t.Errorf("after the refusal %q answers", got)
	}
	api.Recovers()
	if err := gw.Reload(t.Context()); err != nil {
		t.Error(err)
	}
	if _, got := gw.Get("/api"); got != "api" {
		t.Errorf("after the reload %q answers", got)
	}
}

func TestReload_ThatCannotMakeItsTargetsChangesNothing(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	gw := gatewaytest.Start(t, oneService(app, ""))
	ca := filepath.Join(filepath.Dir(gw.Path), "ca.pem")
	if err := os.WriteFile(ca, []byte("no pem"), 0o600); err != nil {
		t.Fatal(err)
	}
	gw.Writes(strings.Replace(oneService(app, ""), "targets:", "tls: {ca_file: "+ca+"}\n    targets:", 1) + "  - {path: /gone, redirect: {host: elsewhere.test}}\n")
	for range 2 {
		if err := gw.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "holds no certificate") {
			t.Errorf("error = %v", err)
		}
	}
	if _, got := gw.Get("/gone"); got != "app" {
		t.Errorf("%q answers", got)
	}
}

func TestReload_AServiceThatWasReadyIsNotSaidToBeIll(t *testing.T) {
	app, api, next, ill := gatewaytest.NewUpstream(t, "app"), gatewaytest.NewUpstream(t, "api"), gatewaytest.NewUpstream(t, "next"), gatewaytest.NewUpstream(t, "ill")
	ill.FallsIll()
	gw := gatewaytest.Start(t, twoServices(app, api, ""))
	gw.Writes(twoServices(next, ill, ""))
	if err := gw.Reload(t.Context()); err == nil || strings.Contains(err.Error(), "service app") {
		t.Errorf("error = %v", err)
	}
	res, err := client(gw).Do(t.Context(), http.MethodGet, "/v1/history")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var history []swap.Report
	if err := json.NewDecoder(res.Body).Decode(&history); err != nil {
		t.Fatal(err)
	}
	got := map[string]swap.Result{}
	for _, r := range history {
		got[r.Service] = r.Result
		if r.Service == "app" && strings.Contains(r.Text, ill.URL) {
			t.Errorf("the report of app says %q", r.Text)
		}
	}
	if got["app"] != swap.Cancelled || got["api"] != swap.NeverHealthy {
		t.Errorf("results %v", got)
	}
}

func TestReload_WhatTheFileSaysOfTheTargetsThatServeIsKnownAfterARestart(t *testing.T) {
	old, next := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next")
	gw := gatewaytest.Start(t, oneService(old, ""))
	o := to("v2", next)
	o["build"] = 7
	if r := swaps(t, gw, o); r.Result != swap.Done {
		t.Fatalf("%s: %s", r.Result, r.Text)
	}
	for _, step := range []struct{ target, version string }{
		{next.URL, "v2"}, {"{url: \"" + next.URL + "\", version: v2b, weight: 3}", "v2b"},
	} {
		gw.Writes(strings.Replace(oneService(next, ""), next.URL, step.target, 1))
		if err := gw.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, when := range []string{"after the reload", "after the restart"} {
			if s := gw.Status().Services[0]; s.Version != step.version || s.Build != 7 || s.Targets[0].URL != next.URL || s.Targets[0].Version != step.version {
				t.Errorf("%s: %+v, want %s", when, s, step.version)
			}
			if when == "after the reload" {
				gw.Restarts()
			}
		}
	}
	late := to("v1", old)
	late["build"] = 6
	if _, err := order(t, gw, "app", late); err == nil {
		t.Error("an older build was taken")
	}
}

func TestReload_AServiceThatComesBackBeginsWithTheTargetsOfTheFile(t *testing.T) {
	app, api, next := gatewaytest.NewUpstream(t, "app"), gatewaytest.NewUpstream(t, "api"), gatewaytest.NewUpstream(t, "next")
	gw := gatewaytest.Start(t, twoServices(app, api, ""))
	id, err := order(t, gw, "api", to("v2", next))
	if err != nil {
		t.Fatal(err)
	}
	if r := report(t, gw, id); r.Result != swap.Done {
		t.Fatalf("%s: %s", r.Result, r.Text)
	}
	for _, file := range []string{oneService(app, ""), twoServices(app, api, "")} {
		gw.Writes(file)
		if err := gw.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, got := gw.Get("/api"); got != "api" {
		t.Errorf("%q answers", got)
	}
	gw.Restarts()
	if _, got := gw.Get("/api"); got != "api" {
		t.Errorf("after a restart %q answers", got)
	}
}

func TestReload_ARefusedFileServesNeitherAfterARestartNorAfterATakeover(t *testing.T) {
	old, next := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next")
	next.FallsIll()
	gw := gatewaytest.Start(t, oneService(old, ", patience: 300ms"))
	gw.Writes(oneService(next, ", patience: 300ms"))
	if err := gw.Reload(t.Context()); err == nil {
		t.Fatal("reloaded to an ill target")
	}
	gw.Restarts()
	if _, got := gw.Get("/"); got != "old" {
		t.Errorf("after the restart %q answers", got)
	}
	gatewaytest.Eventually(t, "the file is refused again", func() bool { return !gw.Status().Reload.OK })
	before := gw
	gw = before.Successor()
	http.DefaultClient.CloseIdleConnections() // it leaves when they end
	if err := before.Done(); err != nil {
		t.Fatal(err)
	}
	if _, got := gw.Get("/"); got != "old" {
		t.Errorf("after the takeover %q answers", got)
	}
	next.Recovers()
	gatewaytest.Eventually(t, "the file is in force", func() bool { return gw.Reload(t.Context()) == nil })
	if _, got := gw.Get("/"); got != "next" {
		t.Errorf("%q answers", got)
	}
}

func TestReload_AFileThatWasChangedWhileNoGatewayRanIsPutInForce(t *testing.T) {
	for name, gone := range map[string]bool{"its targets prove themselves while those of before serve": false, "and serve at once where those are gone": true} {
		t.Run(name, func(t *testing.T) {
			old, next, third := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next"), gatewaytest.NewUpstream(t, "third")
			gw := gatewaytest.Start(t, oneService(old, ""))
			if r := swaps(t, gw, to("v2", next)); r.Result != swap.Done {
				t.Fatalf("%s: %s", r.Result, r.Text)
			}
			for _, file := range []*gatewaytest.Upstream{third, old} {
				if err := gw.Stop(); err != nil {
					t.Fatal(err)
				}
				gw.Writes(strings.Replace(oneService(file, ""), "50ms", "50ms, timeout: 200ms", 1))
				if gone {
					next.Stops()
					third.FallsIll()
				}
				gw.Restarts()
				if !gone {
					serves(t, gw, file.Name)
				} else if s := gw.Status().Services[0]; s.Targets[0].URL != file.URL {
					t.Errorf("%s serves, want %s", s.Targets[0].URL, file.URL)
				}
			}
		})
	}
}

// The container of before answers its last check while it is replaced, and the new one takes longer than the patience.
func TestReload_AFileThatWasRefusedAtTheStartIsTriedAgainOnceWhatServedIsGone(t *testing.T) {
	old, next := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next")
	gw := behind(t, old, next, "300ms")
	if _, got := gw.Get("/"); got != "old" {
		t.Errorf("after the refusal %q answers", got)
	}
	old.Stops()
	next.Recovers()
	serves(t, gw, "next")
}

// Nobody has found anything wrong with what the file names.
func TestReload_AChangedFileThatTheGatewaysStopTookBackIsTriedAfterTheRestart(t *testing.T) {
	old, next := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next")
	watched := func(u *gatewaytest.Upstream) string {
		return strings.Replace(oneService(u, ""), "watch: 0s", "watch: 1h", 1)
	}
	gw := gatewaytest.Start(t, watched(old))
	gw.Writes(watched(next))
	if err := gw.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, got := gw.Get("/"); got != "next" {
		t.Fatalf("%q answers", got)
	}
	gw.Restarts()
	serves(t, gw, "next")
}

func TestReload_AFileThatIsPutBackDuringTheWatchServesAgain(t *testing.T) {
	old, next := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next")
	watched := func(u *gatewaytest.Upstream) string {
		return strings.Replace(oneService(u, ""), "watch: 0s", "watch: 1s", 1)
	}
	gw := gatewaytest.Start(t, watched(old))
	for _, u := range []*gatewaytest.Upstream{next, old} {
		gw.Writes(watched(u))
		if err := gw.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		serves(t, gw, u.Name)
	}
}

// behind starts a gateway whose file was changed from old to next while none ran, and
// was refused since next is ill.
func behind(t *testing.T, old, next *gatewaytest.Upstream, patience string) *gatewaytest.Gateway {
	t.Helper()
	next.FallsIll()
	file := func(u *gatewaytest.Upstream) string {
		return strings.Replace(oneService(u, ", patience: "+patience), "    targets:", "    hold: {for: 100ms}\n    targets:", 1)
	}
	gw := gatewaytest.Start(t, file(old))
	if err := gw.Stop(); err != nil {
		t.Fatal(err)
	}
	gw.Writes(file(next))
	gw.Restarts()
	gatewaytest.Eventually(t, "it is refused", func() bool { return !gw.Status().Reload.OK })
	return gw
}

func TestReload_AFileThatWasRefusedAtTheStartIsNotTriedAgainAfterALaterSwap(t *testing.T) {
	old, next, third := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next"), gatewaytest.NewUpstream(t, "third")
	gw := behind(t, old, next, "300ms")
	if r := swaps(t, gw, to("v3", third)); r.Result != swap.Done {
		t.Fatal(r.Result, r.Text)
	}
	next.Recovers()
	third.FallsIll()
	gatewaytest.Eventually(t, "it is down", func() bool { return gw.Status().Services[0].Targets[0].Health == "down" })
	for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); { // longer than between two tries
		if _, got := gw.Get("/"); got == "next" {
			t.Fatal("the file undid a later swap")
		}
	}
	third.Recovers()
	serves(t, gw, "third")
}

// The swap, or a successor, may be the cure.
func TestReload_AFileWhoseTargetsAreIllKeepsNobodyFromTheLocks(t *testing.T) {
	old, next, third := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next"), gatewaytest.NewUpstream(t, "third")
	gw := behind(t, old, next, "1s")
	tries := strings.Count(gw.Logs.String(), "reload refused")
	old.Stops()
	gatewaytest.Eventually(t, "it is down", func() bool { return gw.Status().Services[0].Targets[0].Health == "down" })
	for end := time.Now().Add(2500 * time.Millisecond); time.Now().Before(end); { // two tries would be due
		gw.Get("/")
	}
	if now := strings.Count(gw.Logs.String(), "reload refused"); now != tries {
		t.Errorf("a file whose target is ill was tried %d times more", now-tries)
	}
	if r := swaps(t, gw, to("v3", third)); r.Result != swap.Done {
		t.Error(r.Result, r.Text)
	}
}

// Its place was found before a visitor had sent all of it.
func TestReload_ARequestWhoseSmallBodyIsAwaitedFindsTheServiceByItsNewName(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	app.Does(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	file := func(name string) string {
		return strings.Replace(gatewaytest.Service(name, app), "    targets:", "    hold: {for: 1s}\n    targets:", 1)
	}
	gw := gatewaytest.Start(t, file("app"))
	visitor, in := visit(t, gw, false)
	io.WriteString(visitor, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhe")
	gw.Get("/") // and so the one before it has come
	gw.Writes(file("other"))
	if err := gw.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	io.WriteString(visitor, "llo")
	res, err := http.ReadResponse(in, nil)
	if err != nil || res.StatusCode != 200 {
		t.Errorf("%v, %v", res, err)
	}
}

func TestReload_AFileThatWasMendedAfterARefusedStartIsTriedWhenItsTargetAnswers(t *testing.T) {
	old, next, third := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next"), gatewaytest.NewUpstream(t, "third")
	gw := behind(t, old, next, "300ms")
	third.FallsIll()
	tries := strings.Count(gw.Logs.String(), "reload refused")
	gw.Writes(strings.Replace(oneService(third, ", patience: 300ms"), "    targets:", "    hold: {for: 100ms}\n    targets:", 1))
	gatewaytest.Eventually(t, "the mended file is refused too", func() bool { return strings.Count(gw.Logs.String(), "reload refused") > tries })
	old.Stops()
	gatewaytest.Eventually(t, "it is down", func() bool { return gw.Status().Services[0].Targets[0].Health == "down" })
	third.Recovers()
	serves(t, gw, "third")
}

func TestReload_AFileThatWasRefusedAtTheStartDoesNotUndoASwapUnderWay(t *testing.T) {
	old, next, third := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next"), gatewaytest.NewUpstream(t, "third")
	gw := behind(t, old, next, "300ms")
	old.Stops()
	gatewaytest.Eventually(t, "it is down", func() bool { return gw.Status().Services[0].Targets[0].Health == "down" })
	third.FallsIll()
	o := to("v3", third)
	o["patience"] = "20s"
	done := make(chan *swap.Report, 1)
	go func() { done <- swaps(t, gw, o) }()
	gatewaytest.Eventually(t, "the swap proves", func() bool { return strings.Contains(gw.Logs.String(), "checking "+third.URL) })
	next.Recovers()
	for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); { // a try would be due
		gw.Get("/")
	}
	third.Recovers()
	if r := <-done; r.Result != swap.Done {
		t.Fatal(r.Result, r.Text)
	}
	serves(t, gw, "third")
	if strings.Contains(gw.Logs.String(), "waiting for swap") {
		t.Error("a reload waits for the swap, to undo it")
	}
}
