package upstream

import (
	"net/url"
	"strings"
	"testing"
	"time"
)

// An ejection must not last for hours because somebody set the clock back.
func TestEject_ItsEndIsKeptByTheClockThatNobodySets(t *testing.T) {
	one := NewTarget(&url.URL{Scheme: "http", Host: "one"}, "", 1, Up, nil)
	one.eject(time.Now().Add(time.Minute))
	if until := one.until.Load(); !strings.Contains(until.String(), " m=") {
		t.Errorf("ejected until %s, which has no reading of the monotonic clock", until)
	}
	if !one.Ejected() {
		t.Error("it is not ejected")
	}
}

// Other weights or settings are no reason to send visitors to a target that fails them.
func TestResume_ATargetAtTheSameAddressIsNoLessEjected(t *testing.T) {
	made := func() *Target { return NewTarget(&url.URL{Scheme: "http", Host: "one"}, "", 1, Down, nil) }
	before, next := made(), made()
	before.Prove()
	before.eject(time.Now().Add(time.Minute))
	next.Resume(before)
	if next.Health() != Up || !next.Ejected() {
		t.Errorf("health %s, ejected %t; want up and ejected", next.Health(), next.Ejected())
	}
	next.Prove()
	if next.Ejected() {
		t.Error("it is ejected after it has proven itself")
	}
}
