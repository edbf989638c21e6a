package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"pomodoro.cc/services/api/internal/store"
)

func TestStatistics_CountTheWorkOfEachDayOfTheUser(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "ann")
		for _, body := range []string{
			`{"type":"pomodoro","minutes":25,"startedAt":"2026-02-28T23:30:00Z","tags":["go","tea"]}`, // March 1 in Rome
			`{"type":"break","minutes":5,"startedAt":"2026-03-01T00:00:00Z","tags":["tea"]}`,
			`{"type":"custom","minutes":40,"startedAt":"2026-03-01T10:00:00Z","cancelledAt":"2026-03-01T10:10:30Z","tags":["go"]}`,
			`{"type":"custom","minutes":60,"startedAt":"2026-03-02T10:00:00Z"}`,
			`{"type":"pomodoro","minutes":25,"startedAt":"2026-03-05T10:00:00Z","cancelledAt":"2026-03-05T10:25:00Z"}`,
			`{"type":"pomodoro","minutes":25,"startedAt":"2026-03-31T22:00:00Z"}`, // April in Rome
		} {
			v.says("POST", "/api/pomodoro", body, 201)
		}
		visit(t, s.url, "bob").says("POST", "/api/pomodoro", entry("2026-03-03T10:00:00Z"), 201)
		got := v.says("GET", "/api/statistics?from=2026-03-01&to=2026-03-31&tz=Europe/Rome", "", 200)
		want := `{"days":[` +
			`{"cancelled":1,"day":"2026-03-01","full":1,"minutes":35,"tags":{"go":{"count":2,"minutes":35},"tea":{"count":1,"minutes":25}}},` +
			`{"cancelled":0,"day":"2026-03-02","full":1,"minutes":60,"tags":{}},` +
			`{"cancelled":1,"day":"2026-03-05","full":0,"minutes":25,"tags":{}}],` +
			`"from":"2026-03-01","streaks":{"current":0,"longest":2},` +
			`"tags":[{"count":2,"minutes":35,"tag":"go"},{"count":1,"minutes":25,"tag":"tea"}],"to":"2026-03-31","tz":"Europe/Rome"}`
		if raw, _ := json.Marshal(got); string(raw) != want {
			t.Errorf("statistics =\n%s, want\n%s", raw, want)
		}
		empty := v.says("GET", "/api/statistics?from=2025-03-01&to=2025-03-31", "", 200)
		if raw, _ := json.Marshal(empty); string(raw) != `{"days":[],"from":"2025-03-01","streaks":{"current":0,"longest":0},"tags":[],"to":"2025-03-31","tz":"UTC"}` {
			t.Errorf("without entries: %s", raw)
		}
	})
}

func TestStatistics_DaysFollowTheClockThroughItsChanges(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "ann")
		// Rome is two hours ahead until 2026-10-25T01:00Z, and one after it.
		for _, at := range []string{"2026-10-24T21:30:00Z", "2026-10-24T22:30:00Z", "2026-10-25T22:30:00Z", "2026-10-25T23:00:00Z"} {
			v.says("POST", "/api/pomodoro", entry(at), 201)
		}
		got := v.says("GET", "/api/statistics?from=2026-10-24&to=2026-10-26&tz=Europe/Rome", "", 200)
		var days []string
		for _, d := range got["days"].([]any) {
			day := d.(map[string]any)
			days = append(days, fmt.Sprint(day["day"], " ", day["full"]))
		}
		if want := []string{"2026-10-24 1", "2026-10-25 2", "2026-10-26 1"}; !slices.Equal(days, want) {
			t.Errorf("days = %q, want %q", days, want)
		}
	})
}

func TestDays_ThatTheClockGoesBackToAreOneDay(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "ann")
		// At 00:01 of the 29th, 02:31Z, it is 23:01 of the 28th again.
		for _, at := range []string{"02:00", "02:30", "02:31", "03:29", "03:30", "04:00"} {
			v.says("POST", "/api/pomodoro", `{"type":"custom","minutes":1,"startedAt":"2006-10-29T`+at+`:00Z"}`, 201)
		}
		for period, want := range map[string][]string{
			"from=2006-10-27&to=2006-10-30": {"2006-10-28 3", "2006-10-29 3"},
			"from=2006-10-28&to=2006-10-28": {"2006-10-28 3"},
			"from=2006-10-29&to=2006-10-29": {"2006-10-29 3"},
		} {
			var days []string
			for _, d := range v.says("GET", "/api/statistics?"+period+"&tz=America/St_Johns", "", 200)["days"].([]any) {
				day := d.(map[string]any)
				days = append(days, fmt.Sprint(day["day"], " ", day["full"]))
			}
			if !slices.Equal(days, want) {
				t.Errorf("%s: days = %q, want %q", period, days, want)
			}
		}
		for day, want := range map[string][]string{
			"2006-10-27": nil, "2006-10-28": {"02:00", "02:31", "03:29"}, "2006-10-29": {"02:30", "03:30", "04:00"}, "2006-10-30": nil,
		} {
			for limit := 1; limit <= 4; limit++ {
				var starts []string
				for at, more := "", true; more && len(starts) <= len(want); {
					page := v.says("GET", fmt.Sprintf("/api/pomodoro?day=%s&tz=America/St_Johns&limit=%d%s", day, limit, at), "", 200)
					for _, item := range page["items"].([]any) {
						starts = append(starts, item.(map[string]any)["startedAt"].(string)[11:16])
					}
					var next string
					next, more = page["cursor"].(string)
					at = "&cursor=" + next
				}
				if !slices.Equal(starts, want) {
					t.Errorf("day=%s, pages of %d: %q, want %q", day, limit, starts, want)
				}
			}
		}
	})
}

func TestStatistics_WrongQueriesNameTheParameter(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "ann")
		for query, want := range map[string][]string{
			"":                                            {"from", "to"},
			"from=2026-03-01":                             {"to"},
			"from=2026-3-1&to=2026-03-01":                 {"from"},
			"from=2026-03-02&to=2026-03-01":               {"to"},
			"from=2025-01-01&to=2026-02-05":               {"to"}, // 401 days
			"from=2026-03-01&to=2026-03-02&tz=Mars":       {"tz"},
			"from=2026-03-01&to=2026-03-02&tz=Local":      {"tz"},
			"from=2026-03-01&to=2026-03-02&tz=%ff":        {"tz"},
			"from=2026-03-01&to=2026-03-02&tz=../../etc":  {"tz"},
			"from=0000-01-01&to=0000-01-02":               {"from", "to"},
			"from=9999-12-31&to=9999-12-31&tz=Asia/Tokyo": {"from", "to"},
		} {
			if got := named(v.says("GET", "/api/statistics?"+query, "", 422)); !slices.Equal(got, want) {
				t.Errorf("%s: fields = %q, want %q", query, got, want)
			}
		}
		v.says("GET", "/api/statistics?from=2025-01-01&to=2026-02-04&tz=Asia/Tokyo", "", 200) // 400 days
	})
}

func TestStreaks_AreRunsOfDaysWithAFullPomodoro(t *testing.T) {
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		days []string // a ! marks a day that has nothing full
		to   string
		want streaks
	}{
		"nothing":                                 {nil, "2026-03-31", streaks{0, 0}},
		"until today":                             {[]string{"2026-03-09", "2026-03-10"}, "2026-03-31", streaks{2, 2}},
		"until yesterday: today may yet come":     {[]string{"2026-03-08", "2026-03-09"}, "2026-03-31", streaks{2, 2}},
		"until the day before":                    {[]string{"2026-03-07", "2026-03-08"}, "2026-03-31", streaks{0, 2}},
		"a cancelled one breaks it":               {[]string{"2026-03-08", "2026-03-09!", "2026-03-10"}, "2026-03-31", streaks{1, 1}},
		"the longest is not the last":             {[]string{"2026-02-27", "2026-02-28", "2026-03-01", "2026-03-10"}, "2026-03-10", streaks{1, 3}},
		"what is past ends where it was asked to": {[]string{"2026-02-01", "2026-02-02"}, "2026-02-02", streaks{2, 2}},
		"a day to come does not make it":          {[]string{"2026-03-09", "2026-03-10", "2026-03-12", "2026-03-13", "2026-03-14"}, "2026-03-31", streaks{2, 3}},
		"nor end it":                              {[]string{"2026-03-08", "2026-03-09", "2026-03-12"}, "2026-03-31", streaks{2, 2}},
		"nor is it one alone":                     {[]string{"2026-03-12"}, "2026-03-31", streaks{0, 1}},
		"nor today's beginning":                   {[]string{"2026-03-10", "2026-03-11"}, "2026-03-31", streaks{1, 2}},
		"and has no day of grace":                 {[]string{"2026-02-01"}, "2026-02-02", streaks{0, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			var days []store.Day
			for _, d := range c.days {
				day := store.Day{Day: d[:10], Full: 1}
				if len(d) > 10 {
					day = store.Day{Day: d[:10], Cancelled: 1}
				}
				days = append(days, day)
			}
			to, err := time.Parse(time.DateOnly, c.to)
			if err != nil {
				t.Fatal(err)
			}
			if got := streaksOf(days, period{to: to, zone: time.UTC}, now); got != c.want {
				t.Errorf("streaksOf = %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestExport_HasEverythingOfTheUserAndNothingElse(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "ann")
		owner := v.says("GET", "/auth/info", "", 200)["id"].(string)
		n := exportPage + 3 // more than one page
		for i := range n {
			p := store.Pomodoro{Type: "break", Minutes: 5, StartedAt: time.Date(2026, 3, 1, 0, 5*i, 0, 0, time.UTC), Tags: []string{}, Distractions: []time.Time{}}
			if _, _, err := s.api.docs.Add(t.Context(), owner, p, store.NewOnce(owner, "", "", nil)); err != nil {
				t.Fatal(err)
			}
		}
		at := "/api/todos/" + v.says("POST", "/api/todos", `{"text":"old"}`, 201)["id"].(string)
		v.says("DELETE", at, "", 204)
		visit(t, s.url, "bob").says("POST", "/api/todos", `{"text":"his"}`, 201)
		got := v.says("GET", "/api/export", "", 200)
		starts := map[any]bool{}
		for _, p := range got["pomodori"].([]any) {
			starts[p.(map[string]any)["startedAt"]] = true
		}
		todos := got["todos"].([]any)
		if len(starts) != n || len(todos) != 1 || todos[0].(map[string]any)["text"] != "old" || got["user"].(map[string]any)["username"] != "ann" {
			t.Errorf("%d different entries, want %d; todos %v, user %v", len(starts), n, todos, got["user"])
		}
	})
}
