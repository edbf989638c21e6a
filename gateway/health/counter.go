package health

// State is what a row of checks says of a target.
type State int

// A new target is Down until proven; one that served before a restart is Unknown
// and may serve until its checks say otherwise. The order is that of the health
// that targets carry: the two are converted into each other.
const (
	Down State = iota
	Unknown
	Up
)

// String returns the word that status and metrics use.
func (s State) String() string {
	switch s {
	case Up:
		return "up"
	case Unknown:
		return "unknown"
	}
	return "down"
}

// Counter applies rise and fall: so many equal answers in a row change the
// state. From Unknown the first good answer brings Up.
type Counter struct {
	state      State
	rise, fall int
	good, bad  int // answers in a row; one of them is 0
}

// NewCounter returns a Counter that begins in state. rise and fall below 1 count as 1.
func NewCounter(state State, rise, fall int) *Counter {
	return &Counter{state: state, rise: max(rise, 1), fall: max(fall, 1)}
}

// State returns what the answers so far say.
func (c *Counter) State() State { return c.state }

// Report takes the next answer, nil for a good one, and returns the state that
// follows and whether it is another one than before.
func (c *Counter) Report(err error) (state State, changed bool) {
	was := c.state
	if err == nil {
		c.good, c.bad = c.good+1, 0
		if c.good >= c.rise || c.state == Unknown {
			c.state = Up
		}
	} else {
		c.good, c.bad = 0, c.bad+1
		if c.bad >= c.fall {
			c.state = Down
		}
	}
	return c.state, c.state != was
}

// Drop brings Down at once: the target failed somebody who is no check. It has
// to rise again.
func (c *Counter) Drop() {
	if c.state != Down {
		c.state, c.good, c.bad = Down, 0, 0
	}
}
