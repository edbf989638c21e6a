package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"pomodoro.cc/services/api/internal/store"
)

// fields says what is wrong with a document, by field.
type fields map[string]string

// errSyntax marks a body that is not a JSON object at all.
var errSyntax = errors.New("the body is not a JSON object")

// merge applies a JSON document to p as RFC 7396 does: what is absent stays,
// null takes away. Every problem is told at once.
func merge(p store.Pomodoro, raw []byte) (store.Pomodoro, fields, error) {
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(raw, &doc); err != nil {
		return p, nil, fmt.Errorf("%w: %w", errSyntax, err)
	}
	if doc == nil {
		return p, nil, errSyntax
	}
	wrong := fields{}
	take := func(name string, into any, want string) {
		if raw, given := doc[name]; given && json.Unmarshal(raw, into) != nil {
			wrong[name] = "must be " + want
		}
		delete(doc, name)
	}
	for name, clear := range map[string]func(){
		"type":         func() { p.Type = "" },
		"minutes":      func() { p.Minutes = 0 },
		"startedAt":    func() { p.StartedAt = time.Time{} },
		"cancelledAt":  func() { p.CancelledAt = nil },
		"tags":         func() { p.Tags = nil },
		"distractions": func() { p.Distractions = nil },
	} {
		if _, given := doc[name]; given {
			clear() // also keeps a decoded list from writing into the old one
		}
	}
	take("type", &p.Type, "pomodoro, break or custom")
	take("minutes", &p.Minutes, "a whole number")
	take("startedAt", &p.StartedAt, "a time as in RFC 3339")
	take("cancelledAt", &p.CancelledAt, "a time as in RFC 3339, or null")
	take("tags", &p.Tags, "a list of texts")
	take("distractions", &p.Distractions, "a list of times as in RFC 3339")
	for name := range doc {
		wrong[name] = "is not a field that can be set"
	}
	p = normal(p)
	for name, why := range check(p) {
		if _, told := wrong[name]; !told {
			wrong[name] = why
		}
	}
	if len(wrong) == 0 {
		wrong = nil
	}
	return p, wrong, nil
}

// normal brings p into the form that is stored.
func normal(p store.Pomodoro) store.Pomodoro {
	instant := func(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
	p.StartedAt = instant(p.StartedAt)
	if p.CancelledAt != nil {
		at := instant(*p.CancelledAt)
		p.CancelledAt = &at
	}
	tags := make([]string, 0, len(p.Tags)) // empty, not nil: [] in JSON
	for _, tag := range p.Tags {
		tags = append(tags, strings.TrimSpace(tag))
	}
	p.Tags = tags
	times := make([]time.Time, 0, len(p.Distractions))
	for _, at := range p.Distractions {
		times = append(times, instant(at))
	}
	slices.SortFunc(times, time.Time.Compare)
	p.Distractions = times
	return p
}

// maxDistractions bounds a document; nobody is distracted more often.
const maxDistractions = 200

// check tells what is wrong with p, which is in normal form.
func check(p store.Pomodoro) fields {
	wrong := fields{}
	switch p.Type {
	case "pomodoro":
		if p.Minutes != 25 {
			wrong["minutes"] = "must be 25 for a pomodoro"
		}
	case "break":
		if p.Minutes != 5 && p.Minutes != 15 {
			wrong["minutes"] = "must be 5 or 15 for a break"
		}
	case "custom":
		if p.Minutes < 1 || p.Minutes > 90 {
			wrong["minutes"] = "must be from 1 to 90"
		}
	default:
		wrong["type"] = "must be pomodoro, break or custom"
	}
	if p.StartedAt.IsZero() {
		wrong["startedAt"] = "is required"
	} else if y := p.StartedAt.Year(); y < 1970 || y > 9000 {
		wrong["startedAt"] = "must be from 1970 to 9000"
	}
	if at := p.CancelledAt; at != nil && (!at.After(p.StartedAt) || at.After(p.PlannedEnd())) {
		wrong["cancelledAt"] = "must be after the start and not after the planned end"
	}
	if len(p.Tags) > 5 {
		wrong["tags"] = "must be 5 at most"
	}
	for i, tag := range p.Tags {
		if n := utf8.RuneCountInString(tag); n < 1 || n > 19 {
			wrong["tags"] = "must have 1 to 19 characters each"
		} else if slices.Contains(p.Tags[:i], tag) {
			wrong["tags"] = "must not repeat"
		}
	}
	if len(p.Distractions) > maxDistractions {
		wrong["distractions"] = fmt.Sprintf("must be %d at most", maxDistractions)
	}
	for _, at := range p.Distractions {
		if at.Before(p.StartedAt) || at.After(p.End()) {
			wrong["distractions"] = "must be inside the span"
		}
	}
	return wrong
}
