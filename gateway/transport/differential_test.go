package transport

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// net/http logs what a target sends unasked.
func TestMain(m *testing.M) {
	log.SetOutput(io.Discard)
	m.Run()
}

// seen is what a caller sees of one exchange.
type seen struct {
	failed  bool // no answer
	status  int
	header  string
	told    string // informational answers
	body    string
	broken  bool // the body ended in an error
	trailer string
}

// target answers every request on a connection with answer, cut into pieces,
// each of which is read before the next is written; then it closes.
func target(answer []byte, cuts []int) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		go func() {
			defer far.Close()
			r, err := http.ReadRequest(bufio.NewReader(far))
			if err != nil {
				return
			}
			io.Copy(io.Discard, r.Body)
			at := 0
			for _, cut := range append(slices.Clone(cuts), len(answer)) {
				if _, err := far.Write(answer[at:cut]); err != nil {
					return
				}
				at = cut
			}
		}()
		return near, nil
	}
}

// ask sends one request through a transport and tells everything that can be seen.
func ask(t testing.TB, tr http.RoundTripper, method string) (s seen, err error) {
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		s.told += fmt.Sprint(code, " ", sorted(http.Header(h)), "\n")
		return nil
	}})
	r, err := http.NewRequestWithContext(ctx, method, "http://target/", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := tr.RoundTrip(r)
	if err != nil {
		return seen{failed: true}, err
	}
	defer res.Body.Close()
	// net/http takes "Connection: X, close" out as a whole, so that nobody can see
	// that X is hop-by-hop. Ours leaves it to ReverseProxy.
	delete(res.Header, "Connection")
	s.status, s.header = res.StatusCode, sorted(res.Header)
	body, err := io.ReadAll(res.Body)
	s.body, s.broken = string(body), err != nil
	if err == nil {
		s.trailer = sorted(res.Trailer)
	}
	return s, err
}

func sorted(h http.Header) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(h)) {
		fmt.Fprintf(&b, "%s: %q\n", name, h[name])
	}
	return b.String()
}

// both sends the same exchange through net/http's Transport and through ours.
func both(t testing.TB, answer []byte, cuts []int, method string) (standard, ours seen, standardErr, oursErr error) {
	u := &url.URL{Scheme: "http", Host: "target"}
	d := &dialer{open: target(answer, cuts)}
	std := newStandard(u, d, Options{})
	defer std.CloseIdleConnections()
	standard, standardErr = ask(t, std, method)
	own := newH1(d, Options{})
	defer own.CloseIdleConnections()
	ours, oursErr = ask(t, own, method)
	return standard, ours, standardErr, oursErr
}

// part is a piece of an answer. strict names the rule by which ours refuses what
// net/http takes; refused by both when net/http says so too.
type part struct{ text, strict string }

var statusLines = []part{
	{"HTTP/1.1 200 OK\r\n", ""},
	{"HTTP/1.1 404 Not Found\r\n", ""},
	{"HTTP/1.1 204 No Content\r\n", ""},
	{"HTTP/1.1 304 Not Modified\r\n", ""},
	{"HTTP/1.1 200\r\n", ""},
	{"HTTP/1.1 200 \r\n", ""},
	{"HTTP/1.0 200 OK\r\n", ""},
	{"HTTP/1.1 999 X\r\n", ""},
	{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n", ""},
	{"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\nHTTP/1.1 200 OK\r\n", ""},
	{"HTTP/1.1 2000 OK\r\n", ""},
	{"HTTP/1.1 20 OK\r\n", ""},
	{"HTTP/1.1 2x0 OK\r\n", ""},
	{"HTTP/2.0 200 OK\r\n", "RFC 9112 2.3: an answer of HTTP/1 says HTTP/1"},
	{"HTTP/1.2 200 OK\r\n", "RFC 9112 2.3: there is no HTTP/1.2"},
	{"HTTP/1.1  200 OK\r\n", "RFC 9112 4: one space"},
	{"HTTP/1.1 099 X\r\n", "RFC 9110 15: from 100 to 999"},
	{"HTTP/1.1 200 O\x00K\r\n", "RFC 9112 4: no control bytes in the reason phrase"},
	{"HTTP/1.1 200 OK\n", "RFC 9112 2.2: a line ends with CRLF"},
	{"http/1.1 200 OK\r\n", ""},
	{"\r\nHTTP/1.1 200 OK\r\n", ""},
	{"ICY 200 OK\r\n", ""},
	{"SSH-2.0-OpenSSH_9.6\r\n", ""},
	{"", ""},
}

var fieldLines = []part{
	{"", ""},
	{"Content-Type: text/plain\r\n", ""},
	{"content-type:text/plain\r\nX-A:  spaced \t \r\nx-a: second\r\nX-EMPTY:\r\n", ""},
	{"Set-Cookie: a=b\r\nSet-Cookie: c=d\r\nSet-Cookie: e=f\r\n", ""},
	{"X-Utf: \xc3\xa4\xff\r\n", ""},
	{"X_under~score!#$%&'*+.^`|: y\r\n", ""},
	{"Connection: close\r\n", ""},
	{"Connection: keep-alive, X-Gone\r\nKeep-Alive: timeout=5, max=100\r\nX-Gone: 1\r\n", ""},
	{strings.Repeat("X-Many: 1\r\n", 40), ""},
	{"X-Long: " + strings.Repeat("a", 20_000) + "\r\n", ""},
	{"X-A: b\r\n folded\r\n", "RFC 9112 5.2: a proxy refuses folded fields or unfolds them"},
	{"X-A : b\r\n", "RFC 9112 5.1: no whitespace before the colon"},
	{" X-A: b\r\n", ""},
	{"X A: b\r\n", "RFC 9110 5.6.2: a name is a token"},
	{"X-\xc3\xa4: b\r\n", "RFC 9110 5.6.2: a name is a token"},
	{"X-A: b\n", "RFC 9112 2.2: a line ends with CRLF"},
	{"X-A: b\rc\r\n", "RFC 9112 2.2: no CR alone"},
	{"X-A: b\x00c\r\n", "RFC 9110 5.5: no control bytes in a value"},
	{"X-A: b\x7fc\r\n", "RFC 9110 5.5: no control bytes in a value"},
	{"no colon\r\n", ""},
	{": empty\r\n", ""},
}

var bodies = []part{
	{"Content-Length: 5\r\n\r\nhello", ""},
	{"Content-Length: 0\r\n\r\n", ""},
	{"Content-Length: 5\r\n\r\nhel", ""},
	{"Content-Length: 5\r\n\r\nhello, more than was announced", ""},
	{"Content-Length: 005\r\n\r\nhello", ""},
	{"\r\nuntil the end", ""},
	{"\r\n", ""},
	{"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", ""},
	{"Transfer-Encoding: Chunked\r\n\r\n5;ext=1\r\nhello\r\n00A;q=\"x y\"\r\n0123456789\r\n0\r\n\r\n", ""},
	{"Transfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n", ""},
	{"Transfer-Encoding: chunked\r\nTrailer: X-Sum, X-Other\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nx-other: 2\r\n\r\n", ""},
	{"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sudden: 1\r\n\r\n", ""},
	{"Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1\r\nx\r\n", 500) + "0\r\n\r\n", ""},
	{"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", ""},
	{"Transfer-Encoding: chunked\r\n\r\n5\r\nhel", ""},
	{"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Cut", ""},
	{"Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", ""},
	{"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n", ""},
	{"Transfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n", ""},
	{"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n", ""},
	{"Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", ""},
	{"Transfer-Encoding: chunked\r\n\r\n5 5\r\nhello\r\n0\r\n\r\n", ""},
	{"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n", ""},
	{"Transfer-Encoding: chunked\r\n\r\n5;" + strings.Repeat("x", 5000) + "\r\nhello\r\n0\r\n\r\n", ""},
	{"Transfer-Encoding: chunked\r\n\r\n5;a\x00b\r\nhello\r\n0\r\n\r\n", "body: RFC 9112 7.1.1: an extension holds no control bytes"},
	{"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\n\r\n", "body: RFC 9112 2.2: a line ends with CRLF"},
	{"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n", "trailer: RFC 9110 6.5.1: no framing in trailers"},
	{"Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", ""},
	{"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ""},
	{"Transfer-Encoding: identity\r\n\r\nhello", ""},
	{"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "RFC 9112 6.3: both framings are an error"},
	{"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "RFC 9112 6.3: a second Content-Length may be refused"},
	{"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", ""},
	{"Content-Length: 5, 5\r\n\r\nhello", ""},
	{"Content-Length: +5\r\n\r\nhello", ""},
	{"Content-Length: 5 5\r\n\r\nhello", ""},
	{"Content-Length: \r\n\r\nhello", "RFC 9110 8.6: at least one digit"},
	{"Content-Length: 99999999999999999999\r\n\r\nhello", ""},
	{"Content-Length: 5\n\nhello", "RFC 9112 2.2: a line ends with CRLF"},
}

// every is one answer in how many that the suite asks for; the rest is the same
// again. Short runs of the fuzz target go beyond.
const every = 3

// Whatever ours takes, net/http takes too, and sees the same. What ours refuses
// and net/http takes has its rule in the table.
func TestH1_SeesWhatNetHTTPSees(t *testing.T) {
	pieces := rand.New(rand.NewPCG(1, 2))
	n := 0
	for _, status := range statusLines {
		for _, fields := range fieldLines {
			for _, body := range bodies {
				if n++; n%every != 0 {
					continue
				}
				answer := []byte(status.text + fields.text + body.text)
				for _, method := range []string{http.MethodGet, http.MethodHead} {
					compare(t, answer, cutAnywhere(pieces, len(answer)), method, status.strict, fields.strict, body.strict, between(status, body))
				}
			}
		}
	}
}

func TestH1_SeesTheSameHoweverPacketsAreSplit(t *testing.T) {
	for _, body := range bodies {
		answer := []byte(statusLines[9].text + fieldLines[2].text + body.text)
		if len(answer) > 1000 {
			continue
		}
		_, whole, _, _ := both(t, answer, nil, http.MethodGet)
		for cut := 1; cut < len(answer); cut++ {
			own := newH1(&dialer{open: target(answer, []int{cut})}, Options{})
			got, err := ask(t, own, http.MethodGet)
			own.CloseIdleConnections()
			if !equal(got, whole) {
				t.Fatalf("answer %q, cut at %d:\n%+v (%v)\nwhole:\n%+v", answer, cut, got, err, whole)
			}
		}
	}
}

// between is the rule for two parts that go together badly.
func between(status, body part) string {
	if strings.HasPrefix(status.text, "HTTP/1.0") && strings.HasPrefix(body.text, "Transfer-Encoding") {
		return "RFC 9112 6.1: HTTP/1.0 knows no Transfer-Encoding"
	}
	return ""
}

// equal compares what is certain: how much of a broken body came before the
// break was seen depends on how it was read.
func equal(a, b seen) bool {
	if a.broken && b.broken {
		a.body, b.body = "", ""
	}
	return a == b
}

func cutAnywhere(r *rand.Rand, length int) (cuts []int) {
	for at := r.IntN(40) + 1; at < length; at += r.IntN(max(40, length/20)) + 1 {
		cuts = append(cuts, at)
	}
	return cuts
}

func compare(t *testing.T, answer []byte, cuts []int, method string, strict ...string) {
	t.Helper()
	standard, ours, standardErr, oursErr := both(t, answer, cuts, method)
	if equal(standard, ours) {
		return
	}
	// After a panic of both there would be nothing to compare; a shorter answer is
	// what strictness means, a different one never.
	rule := strings.Join(strict, "")
	switch {
	case ours.failed && rule != "":
		var bad *MalformedError
		if !errors.As(oursErr, &bad) {
			t.Errorf("%s, %.300q: error %v, which is not malformed", method, answer, oursErr)
		}
	case ours.broken && strings.Contains(rule, "body:"):
	case strings.Contains(rule, "trailer:") && ours.trailer == "":
	default:
		t.Errorf("%s, %.300q:\nnet/http %.300v (%v)\nours     %.300v (%v)", method, answer, fmt.Sprintf("%+v", standard), standardErr, fmt.Sprintf("%+v", ours), oursErr)
	}
}

// FuzzH1_Answer holds that whatever ours takes as a whole, net/http takes too,
// and sees the same.
func FuzzH1_Answer(f *testing.F) {
	for i, status := range statusLines {
		for j, body := range bodies {
			f.Add([]byte(status.text+fieldLines[(i+j)%len(fieldLines)].text+body.text), uint64(i), j%2 == 0)
		}
	}
	f.Fuzz(func(t *testing.T, answer []byte, pieces uint64, head bool) {
		method := http.MethodGet
		if head {
			method = http.MethodHead
		}
		if bytes.Contains(answer, []byte(" 101")) {
			t.Skip("101 hands the connection over")
		}
		standard, ours, standardErr, oursErr := both(t, answer, cutAnywhere(rand.New(rand.NewPCG(pieces, 1)), len(answer)), method)
		if ours.failed || ours.broken {
			return
		}
		if standard.trailer != ours.trailer && ours.trailer == "" {
			standard.trailer = "" // fields that may not stand there
		}
		if !equal(standard, ours) {
			t.Errorf("%s, %q:\nnet/http %+v (%v)\nours     %+v (%v)", method, answer, standard, standardErr, ours, oursErr)
		}
	})
}
