package gateway_test

import (
	"io"
	"net/http"
	"sync/atomic"
	"testing"

	"pomodoro.cc/gateway/gatewaytest"
	"pomodoro.cc/gateway/swap"
)

func TestTrustedProxy_WhatItSaysOfTheVisitorIsPassedOn(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	seen := make(chan http.Header, 1)
	app.Does(func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header })
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app)+"trusted_proxies: [127.0.0.0/8, 10.0.0.0/8]\n")
	r, err := http.NewRequest(http.MethodGet, gw.URL+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]string{
		"X-Forwarded-For": "6.6.6.6, 203.0.113.9, 10.0.0.2", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "shop.example", "X-Request-Id": "an-id-from-outside",
	}
	for name, value := range said {
		r.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	got := <-seen
	for name, want := range map[string]string{
		"X-Real-Ip": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "shop.example", "X-Request-Id": "an-id-from-outside",
		"X-Forwarded-For": "6.6.6.6, 203.0.113.9, 10.0.0.2, 127.0.0.1",
	} {
		if got.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, got.Get(name), want)
		}
	}
}

func TestTrustedProxy_TheVisitorsAddressMayComeWithAPortOrInBrackets(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	app.Does(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Header.Get("X-Real-Ip")) })
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app)+"trusted_proxies: [127.0.0.0/8]\n")
	for said, want := range map[string]string{
		"9.9.9.9":                     "9.9.9.9",
		"9.9.9.9:1234":                "9.9.9.9",
		"[2001:db8::1]:1234":          "2001:db8::1",
		"[2001:db8::1]":               "2001:db8::1",
		"2001:db8::1":                 "2001:db8::1",
		"6.6.6.6, 9.9.9.9:1234":       "9.9.9.9",
		"9.9.9.9, 127.0.0.2:80":       "9.9.9.9",
		"9.9.9.9, unknown":            "127.0.0.1",
		"9.9.9.9, [8.8.8.8]":          "127.0.0.1",
		"9.9.9.9, [2001:db8::1":       "127.0.0.1",
		"9.9.9.9, 8.8.8.8:port":       "127.0.0.1",
		"9.9.9.9, unknown, 127.0.0.2": "127.0.0.2",
	} {
		r, err := http.NewRequest(http.MethodGet, gw.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Forwarded-For", said)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if string(got) != want {
			t.Errorf("X-Forwarded-For: %s makes the visitor %s, want %s", said, got, want)
		}
	}
}

func TestTrustedProxy_WhatCameToItOverHTTPSIsNotSentThereAgain(t *testing.T) {
	for trusted, want := range map[string]int{"127.0.0.0/8": 200, "10.0.0.0/8": 308} {
		gw := gatewaytest.Start(t, gatewaytest.Service("app", gatewaytest.NewUpstream(t, "app"))+"tls: {mode: internal}\ntrusted_proxies: ["+trusted+"]\n")
		for proto, want := range map[string]int{"https": want, "http": 308} {
			if got := says(t, gw, "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-Proto: "+proto+"\r\n\r\n"); got != want {
				t.Errorf("%s trusted, %s: status %d, want %d", trusted, proto, got, want)
			}
		}
	}
}

func TestSwap_TheWarmUpComesBeforeTheFirstVisitorAndItsFailureRefuses(t *testing.T) {
	old, next := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next")
	asked := make(chan string, 10)
	var status atomic.Int32
	status.Store(http.StatusInternalServerError)
	next.Does(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		if r.URL.Path == "/slow-first-time" {
			w.WriteHeader(int(status.Load()))
			return
		}
		io.WriteString(w, "next")
	})
	rest := gatewaytest.Service("app", old)
	gw := gatewaytest.Start(t, "services:\n  app:\n    swap: {warmup: [/slow-first-time]}\n"+rest[len("services:\n  app:\n"):])
	if r := swaps(t, gw, to("v2", next)); r.Result != swap.NeverHealthy || len(r.Proofs) != 1 || r.Proofs[0].Check != "warm-up /slow-first-time" {
		t.Errorf("a warm-up that fails: %s, %+v", r.Result, r.Proofs)
	}
	status.Store(http.StatusOK)
	if r := swaps(t, gw, to("v2", next)); r.Result != swap.Done {
		t.Fatalf("%s: %s", r.Result, r.Text)
	}
	if _, got := gw.Get("/"); got != "next" {
		t.Errorf("%q answers", got)
	}
	for _, want := range []string{"/slow-first-time", "/slow-first-time", "/"} {
		if got := <-asked; got != want {
			t.Errorf("asked for %q, want %q", got, want)
		}
	}
}

func TestRollback_ToAVersionInTheHistory(t *testing.T) {
	one, two, three := gatewaytest.NewUpstream(t, "one"), gatewaytest.NewUpstream(t, "two"), gatewaytest.NewUpstream(t, "three")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", one))
	for _, o := range []map[string]any{to("v2", two), to("v3", three), to("v4", one)} {
		if r := swaps(t, gw, o); r.Result != swap.Done {
			t.Fatalf("%s: %s", r.Result, r.Text)
		}
	}
	if r := swaps(t, gw, map[string]any{"rollback": true, "version": "v2", "watch": "0s"}); r.Result != swap.Done || r.Version != "v2" {
		t.Errorf("%s to %s: %s", r.Result, r.Version, r.Text)
	}
	if _, got := gw.Get("/"); got != "two" {
		t.Errorf("%q answers", got)
	}
	three.FallsIll()
	if r := swaps(t, gw, map[string]any{"rollback": true, "version": "v3", "watch": "0s", "patience": "300ms"}); r.Result != swap.NeverHealthy {
		t.Errorf("to a release that is ill: %s", r.Result)
	}
}
