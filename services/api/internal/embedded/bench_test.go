package embedded

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"pomodoro.cc/services/api/internal/store"
)

const (
	benchUsers   = 1000
	benchEntries = 1000 // of each user, three a day: all in one year
)

func benchUser(n int) string { return fmt.Sprintf("user%04d", n) }

func benchEntry(n int) entry {
	day := time.Date(2026, 1, 1+n/3, 8+3*(n%3), 0, 0, 0, time.UTC)
	p := store.Pomodoro{
		ID: fmt.Sprintf("%026d", n), Type: "pomodoro", Minutes: 25, StartedAt: day, Distractions: []time.Time{day.Add(time.Minute)},
		Tags: []string{"work", []string{"go", "mail", "reading"}[n%3]},
	}
	if n%7 == 0 {
		at := day.Add(10 * time.Minute)
		p.CancelledAt = &at
	}
	return entry{Pomodoro: p, Print: make([]byte, 32)}
}

// seed stores a million entries, those of a user at a time and without waiting
// for the disk: one by one it would take hours.
func seed(b *testing.B, s *Store) {
	b.Helper()
	s.db.NoSync = true
	for u := range benchUsers {
		err := s.db.Update(func(tx *bolt.Tx) error {
			for n := range benchEntries {
				if err := insert(tx, benchUser(u), benchEntry(n)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	s.db.NoSync = false
	if err := s.db.Sync(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkEmbedded reads for users and days by chance out of a million stored
// entries, and encodes what it has read.
func BenchmarkEmbedded(b *testing.B) {
	s := opened(b)
	seed(b, s)
	rome, err := time.LoadLocation("Europe/Rome")
	if err != nil {
		b.Fatal(err)
	}
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, rome)
	for name, read := range map[string]func() (n int, read any, err error){
		"day": func() (int, any, error) {
			day := begin.AddDate(0, 0, 1+rand.IntN(benchEntries/3-2))
			found, _, err := s.List(b.Context(), benchUser(rand.IntN(benchUsers)), day, day.AddDate(0, 0, 1), 100)
			return len(found), found, err
		},
		"year": func() (int, any, error) {
			days, err := s.Days(b.Context(), benchUser(rand.IntN(benchUsers)), begin, begin.AddDate(1, 0, 0), rome)
			return len(days), days, err
		},
	} {
		b.Run(name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				n, found, err := read()
				if err == nil {
					err = json.NewEncoder(io.Discard).Encode(found)
				}
				took = append(took, time.Since(began))
				if want := map[string]int{"day": 3, "year": (benchEntries + 2) / 3}[name]; n != want || err != nil {
					b.Fatalf("%d found, want %d, %v", n, want, err)
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100])/float64(time.Millisecond), "p99-ms")
			b.ReportMetric(float64(took[len(took)/2])/float64(time.Millisecond), "p50-ms")
		})
	}
}
