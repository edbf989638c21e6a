package upstream_test

import (
	"fmt"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"pomodoro.cc/gateway/upstream"
)

func weighted(host string, weight int) *upstream.Target {
	return upstream.NewTarget(&url.URL{Scheme: "http", Host: host}, "", weight, upstream.Up, nil)
}

// shares asks n times, each with another key, and lets every visit go at once.
func shares(t *testing.T, s *upstream.Slot, n int) map[string]int {
	t.Helper()
	count := map[string]int{}
	for i := range n {
		var v upstream.Visit
		if err := v.Enter(s, upstream.Ask{Key: fmt.Sprint("visitor-", i), Bucket: upstream.Buckets}); err != nil {
			t.Fatal(err)
		}
		count[v.Target.URL.Host]++
		v.Leave(upstream.Answered)
	}
	return count
}

func TestRoundRobin_EachTargetServesAsOftenAsItsWeightSays(t *testing.T) {
	s := upstream.NewSlot("app", upstream.NewPool([]*upstream.Target{weighted("a", 1), weighted("b", 3)}, upstream.RoundRobin, upstream.Ejection{}))
	if got := shares(t, s, 400); got["a"] != 100 || got["b"] != 300 {
		t.Errorf("shares %v, want 100 and 300", got)
	}
}

func TestLeast_AWeightIsAShareOfWhatIsUnderWay(t *testing.T) {
	a, b := weighted("a", 1), weighted("b", 3)
	s := upstream.NewSlot("app", upstream.NewPool([]*upstream.Target{a, b}, upstream.Least, upstream.Ejection{}))
	for range 400 {
		enter(t, s)
	}
	if got := b.InFlight(); got < 270 || got > 330 {
		t.Errorf("the heavier one has %d of 400 under way, want about 300", got)
	}
}

func TestHash_AKeyStaysAndOnlyTheKeysOfATargetThatLeavesMove(t *testing.T) {
	at := func(s *upstream.Slot, key string) string {
		var v upstream.Visit
		if err := v.Enter(s, upstream.Ask{Key: key, Bucket: upstream.Buckets}); err != nil {
			t.Fatal(err)
		}
		defer v.Leave(upstream.Answered)
		return v.Target.URL.Host
	}
	hashed := func(hosts ...string) *upstream.Slot {
		var targets []*upstream.Target
		for _, h := range hosts {
			targets = append(targets, target(h, upstream.Up))
		}
		return upstream.NewSlot("app", upstream.NewPool(targets, upstream.Hash, upstream.Ejection{}))
	}
	three, two := hashed("a", "b", "c"), hashed("a", "b")
	count := map[string]int{}
	for i := range 3000 {
		key := fmt.Sprint("10.0.", i/256, ".", i%256)
		before := at(three, key)
		count[before]++
		if again := at(hashed("c", "b", "a"), key); again != before {
			t.Fatalf("%s: %s, and %s in another pool of the same targets", key, before, again)
		}
		if after := at(two, key); before != "c" && after != before {
			t.Fatalf("%s moved from %s to %s when c left", key, before, after)
		}
	}
	for host, n := range count {
		if n < 850 || n > 1150 {
			t.Errorf("%s has %d of 3000 keys, want about a third", host, n)
		}
	}
}

func TestOutcome_AShareOfServerErrorsEjectsForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := target("a", upstream.Up), target("b", upstream.Up), target("c", upstream.Up)
		pool := upstream.NewPool([]*upstream.Target{a, b, c}, upstream.RoundRobin, upstream.Ejection{Errors: 0.5, For: 10 * time.Second, Panic: 0.5})
		s := upstream.NewSlot("app", pool)
		ejections := 0
		for range 90 {
			v := enter(t, s)
			if v.Outcome(upstream.Attempt{Error: v.Target == a}) {
				ejections++
			}
			v.Leave(upstream.Answered)
		}
		if !a.Ejected() || b.Ejected() || c.Ejected() || ejections != 1 {
			t.Errorf("ejected: %t, %t, %t in %d ejections; want the first alone", a.Ejected(), b.Ejected(), c.Ejected(), ejections)
		}
		time.Sleep(11 * time.Second)
		if a.Ejected() {
			t.Error("it is still ejected after its time")
		}
	})
}
