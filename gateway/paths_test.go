package gateway_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"pomodoro.cc/gateway/gatewaytest"
)

// tells makes u answer with the target of each request as it came.
func tells(t *testing.T) *gatewaytest.Upstream {
	u := gatewaytest.NewUpstream(t, "paths")
	u.Does(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.RequestURI) })
	return u
}

// gets asks on c for a request target and returns the answer's status and body.
func gets(t *testing.T, c net.Conn, target string) (status int, body, location string) {
	t.Helper()
	io.WriteString(c, "GET "+target+" HTTP/1.1\r\nHost: localhost\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	all, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(all), res.Header.Get("Location")
}

func TestPaths_TheTargetSeesThePathAsItWasSentWithWhatNoneMayHoldEncoded(t *testing.T) {
	for _, transport := range []string{"auto", "std"} {
		gw := gatewaytest.Start(t, strings.Replace(gatewaytest.Service("app", tells(t)), "targets:", "transport: "+transport+"\n    targets:", 1))
		c, err := dial(gw, false)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for sent, want := range map[string]string{
			"/a%2fb":                    "/a%2fb",
			"/a%2fb|c":                  "/a%2fb%7Cc",
			`/..%2f..%2Fadmin"x`:        "/..%2f..%2Fadmin%22x",
			"/%2e%41[~]<>\\^`{}?q=|%2f": "/%2e%41[~]%3C%3E%5C%5E%60%7B%7D?q=|%2f",
			"/a|b":                      "/a%7Cb",
			"//a;b=c,d/!$&'()*+@:":      "//a;b=c,d/!$&'()*+@:",
		} {
			if status, got, _ := gets(t, c, sent); status != 200 || got != want {
				t.Errorf("transport %s: GET %s: %d, the target saw %q, want %q", transport, sent, status, got, want)
			}
		}
	}
}

func TestPaths_ARedirectKeepsThePathAsItWasSent(t *testing.T) {
	gw := gatewaytest.Start(t, strings.Replace(gatewaytest.Service("app", tells(t)), "{service", "{host: localhost, path: /moved, redirect: {host: example.org}}\n  - {host: localhost, service", 1)+"tls: {mode: internal}\n")
	for secure, want := range map[bool]string{false: "https://localhost:" + port(gw, "https"), true: "https://example.org"} {
		c, err := dial(gw, secure)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, _, location := gets(t, c, "/moved/a%2fb|c"); location != want+"/moved/a%2fb%7Cc" {
			t.Errorf("over TLS %t: moved to %q", secure, location)
		}
	}
}

func port(gw *gatewaytest.Gateway, listener string) string {
	return fmt.Sprint(gw.Addr(listener).(*net.TCPAddr).Port)
}

func TestPaths_OverHTTP2TheyAreTheSame(t *testing.T) {
	gw := gatewaytest.Start(t, strings.Replace(gatewaytest.Service("app", tells(t)), "{service", "{host: localhost, service", 1)+"tls: {mode: internal}\n")
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequest(http.MethodGet, "https://localhost:"+port(gw, "https"), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.URL.Opaque = "/a%2fb|c" // sent as it is
	res, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got, _ := io.ReadAll(res.Body); string(got) != "/a%2fb%7Cc" || res.ProtoMajor != 2 {
		t.Errorf("%s: the target saw %q", res.Proto, got)
	}
}

func TestPaths_ARouteIsFoundByWhatThePathComesToAndTheTargetStillSeesItAsSent(t *testing.T) {
	open, closed := tells(t), gatewaytest.NewUpstream(t, "closed")
	closed.Does(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "closed: "+r.RequestURI) })
	gw := gatewaytest.Start(t, fmt.Sprintf("services:\n  open: {targets: [%s]}\n  closed: {targets: [%s]}\nroutes:\n  - {path: /closed, service: closed}\n  - {service: open}\n", open.URL, closed.URL))
	c, err := dial(gw, false)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for sent, want := range map[string]string{
		"/a/../closed":          "closed: /a/../closed",
		"/./closed/x":           "closed: /./closed/x",
		"/a/%2E%2e/closed":      "closed: /a/%2E%2e/closed",
		"/../../closed":         "closed: /../../closed",
		"/a/..%2fclosed":        "/a/..%2fclosed",
		"/closed/../a":          "/closed/../a",
		"/closed/..":            "/closed/..",
		"/closed/...":           "closed: /closed/...",
		"/closed/.well-known/x": "closed: /closed/.well-known/x",
	} {
		if status, got, _ := gets(t, c, sent); status != 200 || got != want {
			t.Errorf("GET %s: %d %q, want %q", sent, status, got, want)
		}
	}
}

func TestPaths_ThePrefixIsTakenOffHoweverItWasWrittenAndNobodyClimbsOutOfIt(t *testing.T) {
	app := tells(t)
	gw := gatewaytest.Start(t, fmt.Sprintf("services:\n  app: {targets: [%s]}\nroutes:\n  - {path: /api, service: app, strip: true}\n  - {path: /caf%%C3%%A9/, service: app, strip: true}\n  - {path: /v1/api, service: app, strip: true}\n", app.URL))
	c, err := dial(gw, false)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for sent, want := range map[string]string{
		"/api":                "/",
		"/api?q":              "/?q",
		"/api/":               "/",
		"/api/x/":             "/x/",
		"/api//x":             "//x",
		"/%61pi/a%2Fb":        "/a%2Fb",
		"/api/a%2Fb|c":        "/a%2Fb%7Cc",
		"/caf%c3%A9/x%41":     "/x%41",
		"/v1/%61pi/x/y":       "/x/y",
		"/api/../../api/x":    "/x",
		"/x/../api/a/%2e%2E/": "/",
		"/api/a%20b":          "/a%20b",
	} {
		if status, got, _ := gets(t, c, sent); status != 200 || got != want {
			t.Errorf("GET %s: %d, the target saw %q, want %q", sent, status, got, want)
		}
	}
	if status, _, _ := gets(t, c, "/api/../../x"); status != 404 {
		t.Errorf("a path that leaves the prefix: status %d, want 404", status)
	}
}
