// Package testbed starts the servers that the services keep things in, so that
// tests meet real ones: Redis, and MongoDB or what speaks its protocol. They
// are on free ports of the loopback and end with the process of the test,
// however that ends.
package testbed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// patience bounds every wait; nothing waits that long unless it is broken.
const patience = 60 * time.Second

// Server is a running server.
type Server struct {
	URL  string
	Addr string // host:port

	command func(port string) *exec.Cmd
	cmd     *exec.Cmd
	ended   chan struct{} // closed when cmd has ended
	said    *Output
}

// Redis starts a redis-server that keeps its data through kills, with more flags
// when given. It ends with the test.
func Redis(t testing.TB, flags ...string) *Server {
	t.Helper()
	return untilTheEnd(t)(newRedis(append([]string{"--dir", t.TempDir(), "--appendonly", "yes"}, flags...)...))
}

// Mongo starts mongodouble from the folder that TOOLS names, or returns the
// server that POMODORO_TEST_MONGO_URL names. Mongodouble ends with the test and
// forgets everything then, and when it is killed.
func Mongo(t testing.TB) *Server {
	t.Helper()
	return untilTheEnd(t)(newMongo())
}

// Shared returns a Redis and a MongoDB for all tests of the process. They live
// as long as it does: tests use databases of their own and kill nothing.
func Shared(t testing.TB) (mongoDB, redis *Server) {
	t.Helper()
	shared.once.Do(func() {
		shared.mongo, shared.mongoErr = newMongo()
		shared.redis, shared.redisErr = newRedis("--appendonly", "no")
	})
	if err := errors.Join(shared.mongoErr, shared.redisErr); err != nil {
		t.Fatal(err)
	}
	return shared.mongo, shared.redis
}

var shared struct {
	once               sync.Once
	mongo, redis       *Server
	mongoErr, redisErr error
}

// untilTheEnd lets a server end with the test.
func untilTheEnd(t testing.TB) func(*Server, error) *Server {
	return func(s *Server, err error) *Server {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if s.cmd != nil {
			t.Cleanup(func() { s.Kill(t) })
		}
		return s
	}
}

func newRedis(flags ...string) (*Server, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("the tests need redis-server (Debian: apt-get install redis-server; .ci/install does it): %w", err)
	}
	s := &Server{command: func(port string) *exec.Cmd {
		return exec.Command(program, append([]string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--databases", "1000"}, flags...)...)
	}}
	err = s.launch()
	s.URL = "redis://" + s.Addr + "/0"
	return s, err
}

// mongoURL names a server that runs already.
const mongoURL = "POMODORO_TEST_MONGO_URL"

func newMongo() (*Server, error) {
	if given := os.Getenv(mongoURL); given != "" {
		u, err := url.Parse(given)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", mongoURL, err)
		}
		return &Server{URL: given, Addr: u.Host}, nil
	}
	double, err := mongodouble()
	if err != nil {
		return nil, fmt.Errorf("the tests need MongoDB: set %s to a server that may be written to (mongodb://127.0.0.1:27017), or TOOLS to a folder with mongodouble/mongodouble.mjs: %w", mongoURL, err)
	}
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, fmt.Errorf("mongodouble needs node (Debian: apt-get install nodejs; .ci/install does it): %w", err)
	}
	s := &Server{command: func(port string) *exec.Cmd { return exec.Command(node, double, "--port", port) }}
	err = s.launch()
	s.URL = "mongodb://" + s.Addr + "/?directConnection=true"
	return s, err
}

// RealMongo tells whether Mongo is a mongod, which can explain a query.
func RealMongo() bool { return os.Getenv(mongoURL) != "" }

// mongodouble finds the program. TOOLS is relative to the root of the module.
func mongodouble() (string, error) {
	tools := os.Getenv("TOOLS")
	if tools == "" {
		tools = "../shared/tools"
	}
	if !filepath.IsAbs(tools) {
		root, err := moduleRoot()
		if err != nil {
			return "", err
		}
		tools = filepath.Join(root, tools)
	}
	path := filepath.Join(tools, "mongodouble", "mongodouble.mjs")
	_, err := os.Stat(path)
	return path, err
}

func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod above the working directory")
		}
		dir = parent
	}
}

// launch starts the server on a free port. The port is free when it is chosen;
// when another process is faster, a second one is tried.
func (s *Server) launch() error {
	var err error
	for range 5 {
		var ln net.Listener
		if ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return err
		}
		s.Addr = ln.Addr().String()
		if err = ln.Close(); err != nil {
			return err
		}
		if err = s.Start(); err == nil {
			return nil
		}
	}
	return err
}

// Start starts a server that has been killed, on its old address, and returns
// when it listens.
func (s *Server) Start() error {
	_, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return err
	}
	s.cmd, s.ended, s.said = s.command(port), make(chan struct{}), new(Output)
	s.cmd.Stdout, s.cmd.Stderr = s.said, s.said
	if err := startTied(s.cmd); err != nil {
		return fmt.Errorf("start %s: %w", s.cmd.Path, err)
	}
	cmd, ended := s.cmd, s.ended
	go func() {
		defer close(ended)
		_ = cmd.Wait() // it is killed, as a rule
	}()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	giveUp := time.After(patience)
	for {
		conn, err := net.Dial("tcp", s.Addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-s.ended:
			said := s.said.String()
			return fmt.Errorf("%s ended before it listened: %q", s.cmd.Path, said[max(0, len(said)-500):])
		case <-giveUp:
			return fmt.Errorf("%s does not listen on %s: %w", s.cmd.Path, s.Addr, err)
		case <-tick.C:
		}
	}
}

// Restart starts a server that has been killed.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
}

// Kill ends the server at once, as kill -9 does, and waits for its end.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	if s.cmd == nil {
		t.Fatalf("the server of %s is not the test's to kill", mongoURL)
	}
	_ = s.cmd.Process.Kill() // it may have ended already
	<-s.ended
}

// Pause stops the server as a machine that hangs does: connections stay and
// nobody answers.
func (s *Server) Pause(t testing.TB) { s.signal(t, syscall.SIGSTOP) }

// Resume ends a pause.
func (s *Server) Resume(t testing.TB) { s.signal(t, syscall.SIGCONT) }

func (s *Server) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if s.cmd == nil {
		t.Fatalf("the server of %s is not the test's to signal", mongoURL)
	}
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatalf("%s: %v", sig, err)
	}
}

// Database returns the URL of a database of the test's own on a MongoDB. On a
// server that outlives the tests it is dropped with the test.
func (s *Server) Database(t testing.TB, name string) string {
	t.Helper()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	if s.cmd == nil {
		t.Cleanup(func() {
			client, err := mongo.Connect(options.Client().ApplyURI(s.URL))
			if err == nil {
				ctx := context.Background()
				err = errors.Join(client.Database(name).Drop(ctx), client.Disconnect(ctx))
			}
			if err != nil {
				t.Errorf("drop the database %s: %v", name, err)
			}
		})
	}
	return u.String()
}

// Output keeps what is said by several goroutines or a server.
type Output struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

// Write keeps p.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

// String is all that was said.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
