package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pomodoro.cc/gateway/gatewaytest"
)

// addressOf returns where the gateway that writes these events listens, "" before.
func addressOf(name string, events *gatewaytest.Buffer) (address string) {
	for line := range strings.Lines(events.String()) {
		var e struct{ Msg, Name, Address string }
		if json.Unmarshal([]byte(line), &e) == nil && e.Msg == "listening" && e.Name == name {
			address = e.Address
		}
	}
	return address
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// A log shipper that dies must not take the sites with it.
func TestRun_TheReaderOfStdoutLeavesAndTheGatewayServesOn(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	dir, err := os.MkdirTemp("", "gw") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	config := filepath.Join(dir, "routes.yaml")
	text := "version: 1\nlisten: {http: 127.0.0.1:0, metrics: 127.0.0.1:0}\nstate_dir: " + dir + "\n" + gatewaytest.Service("app", app)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	reader, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var events gatewaytest.Buffer
	c := exec.Command(self, "run", "--config", config)
	c.Env = append(os.Environ(), "BE_POMODORO_MAIN=1")
	c.Stdout, c.Stderr = stdout, &events
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	stdout.Close()
	gatewaytest.Eventually(t, "the gateway listens", func() bool { return addressOf("admin", &events) != "" })
	reader.Close()
	lost := func() bool {
		_, numbers := get(t, "http://"+addressOf("metrics", &events)+"/metrics")
		return strings.Contains(numbers, "\ngateway_access_log_dropped_total 1\n")
	}
	if status, body := get(t, "http://"+addressOf("http", &events)+"/"); status != 200 || body != "app" {
		t.Errorf("%d %q", status, body)
	}
	gatewaytest.Eventually(t, "the lost line is counted", lost)
	if status, body := get(t, "http://"+addressOf("http", &events)+"/"); status != 200 || body != "app" {
		t.Errorf("afterwards: %d %q", status, body)
	}
}
