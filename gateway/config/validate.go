package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/http/httpguts"
	"gopkg.in/yaml.v3"
)

// validator fills the defaults in and holds the rules that types cannot.
type validator struct {
	*decoder
	file *File
	root *yaml.Node
}

// or sets *field to its default where the file says nothing. A zero that the
// file gives stays.
func or[T any](v *validator, field *T, value T) {
	if v.given[any(field)] == nil {
		*field = value
	}
}

func (v *validator) defaults() {
	f := v.file
	or(v, &f.StateDir, "./data/gateway")
	or(v, &f.Admin.Socket, filepath.Join(f.StateDir, "admin.sock"))
	or(v, &f.AccessLog, "stdout")
	or(v, &f.TLS.Redirect, f.TLS.Mode != "")
	or(v, &f.Limits.HeaderBytes, 64<<10)
	or(v, &f.Limits.HeaderTimeout, 10*time.Second)
	or(v, &f.Limits.IdleTimeout, 75*time.Second)
	or(v, &f.Limits.BodyTimeout, 60*time.Second)
	or(v, &f.Stop.LameDuck, 300*time.Millisecond)
	or(v, &f.Stop.Grace, 30*time.Second)
	or(v, &f.Stop.Streams, 5*time.Second)
	for i := range f.Routes {
		r := &f.Routes[i]
		or(v, &r.Path, "/")
		or(v, &r.Host, "*")
		or(v, &r.Name, strings.TrimPrefix(r.Host+r.Path, "*"))
		if r.Redirect != nil {
			or(v, &r.Redirect.Status, 308)
		}
	}
	if f.TLS.Hosts == nil {
		for _, r := range f.Routes {
			if !strings.Contains(r.Host, "*") && !slices.Contains(f.TLS.Hosts, r.Host) {
				f.TLS.Hosts = append(f.TLS.Hosts, r.Host)
			}
		}
	}
	for _, s := range f.Services {
		for i := range s.Targets {
			s.Targets[i].URL = Canonical(s.Targets[i].URL)
			or(v, &s.Targets[i].Weight, 1)
		}
	}
}

// defaultService is what a service is that the file says nothing of.
func defaultService() Service {
	return Service{
		Balance: "least", Transport: "auto",
		Health:   Health{Protocol: "http", Path: "/healthz", Interval: time.Second, Timeout: time.Second, Rise: 2, Fall: 2},
		Eject:    Eject{Failures: 3, For: 10 * time.Second, Panic: 0.5},
		Hold:     Hold{For: 10 * time.Second, Requests: 1000, Body: 1 << 20},
		Retry:    Retry{Attempts: 3, Budget: 0.2},
		Timeouts: Timeouts{Dial: 2 * time.Second, Header: 60 * time.Second, Idle: 30 * time.Second},
		Swap: Swap{
			Patience: 30 * time.Second, Watch: 10 * time.Second, Drain: 30 * time.Second, Streams: 30 * time.Second,
			Errors: 0.05, Slower: 3, Sample: 20,
		},
	}
}

// at is the place of a path of keys and indexes, or of the nearest that is there.
func (v *validator) at(path ...any) *yaml.Node {
	n := v.root
	for _, step := range path {
		n = aliased(n)
		next := n
		switch step := step.(type) {
		case int:
			if step < len(n.Content) {
				next = n.Content[step]
			}
		case string:
			for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == step {
					next = n.Content[i+1]
				}
			}
		}
		n = next
	}
	return n
}

func (v *validator) validate() {
	f := v.file
	if f.Version != 1 {
		v.reject(v.at("version"), "version must be 1, the only format there is")
	}
	for i, p := range f.TrustedProxies {
		if !p.IsValid() {
			v.reject(v.at("trusted_proxies", i), "trusted_proxies[%d] is empty", i)
		}
	}
	v.listen()
	v.together()
	v.places()
	if f.Limits.TargetConnections < 0 {
		v.reject(v.at("limits", "target_connections"), "limits.target_connections must be 0 or more")
	}
	v.oneOf(f.TLS.Mode, []string{"files", "internal", "acme"}, "tls", "mode")
	if f.TLS.Mode == "files" && len(f.TLS.Certificates) == 0 {
		v.reject(v.at("tls", "certificates"), "tls.mode files needs tls.certificates")
	}
	v.certified()
	v.authority(f.TLS.CARootFile, v.at("tls", "ca_root_file"), "tls.ca_root_file")
	for i, c := range f.TLS.Certificates {
		for key, path := range map[string]string{"cert_file": c.CertFile, "key_file": c.KeyFile} {
			if _, err := os.Stat(path); err != nil {
				v.reject(v.at("tls", "certificates", i, key), "tls.certificates[%d].%s: %v", i, key, err)
			}
		}
		v.pair(c.CertFile, c.KeyFile, v.at("tls", "certificates", i), fmt.Sprintf("tls.certificates[%d]", i))
	}
	if f.TLS.Mode != "" && f.TLS.Mode != "files" && len(f.TLS.Hosts) == 0 && f.TLS.Mode == "acme" && v.whole("routes") {
		v.reject(v.at("tls"), "tls.mode acme needs tls.hosts, or routes with exact hosts")
	}
	if len(f.Routes) == 0 {
		v.reject(v.at("routes"), "routes is empty: nothing would be served")
	}
	for _, name := range slices.Sorted(maps.Keys(f.Services)) {
		v.service(name, f.Services[name])
	}
	v.routes()
}

// whole tells whether all of a value, or of what lacks it, could be read: only then
// does it mean something that it lacks something.
func (v *validator) whole(path ...any) bool {
	n := aliased(v.at(path...))
	return !v.unreadable[n] && (n == v.root || !v.unsound[n])
}

// ask holds the file to a rule of another package.
func (v *validator) ask(rule Rule) {
	for _, f := range rule(v.file) {
		n, text := v.at(f.Path...), f.Message
		if f.Beside != nil {
			beside := v.at(f.Beside...)
			if v.unsound[aliased(n)] || v.unsound[aliased(beside)] {
				continue // what they were meant to be is not known
			}
			text = fmt.Sprintf("%s at line %d", text, beside.Line)
		}
		v.reject(n, "%s", text)
	}
}

// certified holds the rules for whom certificates are asked.
func (v *validator) certified() {
	t := v.file.TLS
	for i, host := range t.Hosts {
		if v.given[&v.file.TLS.Hosts] == nil {
			break // they are the routes' own
		}
		name, wild := strings.CutPrefix(host, "*.")
		why := badName(name)
		if wild && t.Mode == "acme" {
			why = "is a wildcard, for which the authority asks more than a web server can prove; name the hosts"
		}
		if why != "" {
			v.reject(v.at("tls", "hosts", i), "tls.hosts[%d]: %q %s", i, host, why)
		}
	}
	if u, err := url.Parse(t.CA); t.CA != "" && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http") {
		v.reject(v.at("tls", "ca"), "tls.ca: %q is not a URL such as https://acme.example.org/directory", t.CA)
	}
}

func (v *validator) oneOf(value string, list []string, path ...any) {
	if value != "" && !slices.Contains(list, value) {
		v.reject(v.at(path...), "%q is not one of %s", value, strings.Join(list, ", "))
	}
}

func (v *validator) listen() {
	l := v.file.Listen
	if l.HTTP == "" && l.HTTPS == "" && v.whole("listen") {
		v.reject(v.at("listen"), "listen needs http or https")
	}
	if l.HTTPS != "" && v.file.TLS.Mode == "" && v.whole("tls", "mode") {
		v.reject(v.at("listen", "https"), "listen.https needs tls.mode: files, internal or acme")
	}
	for key, address := range map[string]string{"http": l.HTTP, "https": l.HTTPS, "metrics": l.Metrics} {
		if address == "" {
			continue
		}
		host, port, err := net.SplitHostPort(address)
		if err == nil {
			_, err = net.LookupPort("tcp", port)
		}
		if err == nil && host != "" && host != "localhost" {
			_, err = netip.ParseAddr(host)
		}
		if err != nil {
			v.reject(v.at("listen", key), "listen.%s: %q is not an address such as 127.0.0.1:8080 or :80", key, address)
		}
	}
}

func (v *validator) service(name string, s Service) {
	here := []any{"services", name}
	at := func(path ...any) *yaml.Node { return v.at(append(slices.Clone(here), path...)...) }
	seen := map[string]bool{}
	for i, t := range s.Targets {
		if why := badTarget(t.URL); why != "" {
			v.reject(at("targets", i, "url"), "services.%s.targets[%d]: %q %s", name, i, t.URL, why)
		}
		if seen[t.URL] && t.URL != "" {
			v.reject(at("targets", i), "services.%s.targets[%d]: %q is given twice", name, i, t.URL)
		}
		seen[t.URL] = true
		if t.Weight < 1 {
			v.reject(at("targets", i, "weight"), "services.%s.targets[%d].weight must be 1 or more", name, i)
		}
	}
	v.oneOf(s.Balance, []string{"least", "round_robin", "hash_client", "hash_cookie"}, append(here, "balance")...)
	v.connections(name, s, at)
	v.oneOf(s.Health.Protocol, []string{"http", "h2c", "grpc", "tcp"}, append(here, "health", "protocol")...)
	if s.Balance == "hash_cookie" && s.Cookie == "" && v.whole("services", name, "cookie") {
		v.reject(at("balance"), "services.%s.balance hash_cookie needs cookie, the name of the cookie", name)
	}
	v.asked(s.Health.Path, at("health", "path"), fmt.Sprintf("services.%s.health.path", name))
	for field, d := range map[[2]string]time.Duration{{"health", "interval"}: s.Health.Interval, {"health", "timeout"}: s.Health.Timeout, {"swap", "patience"}: s.Swap.Patience} {
		if d <= 0 {
			v.reject(at(field[0], field[1]), "services.%s.%s.%s must be above 0", name, field[0], field[1])
		}
	}
	v.fields(s.Health.Headers, append(here, "health", "headers")...)
	for key, n := range map[string]int{"rise": s.Health.Rise, "fall": s.Health.Fall} {
		if n < 1 {
			v.reject(at("health", key), "services.%s.health.%s must be 1 or more", name, key)
		}
	}
	if s.Retry.Attempts < 1 {
		v.reject(at("retry", "attempts"), "services.%s.retry.attempts must be 1 or more", name)
	}
	var last Share
	for i, step := range s.Swap.Canary {
		if (step.Share <= last || step.Share >= 1 || step.For <= 0) && v.whole("services", name, "swap", "canary", i) {
			v.reject(at("swap", "canary", i), "services.%s.swap.canary[%d]: share must grow from step to step and stay below 100%%, and for must be given", name, i)
		}
		last = step.Share
	}
	for i, path := range s.Swap.Warmup {
		v.asked(path, at("swap", "warmup", i), fmt.Sprintf("services.%s.swap.warmup[%d]", name, i))
	}
	for field, n := range map[[2]string]int{{"hold", "requests"}: s.Hold.Requests, {"eject", "failures"}: s.Eject.Failures, {"swap", "sample"}: s.Swap.Sample} {
		if n < 0 {
			v.reject(at(field[0], field[1]), "services.%s.%s.%s must be 0 or more", name, field[0], field[1])
		}
	}
}

// asked rejects a path that no target can be asked for.
func (v *validator) asked(path string, n *yaml.Node, what string) {
	if !strings.HasPrefix(path, "/") {
		v.reject(n, "%s: %q must start with \"/\"", what, path)
		return
	}
	_, err := url.Parse("http://target" + path)
	var escape url.EscapeError
	switch {
	case errors.As(err, &escape):
		v.reject(n, "%s: %q is no path of a URL: %q is no escape; a percent sign is written %%25", what, path, string(escape))
	case err != nil:
		v.reject(n, "%s: %q is no path of a URL: %v", what, path, errors.Unwrap(err))
	}
}

// connections holds the rules for how a service's targets are connected to.
func (v *validator) connections(name string, s Service, at func(...any) *yaml.Node) {
	v.oneOf(s.Transport, []string{"auto", "std"}, "services", name, "transport")
	v.oneOf(s.ProxyProtocol, []string{"v1", "v2"}, "services", name, "proxy_protocol")
	if s.ProxyProtocol != "" {
		h2c := slices.ContainsFunc(s.Targets, func(t Target) bool { return strings.HasPrefix(t.URL, "h2c:") })
		if h2c || s.Transport == "std" {
			v.reject(at("proxy_protocol"), "services.%s.proxy_protocol needs HTTP/1.1 targets and transport auto: one connection speaks for one visitor", name)
		}
	}
	if s.Connections < 0 {
		v.reject(at("connections"), "services.%s.connections must be 0 or more", name)
	}
	if (s.TLS.CertFile == "") != (s.TLS.KeyFile == "") && v.whole("services", name, "tls") {
		v.reject(at("tls"), "services.%s.tls needs cert_file and key_file together", name)
	}
	for _, file := range []struct{ key, path string }{{"cert_file", s.TLS.CertFile}, {"key_file", s.TLS.KeyFile}} {
		if file.path == "" {
			continue
		}
		if _, err := os.Stat(file.path); err != nil {
			v.reject(at("tls", file.key), "services.%s.tls.%s: %v", name, file.key, err)
		}
	}
	v.pair(s.TLS.CertFile, s.TLS.KeyFile, at("tls"), fmt.Sprintf("services.%s.tls", name))
	v.authority(s.TLS.CAFile, at("tls", "ca_file"), fmt.Sprintf("services.%s.tls.ca_file", name))
}

// pair rejects a certificate that cannot be used with its key. Files that are not
// there are said elsewhere.
func (v *validator) pair(certFile, keyFile string, n *yaml.Node, what string) {
	if certFile == "" || keyFile == "" {
		return
	}
	if _, err := tls.LoadX509KeyPair(certFile, keyFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		v.reject(n, "%s: %v", what, err)
	}
}

// CheckTargets says what is wrong with a list of target URLs, by the same rules
// as in the file; nil when nothing is.
func CheckTargets(list []string) error {
	for i, t := range list {
		if why := badTarget(t); why != "" {
			return fmt.Errorf("target %q %s", t, why)
		}
		if slices.Contains(list[:i], t) {
			return fmt.Errorf("target %q is given twice", t)
		}
	}
	return nil
}

// Canonical is the one way to write a target's URL: scheme and host in small
// letters, no default port, no slash at the end. Targets are told apart by it.
// What is no target's URL stays as it is.
func Canonical(text string) string {
	if badTarget(text) != "" {
		return text
	}
	u, err := url.Parse(text) // makes the scheme small
	if err != nil || u.Scheme == "unix" {
		return text
	}
	port := u.Port()
	if port == "" || port == "443" && u.Scheme == "https" || port == "80" && u.Scheme != "https" {
		u.Host = strings.TrimSuffix(u.Host, ":"+port)
	}
	u.Host, u.Path = strings.ToLower(u.Host), ""
	return u.String()
}

func badTarget(text string) string {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme == "":
		return "is not a URL such as http://10.0.0.7:80"
	case u.Scheme == "unix":
		if u.Path == "" || u.Host != "" {
			return "must be unix:///path/to/socket"
		}
		return ""
	case !slices.Contains([]string{"http", "https", "h2c"}, u.Scheme):
		return "must begin with http://, https://, h2c:// or unix://"
	case u.Hostname() == "":
		return "names no host"
	case badPort(u.Port()):
		return "has a port that is not between 1 and 65535"
	case u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return "must be scheme, host and port alone"
	}
	return ""
}

// together rejects listeners that would take each other's address.
func (v *validator) together() {
	l := v.file.Listen
	given := []struct{ key, address string }{{"http", l.HTTP}, {"https", l.HTTPS}, {"metrics", l.Metrics}}
	for i, a := range given {
		for _, b := range given[:i] {
			if overlap(a.address, b.address) {
				v.reject(v.at("listen", a.key), "listen.%s: %q is taken by listen.%s already", a.key, a.address, b.key)
			}
		}
	}
}

// overlap tells whether nobody can listen on both addresses. Port 0 is another one
// each time.
func overlap(a, b string) bool {
	aHost, aPort, aErr := net.SplitHostPort(a)
	bHost, bPort, bErr := net.SplitHostPort(b)
	if aErr != nil || bErr != nil {
		return false
	}
	ap, _ := net.LookupPort("tcp", aPort) // an unknown name is rejected elsewhere
	bp, _ := net.LookupPort("tcp", bPort)
	if ap == 0 || ap != bp {
		return false
	}
	aIP, bIP := listensOn(aHost), listensOn(bHost)
	return aIP == bIP || aIP.IsUnspecified() || bIP.IsUnspecified()
}

// listensOn is the address of a host in listen; none stands for all.
func listensOn(host string) netip.Addr {
	switch host {
	case "":
		return netip.IPv6Unspecified()
	case "localhost":
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	ip, _ := netip.ParseAddr(host) // what is none is rejected elsewhere
	return ip.Unmap()
}

// places holds the rules for files and folders of the gateway's own.
func (v *validator) places() {
	f := v.file
	if info, err := os.Stat(f.StateDir); err == nil && !info.IsDir() || errors.Is(err, syscall.ENOTDIR) {
		v.reject(v.at("state_dir"), "state_dir: %q is no folder", f.StateDir)
	}
	if f.AccessLog != "stdout" && f.AccessLog != "off" {
		folder := filepath.Dir(f.AccessLog)
		if info, err := os.Stat(folder); err != nil || !info.IsDir() {
			v.reject(v.at("access_log"), "access_log: %q is no folder that a file can be made in", folder)
		} else if info, err := os.Stat(f.AccessLog); err == nil && info.IsDir() {
			v.reject(v.at("access_log"), "access_log: %q is a folder; name a file, stdout or off", f.AccessLog)
		}
	}
}

// authority rejects a file that is to hold PEM of roots and does not.
func (v *validator) authority(path string, n *yaml.Node, what string) {
	if path == "" {
		return
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		v.reject(n, "%s: %v", what, err)
	} else if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		v.reject(n, "%s: %s holds no certificate in PEM", what, path)
	}
}

// badPort tells whether digits, which may be none, are no port that one can connect to.
func badPort(digits string) bool {
	n, err := strconv.ParseUint(digits, 10, 16)
	return digits != "" && (err != nil || n == 0)
}

// fields holds the rules for header fields that the gateway sets, by their names.
func (v *validator) fields(set map[string]string, path ...any) {
	what := keyOf(path)
	seen := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		n := v.at(append(slices.Clone(path), name)...)
		canonical := http.CanonicalHeaderKey(name)
		switch before, twice := seen[canonical]; {
		case !httpguts.ValidHeaderFieldName(name):
			v.reject(n, "%s: %q is no name of a header field", what, name)
		case slices.Contains(framing, canonical):
			v.reject(n, "%s: %q is set by the gateway itself, for each connection", what, name)
		case !httpguts.ValidHeaderFieldValue(set[name]):
			v.reject(n, "%s: the value of %q holds a character that none may", what, name)
		case twice:
			v.reject(n, "%s: %q and %q are one field", what, before, name)
		}
		seen[canonical] = name
	}
}

// framing are the fields that say how a message lies on its connection.
var framing = []string{"Connection", "Content-Length", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// keyOf writes a path of keys and indexes as people do: routes[0].host.
func keyOf(path []any) string {
	var b strings.Builder
	for _, step := range path {
		switch step := step.(type) {
		case int:
			fmt.Fprintf(&b, "[%d]", step)
		case string:
			b.WriteString("." + step)
		}
	}
	return strings.TrimPrefix(b.String(), ".")
}

// badName says what is wrong with a host's name, or address, without a port.
func badName(host string) string {
	if _, err := netip.ParseAddr(host); err == nil {
		return ""
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" {
			return "has an empty label"
		}
		for _, c := range label {
			switch {
			case c >= 0x80:
				return "must be written in its ASCII form (xn--…), as browsers send it"
			case !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'):
				return fmt.Sprintf("must not have %q", c)
			}
		}
	}
	return ""
}

// badAuthority says what is wrong with host or host:port; nothing is wrong with none.
func badAuthority(text string) string {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	}
	switch {
	case text == "":
		return ""
	case strings.Contains(text, "/"):
		return "must be a host, or host:port, without scheme and path"
	case badPort(port):
		return "has a port that is not between 1 and 65535"
	}
	return badName(host)
}

// routes holds the rules for what a route leads to. Which requests it takes is the
// router's to judge.
func (v *validator) routes() {
	for i, r := range v.file.Routes {
		at := func(path ...any) *yaml.Node { return v.at(append([]any{"routes", i}, path...)...) }
		switch _, known := v.file.Services[r.Service]; {
		case r.Redirect == nil && r.Service == "" && !v.whole("routes", i):
		case r.Redirect == nil && r.Service == "":
			v.reject(at(), "routes[%d] needs a service or a redirect", i)
		case r.Redirect != nil && r.Service != "":
			v.reject(at("redirect"), "routes[%d] has a service and a redirect; keep one", i)
		case r.Redirect == nil && !known && !v.unreadable[aliased(v.at("services"))]:
			v.reject(at("service"), "routes[%d].service: %q is not listed under services%s", i, r.Service, hint(r.Service, slices.Sorted(maps.Keys(v.file.Services))))
		}
		v.fields(r.SetHeaders, "routes", i, "set_headers")
		for j, name := range r.AllowHeaders {
			if !httpguts.ValidHeaderFieldName(name) {
				v.reject(at("allow_headers", j), "routes[%d].allow_headers: %q is no name of a header field", i, name)
			}
		}
		for j, protocol := range r.Upgrades {
			if !httpguts.ValidHeaderFieldName(strings.Replace(protocol, "/", "", 1)) { // RFC 9110 7.8: name, or name/version
				v.reject(at("upgrades", j), "routes[%d].upgrades: %q is no name of a protocol", i, protocol)
			}
		}
		if r.Redirect != nil {
			for key, given := range map[string]bool{
				"strip": r.Strip, "set_headers": r.SetHeaders != nil, "streams": r.Streams != 0, "upgrades": r.Upgrades != nil, "allow_headers": r.AllowHeaders != nil,
			} {
				if given {
					v.reject(at(key), "routes[%d].%s means nothing to a redirect", i, key)
				}
			}
			if why := badAuthority(r.Redirect.Host); why != "" {
				v.reject(at("redirect", "host"), "routes[%d].redirect.host: %q %s", i, r.Redirect.Host, why)
			}
			if !slices.Contains([]int{301, 302, 303, 307, 308}, r.Redirect.Status) {
				v.reject(at("redirect", "status"), "routes[%d].redirect.status: %d is not 301, 302, 303, 307 or 308", i, r.Redirect.Status)
			}
			if r.Redirect.Host == "" && r.Redirect.Path == "" && v.whole("routes", i, "redirect") {
				v.reject(at("redirect"), "routes[%d].redirect needs host or path", i)
			}
			if r.Redirect.Path != "" && !strings.HasPrefix(r.Redirect.Path, "/") {
				v.reject(at("redirect", "path"), "routes[%d].redirect.path: %q must start with \"/\"", i, r.Redirect.Path)
			} else if strings.ContainsFunc(r.Redirect.Path, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
				v.reject(at("redirect", "path"), "routes[%d].redirect.path: %q holds a character that must be percent-encoded", i, r.Redirect.Path)
			}
		}
		for j, m := range r.Methods {
			if m == "" || strings.ContainsFunc(m, func(c rune) bool { return c < 'A' || c > 'Z' }) {
				v.reject(at("methods", j), "routes[%d].methods: %q is not a method in capitals", i, m)
			}
		}
	}
}
