// Package config is the config path: what routes.yaml may say, with its
// defaults, a strict load that reports every problem at its place, and the JSON
// Schema made from the same types. It knows YAML and nothing of how a gateway runs.
package config

import (
	"net/netip"
	"time"
)

// File is a whole routes.yaml with the defaults filled in. A loaded File is
// never changed: a reload makes a new one.
type File struct {
	Version        int                `yaml:"version" doc:"format of this file; always 1"`
	Listen         Listen             `yaml:"listen" doc:"addresses that the gateway listens on, read once, at start; http or https is needed"`
	TLS            TLS                `yaml:"tls" doc:"where the certificates for listen.https come from"`
	StateDir       string             `yaml:"state_dir" doc:"folder for what must survive a restart: journal, certificates, admin socket"`
	Admin          Admin              `yaml:"admin" doc:"where operators and CI reach the gateway"`
	AccessLog      string             `yaml:"access_log" doc:"stdout (default), off, or a file"`
	TrustedProxies []netip.Prefix     `yaml:"trusted_proxies" doc:"addresses whose X-Forwarded-For, X-Forwarded-Proto and X-Request-Id are believed"`
	Limits         Limits             `yaml:"limits" doc:"what one visitor, and all targets together, may take"`
	Stop           Stop               `yaml:"stop" doc:"how the gateway ends"`
	Services       map[string]Service `yaml:"services" doc:"what answers, by name"`
	Routes         []Route            `yaml:"routes" doc:"which host and path goes to which service; their order does not matter"`
}

// Listen names the addresses that the gateway listens on. They are read once, at start.
type Listen struct {
	HTTP    string `yaml:"http" doc:"address of plain HTTP, host:port; empty: none"`
	HTTPS   string `yaml:"https" doc:"address of HTTPS; empty: none; needs tls"`
	Metrics string `yaml:"metrics" doc:"address of /metrics, /livez and /readyz; empty: none"`
}

// TLS says where certificates come from. An empty Mode means none: HTTPS is off.
type TLS struct {
	Mode         string        `yaml:"mode" doc:"files, internal (a local CA made once in state_dir) or acme"`
	Hosts        []string      `yaml:"hosts" doc:"names to have certificates for; default: the exact hosts of the routes"`
	Certificates []Certificate `yaml:"certificates" doc:"for mode files"`
	Email        string        `yaml:"email" doc:"ACME account"`
	CA           string        `yaml:"ca" doc:"ACME directory URL; default: Let's Encrypt"`
	CARootFile   string        `yaml:"ca_root_file" doc:"PEM of the root that the ACME directory itself is trusted by"`
	Redirect     bool          `yaml:"redirect" doc:"308 from http to https, but for what a trusted proxy says came over https; default true when tls.mode is set"`
}

// Certificate is one chain and its key in PEM files.
type Certificate struct {
	CertFile string `yaml:"cert_file" doc:"PEM of the certificate, and of what leads from it to the root"`
	KeyFile  string `yaml:"key_file" doc:"PEM of its private key"`
}

// Admin is where operators and CI reach the gateway.
type Admin struct {
	Socket string `yaml:"socket" doc:"unix socket, mode 0660; default: admin.sock in state_dir"`
}

// Limits bound what one visitor may take.
type Limits struct {
	HeaderBytes   int64         `yaml:"header_bytes" doc:"request line and fields; default 64KiB"`
	HeaderTimeout time.Duration `yaml:"header_timeout" doc:"time to send the head; default 10s"`
	IdleTimeout   time.Duration `yaml:"idle_timeout" doc:"an idle connection is closed after this; default 75s"`
	BodyTimeout   time.Duration `yaml:"body_timeout" doc:"longest wait for the next part of a request body, but not of one without Content-Length that may be a conversation: over HTTP/2 (gRPC), or once its answer has begun; default 60s; 0: no limit"`
	BodyBytes     int64         `yaml:"body_bytes" doc:"largest request body; 0: no limit"`

	TargetConnections int `yaml:"target_connections" doc:"most HTTP/1.1 connections at once to all targets; requests above wait as long as a dial may take; default 0: no limit"`
}

// Stop is how the gateway ends.
type Stop struct {
	LameDuck time.Duration `yaml:"lame_duck" doc:"keep serving with Connection: close and ready false; default 300ms"`
	Grace    time.Duration `yaml:"grace" doc:"time for what is under way; default 30s"`
	Streams  time.Duration `yaml:"streams" doc:"time for streams and WebSockets before their goodbye; default 5s"`
}

// Service is a named thing that answers.
type Service struct {
	Targets  []Target `yaml:"targets" doc:"addresses that answer alike, until a swap names others; each is a URL, or a mapping"`
	Balance  string   `yaml:"balance" doc:"least (default), round_robin, hash_client or hash_cookie"`
	Cookie   string   `yaml:"cookie" doc:"name of the cookie for hash_cookie"`
	Health   Health   `yaml:"health" doc:"the check of each target; off: every target counts as healthy"`
	Eject    Eject    `yaml:"eject" doc:"when a target that fails its visitors is taken out for a while, whatever its checks say"`
	Hold     Hold     `yaml:"hold" doc:"how requests wait while no target is healthy"`
	Retry    Retry    `yaml:"retry" doc:"how often a request is tried that can safely be repeated"`
	Timeouts Timeouts `yaml:"timeouts" doc:"how long a target may take"`
	Swap     Swap     `yaml:"swap" doc:"how targets are replaced; an order may say otherwise for one swap"`

	Transport     string    `yaml:"transport" doc:"auto (default), made for a proxy; or std, net/http's own"`
	Connections   int       `yaml:"connections" doc:"most HTTP/1.1 connections at once to one target; requests above wait as long as a dial may take; default 0: no limit"`
	ProxyProtocol string    `yaml:"proxy_protocol" doc:"v1 or v2: a PROXY header tells the target who asks; a connection then speaks for one visitor"`
	TLS           TargetTLS `yaml:"tls" doc:"how https targets are trusted, and what they are shown"`
}

// TargetTLS is for https targets.
type TargetTLS struct {
	CAFile     string `yaml:"ca_file" doc:"PEM of the roots that targets are trusted by; default: the system's"`
	CertFile   string `yaml:"cert_file" doc:"PEM of a certificate to show them"`
	KeyFile    string `yaml:"key_file" doc:"PEM of its private key"`
	ServerName string `yaml:"server_name" doc:"name asked for and checked; default: the target's host"`
}

// Target is one address of a service. In the file a target may also be its URL alone.
type Target struct {
	URL     string `yaml:"url" doc:"http://, https:// or h2c:// and host:port; or unix:///path"`
	Weight  int    `yaml:"weight" doc:"share beside the others; default 1"`
	Version string `yaml:"version" doc:"shown in status, logs and history"`
}

// Health is the active check of each target.
type Health struct {
	Off      bool              `yaml:"off" doc:"true: every target counts as healthy"`
	Protocol string            `yaml:"protocol" doc:"http (default), h2c, grpc or tcp"`
	Path     string            `yaml:"path" doc:"path that is asked for; default /healthz"`
	Host     string            `yaml:"host" doc:"Host of the check; default: the target's address"`
	Headers  map[string]string `yaml:"headers" doc:"header fields of the check"`
	Interval time.Duration     `yaml:"interval" doc:"from one check to the next; default 1s"`
	Timeout  time.Duration     `yaml:"timeout" doc:"time for one check; default 1s"`
	Rise     int               `yaml:"rise" doc:"good checks in a row until it serves; default 2"`
	Fall     int               `yaml:"fall" doc:"bad checks in a row until it does not; default 2"`
	Service  string            `yaml:"service" doc:"name asked for by the grpc protocol"`
}

// Eject takes a target out that fails its visitors, whatever its checks say.
type Eject struct {
	Failures int           `yaml:"failures" doc:"connection failures in a row; default 3"`
	Errors   Share         `yaml:"errors" doc:"share of 5xx, such as 50% or 0.5, over at least 20 requests; default 0: off"`
	For      time.Duration `yaml:"for" doc:"how long it stays out; default 10s"`
	Panic    Share         `yaml:"panic" doc:"never eject more than this share of the pool; default 0.5"`
}

// Hold keeps requests while no target is healthy.
type Hold struct {
	For      time.Duration `yaml:"for" doc:"longest wait of one request; default 10s"`
	Requests int           `yaml:"requests" doc:"most requests that wait at once; default 1000"`
	Body     int64         `yaml:"body" doc:"bytes of a body kept for a retry; default 1MiB"`
}

// Retry bounds repeated attempts.
type Retry struct {
	Attempts int   `yaml:"attempts" doc:"attempts in all; default 3"`
	Budget   Share `yaml:"budget" doc:"share of requests that may be repeated; default 0.2"`
}

// Timeouts towards a target.
type Timeouts struct {
	Dial   time.Duration `yaml:"dial" doc:"for a connection; default 2s"`
	Header time.Duration `yaml:"header" doc:"until the answer's head; default 60s"`
	Idle   time.Duration `yaml:"idle" doc:"an idle connection is closed after this; default 30s"`
}

// Swap is how targets of a service are replaced.
type Swap struct {
	Patience time.Duration `yaml:"patience" doc:"time for new targets to prove themselves; default 30s"`
	Watch    time.Duration `yaml:"watch" doc:"time in which new targets are compared with the old ones; default 10s"`
	Drain    time.Duration `yaml:"drain" doc:"time for requests under way on the old targets; default 30s"`
	Streams  time.Duration `yaml:"streams" doc:"time for streams and WebSockets on them; default 30s"`
	Canary   []CanaryStep  `yaml:"canary" doc:"shares of the visitors before all of them"`
	Warmup   []string      `yaml:"warmup" doc:"paths asked for before the first visitor"`
	Errors   Share         `yaml:"errors" doc:"share of failed requests, such as 5% or 0.05, by which a new version may be worse; default 0.05"`
	Slower   float64       `yaml:"slower" doc:"times the old p95 that a new version may take; default 3"`
	Sample   int           `yaml:"sample" doc:"requests before shares mean anything; default 20"`
}

// Share is a part of a whole, 0 to 1; the file may say 20% or 0.2.
type Share float64

// CanaryStep is a share of the visitors for the new targets, watched for a while.
type CanaryStep struct {
	Share Share         `yaml:"share" doc:"such as 5%; above the step before, below 100%"`
	For   time.Duration `yaml:"for" doc:"how long this share is watched"`
}

// Route = host + path prefix (+ optional conditions) → service or redirect.
type Route struct {
	Name         string            `yaml:"name" doc:"label in metrics and logs; default: host and path"`
	Host         string            `yaml:"host" doc:"exact, *.example.org, or * (default) for every host"`
	Path         string            `yaml:"path" doc:"prefix on a segment border; default /"`
	Methods      []string          `yaml:"methods" doc:"only these"`
	Headers      map[string]string `yaml:"headers" doc:"only with these values; * means present"`
	Service      string            `yaml:"service" doc:"service that answers; or give redirect"`
	Redirect     *Redirect         `yaml:"redirect" doc:"answer with another address instead"`
	Strip        bool              `yaml:"strip" doc:"take the prefix off before the target sees the path"`
	SetHeaders   map[string]string `yaml:"set_headers" doc:"fields of the answer"`
	Streams      time.Duration     `yaml:"streams" doc:"time for this route's streams and WebSockets at a drain; default: the service's swap.streams"`
	Upgrades     []string          `yaml:"upgrades" doc:"protocols that may be upgraded to; default websocket"`
	AllowHeaders []string          `yaml:"allow_headers" doc:"request fields passed on that are dropped by default, such as X-Original-URL"`
}

// Redirect answers instead of a service.
type Redirect struct {
	Host   string `yaml:"host" doc:"the canonical host; empty: the same"`
	Path   string `yaml:"path" doc:"the whole new path; empty: the same path"`
	Status int    `yaml:"status" doc:"301, 302, 303, 307 or 308 (default)"`
}
