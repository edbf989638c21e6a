package main

import "testing"

func TestSparing_KeepsAllThatDoBetter(t *testing.T) {
	type samples struct {
		sample
		times int
	}
	of := func(used, idle, n, mean float64, times int) samples {
		return samples{sample{used, idle, turns{n, n * mean}}, times}
	}
	const quick, slow = 10e-6, 2e-3 // seconds that a goroutine waits
	quiet, busy := of(0.1, 1.9, 500, quick, calm), of(0.9, 1, 9000, slow, strain)
	for name, c := range map[string]struct {
		half    int
		all     bool // to begin with
		samples []samples
		spares  bool
	}{
		"half to begin with":                        {half: 1, samples: []samples{quiet}, spares: true},
		"half after a quiet while":                  {half: 1, all: true, samples: []samples{quiet}, spares: true},
		"a busy moment begins the while":            {half: 1, all: true, samples: []samples{of(0.1, 1.9, 500, quick, calm-1), of(0.7, 1, 4000, quick, 1), of(0.1, 1.9, 500, quick, calm-1)}, spares: false},
		"half while others use the machine":         {half: 1, samples: []samples{of(0.99, 0.1, 9000, slow, 100)}, spares: true},
		"half while nobody waits":                   {half: 1, samples: []samples{of(0.99, 1, 9000, quick, 100)}, spares: true},
		"half in moments that are busy":             {half: 1, samples: []samples{of(0.99, 1, 9000, slow, strain-1), of(0.7, 1, 9000, slow, 1), of(0.99, 1, 9000, slow, strain-1)}, spares: true},
		"half while that is enough":                 {half: 4, samples: []samples{of(3, 5, 9000, slow, 100)}, spares: true},
		"all on trial":                              {half: 1, samples: []samples{busy}, spares: false},
		"all of eight on trial":                     {half: 4, samples: []samples{of(3.5, 4, 9000, slow, strain)}, spares: false},
		"half when all have brought nothing":        {half: 1, samples: []samples{busy, of(1.4, 0.2, 15000, 0.4*slow, 3)}, spares: true},
		"half for a while then":                     {half: 1, samples: []samples{busy, of(1.4, 0.2, 10000, slow, 3), of(0.99, 1, 9000, slow, again-1)}, spares: true},
		"another trial after it":                    {half: 1, samples: []samples{busy, of(1.4, 0.2, 10000, slow, 3), of(0.99, 1, 9000, slow, again)}, spares: false},
		"twice as long after the second":            {half: 1, samples: []samples{busy, of(1.4, 0.2, 9000, slow, 3), of(0.99, 1, 9000, slow, again), of(1.4, 0.2, 9000, slow, 3), of(0.99, 1, 9000, slow, 2*again-1)}, spares: true},
		"all that cut the wait":                     {half: 1, samples: []samples{busy, of(1.4, 0.2, 9000, slow, 1), of(1.4, 0.2, 9000, 0.3*slow, 2)}, spares: false},
		"half when there is less to do":             {half: 1, samples: []samples{busy, of(0.4, 1.2, 4000, quick, 3)}, spares: true},
		"all that do nearly twice as much":          {half: 1, samples: []samples{busy, of(1.9, 0.1, 16000, 0.8*slow, 3), of(1.9, 0.1, 16000, slow, 1000)}, spares: false},
		"half when they are not used any more":      {half: 1, samples: []samples{busy, of(1.9, 0.1, 16000, 0.8*slow, 3), quiet}, spares: true},
		"a trial soon after all did well":           {half: 1, samples: []samples{busy, of(1.9, 0.1, 16000, 0.8*slow, 3), quiet, busy}, spares: false},
		"the sample of the change is not judged by": {half: 1, samples: []samples{busy, of(1.9, 0.1, 90000, quick, 1), of(1.4, 0.2, 9000, slow, 2)}, spares: true},
	} {
		s := sparing{half: c.half, spares: !c.all}
		for _, one := range c.samples {
			for range one.times {
				s.decide(one.sample)
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
		if now.idle < first.idle || now.idle <= 0 || now.n < first.n || now.at.Before(first.at) {
			t.Fatalf("%+v after %+v", now, first)
		}
	}
}
