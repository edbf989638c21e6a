package health_test

import (
	"errors"
	"testing"

	"pomodoro.cc/gateway/health"
)

func TestCounter_RiseAndFall(t *testing.T) {
	for name, c := range map[string]struct {
		begin      health.State
		rise, fall int
		answers    string // + good, - bad
		want       health.State
	}{
		"one good answer does not prove a new target":       {health.Down, 2, 2, "+", health.Down},
		"rise good answers in a row bring up":               {health.Down, 2, 2, "++", health.Up},
		"a bad answer begins the row of good ones again":    {health.Down, 2, 2, "+-+", health.Down},
		"from unknown the first good answer brings up":      {health.Unknown, 3, 2, "+", health.Up},
		"from unknown one bad answer leaves it unknown":     {health.Unknown, 2, 2, "-", health.Unknown},
		"from unknown fall bad answers bring down":          {health.Unknown, 2, 2, "--", health.Down},
		"one bad answer does not bring down":                {health.Up, 2, 2, "-", health.Up},
		"fall bad answers in a row bring down":              {health.Up, 2, 2, "--", health.Down},
		"a good answer begins the row of bad ones again":    {health.Up, 2, 2, "-+-", health.Up},
		"good answers before a fall do not count after it":  {health.Up, 2, 1, "++++-+", health.Down},
		"a rise and a fall below one count as one, rising":  {health.Down, 0, 0, "+", health.Up},
		"a rise and a fall below one count as one, falling": {health.Up, -1, -1, "-", health.Down},
	} {
		t.Run(name, func(t *testing.T) {
			counter := health.NewCounter(c.begin, c.rise, c.fall)
			bad := errors.New("503")
			for i, answer := range c.answers {
				was := counter.State()
				err := bad
				if answer == '+' {
					err = nil
				}
				if state, changed := counter.Report(err); changed != (state != was) {
					t.Errorf("answer %d: Report = %v, changed %t, after %v", i, state, changed, was)
				}
			}
			if got := counter.State(); got != c.want {
				t.Errorf("after %s from %v: %v, want %v", c.answers, c.begin, got, c.want)
			}
		})
	}
}

func TestCounter_ADroppedTargetHasToRiseAgain(t *testing.T) {
	c := health.NewCounter(health.Up, 2, 2)
	c.Report(nil)
	c.Drop()
	if got, _ := c.Report(nil); got != health.Down {
		t.Errorf("after one good answer: %v, want down", got)
	}
	c.Drop() // down already: the row of good answers goes on
	if got, _ := c.Report(nil); got != health.Up {
		t.Errorf("after two good answers: %v, want up", got)
	}
}

func TestState_HasTheWordThatOperatorsRead(t *testing.T) {
	for state, want := range map[health.State]string{health.Down: "down", health.Unknown: "unknown", health.Up: "up"} {
		if got := state.String(); got != want {
			t.Errorf("State(%d) = %q, want %q", state, got, want)
		}
	}
}
