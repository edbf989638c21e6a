package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait; nothing waits that long unless it is broken.
const patience = 60 * time.Second

// programs builds the gateway and the three services, raced like the tests,
// once for all of them, and returns their folder.
var programs = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "site")
	if err != nil {
		return "", err
	}
	atEnd(func() { os.RemoveAll(dir) })
	build := exec.Command("go", "build", "-race", "-o", dir, "pomodoro.cc/gateway/cmd/pomodoro-main",
		"pomodoro.cc/services/app", "pomodoro.cc/services/api", "pomodoro.cc/services/blog")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return dir, nil
})

// atEnd notes what is to be done after the last test, last noted first.
func atEnd(f func()) {
	ending.Lock()
	defer ending.Unlock()
	ending.all = append(ending.all, f)
}

var ending struct {
	sync.Mutex
	all []func()
}

func endAll() {
	ending.Lock()
	defer ending.Unlock()
	for i := len(ending.all) - 1; i >= 0; i-- {
		ending.all[i]()
	}
}

// raced is the environment of our programs: one built with -race would wait for
// a second before it ends.
func raced() []string { return append(os.Environ(), "GORACE=atexit_sleep_ms=0") }

// program is a running process that has said where it listens.
type program struct {
	addr string // host:port
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended

	mu  sync.Mutex // guards log
	log strings.Builder
}

// launch starts a program of ours and returns when it listens.
func launch(name string, env []string, args ...string) (*program, error) {
	dir, err := programs()
	if err != nil {
		return nil, err
	}
	p := &program{cmd: exec.Command(filepath.Join(dir, name), args...), done: make(chan struct{})}
	p.cmd.Env = append(raced(), env...)
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout, p.cmd.Stderr = in, in
	err = p.cmd.Start()
	in.Close()
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	addr := make(chan string, 1)
	go p.listen(out, addr)
	select {
	case p.addr = <-addr:
		return p, nil
	case <-p.done:
		return nil, fmt.Errorf("%s ended before it listened:\n%s", name, p.said())
	case <-time.After(patience):
		p.stop()
		return nil, fmt.Errorf("%s does not listen:\n%s", name, p.said())
	}
}

func (p *program) listen(out io.ReadCloser, addr chan<- string) {
	defer close(p.done)
	defer out.Close()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		p.mu.Lock()
		p.log.WriteString(lines.Text() + "\n")
		p.mu.Unlock()
		var line struct{ Msg, Name, Addr, Address string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" && (line.Name == "" || line.Name == "http") {
			addr <- line.Addr + line.Address
		}
	}
	_ = p.cmd.Wait() // how it ended is in ProcessState
}

func (p *program) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// stop asks for a graceful end and waits for it, killing what does not obey.
func (p *program) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-p.done:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// stage is the whole of pomodoro.cc: the services behind the gateway, and a wire
// before it that can be cut.
type stage struct {
	url     string
	gateway *program
	app     *program
	api     *program
	blog    *program
	socket  string // of the gateway's admin API
	wire    *wire
	data    string // the folder of the api's store
}

// quick makes a service leave without its usual patience.
var quick = []string{"LISTEN=127.0.0.1:0", "LAME_DUCK=0s", "GRACE=1s", "POMODORO_FAKE_LOGIN=1", "AUTH_RATE=100000"}

func newStage() (s *stage, err error) {
	s = &stage{}
	dir, err := os.MkdirTemp("", "gw") // short: a socket's path has 107 bytes at most
	if err != nil {
		return nil, err
	}
	s.socket, s.data = filepath.Join(dir, "s", "admin.sock"), filepath.Join(dir, "data")
	start := func(name string, env []string, args ...string) *program {
		var p *program
		if err == nil {
			p, err = launch(name, env, args...)
		}
		return p
	}
	s.app = start("app", quick)
	s.blog = start("blog", quick)
	s.api = start("api", s.apiEnv())
	if err == nil {
		s.gateway = start("pomodoro-main", []string{
			"HTTP_LISTEN=127.0.0.1:0", "METRICS_LISTEN=127.0.0.1:0", "STATE_DIR=" + filepath.Join(dir, "s"), "SITE_HOST=pomodoro.test",
			"APP_TARGET=http://" + s.app.addr, "API_TARGET=http://" + s.api.addr, "BLOG_TARGET=http://" + s.blog.addr,
		}, "run", "--config", filepath.Join("..", "..", "routes.yaml"))
	}
	if err == nil {
		s.wire, err = newWire(s.gateway.addr)
	}
	if err != nil {
		s.end()
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s.url = "http://" + s.wire.ln.Addr().String()
	return s, nil
}

func (s *stage) apiEnv() []string { return append([]string{"DATA_DIR=" + s.data}, quick...) }

func (s *stage) end() {
	if s.wire != nil {
		s.wire.end()
	}
	for _, p := range []*program{s.gateway, s.app, s.blog, s.api} {
		if p != nil {
			p.stop()
		}
	}
	_ = os.RemoveAll(filepath.Dir(s.data))
}

// shared is the stage of all tests that leave the site as it is.
var shared = sync.OnceValues(func() (*stage, error) {
	s, err := newStage()
	if err == nil {
		atEnd(s.end)
	}
	return s, err
})

func theSite(t *testing.T) *stage {
	t.Helper()
	s, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ownSite is a stage that the test may cut, stop and swap.
func ownSite(t *testing.T) *stage {
	t.Helper()
	s, err := newStage()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.end)
	return s
}

// admin runs a command of pomodoro-main against the stage's gateway.
func (s *stage) admin(args ...string) error {
	dir, err := programs()
	if err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(dir, "pomodoro-main"), append(args, "--socket", s.socket)...)
	cmd.Env = raced()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("pomodoro-main %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// mustBeSound fails the test when a program of the stage has raced or panicked.
func (s *stage) mustBeSound(t *testing.T) {
	for _, p := range []*program{s.gateway, s.app, s.api, s.blog} {
		for _, bad := range []string{"WARNING: DATA RACE", "panic:"} {
			if said := p.said(); strings.Contains(said, bad) {
				t.Errorf("%s: %s\n%s", filepath.Base(p.cmd.Path), bad, said[strings.Index(said, bad):])
			}
		}
	}
}

// wire passes connections on to an address until it is cut: then it closes
// those it has, and new ones at once, and keeps its port.
type wire struct {
	ln net.Listener
	to string

	mu   sync.Mutex // guards the fields below
	off  bool
	ends map[net.Conn]bool
	all  sync.WaitGroup
}

func newWire(to string) (*wire, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &wire{ln: ln, to: to, ends: map[net.Conn]bool{}}
	w.all.Go(w.accept)
	return w, nil
}

func (w *wire) accept() {
	for {
		conn, err := w.ln.Accept()
		if err != nil {
			return // end has closed the listener
		}
		w.all.Go(func() { w.join(conn) })
	}
}

func (w *wire) join(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", w.to)
	if err != nil {
		return
	}
	defer far.Close()
	w.mu.Lock()
	off := w.off
	w.ends[near], w.ends[far] = true, true
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.ends, near)
		delete(w.ends, far)
		w.mu.Unlock()
	}()
	if off {
		return
	}
	var both sync.WaitGroup
	pass := func(to, from net.Conn) {
		_, _ = io.Copy(to, from) // either side may leave at any time
		to.Close()
	}
	both.Go(func() { pass(far, near) })
	both.Go(func() { pass(near, far) })
	both.Wait()
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.off = true
	for conn := range w.ends {
		conn.Close()
	}
}

func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.off = false
}

func (w *wire) end() {
	w.ln.Close()
	w.cut()
	w.all.Wait()
}
