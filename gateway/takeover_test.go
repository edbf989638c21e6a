package gateway_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pomodoro.cc/gateway"
	"pomodoro.cc/gateway/admin"
	"pomodoro.cc/gateway/gatewaytest"
	"pomodoro.cc/gateway/swap"
	"pomodoro.cc/gateway/takeover"
)

func TestTakeover_NoVisitorNoticesAndNothingIsForgotten(t *testing.T) {
	app, next := gatewaytest.NewUpstream(t, "app"), gatewaytest.NewUpstream(t, "next")
	app.Does(everyKind)
	next.Does(everyKind)
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app)+"access_log: \"off\"\nstop: {streams: 100ms}\n")
	if r := swaps(t, gw, to("v2", next)); r.Result != swap.Done {
		t.Fatalf("%s: %s", r.Result, r.Text)
	}
	v := &visitors{gw: gw, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	defer v.client.CloseIdleConnections()
	kinds := []func(context.Context) error{v.reads, v.writes, v.uploads, v.downloads, v.follows, v.talks}
	ctx, end := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for n := range 24 {
		load.Go(func() {
			for ctx.Err() == nil {
				if err := kinds[n%len(kinds)](ctx); err != nil && ctx.Err() == nil {
					t.Errorf("client %d: %v", n, err)
					return
				}
			}
		})
	}
	one := gw
	for range 3 {
		asked := next.Hits.Load()
		gatewaytest.Eventually(t, "there is load", func() bool { return next.Hits.Load() > asked+100 })
		two := one.Successor()
		if two.URL != one.URL {
			t.Fatalf("the successor listens at %s, not %s", two.URL, one.URL)
		}
		if err := one.Done(); err != nil {
			t.Fatal(err)
		}
		one = two
	}
	end()
	load.Wait()
	s := one.Status().Services[0]
	if s.Version != "v2" || len(s.Targets) != 1 || s.Targets[0].URL != next.URL {
		t.Errorf("the last successor serves %+v", s)
	}
	if r := swaps(t, one, to("v3", app)); r.Result != swap.Done {
		t.Errorf("a swap after it: %s: %s", r.Result, r.Text)
	}
}

func TestTakeover_ASuccessorThatDiesBeforeItServesChangesNothing(t *testing.T) {
	app, next := gatewaytest.NewUpstream(t, "app"), gatewaytest.NewUpstream(t, "next")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	h, err := gateway.TakeOver(t.Context(), gw.Path)
	if err != nil || h == nil {
		t.Fatalf("%v, %v", h, err)
	}
	if _, err := order(t, gw, "app", to("v2", next)); err == nil || !strings.Contains(err.Error(), "taking this gateway over") {
		t.Errorf("a swap meanwhile: %v", err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	gatewaytest.Eventually(t, "it goes on", func() bool {
		r, err := order(t, gw, "app", to("v2", next))
		return err == nil && report(t, gw, r).Result == swap.Done
	})
	if _, got := gw.Get("/"); got != "next" {
		t.Errorf("%q answers", got)
	}
}

func TestTakeover_ASuccessorThatCannotListenChangesNothing(t *testing.T) {
	app, next := gatewaytest.NewUpstream(t, "app"), gatewaytest.NewUpstream(t, "next")
	rest := gatewaytest.Service("app", app)
	gw := gatewaytest.Start(t, rest)
	good, err := os.ReadFile(gw.Path)
	if err != nil {
		t.Fatal(err)
	}
	taken := strings.TrimPrefix(app.URL, "http://")
	if err := os.WriteFile(gw.Path, []byte(strings.Replace(string(good), "metrics: 127.0.0.1:0", "metrics: \""+taken+"\"", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := gateway.TakeOver(t.Context(), gw.Path)
	if err != nil || h == nil {
		t.Fatalf("%v, %v", h, err)
	}
	failed, err := gateway.New(gateway.Options{ConfigPath: gw.Path, Handover: h})
	if err != nil {
		t.Fatal(err)
	}
	if err := failed.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("the successor: %v", err)
	}
	gw.Writes(rest)
	gatewaytest.Eventually(t, "the one that ran takes orders", func() bool {
		id, err := order(t, gw, "app", to("v2", next))
		return err == nil && report(t, gw, id).Result == swap.Done
	})
	two := gw.Successor()
	if err := gw.Done(); err != nil {
		t.Error(err)
	}
	if _, got := two.Get("/"); got != "next" {
		t.Errorf("%q answers", got)
	}
}

// predecessor is a gateway that can be taken over from and does no more than that.
func predecessor(t *testing.T, giver takeover.Giver) (path string, gave chan bool) {
	t.Helper()
	app := gatewaytest.NewUpstream(t, "app")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app)) // for its folder and file
	if err := gw.Stop(); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(filepath.Dir(gw.Path), "takeover.sock"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	gave = make(chan bool, 3)
	giver.Freeze = func() (takeover.Offer, error) { return takeover.Offer{}, nil }
	giver.Thaw = func() { gave <- false }
	giver.Leave = func() { gave <- true }
	go giver.Serve(t.Context(), l)
	return gw.Path, gave
}

func TestTakeover_ASuccessorWhoseTimeIsOverLeaves(t *testing.T) {
	path, gave := predecessor(t, takeover.Giver{Patience: time.Millisecond})
	h, err := gateway.TakeOver(t.Context(), path)
	if err != nil || h == nil {
		t.Fatalf("%v, %v", h, err)
	}
	if <-gave {
		t.Fatal("it has left")
	}
	late, err := gateway.New(gateway.Options{ConfigPath: path, Handover: h})
	if err != nil {
		t.Fatal(err)
	}
	if err := late.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "goes on") {
		t.Errorf("the successor: %v", err)
	}
	if h, err := gateway.TakeOver(t.Context(), path); err != nil || h == nil {
		t.Errorf("the next one: %v, %v", h, err)
	}
}

func TestTakeover_ASuccessorWhosePredecessorDiesMeanwhileServes(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	h, err := gateway.TakeOver(t.Context(), gw.Path)
	if err != nil || h == nil {
		t.Fatalf("%v, %v", h, err)
	}
	if err := gw.Stop(); err != nil {
		t.Fatal(err)
	}
	heir, err := gateway.New(gateway.Options{ConfigPath: gw.Path, Handover: h})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- heir.Run(ctx) }()
	gatewaytest.Eventually(t, "it serves", func() bool { return heir.Addr("admin") != nil && heir.Status().Ready })
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestTakeover_ItWaitsForASwapThatIsUnderWay(t *testing.T) {
	gw, _, next, id := swapping(t)
	hasty, enough := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer enough()
	if h, err := gateway.TakeOver(hasty, gw.Path); err == nil || !strings.Contains(err.Error(), "is under way") && hasty.Err() == nil {
		t.Errorf("in the middle of a swap: %v, %v", h, err)
	}
	next.Recovers()
	two := gw.Successor()
	if r := report(t, two, id); r.Result != swap.Done {
		t.Errorf("the swap: %s: %s", r.Result, r.Text)
	}
	if _, got := two.Get("/"); got != "next" {
		t.Errorf("%q answers", got)
	}
	if err := gw.Done(); err != nil {
		t.Error(err)
	}
}

// Its report says that the old target may be stopped: nobody may send to it then.
func TestTakeover_ASwapIsDoneOnceTheGatewayBeforeHasLeft(t *testing.T) {
	app, next := gatewaytest.NewUpstream(t, "app"), gatewaytest.NewUpstream(t, "next")
	asked, go_ := make(chan bool), make(chan bool)
	app.Does(func(w http.ResponseWriter, _ *http.Request) { close(asked); <-go_ })
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	answer := make(chan int, 1)
	visitor := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // an idle connection would stay for stop.grace
	go func() {
		res, err := visitor.Post(gw.URL+"/", "text/plain", strings.NewReader("slow"))
		if err != nil {
			t.Error(err)
			answer <- 0
			return
		}
		res.Body.Close()
		answer <- res.StatusCode
	}()
	<-asked
	two := gw.Successor()
	id, err := order(t, two, "app", to("v2", next))
	if err != nil {
		t.Fatal(err)
	}
	gatewaytest.Eventually(t, "the swap waits for the gateway before", func() bool {
		s := two.Status().Services[0].Swap
		return s != nil && s.Phase == "drain" && strings.Contains(s.Text, "took over from")
	})
	if _, got := two.Get("/"); got != "next" {
		t.Errorf("meanwhile %q answers", got)
	}
	close(go_)
	if err := gw.Done(); err != nil {
		t.Error(err)
	}
	if r := report(t, two, id); r.Result != swap.Done {
		t.Errorf("%s: %s", r.Result, r.Text)
	}
	if got := <-answer; got != 200 {
		t.Errorf("the visitor of the gateway before: %d", got)
	}
}

func TestTakeover_APauseGoesOn(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	if _, err := client(gw).Send(t.Context(), http.MethodPost, "/v1/services/app/pause", map[string]any{"writes": true, "max": "1h"}); err != nil {
		t.Fatal(err)
	}
	two := gw.Successor()
	if s := two.Status().Services[0]; !strings.HasPrefix(s.Paused, "writes until") {
		t.Errorf("paused: %q", s.Paused)
	}
	if err := gw.Done(); err != nil {
		t.Error(err)
	}
}

// The successor knows already which services are paused, and would never hear of it.
func TestTakeover_APauseOrResumeWhileASuccessorStartsIsRefused(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	h, err := gateway.TakeOver(t.Context(), gw.Path)
	if err != nil || h == nil {
		t.Fatalf("%v, %v", h, err)
	}
	for _, verb := range []string{"pause", "resume"} {
		var no *admin.Refusal
		if _, err := client(gw).Do(t.Context(), http.MethodPost, "/v1/services/app/"+verb); !errors.As(err, &no) || no.Problem.Status != http.StatusConflict || no.Problem.Code != swap.Locked {
			t.Errorf("%s: %v; want it refused", verb, err)
		}
	}
	if s := gw.Status().Services[0]; s.Paused != "" {
		t.Errorf("paused all the same: %s", s.Paused)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	gatewaytest.Eventually(t, "it can be paused again", func() bool {
		_, err := client(gw).Do(t.Context(), http.MethodPost, "/v1/services/app/pause")
		return err == nil
	})
}

func TestTakeover_ResumeLetsGoWhatTheGatewayBeforeHolds(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	if _, err := client(gw).Send(t.Context(), http.MethodPost, "/v1/services/app/pause", map[string]any{"max": "1h"}); err != nil {
		t.Fatal(err)
	}
	held := heldBy(t, gw)
	two := gw.Successor()
	if _, err := client(two).Do(t.Context(), http.MethodPost, "/v1/services/app/resume"); err != nil {
		t.Fatal(err)
	}
	if res := <-held; res == nil || res.StatusCode != 200 {
		t.Errorf("the held one: %v", res)
	}
	if err := gw.Done(); err != nil {
		t.Error(err)
	}
}

// heldBy asks gw for something that it holds, and gives the answer's head.
func heldBy(t *testing.T, gw *gatewaytest.Gateway) <-chan *http.Response {
	t.Helper()
	answer := make(chan *http.Response, 1)
	visitor := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	go func() {
		defer close(answer)
		res, err := visitor.Post(gw.URL+"/", "text/plain", strings.NewReader("kept"))
		if err != nil {
			t.Error(err)
			return
		}
		res.Body.Close()
		answer <- res
	}()
	gatewaytest.Eventually(t, "it is held", func() bool { return gw.Status().Services[0].Held == 1 })
	return answer
}

func TestStop_WhatIsHeldIsAnsweredWhenTheGraceEnds(t *testing.T) {
	for name, end := range map[string]func(*gatewaytest.Gateway) error{
		"stopped":  (*gatewaytest.Gateway).Stop,
		"replaced": func(gw *gatewaytest.Gateway) error { gw.Successor(); return gw.Done() },
	} {
		t.Run(name, func(t *testing.T) {
			app := gatewaytest.NewUpstream(t, "app")
			gw := gatewaytest.Start(t, gatewaytest.Service("app", app)+"stop: {lame_duck: 1ms, grace: 200ms}\n")
			if _, err := client(gw).Send(t.Context(), http.MethodPost, "/v1/services/app/pause", map[string]any{"max": "1h"}); err != nil {
				t.Fatal(err)
			}
			held := heldBy(t, gw)
			if err := end(gw); err != nil {
				t.Error(err)
			}
			if res := <-held; res == nil || res.StatusCode != 503 || res.Header.Get("X-Gateway-Reason") != "paused" || res.Header.Get("Retry-After") == "" {
				t.Errorf("the held one: %v", res)
			}
		})
	}
}

func TestTakeover_WhereNobodyRunsThereIsNothingToTake(t *testing.T) {
	gw := gatewaytest.Start(t, gatewaytest.Service("app"))
	if err := gw.Stop(); err != nil {
		t.Fatal(err)
	}
	if h, err := gateway.TakeOver(t.Context(), gw.Path); h != nil || err != nil {
		t.Errorf("%v, %v", h, err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(gw.Path), "*.sock")); err != nil || len(left) > 0 {
		t.Errorf("sockets left: %v, %v", left, err)
	}
}
