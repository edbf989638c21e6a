package transport_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pomodoro.cc/gateway/gatewaytest"
	"pomodoro.cc/gateway/transport"
)

// says answers with the protocol, the body, and a trailer that is known only at
// the end, as gRPC does.
var says = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Trailer", "Grpc-Status")
	body, _ := io.ReadAll(r.Body) // what is missing will be missed in the answer
	io.WriteString(w, r.Proto+" ")
	w.Write(body)
	w.Header().Set("Grpc-Status", "0")
})

func certificates(s *httptest.Server) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return pool
}

func TestTransport_TheTargetsURLChoosesTheProtocol(t *testing.T) {
	plain := httptest.NewServer(says)
	defer plain.Close()
	h1 := httptest.NewTLSServer(says)
	defer h1.Close()
	h2 := httptest.NewUnstartedServer(says)
	h2.EnableHTTP2 = true
	h2.StartTLS()
	defer h2.Close()
	h2c := httptest.NewUnstartedServer(says)
	h2c.Config.Protocols = new(http.Protocols)
	h2c.Config.Protocols.SetUnencryptedHTTP2(true)
	h2c.Start()
	defer h2c.Close()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	unix := &http.Server{Handler: says}
	go unix.Serve(l)
	defer unix.Close()

	for _, standard := range []bool{false, true} {
		for _, one := range []struct {
			name, target, want string
			roots              *x509.CertPool
		}{
			{"http", plain.URL, "HTTP/1.1", nil},
			{"https of HTTP/1.1", h1.URL, "HTTP/1.1", certificates(h1)},
			{"https of HTTP/2", h2.URL, "HTTP/2.0", certificates(h2)},
			{"h2c", "h2c://" + h2c.Listener.Addr().String(), "HTTP/2.0", nil},
			{"unix", "unix://" + path, "HTTP/1.1", nil},
		} {
			o := transport.Options{Dial: 10 * time.Second, Header: time.Minute, Idle: time.Minute, Standard: standard, TLS: &tls.Config{RootCAs: one.roots}}
			tr := open(t, one.target, o)
			for _, body := range []string{"small", strings.Repeat("large", 100_000)} {
				r := request(t, t.Context(), http.MethodPost, "http://x/", strings.NewReader(body))
				r.URL.Scheme, r.URL.Host = transport.Address(parse(t, one.target))
				res, got := get(t, tr, r)
				if got != one.want+" "+body || res.Trailer.Get("Grpc-Status") != "0" {
					t.Errorf("%s, standard %t: %.40q, trailer %v", one.name, standard, got, res.Trailer)
				}
			}
			if s := tr.Stats(); s.Open == 0 {
				t.Errorf("%s, standard %t: stats %+v", one.name, standard, s)
			}
			tr.CloseIdleConnections()
		}
	}
}

func TestTransport_TwoFirstRequestsAtOnceLeaveNoConnectionBehind(t *testing.T) {
	for range 20 { // who comes first is chance
		var asking sync.WaitGroup
		asking.Add(2)
		var hellos atomic.Int32
		s := httptest.NewUnstartedServer(says)
		s.EnableHTTP2 = true
		s.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			if hellos.Add(1) <= 2 {
				asking.Done()
				asking.Wait()
			}
			return nil, nil
		}}
		s.StartTLS()
		tr := open(t, s.URL, transport.Options{TLS: &tls.Config{RootCAs: certificates(s)}})
		var both sync.WaitGroup
		for range 2 {
			r := request(t, t.Context(), http.MethodGet, s.URL, nil)
			both.Go(func() {
				res, err := tr.RoundTrip(r)
				if err != nil {
					t.Error(err)
					return
				}
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
			})
		}
		both.Wait()
		gatewaytest.Eventually(t, "every connection is closed", func() bool {
			tr.CloseIdleConnections()
			return tr.Stats().Open == 0
		})
		s.Close()
	}
}

func TestTransport_TLSTrustsWhatItIsToldAndShowsItsOwnCertificate(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.TLS.ServerName+" "+r.TLS.PeerCertificates[0].Subject.String())
	}))
	s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	s.StartTLS()
	defer s.Close()

	stranger := open(t, s.URL, transport.Options{})
	_, err := stranger.RoundTrip(request(t, t.Context(), http.MethodPost, s.URL, strings.NewReader("x")))
	var dial *transport.DialError
	if !errors.As(err, &dial) || !transport.NeverSent(err) {
		t.Errorf("an unknown authority: error %v", err)
	}
	known := open(t, s.URL, transport.Options{TLS: &tls.Config{RootCAs: certificates(s), ServerName: "example.com", Certificates: s.TLS.Certificates}})
	if _, got := get(t, known, request(t, t.Context(), http.MethodGet, s.URL, nil)); got != "example.com O=Acme Co" {
		t.Errorf("answer %q", got)
	}
}

func TestTransport_AnUpgradeToAnHTTPSTargetIsHTTP1(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
		io.Copy(c, rw)
		c.(*tls.Conn).CloseWrite()
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	tr := open(t, s.URL, transport.Options{TLS: &tls.Config{RootCAs: certificates(s)}})
	r := request(t, t.Context(), http.MethodGet, s.URL, nil)
	r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"echo"}}
	res, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	both := res.Body.(io.ReadWriteCloser)
	defer both.Close()
	io.WriteString(both, "hello")
	both.(interface{ CloseWrite() error }).CloseWrite()
	var got strings.Builder
	if _, err := both.(io.WriterTo).WriteTo(&got); err != nil || got.String() != "hello" {
		t.Errorf("%q, %v", got.String(), err)
	}
}

func TestTransport_WithThePROXYProtocolAConnectionSpeaksForOneVisitor(t *testing.T) {
	gateway := netip.MustParseAddrPort("192.0.2.80:443")
	visitors := []netip.AddrPort{netip.MustParseAddrPort("198.51.100.7:5000"), netip.MustParseAddrPort("198.51.100.7:5001")}
	for version, header := range map[int]func(netip.AddrPort) string{
		1: func(v netip.AddrPort) string {
			return "PROXY TCP4 " + v.Addr().String() + " 192.0.2.80 " + strconv.Itoa(int(v.Port())) + " 443\r\n"
		},
		2: func(v netip.AddrPort) string {
			b := append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"), 198, 51, 100, 7, 192, 0, 2, 80)
			b = binary.BigEndian.AppendUint16(b, v.Port())
			return string(binary.BigEndian.AppendUint16(b, 443))
		},
	} {
		var connections atomic.Int32
		target := listen(t, func(c *net.TCPConn, in *bufio.Reader) {
			connections.Add(1)
			first := make([]byte, len(header(visitors[0])))
			if _, err := io.ReadFull(in, first); err != nil {
				return
			}
			for {
				r, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				if mine := r.Header.Get("Want"); mine != strconv.QuoteToASCII(string(first)) {
					t.Errorf("version %d: a request of %s came on a connection of %q", version, mine, first)
				}
				io.WriteString(c, ok)
			}
		})
		var who netip.AddrPort
		tr := open(t, target, transport.Options{Proxy: version, Source: func(*http.Request) (netip.AddrPort, netip.AddrPort) { return who, gateway }})
		for i := range 6 {
			who = visitors[i%2]
			r := request(t, t.Context(), http.MethodGet, target, nil)
			r.Header["Want"] = []string{strconv.QuoteToASCII(header(who))}
			get(t, tr, r)
		}
		if n := connections.Load(); n != 2 {
			t.Errorf("version %d: %d connections for two visitors, want 2", version, n)
		}
	}
}
