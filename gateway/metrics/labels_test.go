package metrics

import "testing"

func TestClosedSets_TheArraysHaveTheirLength(t *testing.T) {
	for name, c := range map[string]struct {
		set   closedSet
		count int
	}{
		"methods":  {methods, methodCount},
		"classes":  {classes, classCount},
		"reasons":  {reasons, reasonCount},
		"slots":    {slots, slotCount},
		"states":   {states, stateCount},
		"results":  {results, resultCount},
		"outcomes": {outcomes, outcomeCount},
	} {
		if len(c.set.values) != c.count || len(c.set.place) != c.count-1 {
			t.Errorf("%s: %d values of which %d are distinct names, want %d with \"other\"", name, len(c.set.values), len(c.set.place), c.count)
		}
	}
}
