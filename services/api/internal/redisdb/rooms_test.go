package redisdb

import (
	"maps"
	"slices"
	"testing"

	"pomodoro.cc/services/api/internal/store"
)

func TestDecode_TellsWhoIsHereFromWhoWasNotHeardOf(t *testing.T) {
	const now = 1_000_000_000
	late := now - store.PresenceTTL.Milliseconds()
	if late != now-45_000 {
		t.Fatalf("the presence is %s", store.PresenceTTL)
	}
	here, old := decode(map[string]string{
		"just":     `{"name":"a","came":1,"seen":999955000}`,
		"too late": `{"name":"b","came":1,"seen":999954999}`,
		"damaged":  `{`,
	}, now)
	slices.Sort(old)
	if got := slices.Collect(maps.Keys(here)); !slices.Equal(got, []string{"just"}) || !slices.Equal(old, []string{"damaged", "too late"}) {
		t.Errorf("here %v, old %v", here, old)
	}
}
