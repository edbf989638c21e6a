package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
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

// errFields carries what is wrong with a document out of a store.
type errFields struct{ wrong fields }

// Error is the sentence of the answer.
func (*errFields) Error() string { return "the document has fields that cannot be accepted" }

// idForm is what an id of ours looks like. Nothing else is shown to a store.
var idForm = regexp.MustCompile(`^[A-Z2-7]{26}$`)

// document is a JSON object on its way into a record. It is applied as RFC 7396
// says: what is absent stays, null takes away. Every problem is told at once.
type document struct {
	given map[string]json.RawMessage
	wrong fields
}

func parse(raw []byte) (*document, error) {
	d := &document{wrong: fields{}}
	if err := json.Unmarshal(raw, &d.given); err != nil {
		return nil, fmt.Errorf("%w: %w", errSyntax, err)
	}
	if d.given == nil {
		return nil, errSyntax
	}
	return d, nil
}

// take decodes the field name into its place, which is cleared first: null
// takes away, and a decoded list must not be written into the old one.
func take[T any](d *document, name string, into *T, want string) {
	raw, given := d.given[name]
	if !given {
		return
	}
	delete(d.given, name)
	var value T
	switch {
	case !utf8.Valid(raw): // the decoder would replace what is not
		d.wrong[name] = "must be UTF-8"
	case json.Unmarshal(raw, &value) != nil:
		d.wrong[name] = "must be " + want
	}
	*into = value
}

// whole is an integer as JSON Schema has it: 25.0 is 25.
type whole int

// UnmarshalJSON refuses what has a fraction or is no number.
func (w *whole) UnmarshalJSON(raw []byte) error {
	var n float64
	if err := json.Unmarshal(raw, &n); err != nil {
		return err
	}
	if n != math.Trunc(n) || math.Abs(n) > math.MaxInt32 {
		return fmt.Errorf("%s is not a whole number", raw)
	}
	*w = whole(n)
	return nil
}

// done returns everything that is wrong: the fields that nobody took, and what
// check found in those that could be read at all.
func (d *document) done(check fields) error {
	for name := range d.given {
		d.wrong[name] = "is not a field that can be set"
	}
	for name, why := range check {
		if _, told := d.wrong[name]; !told {
			d.wrong[name] = why
		}
	}
	if len(d.wrong) > 0 {
		return &errFields{d.wrong}
	}
	return nil
}

// mergePomodoro applies a JSON document to p.
func mergePomodoro(p store.Pomodoro, raw []byte) (store.Pomodoro, error) {
	d, err := parse(raw)
	if err != nil {
		return p, err
	}
	take(d, "type", &p.Type, "pomodoro, break or custom")
	take(d, "minutes", (*whole)(&p.Minutes), "a whole number")
	take(d, "startedAt", &p.StartedAt, "a time as in RFC 3339")
	take(d, "cancelledAt", &p.CancelledAt, "a time as in RFC 3339, or null")
	take(d, "tags", &p.Tags, "a list of texts")
	take(d, "distractions", &p.Distractions, "a list of times as in RFC 3339")
	take(d, "todo", &p.Todo, "the id of a todo, or null")
	p = normal(p)
	return p, d.done(checkPomodoro(p))
}

// normal brings p into the form that is stored.
func normal(p store.Pomodoro) store.Pomodoro {
	p.StartedAt = store.Instant(p.StartedAt)
	if p.CancelledAt != nil {
		at := store.Instant(*p.CancelledAt)
		p.CancelledAt = &at
	}
	tags := make([]string, 0, len(p.Tags)) // empty, not nil: [] in JSON
	for _, tag := range p.Tags {
		tags = append(tags, strings.TrimSpace(tag))
	}
	p.Tags = tags
	times := make([]time.Time, 0, len(p.Distractions))
	for _, at := range p.Distractions {
		times = append(times, store.Instant(at))
	}
	slices.SortFunc(times, time.Time.Compare)
	p.Distractions = times
	return p
}

// maxDistractions bounds a document; nobody is distracted more often.
const maxDistractions = 200

// checkPomodoro tells what is wrong with p, which is in normal form.
func checkPomodoro(p store.Pomodoro) fields {
	wrong := fields{}
	checkLength(wrong, p.Type, p.Minutes)
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
	if p.Todo != "" && !idForm.MatchString(p.Todo) {
		wrong["todo"] = "must be the id of a todo"
	}
	return wrong
}

// checkLength tells what is wrong with a type and its minutes.
func checkLength(wrong fields, kind string, minutes int) {
	switch kind {
	case "pomodoro":
		if minutes != 25 {
			wrong["minutes"] = "must be 25 for a pomodoro"
		}
	case "break":
		if minutes != 5 && minutes != 15 {
			wrong["minutes"] = "must be 5 or 15 for a break"
		}
	case "custom":
		if minutes < 1 || minutes > store.LongestMinutes {
			wrong["minutes"] = fmt.Sprintf("must be from 1 to %d", store.LongestMinutes)
		}
	default:
		wrong["type"] = "must be pomodoro, break or custom"
	}
}

const (
	maxText   = 500 // characters of a todo
	maxLinked = 500 // pomodori of a todo
)

// mergeTodo applies a JSON document to t. Deleted can be set only where it may.
func mergeTodo(t store.Todo, raw []byte, deletable bool) (store.Todo, error) {
	d, err := parse(raw)
	if err != nil {
		return t, err
	}
	take(d, "text", &t.Text, "a text")
	take(d, "completed", &t.Completed, "true or false")
	take(d, "order", &t.Order, "a number")
	take(d, "pomodori", &t.Pomodori, "a list of ids")
	if deletable {
		take(d, "deleted", &t.Deleted, "true or false")
	}
	t.Text = strings.TrimSpace(t.Text)
	if t.Pomodori == nil {
		t.Pomodori = []string{}
	}
	wrong := fields{}
	if n := utf8.RuneCountInString(t.Text); n < 1 || n > maxText {
		wrong["text"] = fmt.Sprintf("must have 1 to %d characters", maxText)
	}
	if len(t.Pomodori) > maxLinked {
		wrong["pomodori"] = fmt.Sprintf("must be %d at most", maxLinked)
	}
	for i, id := range t.Pomodori {
		if !idForm.MatchString(id) {
			wrong["pomodori"] = "must be ids of pomodori"
		} else if slices.Contains(t.Pomodori[:i], id) {
			wrong["pomodori"] = "must not repeat"
		}
	}
	return t, d.done(wrong)
}

// readTimerDocument reads a running timer; null is none.
func readTimerDocument(raw []byte) (*store.Timer, error) {
	if bytes.Equal(bytes.TrimSpace(raw), []byte("null")) {
		return nil, nil
	}
	d, err := parse(raw)
	if err != nil {
		return nil, err
	}
	var p store.Pomodoro // what it will be when it rings
	take(d, "type", &p.Type, "pomodoro, break or custom")
	take(d, "minutes", (*whole)(&p.Minutes), "a whole number")
	take(d, "startedAt", &p.StartedAt, "a time as in RFC 3339")
	take(d, "tags", &p.Tags, "a list of texts")
	take(d, "todo", &p.Todo, "the id of a todo, or null")
	take(d, "distractions", &p.Distractions, "a list of times as in RFC 3339")
	p = normal(p)
	if err := d.done(checkPomodoro(p)); err != nil {
		return nil, err
	}
	return &store.Timer{Type: p.Type, Minutes: p.Minutes, StartedAt: p.StartedAt, Tags: p.Tags, Todo: p.Todo, Distractions: p.Distractions}, nil
}
