package swap

import (
	"maps"
	"slices"
	"sync"
	"time"

	"pomodoro.cc/gateway/state"
)

// Journal is what must survive: which targets serve each service, which did
// before, and the last swaps. It is saved before anything changes and again when
// there is no way back, so that a gateway that is killed comes back with the old
// or the new targets, never with none and never with both.
type Journal struct {
	file *state.File

	mu  sync.Mutex // guards doc; held while it is saved
	doc document
}

type document struct {
	Services map[string]record `json:"services"`
	History  []*Report         `json:"history"` // the oldest first
}

// record is what is known of a service. Serving holds as long as routes.yaml
// names the targets of File.
type record struct {
	File    []Spec  `json:"file"`
	Serving Release `json:"serving"`
	Before  Release `json:"before,omitzero"` // what a rollback goes back to
	Under   *intent `json:"under,omitempty"`
}

// intent is a swap under way. Until it is committed the old release serves after
// a restart; its targets are still there, since nobody was told to stop them.
type intent struct {
	ID        string    `json:"id"`
	From      Release   `json:"from"`
	To        Release   `json:"to"`
	By        string    `json:"by,omitempty"`
	Began     time.Time `json:"began"`
	Committed bool      `json:"committed"`
}

// remembered is how many reports of a service the history keeps of each kind.
const remembered = 100

// OpenJournal reads the journal. An error is an alarm: what could be read is
// used. Swaps that a killed gateway left behind are in the history as
// interrupted.
func OpenJournal(file *state.File) (*Journal, error) {
	j := &Journal{file: file, doc: document{Services: map[string]record{}}}
	err := file.Load(&j.doc)
	if j.doc.Services == nil {
		j.doc.Services = map[string]record{}
	}
	for name, r := range j.doc.Services {
		if r.Under == nil {
			continue
		}
		u := r.Under
		report := &Report{ID: u.ID, Service: name, Result: Interrupted, Version: u.To.Version, Build: u.To.Build, From: u.From, By: u.By, Targets: urls(u.To.Targets), Began: u.Began, Ended: time.Now()}
		report.Text = "the gateway ended during the swap, before it was decided: the old targets serve"
		if u.Committed {
			report.Published = u.Began
			report.Text = "the gateway ended while the old targets were drained: the new ones serve"
		}
		report.Exit = report.ExitCode()
		j.doc.History = append(j.doc.History, report)
		r.Under = nil
		j.doc.Services[name] = r
	}
	return j, err
}

// History lists the last swaps of a service, the newest first; of all when name
// is empty. The reports are not to be changed.
func (j *Journal) History(name string) (list []*Report) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, r := range slices.Backward(j.doc.History) {
		if name == "" || r.Service == name {
			list = append(list, r)
		}
	}
	return list
}

// recall says what served when it was last written, and what the file named then,
// under the labels that the file gives now. changed: the file names other targets
// since. A service that is not known serves what the file names. What was written
// before one place had one URL (Settings.CheckTargets) is known by that from here on.
func (j *Journal) recall(name string, file []Spec, check func([]Spec) error) (serving Release, named []Spec, changed bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	r, known := j.doc.Services[name]
	if known {
		for _, list := range []*[]Spec{&r.File, &r.Serving.Targets, &r.Before.Targets} {
			*list = slices.Clone(*list)
			check(*list) // they have served: what else is wrong with them is no matter
		}
		j.doc.Services[name] = r
	}
	switch {
	case known && slices.Equal(r.File, file):
		return r.Serving, file, false
	case known && samePlaces(r.Serving.Targets, file):
		return r.Serving.labelled(file), file, false
	case known && samePlaces(r.File, file):
		return r.Serving, file, false
	case known:
		return r.Serving, r.File, true
	}
	return Release{Targets: file, Version: versionOf(file)}, file, false
}

// before finds the release to roll back to: the last one with that version, or
// the one that served before the present one.
func (j *Journal) before(name, version string) *Release {
	j.mu.Lock()
	defer j.mu.Unlock()
	if r := j.doc.Services[name].Before; version == "" && len(r.Targets) > 0 {
		return &r
	}
	for _, r := range slices.Backward(j.doc.History) {
		if r.Service != name || r.Published.IsZero() || r.Result == RolledBack || len(r.From.Targets) == 0 {
			continue
		}
		if version == "" {
			return &r.From
		}
		if r.From.Version == version {
			return &r.From
		}
		if r.Version == version {
			release := &Release{Version: r.Version, Build: r.Build}
			for _, u := range r.Targets {
				release.Targets = append(release.Targets, Spec{URL: u, Version: r.Version})
			}
			return release
		}
	}
	return nil
}

// save writes the document with change made to it, and keeps the change only
// when that worked.
func (j *Journal) save(change func(*document)) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	next, err := j.write(change)
	if err == nil {
		j.doc = next
	}
	return err
}

// note is save for what has happened: when it cannot be written it is known here
// all the same, and written with the next change.
func (j *Journal) note(change func(*document)) (err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.doc, err = j.write(change)
	return err
}

func (j *Journal) write(change func(*document)) (document, error) {
	next := document{Services: map[string]record{}, History: slices.Clone(j.doc.History)}
	for name, r := range j.doc.Services {
		next.Services[name] = r
	}
	change(&next)
	return next, j.file.Save(next)
}

// change makes another record of s. One that routes.yaml has dropped has none any
// more: what goes by its name is a service that came back.
func (d *document) change(s *Service, change func(record) record) {
	if !s.dropped() {
		d.Services[s.Name] = change(d.Services[s.Name])
	}
}

func (j *Journal) intend(w *Swap) error {
	s := w.service
	s.mu.Lock()
	file, serving := s.file, s.serving
	s.mu.Unlock()
	return j.save(func(d *document) {
		d.change(s, func(r record) record {
			return record{File: file, Serving: serving, Before: r.Before, Under: &intent{
				ID: w.ID, From: serving, To: w.order.release(), By: w.order.By, Began: w.report.Began,
			}}
		})
	})
}

func (j *Journal) commit(s *Service, file []Spec, to, from Release) error {
	return j.save(func(d *document) {
		d.change(s, func(r record) record {
			next := record{File: file, Serving: to, Before: from}
			if r.Under != nil {
				u := *r.Under
				u.Committed = true
				next.Under = &u
			}
			return next
		})
	})
}

// label records what the targets that serve go by from now on.
func (j *Journal) label(s *Service, serving Release) error {
	return j.save(func(d *document) {
		d.change(s, func(r record) record {
			r.Serving = serving
			return r
		})
	})
}

// stay records that serving goes on although the file may say otherwise.
func (j *Journal) stay(s *Service, file []Spec, serving Release) error {
	return j.note(func(d *document) {
		d.change(s, func(r record) record { return record{File: file, Serving: serving, Before: r.Before} })
	})
}

// settle records what serves services that no swap is under way of, and forgets
// those that all does not name.
func (j *Journal) settle(settled map[string]record, all map[string]*Service) error {
	return j.note(func(d *document) {
		for name, r := range settled {
			was := d.Services[name]
			r.Before = was.Before
			if len(was.Serving.Targets) > 0 && !samePlaces(was.Serving.Targets, r.Serving.Targets) {
				r.Before = was.Serving
			}
			d.Services[name] = r
		}
		maps.DeleteFunc(d.Services, func(name string, _ record) bool { return all[name] == nil })
	})
}

func (j *Journal) abandon(w *Swap) {
	j.mu.Lock()
	r := j.doc.Services[w.service.Name]
	mine := r.Under != nil && r.Under.ID == w.ID
	j.mu.Unlock()
	if !mine {
		return
	}
	if err := j.stay(w.service, r.File, r.Serving); err != nil {
		w.service.all.Log.Error("journal", "service", w.service.Name, "error", err)
	}
}

// finish enters a swap's report into the history.
func (j *Journal) finish(report *Report) error {
	return j.note(func(d *document) {
		d.History = latest(append(d.History, report), d.Services)
		if r := d.Services[report.Service]; r.Under != nil && r.Under.ID == report.ID {
			r.Under = nil
			d.Services[report.Service] = r
		}
	})
}

// latest drops the oldest reports: of each service it keeps the last that published
// and, apart from them, the last that did not, so that orders which change nothing
// cannot drive out what a rollback needs. Services that are gone count as one.
func latest(history []*Report, services map[string]record) (kept []*Report) {
	type kind struct {
		service   string
		published bool
	}
	count := map[kind]int{}
	for _, r := range slices.Backward(history) {
		k := kind{r.Service, !r.Published.IsZero()}
		if _, known := services[r.Service]; !known {
			k.service = ""
		}
		if count[k]++; count[k] <= remembered {
			kept = append(kept, r)
		}
	}
	slices.Reverse(kept)
	return kept
}
