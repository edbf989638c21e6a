// Package health finds out whether targets are fit: a Prober asks once, a Watch
// asks again and again, and rise and fall say what the answers mean.
package health

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	agent     = "pomodoro-main health"
	bodyRead  = 64 << 10
	bodyShown = 300
)

// Prober asks one target. It may be used from several goroutines at once.
type Prober struct {
	check  Check
	target *url.URL
	secure *tls.Config
}

// NewProber returns a Prober of target, whose scheme is http, https, h2c, h2
// (HTTP/2 only, over TLS) or unix. Empty fields of c get their defaults. secure
// is for https and h2, and stays the caller's; nil: the system's roots.
func NewProber(c Check, target *url.URL, secure *tls.Config) *Prober {
	return &Prober{check: c.WithDefaults(), target: target, secure: secure}
}

// Probe asks once, on a connection of its own that it closes again: a check must
// test that the target still accepts. It follows no redirect. nil means fit;
// else the error is a *Failure.
func (p *Prober) Probe(ctx context.Context) error {
	asked := time.Now()
	limit := p.check.Timeout
	if end, ok := ctx.Deadline(); ok && end.Sub(asked) < limit {
		limit = end.Sub(asked).Round(time.Millisecond)
	}
	ctx, enough := context.WithTimeout(ctx, p.check.Timeout)
	defer enough()
	var f *Failure
	switch p.check.Protocol {
	case "tcp":
		f = p.tcp(ctx)
	case "grpc":
		f = p.grpc(ctx)
	default:
		f = p.http(ctx)
	}
	if f == nil {
		return nil
	}
	f.Took, f.limit = time.Since(asked), limit
	var slow net.Error
	switch {
	case f.Err == nil:
	case ctx.Err() != nil:
		f.Err = ctx.Err() // whatever the layers below made of it
	case errors.As(f.Err, &slow) && slow.Timeout(): // a timer ahead of the context's
		f.Err = context.DeadlineExceeded
	}
	return f
}

func (p *Prober) tcp(ctx context.Context) *Failure {
	c, err := p.dial(ctx)
	if err != nil {
		return &Failure{Check: "connect", Err: err}
	}
	c.Close()
	return nil
}

func (p *Prober) dial(ctx context.Context) (net.Conn, error) {
	c, err := p.connect(ctx)
	if err != nil || len(p.check.Preface) == 0 {
		return c, err
	}
	if _, err := io.WriteString(c, p.check.Preface); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (p *Prober) connect(ctx context.Context) (net.Conn, error) {
	if p.target.Scheme == "unix" {
		return new(net.Dialer).DialContext(ctx, "unix", p.target.Path)
	}
	port := p.target.Port()
	switch {
	case port != "":
	case p.overTLS():
		port = "443"
	default:
		port = "80"
	}
	return new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(p.target.Hostname(), port))
}

func (p *Prober) overTLS() bool { return p.target.Scheme == "https" || p.target.Scheme == "h2" }

// host is what the target is called where it needs a name.
func (p *Prober) host() string {
	if p.target.Scheme == "unix" {
		return "localhost"
	}
	return p.target.Host
}

func (p *Prober) http(ctx context.Context) *Failure {
	f := &Failure{Check: "GET " + p.check.Path}
	scheme, protocols := "http", new(http.Protocols)
	switch {
	case p.overTLS():
		scheme = "https"
		protocols.SetHTTP1(p.target.Scheme == "https")
		protocols.SetHTTP2(true)
	case p.target.Scheme == "h2c" || p.check.Protocol == "h2c":
		protocols.SetUnencryptedHTTP2(true)
	default:
		protocols.SetHTTP1(true)
	}
	t := &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return p.dial(ctx) },
		TLSClientConfig:        p.secure.Clone(), // Transport writes to it
		Protocols:              protocols,
		DisableKeepAlives:      true, // also ends a dial or handshake that is still under way
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
	}
	defer t.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+p.host()+p.check.Path, nil)
	if err != nil {
		f.Err = err
		return f
	}
	r.Header.Set("User-Agent", agent)
	for name, value := range p.check.Headers {
		r.Header.Set(name, value)
		if strings.EqualFold(name, "Host") {
			r.Host = value
		}
	}
	if p.check.Host != "" {
		r.Host = p.check.Host
	}
	answer, err := t.RoundTrip(r)
	if err != nil {
		f.Err = err
		return f
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, bodyRead))
	f.Status = answer.StatusCode
	f.Body = strings.TrimSpace(strings.ToValidUTF8(string(body[:min(len(body), bodyShown)]), ""))
	switch {
	case f.Status < p.check.StatusMin || f.Status > p.check.StatusMax: // says more than how its body ended
	case err != nil:
		f.Err = err
	case !bytes.Contains(body, []byte(p.check.Body)):
		f.Err = fmt.Errorf("the answer does not contain %q", p.check.Body)
	default:
		return nil
	}
	return f
}

// grpc asks by the gRPC health checking protocol, grpc.health.v1.
func (p *Prober) grpc(ctx context.Context) *Failure {
	f := &Failure{Check: "grpc health"}
	if p.check.GRPCService != "" {
		f.Check = fmt.Sprintf("grpc health of %q", p.check.GRPCService)
	}
	var mu sync.Mutex
	var unreached error // guarded by mu: why the last dial failed, which gRPC tells as text only
	options := []grpc.DialOption{
		grpc.WithUserAgent(agent),
		grpc.WithDisableServiceConfig(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			c, err := p.dial(ctx)
			mu.Lock()
			defer mu.Unlock()
			unreached = err
			return c, err
		}),
	}
	if p.overTLS() {
		secure := p.secure.Clone()
		if secure == nil {
			secure = new(tls.Config)
		}
		if secure.ServerName == "" {
			secure.ServerName = p.target.Hostname() // Host is for the request alone, as with https
		}
		options = append(options, grpc.WithTransportCredentials(credentials.NewTLS(secure)))
	}
	if p.check.Host != "" && !p.overTLS() { // over TLS gRPC insists on the certificate's name
		options = append(options, grpc.WithAuthority(p.check.Host))
	}
	c, err := grpc.NewClient("passthrough:///"+p.host(), options...)
	if err != nil {
		f.Err = err
		return f
	}
	defer c.Close()
	for name, value := range p.check.Headers {
		ctx = metadata.AppendToOutgoingContext(ctx, name, value)
	}
	answer, err := grpc_health_v1.NewHealthClient(c).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: p.check.GRPCService})
	if err == nil {
		if answer.GetStatus() == grpc_health_v1.HealthCheckResponse_SERVING {
			return nil
		}
		f.Err = errors.New(answer.GetStatus().String())
		return f
	}
	mu.Lock()
	defer mu.Unlock()
	switch {
	case unreached != nil:
		f.Err = unreached
	case status.Code(err) == codes.NotFound:
		f.Err = errors.New("the target does not know this service")
	case status.Code(err) == codes.Unimplemented:
		f.Err = errors.New("the target does not answer grpc.health.v1")
	default:
		f.Err = errors.New(status.Convert(err).Message())
	}
	return f
}
