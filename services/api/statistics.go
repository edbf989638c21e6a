package main

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"pomodoro.cc/services/api/internal/store"
)

// mostDays is how many days statistics may cover.
const mostDays = 400

// tally is a store's tally in an answer.
type tally struct {
	Count   int `json:"count"`
	Minutes int `json:"minutes"`
}

type countedDay struct {
	Day       string           `json:"day"`
	Full      int              `json:"full"`
	Cancelled int              `json:"cancelled"`
	Minutes   int              `json:"minutes"`
	Tags      map[string]tally `json:"tags"`
}

type countedTag struct {
	Tag string `json:"tag"`
	tally
}

// streaks are runs of days with at least one full pomodoro, within the days
// that were asked for.
type streaks struct {
	Current int `json:"current"`
	Longest int `json:"longest"`
}

type statistics struct {
	From    string       `json:"from"`
	To      string       `json:"to"`
	Zone    string       `json:"tz"`
	Days    []countedDay `json:"days"`
	Streaks streaks      `json:"streaks"`
	Tags    []countedTag `json:"tags"`
}

// period is the days that statistics are asked for, both included.
type period struct {
	from, to time.Time // midnight in UTC: they stand for days
	zone     *time.Location
}

func parsePeriod(q url.Values) (period, fields) {
	wrong := fields{}
	day := func(name string) time.Time {
		at, err := time.Parse(time.DateOnly, q.Get(name))
		if err != nil {
			wrong[name] = "must be YYYY-MM-DD"
		} else if y := at.Year(); y < 1970 || y > 9000 {
			wrong[name] = "must be from 1970 to 9000"
		}
		return at
	}
	p := period{from: day("from"), to: day("to")}
	var err error
	if p.zone, err = loadZone(q.Get("tz")); err != nil {
		wrong["tz"] = "must be a zone such as Europe/Rome"
	}
	if len(wrong) > 0 {
		return p, wrong
	}
	switch days := p.to.Sub(p.from) / (24 * time.Hour); {
	case days < 0:
		return p, fields{"to": "must not be before from"}
	case days >= mostDays:
		return p, fields{"to": "must be " + strconv.Itoa(mostDays) + " days at most, both included"}
	}
	return p, nil
}

func (a *api) statistics(w http.ResponseWriter, r *http.Request, owner string) {
	asked, wrong := parsePeriod(r.URL.Query())
	if wrong != nil {
		unanswerable(w, wrong)
		return
	}
	first, last := dayOf(asked.from, asked.zone), dayOf(asked.to, asked.zone)
	days, err := a.docs.Days(r.Context(), owner, first[0].from, last[len(last)-1].to, asked.zone)
	if err != nil {
		a.broken(w, err)
		return
	}
	from, to := asked.from.Format(time.DateOnly), asked.to.Format(time.DateOnly)
	// Where the clock goes back over midnight, a day before or after lies in between.
	days = slices.DeleteFunc(days, func(d store.Day) bool { return d.Day < from || d.Day > to })
	answer(w, http.StatusOK, statistics{
		From: from, To: to, Zone: asked.zone.String(),
		Days: daysOf(days), Tags: tagsOf(days), Streaks: streaksOf(days, asked, a.now()),
	})
}

func minutes(d time.Duration) int { return int(d / time.Minute) }

func daysOf(days []store.Day) []countedDay {
	all := make([]countedDay, 0, len(days))
	for _, d := range days {
		tags := make(map[string]tally, len(d.Tags))
		for tag, t := range d.Tags {
			tags[tag] = tally{t.Count, minutes(t.Time)}
		}
		all = append(all, countedDay{d.Day, d.Full, d.Cancelled, minutes(d.Time), tags})
	}
	return all
}

// tagsOf sums the tags of all days, the most used first.
func tagsOf(days []store.Day) []countedTag {
	sums := map[string]store.Tally{}
	for _, d := range days {
		for tag, t := range d.Tags {
			sum := sums[tag]
			sums[tag] = store.Tally{Count: sum.Count + t.Count, Time: sum.Time + t.Time}
		}
	}
	all := make([]countedTag, 0, len(sums))
	for tag, t := range sums {
		all = append(all, countedTag{tag, tally{t.Count, minutes(t.Time)}})
	}
	slices.SortFunc(all, func(a, b countedTag) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Tag, b.Tag))
	})
	return all
}

// streaksOf finds the runs. The current one ends today, or yesterday while today
// has nothing yet; when to is past, it ends on to. What is still to come makes
// none current.
func streaksOf(days []store.Day, asked period, now time.Time) streaks {
	var s streaks
	run := map[time.Time]int{} // how long the run is that a day is the last of so far
	for _, d := range days {
		if d.Full == 0 {
			continue
		}
		at, _ := time.Parse(time.DateOnly, d.Day) // as the store has formatted it
		run[at] = run[at.AddDate(0, 0, -1)] + 1
		s.Longest = max(s.Longest, run[at])
	}
	y, m, d := now.In(asked.zone).Date()
	end := time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	if asked.to.Before(end) {
		end = asked.to
	} else if run[end] == 0 {
		end = end.AddDate(0, 0, -1)
	}
	s.Current = run[end]
	return s
}
