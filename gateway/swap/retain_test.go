package swap

import (
	"context"
	"runtime"
	"testing"
	"time"

	"pomodoro.cc/gateway/upstream"
)

// A swap that is under way when routes.yaml drops its service ends, one that waits
// for it is refused, and neither leaves a check behind.
func TestReload_AServiceThatIsDroppedDuringItsSwapIsLetGoAfterIt(t *testing.T) {
	asked, healthy := make(chan struct{}, 1), make(chan struct{})
	made := func(s Spec) (*upstream.Target, func(context.Context) error, error) {
		t, err := target(s)
		return t, func(ctx context.Context) error {
			if s.URL == "http://old" {
				return nil
			}
			select {
			case asked <- struct{}{}:
			default:
			}
			select {
			case <-healthy:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}, err
	}
	settings := Settings{Make: made, CheckTargets: func([]Spec) error { return nil }, Every: time.Minute, Timeout: time.Minute, Rise: 1, Fall: 1, Plan: Plan{Patience: Duration(time.Minute)}}
	all, app := serving(t, settings)
	first, err := app.Begin(Order{Targets: []Spec{{URL: "http://new"}}, Version: "v2", Unattended: true})
	if err != nil {
		t.Fatal(err)
	}
	<-asked
	second, err := app.Begin(Order{Targets: []Spec{{URL: "http://newer"}}, Version: "v3", Unattended: true, Wait: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := all.Reload(t.Context(), "test", nil, func(map[string]*Service) error { return nil }); err != nil {
		t.Fatal(err)
	}
	refused := ended(second)
	if refused.Exit == 0 || !refused.Published.IsZero() {
		t.Errorf("the swap that waited: %+v", refused)
	}
	close(healthy)
	if r := ended(first); r.Result != Done {
		t.Errorf("the swap under way: %s: %s", r.Result, r.Text)
	}
	for deadline := time.After(time.Minute); app.checks() > 0; runtime.Gosched() {
		select {
		case <-deadline:
			t.Fatal("checks are left")
		default:
		}
	}
}

func ended(w *Swap) *Report {
	for _, more := w.Events(0); w.Report() == nil; _, more = w.Events(0) {
		<-more
	}
	return w.Report()
}

func (s *Service) checks() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.live)
}
