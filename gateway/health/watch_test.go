package health_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pomodoro.cc/gateway/health"
)

var errIll = errors.New("503")

// frozen is a probe of a target that accepts and never answers.
func frozen(ctx context.Context) error {
	ctx, enough := context.WithTimeout(ctx, time.Second)
	defer enough()
	<-ctx.Done()
	return ctx.Err()
}

// seen is a watch in a bubble: what it reported, and when.
type seen struct {
	begin time.Time
	lines []string
}

func (s *seen) report(state health.State, err error) {
	answer := "good"
	if err != nil {
		answer = "bad"
	}
	s.lines = append(s.lines, fmt.Sprintf("%v %s %v", time.Since(s.begin), answer, state))
}

func (s *seen) wants(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	if !slices.Equal(s.lines, want) {
		t.Errorf("reports:\n got %q\nwant %q", s.lines, want)
	}
}

// answers is a probe that gives these in turn, and the last one for ever.
func answers(list ...error) func(context.Context) error {
	return func(context.Context) error {
		next := list[0]
		if len(list) > 1 {
			list = list[1:]
		}
		return next
	}
}

func TestWatch_AsksAtOnceAndThenEveryInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &seen{begin: time.Now()}
		go health.Watch{Every: 3 * time.Second, Rise: 2, Fall: 2, State: health.Unknown, Probe: answers(nil), Report: s.report}.Run(t.Context())
		time.Sleep(7 * time.Second)
		s.wants(t, "0s good up", "3s good up", "6s good up")
	})
}

func TestWatch_ANewTargetIsProvenWithoutWaitingForTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &seen{begin: time.Now()}
		go health.Watch{Every: time.Second, Rise: 2, Fall: 2, Probe: answers(nil), Report: s.report}.Run(t.Context())
		time.Sleep(500 * time.Millisecond)
		s.wants(t, "0s good down", "100ms good up")
	})
}

func TestWatch_ATargetThatFailsIsAskedAgainSoonAndFalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &seen{begin: time.Now()}
		go health.Watch{Every: time.Second, Rise: 2, Fall: 2, State: health.Up, Probe: answers(nil, errIll), Report: s.report}.Run(t.Context())
		time.Sleep(1250 * time.Millisecond)
		s.wants(t, "0s good up", "1s bad up", "1.1s bad down")
	})
}

func TestWatch_ATargetThatIsDownIsAskedOftenAndBackSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &seen{begin: time.Now()}
		go health.Watch{Every: time.Second, Rise: 2, Fall: 1, State: health.Up, Probe: answers(errIll, errIll, nil), Report: s.report}.Run(t.Context())
		time.Sleep(time.Second)
		s.wants(t, "0s bad down", "200ms bad down", "400ms good down", "500ms good up")
	})
}

func TestWatch_AnIntervalThatIsShorterThanItsOwnPacesRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &seen{begin: time.Now()}
		go health.Watch{Every: 50 * time.Millisecond, Rise: 2, Fall: 2, Probe: answers(errIll, nil), Report: s.report}.Run(t.Context())
		time.Sleep(120 * time.Millisecond)
		s.wants(t, "0s bad down", "50ms good down", "100ms good up")
	})
}

// The target freezes right after it has answered, the worst moment, with what
// routes.yaml gives by default.
func TestWatch_AFrozenTargetIsOutWithinTwoAndAHalfSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &seen{begin: time.Now()}
		probe := answers(nil, errIll)
		go health.Watch{
			Every: time.Second, Timeout: time.Second, Rise: 2, Fall: 2, State: health.Up, Report: s.report,
			Probe: func(ctx context.Context) error {
				if probe(ctx) == nil {
					return nil
				}
				return frozen(ctx)
			},
		}.Run(t.Context())
		time.Sleep(2500 * time.Millisecond)
		s.wants(t, "0s good up", "2s bad up", "2.25s bad down")
	})
}

func TestWatch_ADownTargetHasItsWholeTimeoutToAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &seen{begin: time.Now()}
		go health.Watch{Every: time.Second, Timeout: time.Second, Rise: 1, Fall: 1, Report: s.report, Probe: frozen}.Run(t.Context())
		time.Sleep(2300 * time.Millisecond)
		s.wants(t, "1s bad down", "2.2s bad down")
	})
}

func TestWatch_NowBringsDownAndIsFollowedByACheckAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, now := &seen{begin: time.Now()}, make(chan struct{}, 1)
		go health.Watch{Every: time.Minute, Rise: 2, Fall: 2, State: health.Up, Now: now, Probe: answers(nil), Report: s.report}.Run(t.Context())
		time.Sleep(5 * time.Second)
		now <- struct{}{}
		time.Sleep(time.Second)
		s.wants(t, "0s good up", "5s good down", "5.1s good up")
	})
}

func TestWatch_AComplaintFromBeforeTheRiseDoesNotBringDownAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, now := &seen{begin: time.Now()}, make(chan struct{}, 1)
		asked := 0
		go health.Watch{
			Every: time.Minute, Rise: 2, Fall: 2, Now: now, Report: s.report,
			Probe: func(context.Context) error {
				if asked++; asked == 2 {
					now <- struct{}{} // while the answer that proves it is on its way
				}
				return nil
			},
		}.Run(t.Context())
		time.Sleep(10 * time.Second)
		s.wants(t, "0s good down", "100ms good up")
	})
}

func TestWatch_JitterOnlyMakesPausesShorter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		go health.Watch{
			Every: time.Second, Jitter: 300 * time.Millisecond, State: health.Up, Probe: answers(nil),
			Report: func(health.State, error) { at = append(at, time.Now()) },
		}.Run(t.Context())
		time.Sleep(time.Minute)
		synctest.Wait()
		for i := 1; i < len(at); i++ {
			if pause := at[i].Sub(at[i-1]); pause <= 700*time.Millisecond || pause > time.Second {
				t.Errorf("pause %d = %v, want more than 700ms and at most 1s", i, pause)
			}
		}
		if len(at) < 61 {
			t.Errorf("%d checks in a minute, want more than 60", len(at))
		}
	})
}

func TestWatch_EndsWithItsContextAndDoesNotBlameTheTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		s, ended := &seen{begin: time.Now()}, false
		go func() {
			health.Watch{Every: time.Second, Probe: frozen, Report: s.report}.Run(ctx)
			ended = true
		}()
		time.Sleep(500 * time.Millisecond)
		stop()
		s.wants(t)
		if !ended {
			t.Error("Run goes on after its context has ended")
		}
	})
}

func TestProve_NeedsARowOfGoodAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries, err := health.Prove(t.Context(), answers(errIll, nil, errIll, nil, nil, nil), 3, time.Second)
		if tries != 6 || err != nil {
			t.Errorf("Prove = %d, %v, want 6 tries and no error", tries, err)
		}
	})
}

func TestProve_TellsTheLastFailureWhenPatienceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, enough := context.WithTimeout(t.Context(), 3500*time.Millisecond)
		defer enough()
		tries, err := health.Prove(ctx, answers(errors.New("connection refused"), errIll), 2, time.Second)
		if tries != 4 || !errors.Is(err, errIll) {
			t.Errorf("Prove = %d, %v, want 4, %v", tries, err, errIll)
		}
	})
}

func TestProve_ACheckThatPatienceCutShortDoesNotHideTheFailureBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, enough := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer enough()
		probe := answers(errIll, nil)
		tries, err := health.Prove(ctx, func(ctx context.Context) error {
			if err := probe(ctx); err != nil {
				return err
			}
			return frozen(ctx)
		}, 2, time.Second)
		if tries != 2 || !errors.Is(err, errIll) {
			t.Errorf("Prove = %d, %v, want 2, %v", tries, err, errIll)
		}
	})
}

func TestProve_SaysWhenTimeRanOutBeforeEnoughGoodAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, enough := context.WithTimeout(t.Context(), time.Second)
		defer enough()
		if tries, err := health.Prove(ctx, answers(nil), 3, time.Minute); tries != 1 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Prove = %d, %v, want 1, %v", tries, err, context.DeadlineExceeded)
		}
	})
}
