package metrics_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"pomodoro.cc/gateway/metrics"
)

func scrape(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.Code != http.StatusOK {
		t.Fatalf("scrape: status %d, %v: %s", answer.Code, err, body)
	}
	return string(body)
}

// series returns the lines of our own series that contain every part.
func series(text string, parts ...string) (found []string) {
next:
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "gateway_") {
			continue
		}
		for _, part := range parts {
			if !strings.Contains(line, part) {
				continue next
			}
		}
		found = append(found, strings.TrimSuffix(line, "\n"))
	}
	return found
}

func shows(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(text, "\n"+line+"\n") {
			name, _, _ := strings.Cut(line, "{")
			t.Errorf("no line %s; of that name there are:\n%s", line, strings.Join(series(text, name), "\n"))
		}
	}
}

func TestObserve_ARequestIsCountedByRouteMethodAndStatusClass(t *testing.T) {
	m := metrics.New()
	route := m.Route("site", "app")
	route.Observe("GET", 200, "", 10, 300, 30*time.Millisecond)
	route.Observe("POST", 503, metrics.HoldTimeout, 5, 20, 10*time.Second)
	route.Observe("GET", 204, "", -1, -1, -time.Second)
	m.Route("", "").Observe("GET", 404, metrics.NoRoute, 0, 9, time.Millisecond)

	shows(t, scrape(t, m),
		`gateway_requests_total{method="GET",route="site",service="app",status="2xx"} 2`,
		`gateway_requests_total{method="POST",route="site",service="app",status="5xx"} 1`,
		`gateway_requests_total{method="POST",route="site",service="app",status="2xx"} 0`,
		`gateway_requests_total{method="GET",route="",service="",status="4xx"} 1`,
		`gateway_request_bytes_total{route="site",service="app"} 15`,
		`gateway_response_bytes_total{route="site",service="app"} 320`,
		`gateway_request_duration_seconds_bucket{route="site",service="app",le="0.05"} 2`,
		`gateway_request_duration_seconds_count{route="site",service="app"} 3`,
		`gateway_own_answers_total{reason="hold_timeout",service="app"} 1`,
		`gateway_own_answers_total{reason="no_route",service=""} 1`,
		`gateway_own_answers_total{reason="other",service="app"} 0`,
	)
}

func TestObserve_WhatIsNotInAClosedSetCountsAsOther(t *testing.T) {
	m := metrics.New()
	for _, status := range []int{-1, 0, 99, 600, 1 << 30} {
		m.Route("site", "app").Observe("BREW", status, "because", 0, 0, 0)
	}
	m.Service("app").Swapped("vanished")
	m.Service("app").SwapRequests("vanished", 3)
	shows(t, scrape(t, m),
		`gateway_requests_total{method="other",route="site",service="app",status="other"} 5`,
		`gateway_own_answers_total{reason="other",service="app"} 5`,
		`gateway_swaps_total{result="other",service="app"} 1`,
		`gateway_swap_requests_total{outcome="other",service="app"} 3`,
	)
}

func TestObserve_EveryStatusOfAClassCountsInThatClass(t *testing.T) {
	m := metrics.New()
	for status := 100; status < 600; status++ {
		m.Route("site", "app").Observe("GET", status, "", 0, 0, 0)
	}
	for _, class := range []string{"1xx", "2xx", "3xx", "4xx", "5xx"} {
		shows(t, scrape(t, m), `gateway_requests_total{method="GET",route="site",service="app",status="`+class+`"} 100`)
	}
}

func TestObserve_EveryMethodAndReasonOfTheSetsCountsUnderItsOwnName(t *testing.T) {
	m := metrics.New()
	route := m.Route("site", "app")
	methods := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "other"}
	for _, method := range methods {
		route.Observe(method, 200, "", 0, 0, 0)
	}
	reasons := []metrics.Reason{
		metrics.NoRoute, metrics.Misdirected, metrics.BadRequest, metrics.HoldFull,
		metrics.HoldTimeout, metrics.ConnectFailed, metrics.TargetReset, metrics.TargetTimeout,
		metrics.BadAnswer, metrics.ClientLeft, metrics.TooLarge, metrics.BodyTimeout,
		metrics.Internal, metrics.Cut, metrics.Paused, metrics.Redirect, "other",
	}
	for _, reason := range reasons {
		m.Route("other", "app").Observe("GET", 503, reason, 0, 0, 0)
	}
	text := scrape(t, m)
	for _, method := range methods {
		shows(t, text, `gateway_requests_total{method="`+method+`",route="site",service="app",status="2xx"} 1`)
	}
	for _, reason := range reasons {
		shows(t, text, `gateway_own_answers_total{reason="`+reason+`",service="app"} 1`)
	}
}

func TestDocs_OperationsListsEveryMetricAndEveryReason(t *testing.T) {
	b, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	m := full()
	m.LogDropped(func() uint64 { return 0 })
	m.Certificates(func() map[string]time.Time { return map[string]time.Time{"a.test": {}} })
	text := scrape(t, m)
	there := map[string]bool{}
	for _, name := range regexp.MustCompile(`(?m)^# TYPE (gateway_\w+)|own_answers_total\{reason="(\w+)"`).FindAllStringSubmatch(text, -1) {
		there[name[1]+name[2]] = true
	}
	delete(there, "other")
	told := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^[|] (`.*?`) [|]").FindAllStringSubmatch(string(b), -1) {
		for _, name := range regexp.MustCompile("`([a-z_]+)").FindAllStringSubmatch(row[1], -1) {
			told[name[1]] = true
		}
	}
	for name := range there {
		if !told[name] {
			t.Errorf("%s is in no table", name)
		}
	}
	for name := range told {
		if strings.HasPrefix(name, "gateway_") && !there[name] {
			t.Errorf("%s is in a table, and there is none", name)
		}
	}
}

func TestSeries_TenThousandStrangersAddNone(t *testing.T) {
	// 10 methods × 6 classes, 15 buckets with +Inf, sum and count, 2 of bytes;
	// 17 reasons, retries, ejections, 9 results, 9 outcomes; the same once more
	// without the last 20 for the requests that met no route; 4 of the rest.
	const (
		perRoute = 10*6 + 16 + 2 + 2
		bound    = 2*perRoute + (17 + 2 + 9 + 9) + 17 + 4
	)
	m := metrics.New()
	service := m.Service("app")
	random := rand.New(rand.NewPCG(1, 2))
	stranger := func() string {
		b := make([]byte, 1+random.IntN(12))
		for i := range b {
			b[i] = byte(random.IntN(256))
		}
		return string(b)
	}
	known := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"}
	for i := range 10_000 {
		method := stranger()
		if i%2 == 0 {
			method = known[random.IntN(len(known))]
		}
		for _, route := range []*metrics.Route{m.Route("site", "app"), m.Route("", "")} {
			route.Observe(method, random.IntN(2000)-500, stranger(), 1, 1, time.Duration(random.Int64()))
		}
		service.Swapped(stranger())
		service.SwapRequests(stranger(), 1)
	}
	if got := len(series(scrape(t, m))); got != bound {
		t.Errorf("%d series, want %d", got, bound)
	}
}

func TestRetain_TheSeriesOfRemovedRoutesAndServicesAreGone(t *testing.T) {
	m := metrics.New()
	for _, id := range []metrics.RouteID{{Route: "site", Service: "app"}, {Route: "api", Service: "api"}, {Route: "api-v2", Service: "api"}} {
		m.Route(id.Route, id.Service).Observe("GET", 200, "", 1, 1, time.Second)
	}
	m.Route("", "").Observe("GET", 404, metrics.NoRoute, 0, 0, 0)
	m.Service("spare").Retried()
	kept, removed := m.Route("api", "api"), m.Route("site", "app")

	m.Retain([]metrics.RouteID{{Route: "api", Service: "api"}}, "spare")
	removed.Observe("GET", 200, metrics.Cut, 1, 1, time.Second) // was still under way

	text := scrape(t, m)
	for _, gone := range []string{`service="app"`, `route="site"`, `route="api-v2"`} {
		if left := series(text, gone); left != nil {
			t.Errorf("still there: %q", left)
		}
	}
	shows(t, text,
		`gateway_requests_total{method="GET",route="api",service="api",status="2xx"} 1`,
		`gateway_own_answers_total{reason="no_route",service=""} 1`,
		`gateway_retries_total{service="spare"} 1`,
	)
	if m.Route("api", "api") != kept {
		t.Error("a retained route has new counters")
	}
	if m.Route("site", "app") == removed {
		t.Error("a route that comes back has the dropped counters")
	}
}

func TestSample_TargetsAreCountedBySlotAndState(t *testing.T) {
	m := metrics.New()
	up := metrics.TargetSample{Slot: metrics.SlotOnly, State: metrics.StateUp}
	samples := []metrics.ServiceSample{
		{Service: "app", Requests: 7, Streams: 2, Held: 1, Targets: []metrics.TargetSample{
			up, up, {Slot: metrics.SlotOnly, State: metrics.StateEjected}, {Slot: metrics.SlotNew, State: "confused"},
		}},
		{Service: "blog"},
		{Service: "twice", Requests: 1, Targets: []metrics.TargetSample{up}},
		{Service: "twice", Requests: 2, Targets: []metrics.TargetSample{up}},
	}
	m.Sample(func() []metrics.ServiceSample { return samples })

	text := scrape(t, m)
	shows(t, text,
		`gateway_requests_in_flight{service="app"} 7`,
		`gateway_streams_in_flight{service="app"} 2`,
		`gateway_held_requests{service="app"} 1`,
		`gateway_targets{service="app",slot="only",state="up"} 2`,
		`gateway_targets{service="app",slot="only",state="ejected"} 1`,
		`gateway_targets{service="app",slot="only",state="down"} 0`,
		`gateway_targets{service="app",slot="new",state="other"} 1`,
		`gateway_targets{service="blog",slot="only",state="up"} 0`,
		`gateway_requests_in_flight{service="twice"} 3`,
		`gateway_targets{service="twice",slot="only",state="up"} 2`,
	)
	if old := series(text, `slot="old"`); old != nil {
		t.Errorf("no service has an old slot, yet there is %q", old)
	}

	samples = samples[1:]
	if left := series(scrape(t, m), `service="app"`); left != nil {
		t.Errorf("the removed service left %q", left)
	}
}

func TestReloaded_TheLastReloadIsShown(t *testing.T) {
	m := metrics.New()
	if early := series(scrape(t, m), "last_reload"); early != nil {
		t.Errorf("before the first reload there is %q", early)
	}
	m.Reloaded(true, time.UnixMilli(1_700_000_000_000))
	m.Reloaded(false, time.UnixMilli(1_700_000_000_500))
	m.SetVersion("v1.2.3")
	text := scrape(t, m)
	shows(t, text,
		`gateway_reloads_total{result="taken"} 1`,
		`gateway_reloads_total{result="refused"} 1`,
		`gateway_config_last_reload_successful 0`,
		`gateway_config_last_reload_timestamp_seconds 1.7000000005e+09`,
	)
	if series(text, "gateway_build_info", `version="v1.2.3"`) == nil {
		t.Error("no build info with the version")
	}
	if !strings.Contains(text, "\ngo_goroutines ") || !strings.Contains(text, "\nprocess_start_time_seconds ") {
		t.Error("the Go or process metrics are missing")
	}
}

func TestScrape_NoNameCanBreakIt(t *testing.T) {
	m := metrics.New()
	m.SetVersion("\xff")
	m.Route("a\xff\"\n\\", "b\xfe").Observe("GET", 200, "", 0, 0, 0)
	m.Service("\xff").Retried()
	m.Sample(func() []metrics.ServiceSample { return []metrics.ServiceSample{{Service: "\xff"}, {Service: "\xfe"}} })
	shows(t, scrape(t, m), `gateway_retries_total{service="`+"\uFFFD"+`"} 1`)
	m.Retain(nil)
	if left := series(scrape(t, m), `route="a`); left != nil {
		t.Errorf("still there: %q", left)
	}
}

func TestScrape_RunsBesideRequestsAndReloads(t *testing.T) {
	m := metrics.New()
	m.Sample(func() []metrics.ServiceSample { return []metrics.ServiceSample{{Service: "app"}} })
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for j := range 200 {
				m.Route("site", "app").Observe("GET", 200, "", 1, 1, time.Millisecond)
				m.Reloaded(true, time.UnixMilli(int64(j)))
				if i == 0 && j%10 == 0 {
					m.Retain([]metrics.RouteID{{Route: "site", Service: "app"}, {Route: fmt.Sprint(j), Service: "x"}})
					m.Route(fmt.Sprint(j), "x").Observe("GET", 200, "", 1, 1, time.Millisecond)
				}
			}
		})
	}
	for range 20 {
		scrape(t, m)
	}
	all.Wait()
	shows(t, scrape(t, m), `gateway_requests_total{method="GET",route="site",service="app",status="2xx"} 800`)
}

func TestObserve_AllocatesNothing(t *testing.T) {
	route := metrics.New().Route("site", "app")
	for name, reason := range map[string]string{"an answer of a target": "", "an answer of our own": metrics.HoldTimeout, "a stranger's reason": "x"} {
		t.Run(name, func(t *testing.T) {
			if n := testing.AllocsPerRun(1000, func() { route.Observe("GET", 200, reason, 1, 1, time.Millisecond) }); n != 0 {
				t.Errorf("%v allocations, want 0", n)
			}
		})
	}
}

func BenchmarkObserve(b *testing.B) {
	route := metrics.New().Route("site", "app")
	b.ReportAllocs()
	for b.Loop() {
		route.Observe("GET", 200, "", 100, 2000, 3*time.Millisecond)
	}
}

func BenchmarkObserve_Parallel(b *testing.B) {
	route := metrics.New().Route("site", "app")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			route.Observe("GET", 200, "", 100, 2000, 3*time.Millisecond)
		}
	})
}

func BenchmarkScrape_HundredRoutes(b *testing.B) {
	m := metrics.New()
	for i := range 100 {
		m.Route(fmt.Sprint("route-", i), "app").Observe("GET", 200, "", 1, 1, time.Millisecond)
	}
	handler := m.Handler()
	for b.Loop() {
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/metrics", nil))
	}
}
