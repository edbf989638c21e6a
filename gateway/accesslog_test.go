package gateway_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pomodoro.cc/gateway/gatewaytest"
)

// holds tells whether the file holds a line of a request for path.
func holds(t *testing.T, file, path string) bool {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Contains(string(b), fmt.Sprintf("%q:%q", "path", path))
}

func TestAccessLog_AfterARenameAReloadGoesOnInANewFile(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	file := filepath.Join(t.TempDir(), "access.log")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app)+"access_log: "+file+"\n")
	gw.Get("/before")
	if err := os.Rename(file, file+".1"); err != nil {
		t.Fatal(err)
	}
	gw.Writes("services: wrong\n") // the log does not depend on it
	if err := gw.Reload(t.Context()); err == nil {
		t.Fatal("taken")
	}
	gatewaytest.Eventually(t, "a request is logged in the new file", func() bool {
		gw.Get("/after")
		return holds(t, file, "/after")
	})
	if !holds(t, file+".1", "/before") {
		t.Error("the line before is lost")
	}
}

func TestAccessLog_AnotherPlaceAppliesAtAReload(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one.log"), filepath.Join(dir, "two.log")
	rest := gatewaytest.Service("app", app) + "access_log: "
	gw := gatewaytest.Start(t, rest+"\"off\"\n")
	reload := func(place string) error {
		t.Helper()
		gw.Writes(rest + place + "\n")
		return gw.Reload(t.Context())
	}
	logged := func(file, path string) {
		t.Helper()
		gatewaytest.Eventually(t, path+" is logged", func() bool {
			gw.Get(path)
			return holds(t, file, path)
		})
	}
	for _, c := range []struct{ place, path string }{{one, "/one"}, {two, "/two"}} {
		if err := reload(c.place); err != nil {
			t.Fatal(err)
		}
		logged(c.place, c.path)
	}
	if err := reload(filepath.Join(dir, "no", "folder.log")); err == nil || !strings.Contains(err.Error(), "no folder that a file can be made in") {
		t.Errorf("a place that cannot be opened: %v", err)
	}
	logged(two, "/goes/on")
	if err := reload("stdout"); err != nil {
		t.Fatal(err)
	}
	gatewaytest.Eventually(t, "/out is logged", func() bool {
		gw.Get("/out")
		return strings.Contains(gw.Logs.String(), `"path":"/out"`)
	})
	if strings.Contains(gw.Logs.String(), "next start") {
		t.Errorf("a warning is wrong:\n%s", gw.Logs.String())
	}
}

func TestAccessLog_ARedirectIsLoggedAndCountedUnderItsRoute(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	file := filepath.Join(t.TempDir(), "access.log")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app)+"  - {name: away, path: /old, redirect: {path: /new}}\naccess_log: "+file+"\n")
	c := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := c.Get(gw.URL + "/old")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	gatewaytest.Eventually(t, "it is logged", func() bool { return holds(t, file, "/old") })
	if b, err := os.ReadFile(file); err != nil || !strings.Contains(string(b), `"route":"away"`) {
		t.Errorf("%v: %s", err, b)
	}
	if text := gw.Metrics(); !strings.Contains(text, `gateway_requests_total{method="GET",route="away",service="",status="3xx"} 1`) {
		t.Error(text)
	}
}

func TestAccessLog_ARouteThatIsGoneWhenTheBodyIsThereIsNotLogged(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	file := filepath.Join(t.TempDir(), "access.log")
	conf := func(path string) string {
		return strings.Replace(gatewaytest.Service("app", app), "{service", "{name: site, path: "+path+", service", 1) + "access_log: " + file + "\n"
	}
	gw := gatewaytest.Start(t, conf("/a"))
	visitor, in := visit(t, gw, false)
	io.WriteString(visitor, "POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhe")
	gw.Get("/a") // and so the one before it has come
	gw.Writes(conf("/b"))
	if err := gw.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	io.WriteString(visitor, "llo")
	if res, err := http.ReadResponse(in, nil); err != nil || res.StatusCode != 404 {
		t.Fatalf("%v, %v", res, err)
	}
	var lines string
	gatewaytest.Eventually(t, "it is logged", func() bool {
		b, _ := os.ReadFile(file)
		lines = string(b)
		return strings.Contains(lines, "no_route")
	})
	for line := range strings.Lines(lines) {
		if strings.Contains(line, "no_route") && strings.Contains(line, `"route":"site"`) {
			t.Error(line)
		}
	}
}
