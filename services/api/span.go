package main

import (
	"encoding/base64"
	"net/url"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // the image has no zones of its own
)

const (
	usualLimit = 100
	mostLimit  = 500
)

// interval is the times in [from, to).
type interval struct{ from, to time.Time }

// span is what a list asks for: starts in any of the intervals, which are in order.
type span struct {
	starts []interval
	limit  int
}

// parseSpan reads day and tz, or from and to, and limit and cursor.
func parseSpan(q url.Values) (span, fields) {
	s := span{limit: usualLimit}
	wrong := fields{}
	instant := func(name string, into *time.Time) {
		if v := q.Get(name); v != "" {
			at, err := time.Parse(time.RFC3339, v)
			if err != nil {
				wrong[name] = "must be a time as in RFC 3339"
				return
			}
			*into = at
		}
	}
	zone, err := loadZone(q.Get("tz"))
	if err != nil {
		wrong["tz"] = "must be a zone such as Europe/Rome"
		zone = time.UTC
	}
	if day := q.Get("day"); day != "" {
		at, err := time.Parse(time.DateOnly, day)
		if err != nil {
			wrong["day"] = "must be YYYY-MM-DD"
		}
		if q.Has("from") || q.Has("to") {
			wrong["day"] = "cannot be together with from and to"
		}
		s.starts = dayOf(at, zone)
	} else {
		all := interval{time.Unix(0, 0), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}
		instant("from", &all.from)
		instant("to", &all.to)
		if all.to.Before(all.from) {
			wrong["to"] = "must not be before from"
		}
		s.starts = []interval{all}
	}
	if v := q.Get("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > mostLimit {
			wrong["limit"] = "must be from 1 to " + strconv.Itoa(mostLimit)
		}
		s.limit = n
	}
	if v := q.Get("cursor"); v != "" {
		after, err := parseCursor(v)
		if err != nil {
			wrong["cursor"] = "is not one that a list has given"
		}
		for i := range s.starts {
			if one := &s.starts[i]; after.After(one.from) {
				one.from = after
			}
		}
	}
	if len(wrong) == 0 {
		wrong = nil
	}
	return s, wrong
}

// cursor names the place just behind the entry that started at t.
func cursor(t time.Time) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(t.UnixMilli()+1, 36)))
}

func parseCursor(v string) (time.Time, error) {
	raw, err := base64.RawURLEncoding.DecodeString(v)
	if err != nil {
		return time.Time{}, err
	}
	ms, err := strconv.ParseInt(string(raw), 36, 64)
	if err != nil {
		return time.Time{}, err
	}
	return time.UnixMilli(ms), nil
}

// loadZone refuses "Local", "localtime" and "posixrules": the server's zone is
// nobody's.
func loadZone(name string) (*time.Location, error) {
	switch strings.ToLower(name) {
	case "local", "localtime", "posixrules":
		name = "not a zone"
	}
	return time.LoadLocation(name)
}

// dayOf is a day in zone: one interval, or two where the clock goes back over
// midnight, and in between it is another day.
func dayOf(day time.Time, zone *time.Location) []interval {
	y, m, d := day.Date()
	start, next := dayStart(y, m, d, zone), dayStart(y, m, d+1, zone)
	all := []interval{{start, next}}
	if other, ok := dayBeforeAgain(start); ok {
		all = []interval{{start, other.from}, {other.to, next}}
	}
	if rest, ok := dayBeforeAgain(next); ok {
		all = append(all, rest)
	}
	return all
}

// dayBeforeAgain is when the day before the one that begins at start comes again.
func dayBeforeAgain(start time.Time) (interval, bool) {
	_, change := start.ZoneBounds()
	midnight := func(t time.Time) time.Time {
		y, m, d := t.Date()
		return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	}
	if change.IsZero() || !midnight(change).Before(midnight(start)) {
		return interval{}, false
	}
	_, offset := change.Zone()
	return interval{change, midnight(start).Add(-time.Duration(offset) * time.Second)}, true
}

// dayStart is the first instant of a day in zone, also where the clock skips
// midnight or passes it twice.
func dayStart(year int, month time.Month, day int, zone *time.Location) time.Time {
	want := time.Date(year, month, day, 12, 0, 0, 0, time.UTC) // the day after overflow
	same := func(t time.Time) bool {
		y, m, d := t.In(zone).Date()
		return y == want.Year() && m == want.Month() && d == want.Day()
	}
	t := time.Date(year, month, day, 0, 0, 0, 0, zone)
	if !same(t) { // midnight is skipped, and t lies before the gap
		_, end := t.ZoneBounds()
		return end
	}
	change, _ := t.ZoneBounds()
	if change.IsZero() {
		return t
	}
	if skipped := t.In(zone).Hour() != 0 || t.In(zone).Minute() != 0; skipped {
		return change // the day begins where the gap ends
	}
	_, now := t.Zone()
	_, then := change.Add(-time.Nanosecond).In(zone).Zone()
	if first := t.Add(time.Duration(now-then) * time.Second); first.Before(change) && same(first) {
		return first
	}
	return t
}
