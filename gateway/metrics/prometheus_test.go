package metrics_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pomodoro.cc/gateway/metrics"
)

// full returns metrics in which every series that there can be is present.
func full() *metrics.Metrics {
	m := metrics.New()
	m.Route("site", "app").Observe("GET", 200, "", 10, 20, time.Millisecond)
	m.Route("site", "app").Observe("POST", 503, metrics.HoldTimeout, 10, 20, time.Second)
	m.Route("", "").Observe("BREW", 404, metrics.NoRoute, 0, 20, time.Millisecond)
	m.Service("app").Retried()
	m.Service("app").Ejected()
	m.Service("app").Swapped(metrics.SwapDone)
	m.Service("app").SwapRequests(metrics.OutcomeOld, 12)
	m.Reloaded(true, time.Now())
	m.Sample(func() []metrics.ServiceSample {
		return []metrics.ServiceSample{{Service: "app", Requests: 3, Streams: 1, Held: 2, Targets: []metrics.TargetSample{
			{Slot: metrics.SlotOld, State: metrics.StateUp}, {Slot: metrics.SlotNew, State: metrics.StateUnknown},
		}}}
	})
	return m
}

func binary(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is not in PATH; this test needs Debian's package prometheus (apt-get install prometheus): %v", name, err)
	}
	return path
}

func TestPromtool_HasNothingToSay(t *testing.T) {
	check := exec.CommandContext(t.Context(), binary(t, "promtool"), "check", "metrics")
	check.Stdin = strings.NewReader(scrape(t, full()))
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

func TestPrometheus_ScrapesTheHandler(t *testing.T) {
	server := httptest.NewServer(full().Handler())
	defer server.Close()
	prom := startPrometheus(t, server.Listener.Addr().String())

	prom.until(`up{job="gateway"}`, 1)
	for query, want := range map[string]float64{
		`gateway_requests_total{route="site",method="POST",status="5xx"}`:            1,
		`sum(gateway_requests_total)`:                                                3,
		`gateway_own_answers_total{reason="no_route",service=""}`:                    1,
		`gateway_swap_requests_total{outcome="finished_old"}`:                        12,
		`gateway_targets{service="app",slot="new",state="unknown"}`:                  1,
		`gateway_request_duration_seconds_bucket{route="site",service="app",le="1"}`: 2,
		`count(gateway_build_info)`:                                                  1,
	} {
		prom.until(query, want)
	}
}

type prometheus struct {
	t       *testing.T
	address string
	ended   <-chan struct{}
	logFile string
}

// startPrometheus runs a real one until the test ends. Its port is free when
// it is chosen; should another process take it first, another is tried.
func startPrometheus(t *testing.T, target string) *prometheus {
	t.Helper()
	program, dir := binary(t, "prometheus"), t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf("global: {scrape_interval: 200ms, scrape_timeout: 200ms}\nscrape_configs:\n- job_name: gateway\n  metrics_path: /\n  static_configs: [{targets: [%q]}]\n", target)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for attempt := range 5 {
		p := &prometheus{t: t, address: freeAddress(t), logFile: filepath.Join(dir, fmt.Sprintf("log-%d", attempt))}
		log, err := os.Create(p.logFile)
		if err != nil {
			t.Fatal(err)
		}
		run := exec.Command(program, "--config.file="+config, "--web.listen-address="+p.address,
			"--storage.tsdb.path="+filepath.Join(dir, fmt.Sprintf("data-%d", attempt)))
		run.Stdout, run.Stderr = log, log
		if err := run.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		p.ended = ended
		go func() {
			defer close(ended)
			_ = run.Wait() // it is killed below, or p.ready sees that it ended
			_ = log.Close()
		}()
		t.Cleanup(func() {
			_ = run.Process.Kill() // an error says that it has ended by itself
			<-ended
		})
		if p.ready() {
			return p
		}
	}
	t.Fatal("prometheus did not start in 5 attempts")
	return nil
}

func (p *prometheus) ready() bool {
	deadline := time.After(time.Minute)
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		if answer, err := http.Get("http://" + p.address + "/-/ready"); err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return true
			}
		}
		select {
		case <-p.ended:
			log, err := os.ReadFile(p.logFile)
			p.t.Logf("prometheus ended before it was ready (%v):\n%s", err, log)
			return false
		case <-deadline:
			p.t.Fatal("prometheus is not ready after a minute")
		case <-poll.C:
		}
	}
}

// until asks again and again until the one sample that query finds is want.
func (p *prometheus) until(query string, want float64) {
	p.t.Helper()
	deadline := time.After(time.Minute)
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		got, err := p.ask(query)
		if err == nil && got == fmt.Sprint(want) {
			return
		}
		select {
		case <-deadline:
			p.t.Fatalf("%s = %q after a minute, want %v (%v)", query, got, want, err)
		case <-p.ended:
			p.t.Fatalf("prometheus ended while it was asked for %s", query)
		case <-poll.C:
		}
	}
}

func (p *prometheus) ask(query string) (string, error) {
	answer, err := http.Get("http://" + p.address + "/api/v1/query?query=" + url.QueryEscape(query))
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	var said struct {
		Data struct {
			Result []struct {
				Value [2]any `json:"value"`
			} `json:"result"`
		} `json:"data"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&said); err != nil {
		return "", err
	}
	if len(said.Data.Result) != 1 {
		return "", fmt.Errorf("%d samples", len(said.Data.Result))
	}
	return fmt.Sprint(said.Data.Result[0].Value[1]), nil
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
