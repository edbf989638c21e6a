package gateway_test

import (
	"bufio"
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
		"the same with a body":                {"std", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 099 What\r\nContent-Length: 2\r\n\r\nok"},
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
