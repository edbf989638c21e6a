package gateway_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"pomodoro.cc/gateway"
	"pomodoro.cc/gateway/gatewaytest"
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
