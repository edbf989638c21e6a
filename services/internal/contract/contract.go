// Package contract is what every service promises, checked on a real process.
// A service's tests call Main from TestMain and Check from a test.
package contract

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// become is set for the child process that is the service.
const become = "POMODORO_CONTRACT_BECOME_THE_SERVICE"

// patience bounds every wait; nothing waits that long unless it is broken.
const patience = 60 * time.Second

// Main runs the tests, or, in a process that Start made, the service itself:
// the binary under test is the test binary, raced like the tests. After the
// tests it calls the functions of after, to end what they shared.
func Main(m *testing.M, service func(), after ...func()) {
	if os.Getenv(become) != "" {
		service()
		os.Exit(0)
	}
	code := m.Run()
	for _, f := range after {
		f()
	}
	os.Exit(code)
}

// Service says how to run a service and where it answers.
type Service struct {
	Name string   // as in /version and the logs
	Env  []string // NAME=value, beside LISTEN, LAME_DUCK and GRACE
	Path string   // a path of its own, to be asked during the lame duck
	Bad  string   // NAME=value that it must refuse to start with
}

// Process is a running service.
type Process struct {
	URL  string
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended and said everything

	mu   sync.Mutex // guards said
	said []string   // lines of the log
}

// Start runs s on a free port and returns when it listens. The process is
// killed with the test, if it still runs then.
func (s Service) Start(t testing.TB, env ...string) *Process {
	t.Helper()
	cmd := s.command(nil, append([]string{"LISTEN=127.0.0.1:0"}, env...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &Process{cmd: cmd, done: make(chan struct{})}
	addr := make(chan string, 1)
	go p.listen(out, addr)
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended already
		<-p.done
	})
	select {
	case a := <-addr:
		p.URL = "http://" + a
	case <-p.done:
		t.Fatalf("%s ended before it listened: %s\n%s", s.Name, cmd.ProcessState, p.Log())
	case <-time.After(patience):
		t.Fatalf("%s does not listen", s.Name)
	}
	return p
}

// listen keeps the log, sends the address once, and collects the process.
func (p *Process) listen(out io.Reader, addr chan<- string) {
	defer close(p.done)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		p.mu.Lock()
		p.said = append(p.said, lines.Text())
		p.mu.Unlock()
		var line struct{ Msg, Addr string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
			addr <- line.Addr
		}
	}
	_ = p.cmd.Wait() // the exit code stays in ProcessState
}

// Log returns the lines that the process has written.
func (p *Process) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.said, "\n")
}

// Terminate sends SIGTERM.
func (p *Process) Terminate(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("SIGTERM: %v", err)
	}
}

// Kill ends the process as kill -9 does, and waits for its end.
func (p *Process) Kill(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatalf("SIGKILL: %v", err)
	}
	<-p.done
}

// ExitCode waits for the end of the process.
func (p *Process) ExitCode(t testing.TB) int {
	t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		t.Fatal("the process does not end")
		return -1
	}
}

func (s Service) command(args []string, env ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), become+"=1")
	cmd.Env = append(append(cmd.Env, s.Env...), env...)
	return cmd
}

// Check runs the contract against s. Each part starts a process of its own.
func Check(t *testing.T, s Service) {
	t.Run("it says that it is alive, ready and which version", s.tells)
	t.Run("the health argument asks as a container does", s.asksItself)
	t.Run("every line of its log is JSON", s.logsJSON)
	t.Run("a stop is announced, then waited for, then exit 0", s.leaves)
	t.Run("a bad setting stops it with exit 2 and names the variable", s.refuses)
	t.Run("a port in use is told with the variable to change", s.portInUse)
}

func (s Service) tells(t *testing.T) {
	p := s.Start(t, "SERVICE_VERSION=v-contract")
	for path, want := range map[string]string{
		"/healthz": `"status":"alive"`,
		"/readyz":  `"status":"ready"`,
		"/version": `"version":"v-contract"`,
	} {
		resp, body := get(t, p.URL+path)
		if resp.StatusCode != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("GET %s: %d %s, want 200 with %s", path, resp.StatusCode, body, want)
		}
	}
	if resp, _ := get(t, p.URL+s.Path); resp.Header.Get("X-Service-Version") != "v-contract" {
		t.Errorf("GET %s: X-Service-Version = %q", s.Path, resp.Header.Get("X-Service-Version"))
	}
}

func (s Service) asksItself(t *testing.T) {
	p := s.Start(t)
	for url, want := range map[string]int{
		p.URL + "/healthz":       0,
		p.URL + "/api/not-there": 1,
		"http://127.0.0.1:1/":    1,
	} {
		if code, said := exit(s.command([]string{"health", url})); code != want {
			t.Errorf("health %s: exit %d, want %d: %s", url, code, want, said)
		}
	}
}

func (s Service) logsJSON(t *testing.T) {
	p := s.Start(t)
	get(t, p.URL+s.Path)
	p.Terminate(t)
	p.ExitCode(t)
	for line := range strings.SplitSeq(p.Log(), "\n") {
		var fields struct{ Time, Level, Msg, Service string }
		if err := json.Unmarshal([]byte(line), &fields); err != nil || fields.Msg == "" || fields.Service != s.Name {
			t.Errorf("%q: %v, want JSON with msg and service %q", line, err, s.Name)
		}
	}
	if !strings.Contains(p.Log(), `"msg":"request"`) {
		t.Errorf("the request is not in the log:\n%s", p.Log())
	}
}

func (s Service) leaves(t *testing.T) {
	p := s.Start(t, "LAME_DUCK=3s")
	before, _ := get(t, p.URL+s.Path)
	p.Terminate(t)
	Until(t, "not ready", func() bool {
		resp, err := http.Get(p.URL + "/readyz")
		if err != nil {
			t.Fatalf("the listener closed before the lame duck was told: %v", err)
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusServiceUnavailable
	})
	during, _ := get(t, p.URL+s.Path)
	if during.StatusCode != before.StatusCode {
		t.Errorf("lame duck: GET %s = %d, before %d", s.Path, during.StatusCode, before.StatusCode)
	}
	if !during.Close {
		t.Error("lame duck: the answer does not close its connection")
	}
	if code := p.ExitCode(t); code != 0 {
		t.Errorf("exit %d, want 0\n%s", code, p.Log())
	}
}

func (s Service) refuses(t *testing.T) {
	for _, bad := range []string{"LISTEN=nonsense", "GRACE=soon", "LAME_DUCK=-1s", s.Bad} {
		if bad == "" {
			continue
		}
		name, _, _ := strings.Cut(bad, "=")
		if code, said := exit(s.command(nil, "LISTEN=127.0.0.1:0", bad)); code != 2 || !strings.Contains(said, name) {
			t.Errorf("%s: exit %d, want 2 and the name: %s", bad, code, said)
		}
	}
	if code, said := exit(s.command([]string{"nonsense"})); code != 2 || !strings.Contains(said, "usage") {
		t.Errorf("unknown argument: exit %d, want 2 and the usage: %s", code, said)
	}
}

func (s Service) portInUse(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if code, said := exit(s.command(nil, "LISTEN="+ln.Addr().String())); code != 1 || !strings.Contains(said, "LISTEN") {
		t.Errorf("exit %d, want 1 and LISTEN named: %s", code, said)
	}
}

func exit(cmd *exec.Cmd) (code int, said string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		if cmd.Process != nil {
			_ = cmd.Process.Kill() // it hangs: the exit code tells
		}
	})()
	out, err := cmd.CombinedOutput()
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		return -1, err.Error()
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func get(t testing.TB, url string) (*http.Response, string) {
	t.Helper()
	client := http.Client{Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("GET %s: %v", url, err)
	}
	return resp, string(body)
}

// Until asks again and again until it is true; the pause is for the machine's
// other work.
func Until(t testing.TB, what string, true func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	end := time.After(patience)
	for !true() {
		select {
		case <-end:
			t.Fatalf("waited in vain for: %s", what)
		case <-tick.C:
		}
	}
}
