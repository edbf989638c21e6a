package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"pomodoro.cc/gateway/config"
	"pomodoro.cc/gateway/socket"
	"pomodoro.cc/gateway/swap"
	"pomodoro.cc/gateway/takeover"
	"pomodoro.cc/gateway/upstream"
)

// memory is what a successor could not know from the journal.
type memory struct {
	Services map[string]remembered `json:"services"`
}

type remembered struct {
	Down   []string  `json:"down,omitempty"` // targets, by URL
	Paused time.Time `json:"paused,omitzero"`
	Writes bool      `json:"writes,omitempty"` // only those are paused
}

func takeoverSocket(file *config.File) string { return filepath.Join(file.StateDir, "takeover.sock") }

// TakeOver asks the gateway that runs on the state_dir of the file for its
// listeners. nil and no error: none runs, and there is nothing to take over. A
// gateway that is in the middle of a swap is asked again until ctx ends.
func TakeOver(ctx context.Context, configPath string) (*takeover.Handover, error) {
	file, _, err := Load(configPath)
	if err != nil {
		return nil, err
	}
	for {
		h, err := takeover.Ask(ctx, takeoverSocket(file))
		if errors.Is(err, takeover.ErrNobody) {
			return nil, nil
		}
		if err == nil || ctx.Err() != nil {
			return h, err
		}
		wait(ctx, 500*time.Millisecond)
		if ctx.Err() != nil {
			return nil, err
		}
	}
}

// remember puts in force what the gateway before knew.
func (g *Gateway) remember() error {
	var m memory
	if err := g.options.Handover.State(&m); err != nil {
		return fmt.Errorf("takeover: %w", err)
	}
	for name, r := range m.Services {
		s := g.services.Get(name)
		if s == nil {
			continue
		}
		for _, url := range r.Down {
			for _, t := range s.Slot.Pool().Targets {
				if t.URL.String() == url {
					s.Slot.SetHealth(t, upstream.Down, errors.New("down when this gateway took over"))
				}
			}
		}
		if left := time.Until(r.Paused); left > 0 {
			s.Pause(r.Writes, left)
		}
	}
	return nil
}

// recollect is what remember puts in force.
func (g *Gateway) recollect() memory {
	m := memory{Services: map[string]remembered{}}
	for _, s := range g.services.List() {
		var r remembered
		for _, t := range s.Slot.Pool().Targets {
			if t.Health() == upstream.Down {
				r.Down = append(r.Down, t.URL.String())
			}
		}
		if writes, until, paused := s.Slot.Paused(); paused {
			r.Paused, r.Writes = until, writes
		}
		m.Services[s.Name] = r
	}
	return m
}

// unix readies a socket file, to appear in place of that of a gateway that is
// taken over.
func (g *Gateway) unix(path string) (*socket.Listener, error) {
	if g.options.Handover != nil {
		return socket.Replace(path)
	}
	return socket.Listen(path)
}

// succeed tells the gateway before that this one serves. From then on the socket
// files are this one's: until then nothing has changed for anybody, whatever
// happens here. An error says that the other has lost its patience and goes on.
func (g *Gateway) succeed(files ...*socket.Listener) error {
	if err := g.options.Handover.Serving(); err != nil {
		c, silent := net.Dial("unix", files[0].Addr().String())
		if silent == nil {
			c.Close()
			return fmt.Errorf("%w; it goes on: start this one again", err)
		}
		g.faults.Warn("the gateway that ran has ended during the takeover", "error", err)
	}
	g.tasks.Go(func() {
		if g.options.Handover.Left(g.life) == nil {
			close(g.alone)
		}
	})
	for _, l := range files {
		if err := l.Appear(); err != nil { // visitors are served all the same
			g.faults.Error("nobody finds the socket file", "path", l.Addr().String(), "error", err)
		}
	}
	return nil
}

// offer lets the next gateway ask.
func (g *Gateway) offer(l *socket.Listener) {
	giver := takeover.Giver{
		Freeze: g.freeze, Thaw: g.thaw,
		Leave: func() { close(g.replaced) }, Hear: g.hear,
	}
	g.tasks.Go(func() {
		defer l.Close()
		if err := giver.Serve(g.life, l.UnixListener); err != nil {
			g.faults.Error("takeover", "error", err)
		}
	})
}

// freeze keeps everything as a successor is told that it is.
func (g *Gateway) freeze() (takeover.Offer, error) {
	if !g.ready.Load() {
		return takeover.Offer{}, errors.New("it is stopping")
	}
	select {
	case <-g.alone:
	default: // the next one could not tell when that has left
		return takeover.Offer{}, errors.New("the gateway before it has not left yet")
	}
	if err := g.services.Freeze(); err != nil {
		return takeover.Offer{}, err
	}
	g.faults.Info("a successor takes over")
	g.listening.Lock()
	defer g.listening.Unlock()
	o := takeover.Offer{Listeners: map[string]*net.TCPListener{}, Lock: g.lock, State: g.recollect()}
	for name, l := range g.sockets {
		o.Listeners[name] = l
	}
	return o, nil
}

// resting is how a service is after a pause or a resume, for the gateway before.
type resting struct {
	Service string    `json:"service"`
	Until   time.Time `json:"until,omitzero"` // zero: it is not paused
	Writes  bool      `json:"writes,omitempty"`
}

// tell passes a pause or a resume on to the gateway before, while that has visitors.
func (g *Gateway) tell(s *swap.Service) {
	r := resting{Service: s.Name}
	r.Writes, r.Until, _ = s.Slot.Paused()
	if err := g.options.Handover.Tell(r); err != nil {
		g.faults.Error("takeover", "error", err)
	}
}

// hear does what a successor's tell says.
func (g *Gateway) hear(line []byte) {
	var r resting
	if err := json.Unmarshal(line, &r); err != nil {
		g.faults.Error("takeover: the successor speaks another language", "error", err)
		return
	}
	s := g.services.Get(r.Service)
	if s == nil {
		return
	}
	if left := time.Until(r.Until); left > 0 {
		s.Pause(r.Writes, left)
	} else {
		s.Resume()
	}
}

func (g *Gateway) thaw() {
	g.services.Thaw()
	g.faults.Warn("the successor left without serving; this gateway goes on")
}

func (g *Gateway) isReplaced() bool {
	select {
	case <-g.replaced:
		return true
	default:
		return false
	}
}
