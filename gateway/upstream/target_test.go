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
