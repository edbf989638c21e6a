package main

import "testing"

func TestSparing_TakesAllWhenHalfIsBusyAndOthersAreIdle(t *testing.T) {
	type sample struct {
		used, idle float64
		times      int
	}
	for name, c := range map[string]struct {
		half    int
		samples []sample
		spares  bool
	}{
		"all to begin with":                 {half: 1, samples: []sample{{0, 2, calm - 1}}, spares: false},
		"half after a quiet while":          {half: 1, samples: []sample{{0.1, 1.9, calm}}, spares: true},
		"a busy moment begins the while":    {half: 1, samples: []sample{{0.1, 1.9, calm - 1}, {0.7, 1, 1}, {0.1, 1.9, calm - 1}}, spares: false},
		"all when half is not enough":       {half: 1, samples: []sample{{0.1, 1.9, calm}, {0.9, 1, 1}}, spares: false},
		"half while others use the machine": {half: 1, samples: []sample{{0.1, 1.9, calm}, {0.99, 0.1, 100}}, spares: true},
		"half while that is enough":         {half: 4, samples: []sample{{1, 7, calm}, {3, 5, 100}}, spares: true},
		"all of eight":                      {half: 4, samples: []sample{{1, 7, calm}, {3.5, 4, 1}}, spares: false},
		"all while they are used":           {half: 4, samples: []sample{{2.5, 5, 100}}, spares: false},
	} {
		s := sparing{half: c.half}
		for _, one := range c.samples {
			for range one.times {
				s.decide(one.used, one.idle)
			}
		}
		if s.spares != c.spares {
			t.Errorf("%s: spares = %v, want %v", name, s.spares, c.spares)
		}
	}
}

func TestMeasure_SeesWorkAndTheMachine(t *testing.T) {
	first, err := measure()
	if err != nil {
		t.Fatal(err)
	}
	for now := first; now.used == first.used; { // work, until it is seen
		if now, err = measure(); err != nil {
			t.Fatal(err)
		}
		if now.idle < first.idle || now.idle <= 0 || now.at.Before(first.at) {
			t.Fatalf("%+v after %+v", now, first)
		}
	}
}
