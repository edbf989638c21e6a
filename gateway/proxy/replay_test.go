package proxy

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"pomodoro.cc/gateway/transport"
)

// attempted begins an attempt at body.
func attempted(t *testing.T, body *replay) io.Reader {
	t.Helper()
	a, ok := body.fresh(nil)
	if !ok {
		t.Fatal("the body cannot begin again")
	}
	return a
}

func TestReplay_AnAttemptGetsTheWholeBodyOrAnError(t *testing.T) {
	const whole = "0123456789abcdef"
	for name, c := range map[string]struct {
		limit         int64
		before, after int // bytes that the first attempt reads before and after the second begins
		err           error
	}{
		"nothing was read":                   {8, 0, 0, nil},
		"what was read is kept":              {16, 6, 0, nil},
		"all of it is":                       {16, 16, 0, nil},
		"the first one reads no more":        {8, 6, 6, nil},
		"and has nothing of what was kept":   {16, 6, 10, nil},
		"more was read than is kept":         {8, 9, 0, errSpent},
		"and the first one goes on for both": {8, 9, 7, errSpent},
	} {
		t.Run(name, func(t *testing.T) {
			body := newReplay(strings.NewReader(whole), c.limit, nil)
			first := attempted(t, body)
			if n, err := io.ReadFull(first, make([]byte, c.before)); err != nil {
				t.Fatal(n, err)
			}
			if spent := body.spent(); spent != (c.err != nil) {
				t.Errorf("spent: %t", spent)
			}
			second, _ := body.fresh(nil)
			if c.after > 0 {
				if n, err := first.Read(make([]byte, c.after)); n > 0 || !errors.Is(err, errOver) {
					t.Errorf("the first attempt read on: %d bytes, %v", n, err)
				}
			}
			got, err := io.ReadAll(second)
			if !errors.Is(err, c.err) || err == nil && string(got) != whole {
				t.Errorf("the second attempt got %q, %v", got, err)
			}
		})
	}
}

func TestReplay_ASmallBodyIsReadWholeAndIsThereForEveryAttempt(t *testing.T) {
	const whole = "0123456789abcdef"
	torn := errors.New("torn")
	for name, c := range map[string]struct {
		src io.Reader
		err error
	}{
		"in pieces":             {iotest.OneByteReader(strings.NewReader(whole)), nil},
		"with its end":          {iotest.DataErrReader(strings.NewReader(whole)), nil},
		"less than was to come": {strings.NewReader(whole[:8]), io.ErrUnexpectedEOF},
		"nothing":               {strings.NewReader(""), io.ErrUnexpectedEOF},
		"a failure":             {io.MultiReader(strings.NewReader(whole[:8]), iotest.ErrReader(torn)), torn},
	} {
		t.Run(name, func(t *testing.T) {
			x, r := new(Exchange), httptest.NewRequest(http.MethodPost, "/", io.NopCloser(c.src))
			r.ContentLength = int64(len(whole))
			awaited, err := x.await(r)
			if fault := new(transport.BodyError); !awaited || !errors.Is(err, c.err) && !(errors.As(err, &fault) && fault.Err == c.err) {
				t.Fatalf("awaited: %t, error %v", awaited, err)
			}
			if c.err != nil {
				return
			}
			body := newReplay(r.Body, 8, nil) // less than it has
			body.has(x.small)
			for range 2 {
				attempt, again := body.fresh(nil)
				if got, err := io.ReadAll(attempt); string(got) != whole || err != nil || !again || body.spent() {
					t.Errorf("an attempt got %q, %v; again: %t", got, err, again)
				}
			}
		})
	}
}

func TestReplay_AnAttemptThatLacksThePartThatIsGoneIsTheLast(t *testing.T) {
	torn := errors.New("torn")
	for want, before := range map[error]error{torn: torn, errSpent: nil} {
		a := &attempts{r: httptest.NewRequest(http.MethodPut, "/", nil), x: new(Exchange), try: new(try), before: before}
		if err := a.failed(nil, &transport.BodyError{Err: errSpent}, 0); err != want {
			t.Errorf("after %v: error %v", before, err)
		}
	}
}

// A visitor who says nothing holds up the attempt that waits for him, and not the
// judgement of one that failed.
func TestReplay_WhatAFailedAttemptStillWaitsForIsTheNextOnes(t *testing.T) {
	for name, c := range map[string]struct {
		limit int64
		err   error
	}{"kept": {16, nil}, "beyond what is kept": {8, errSpent}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				visitor, send := io.Pipe()
				body := newReplay(visitor, c.limit, nil)
				first := attempted(t, body)
				go func() {
					if got, err := io.ReadAll(first); string(got) != "012345" || !errors.Is(err, errOver) {
						t.Errorf("the first attempt got %q, %v", got, err)
					}
				}()
				io.WriteString(send, "012345")
				synctest.Wait() // it waits for more
				if body.spent() {
					t.Error("spent")
				}
				second := attempted(t, body)
				go func() {
					io.WriteString(send, "6789ab")
					send.Close()
				}()
				got, err := io.ReadAll(second)
				if !errors.Is(err, c.err) || err == nil && string(got) != "0123456789ab" {
					t.Errorf("the second attempt got %q, %v", got, err)
				}
				visitor.Close()
			})
		})
	}
}
