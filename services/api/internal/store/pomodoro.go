package store

import "time"

// LongestMinutes is how long an entry can be.
const LongestMinutes = 90

// Pomodoro is one entry: the interval [StartedAt, End). Times are UTC, in whole
// milliseconds.
type Pomodoro struct {
	ID           string      `json:"id"`
	Type         string      `json:"type"`
	Minutes      int         `json:"minutes"`
	StartedAt    time.Time   `json:"startedAt"`
	CancelledAt  *time.Time  `json:"cancelledAt,omitempty"`
	Tags         []string    `json:"tags"`
	Distractions []time.Time `json:"distractions"`
	Todo         string      `json:"todo,omitempty"`
}

// PlannedEnd is when the timer would ring.
func (p Pomodoro) PlannedEnd() time.Time {
	return p.StartedAt.Add(time.Duration(p.Minutes) * time.Minute)
}

// End is when the entry ended: the planned end, or earlier when it was
// cancelled.
func (p Pomodoro) End() time.Time {
	if p.CancelledAt != nil {
		return *p.CancelledAt
	}
	return p.PlannedEnd()
}

// Works tells whether the entry counts as work, and not as a break.
func (p Pomodoro) Works() bool { return p.Type != "break" }
