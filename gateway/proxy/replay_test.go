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

func TestReplay_WhatWasAwaitedIsThereForTheFirstAttemptAndForOthersUpToTheLimit(t *testing.T) {
	const whole = "0123456789abcdef"
	torn := errors.New("torn")
	for name, c := range map[string]struct {
		src   io.Reader
		limit int64
		err   error
		spent bool
	}{
		"in pieces":             {iotest.OneByteReader(strings.NewReader(whole)), 16, nil, false},
		"with its end":          {iotest.DataErrReader(strings.NewReader(whole)), 16, nil, false},
		"more than is kept":     {strings.NewReader(whole), 8, nil, true},
		"less than was to come": {strings.NewReader(whole[:8]), 16, io.ErrUnexpectedEOF, false},
		"nothing":               {strings.NewReader(""), 16, io.ErrUnexpectedEOF, false},
		"a failure":             {io.MultiReader(strings.NewReader(whole[:8]), iotest.ErrReader(torn)), 16, torn, false},
	} {
		t.Run(name, func(t *testing.T) {
			body := newReplay(c.src, c.limit, nil)
			if err := body.await(int64(len(whole))); !errors.Is(err, c.err) {
				t.Fatalf("error %v", err)
			}
			if c.err != nil {
				return
			}
			first, again := body.fresh(nil)
			if got, err := io.ReadAll(first); string(got) != whole || err != nil {
				t.Errorf("the first attempt got %q, %v", got, err)
			}
			if again == c.spent || body.spent() != c.spent {
				t.Errorf("spent: %t", body.spent())
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
