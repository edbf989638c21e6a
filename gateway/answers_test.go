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

// raw makes u answer with these bytes.
func raw(u *gatewaytest.Upstream, answer string) {
	u.Hijacks(func(c net.Conn, _ *bufio.ReadWriter) { io.WriteString(c, answer) })
}

// says sends one request as written and returns the answer's status.
func says(t *testing.T, gw *gatewaytest.Gateway, request string) int {
	t.Helper()
	c, err := net.Dial("tcp", gw.Addr("http").String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, request)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0
	}
	return res.StatusCode
}

func TestConnections_AnAnswerThatCannotBePassedOnLeavesNothingUnderWay(t *testing.T) {
	const upgrade = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	for name, c := range map[string]struct{ transport, request, answer string }{
		"another protocol than was asked for": {"auto", upgrade, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n"},
		"the same by the standard transport":  {"std", upgrade, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n"},
		"a status that is none":               {"std", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 099 What\r\nContent-Length: 0\r\n\r\n"},
		"a field that is none":                {"std", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\x00c\r\n\r\nok"},
		"the same by ours":                    {"auto", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\x00c\r\n\r\nok"},
		"such a status with a body":           {"std", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 099 What\r\nContent-Length: 2\r\n\r\nok"},
	} {
		t.Run(name, func(t *testing.T) {
			app := gatewaytest.NewUpstream(t, "app")
			gw := gatewaytest.Start(t, strings.Replace(gatewaytest.Service("app", app), "targets:", "transport: "+c.transport+"\n    targets:", 1))
			raw(app, c.answer)
			if status := says(t, gw, c.request); status != 502 {
				t.Errorf("status %d, want 502", status)
			}
			gatewaytest.Eventually(t, "nothing is under way", func() bool { return gw.Status().Services[0].InFlight == 0 })
		})
	}
}

func TestAnswers_WhatCannotBeReadAsARequestIsAnsweredCountedAndLoggedWithAReasonToo(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	app.Does(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/400" {
			http.Error(w, "the target's own", http.StatusBadRequest)
		}
	})
	const good, fails = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "GET /400 HTTP/1.1\r\nHost: localhost\r\n\r\n"
	type answer struct {
		status int
		reason string
	}
	refused := answer{400, "bad_request"}
	rest := strings.Replace(gatewaytest.Service("app", app), "{service", "{host: localhost, service", 1)
	gw := gatewaytest.Start(t, rest+"limits: {header_bytes: 4KiB}\ntls: {mode: internal, redirect: false}\n")
	count := 0
	for _, secure := range []bool{false, true} {
		for name, c := range map[string]struct {
			sent string
			want []answer
		}{
			"a line without a colon":        {"GET / HTTP/1.1\r\nHost: localhost\r\nnonsense\r\n\r\n", []answer{refused}},
			"a bare LF":                     {"GET / HTTP/1.1\r\nHost: localhost\nA: b\r\n\r\n", []answer{refused}},
			"no Host":                       {"GET / HTTP/1.1\r\n\r\n", []answer{refused}},
			"another protocol":              {"SSH-2.0-OpenSSH_9.2\r\n\r\n", []answer{refused}},
			"another version":               {"GET / HTTP/4.0\r\nHost: localhost\r\n\r\n", []answer{{505, "bad_request"}}},
			"a coding that nobody knows":    {"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", []answer{{501, "bad_request"}}},
			"an expectation of none":        {"GET / HTTP/1.1\r\nHost: localhost\r\nExpect: money\r\n\r\n", []answer{{417, "bad_request"}}},
			"a head that is too large":      {"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + strings.Repeat("b", 16<<10) + "\r\n\r\n", []answer{{431, "too_large"}}},
			"after a good one, in one line": {good + "GET / HTTP/1.1\r\n\r\n", []answer{{200, ""}, refused}},
			"after a target's own refusal":  {fails + good + "nonsense\r\n\r\n", []answer{{400, ""}, {200, ""}, refused}},
		} {
			t.Run(fmt.Sprint(name, ", over TLS: ", secure), func(t *testing.T) {
				visitor, err := dial(gw, secure)
				if err != nil {
					t.Fatal(err)
				}
				defer visitor.Close()
				go io.WriteString(visitor, c.sent) // not all of it is read
				answers := bufio.NewReader(visitor)
				for _, want := range c.want {
					res, err := http.ReadResponse(answers, nil)
					if err != nil {
						t.Fatal(err)
					}
					if got := (answer{res.StatusCode, res.Header.Get("X-Gateway-Reason")}); got != want {
						t.Errorf("got %v, want %v", got, want)
					}
					io.Copy(io.Discard, res.Body)
					if want.reason == "" {
						continue
					}
					count++
					gatewaytest.Eventually(t, "it is logged", func() bool {
						return res.Header.Get("X-Request-Id") != "" && strings.Contains(gw.Logs.String(), `"request_id":"`+res.Header.Get("X-Request-Id")+`"`)
					})
				}
			})
		}
	}
	t.Run("plain HTTP where HTTPS is spoken", func(t *testing.T) {
		visitor, err := net.Dial("tcp", gw.Addr("https").String())
		if err != nil {
			t.Fatal(err)
		}
		defer visitor.Close()
		io.WriteString(visitor, good)
		res, err := http.ReadResponse(bufio.NewReader(visitor), nil)
		if err != nil || res.StatusCode != 400 || res.Header.Get("X-Gateway-Reason") != "bad_request" {
			t.Errorf("%v, %v", res, err)
		}
		count++
	})
	gatewaytest.Eventually(t, "all are counted", func() bool {
		text := gw.Metrics()
		return strings.Contains(text, `gateway_own_answers_total{reason="too_large",service=""} 2`) &&
			strings.Contains(text, fmt.Sprintf(`gateway_own_answers_total{reason="bad_request",service=""} %d`, count-2))
	})
}

func TestAnswers_ABodyWhoseEndIsAmbiguousIsRefusedAndNothingBehindItIsARequest(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	app.Does(func(_ http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err == nil {
			t.Errorf("the target got %s with all of %q", r.Method, body)
		}
	})
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	for name, end := range map[string]string{
		"a bare LF in a trailer":        "0\r\nA: b\n\r\n",
		"no more than a bare LF in one": "0\r\n\n",
		"a folded trailer":              "0\r\nA: b\r\n c\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c, err := dial(gw, false)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"+end+"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			answers, _ := io.ReadAll(c) // a reset after the answer is an end, too
			if got := string(answers); !strings.HasPrefix(got, "HTTP/1.1 400 ") || !strings.Contains(got, "X-Gateway-Reason: bad_request\r\n") || strings.Contains(got, "200 OK") {
				t.Errorf("answers = %q", got)
			}
		})
	}
}

func TestAnswers_ARequestForTheServerItselfIsAnsweredLikeAnyThatIsNotServed(t *testing.T) {
	gw := gatewaytest.Start(t, strings.Replace(gatewaytest.Service("app", gatewaytest.NewUpstream(t, "app")), "{service", "{host: localhost, service", 1)+"tls: {mode: internal, redirect: false}\n")
	for _, secure := range []bool{false, true} {
		c, err := dial(gw, secure)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != 400 || res.Header.Get("X-Gateway-Reason") != "bad_request" {
			t.Errorf("over TLS %t: status %d, header %v", secure, res.StatusCode, res.Header)
		}
		gatewaytest.Eventually(t, "it is logged", func() bool { return strings.Contains(gw.Logs.String(), res.Header.Get("X-Request-Id")) })
	}
}

func TestAnswers_ARequestThatNamesNoHostIsRefused(t *testing.T) {
	gw := gatewaytest.Start(t, gatewaytest.Service("app", gatewaytest.NewUpstream(t, "app")))
	for name, c := range map[string]struct {
		target, host string
		want         int
	}{
		"a name":                   {"/", "example.org", 200},
		"a name and a port":        {"/", "example.org:65535", 200},
		"a name and an empty port": {"/", "example.org:", 200},
		"an IPv4 address":          {"/", "127.0.0.1:80", 200},
		"an IPv6 address":          {"/", "[::1]:80", 200},
		"IPv4 in brackets":         {"/", "[127.0.0.1]", 400},
		"a zone":                   {"/", "[fe80::1%eth0]", 400},
		"a port that none is":      {"/", "example.org:99999", 400},
		"a port with a sign":       {"/", "example.org:+80", 400},
		"no colon before a port":   {"/", "[::1]80", 400},
		"an absolute target":       {"http://example.org/", "other.test", 200},
		"an empty authority":       {"http:///p", "example.org", 400},
	} {
		if got := says(t, gw, "GET "+c.target+" HTTP/1.1\r\nHost: "+c.host+"\r\n\r\n"); got != c.want {
			t.Errorf("%s: status %d, want %d", name, got, c.want)
		}
	}
}

func TestAnswers_ARequestWhoseAnswerHadBegunIsNotRepeated(t *testing.T) {
	for _, transport := range []string{"auto", "std"} {
		app := gatewaytest.NewUpstream(t, "app")
		gw := gatewaytest.Start(t, strings.Replace(gatewaytest.Service("app", app), "targets:", "transport: "+transport+"\n    retry: {attempts: 3}\n    targets:", 1))
		for name, c := range map[string]struct {
			began string
			asked int64
		}{
			"no byte of it came":           {"", 3},
			"a part of its head":           {"HTTP/1.1 200 OK\r\nX-A: 1\r\n", 1},
			"a part of its first line":     {"HTTP/1", 1},
			"an informational answer":      {"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 1},
			"100 Continue that none asked": {"HTTP/1.1 100 Continue\r\n\r\n", 1},
		} {
			t.Run(name+", transport "+transport, func(t *testing.T) {
				raw(app, c.began)
				for _, method := range []string{"GET", "PUT", "DELETE"} {
					before := app.Hits.Load()
					visitor, in := visit(t, gw, false)
					io.WriteString(visitor, method+" / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
					if all, err := io.ReadAll(in); err != nil || !strings.Contains(string(all), "HTTP/1.1 502 ") {
						t.Errorf("%s: answer %q, %v", method, all, err)
					}
					if asked := app.Hits.Load() - before; asked != c.asked {
						t.Errorf("%s: the target was asked %d times, want %d", method, asked, c.asked)
					}
				}
			})
		}
	}
}

func TestAnswers_AContentTypeThatTheTargetDoesNotNameIsNotInvented(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	rest := strings.Replace(gatewaytest.Service("app", app), "{service", "{host: localhost, service", 1)
	gw := gatewaytest.Start(t, rest+"tls: {mode: internal, redirect: false}\n")
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n<html></html>",
		"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<html></html>", // has a field that is not moved
	} {
		raw(app, answer)
		for _, h2 := range []bool{false, true} {
			client, url := visitorOf(t, gw, h2)
			res, err := client.Get(url)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil || string(body) != "<html></html>" || res.Header["Content-Type"] != nil {
				t.Errorf("over %s: %q, %v, Content-Type %q", res.Proto, body, err, res.Header["Content-Type"])
			}
		}
	}
}

func TestAnswers_StrictTransportSecurityIsSaidOverHTTPSAlone(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	gw := gatewaytest.Start(t, strings.Replace(gatewaytest.Service("app", app), "{service", `{host: localhost, set_headers: {strict-transport-security: max-age=9, X-A: b}, service`, 1)+"tls: {mode: internal, redirect: false}\n")
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	for url, want := range map[string]string{
		strings.Replace(gw.URL, "127.0.0.1", "localhost", 1): "",
		fmt.Sprint("https://localhost:", port(gw, "https")):  "max-age=9",
	} {
		res, err := (&http.Client{Transport: transport}).Get(url + "/")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if got := res.Header.Get("Strict-Transport-Security"); got != want || res.Header.Get("X-A") != "b" {
			t.Errorf("%s: %q, want %q; %v", url, got, want, res.Header)
		}
	}
}
