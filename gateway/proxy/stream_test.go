package proxy

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"testing"
)

// frame is one WebSocket frame as RFC 6455 5.2 writes it.
func frame(opcode byte, masked bool, payload int) []byte {
	b := []byte{0x80 | opcode}
	mask := byte(0)
	if masked {
		mask = 0x80
	}
	switch {
	case payload < 126:
		b = append(b, mask|byte(payload))
	case payload < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, mask|126), uint16(payload))
	default:
		b = binary.BigEndian.AppendUint64(append(b, mask|127), uint64(payload))
	}
	if masked {
		b = append(b, 1, 2, 3, 4)
	}
	return append(b, bytes.Repeat([]byte{0x88}, payload)...) // a payload that looks like close frames
}

func TestFrames_AGoodbyeComesAtTheFirstBorderInEverySplit(t *testing.T) {
	for name, frames := range map[string][][]byte{
		"short":               {frame(1, false, 5), frame(2, false, 0), frame(1, false, 1)},
		"masked":              {frame(1, true, 5), frame(9, true, 0)},
		"16 bits of length":   {frame(2, false, 300), frame(1, false, 2)},
		"64 bits of length":   {frame(2, true, 70_000), frame(1, true, 2)},
		"a continued message": {{0x01, 2, 'a', 'b'}, {0x80, 1, 'c'}},
	} {
		t.Run(name, func(t *testing.T) {
			whole := bytes.Join(frames, nil)
			for cut := range min(len(whole), 400) {
				var out bytes.Buffer
				said := 0
				s := &side{said: func() { said++ }}
				write := func(p []byte) {
					if n, err := s.write(&out, p); n != len(p) || err != nil {
						t.Fatalf("cut %d: wrote %d of %d, %v", cut, n, len(p), err)
					}
				}
				write(whole[:cut])
				s.goodbye(&out, goingAway)
				write(whole[cut:])
				// What is whole, up to the first border at or behind the cut.
				want, end := []byte(nil), 0
				for _, f := range frames {
					if end >= cut {
						break
					}
					end += len(f)
				}
				want = append(append(want, whole[:end]...), goingAway...)
				if !bytes.Equal(out.Bytes(), want) || said != 1 {
					t.Fatalf("cut %d: %d bytes, want %d; said %d times", cut, out.Len(), len(want), said)
				}
			}
		})
	}
}

// Whatever flows through a tunnel, in whatever pieces, arrives as it was.
func FuzzFrames(f *testing.F) {
	f.Add(frame(1, true, 5), 3)
	f.Add(frame(2, false, 300), 1)
	f.Add([]byte("SSH-2.0-not a WebSocket at all"), 4)
	f.Add([]byte{0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 2)
	f.Fuzz(func(t *testing.T, stream []byte, step int) {
		step = 1 + (step&0x7fffffff)%64
		var out bytes.Buffer
		s := &side{}
		for rest := stream; len(rest) > 0; {
			n := min(step, len(rest))
			if wrote, err := s.write(&out, rest[:n]); wrote != n || err != nil {
				t.Fatalf("wrote %d of %d, %v", wrote, n, err)
			}
			rest = rest[n:]
		}
		if !bytes.Equal(out.Bytes(), stream) {
			t.Fatalf("sent %x, arrived %x", stream, out.Bytes())
		}
		before := out.Len()
		s.goodbye(&out, goingAway)
		if after := out.Bytes()[before:]; len(after) != 0 && !bytes.Equal(after, goingAway) {
			t.Fatalf("the goodbye is %x", after)
		}
	})
}

// stream is an events body over pieces, as a target sends them.
func stream(pieces ...string) *events {
	var readers []io.Reader
	for _, p := range pieces {
		readers = append(readers, strings.NewReader(p))
	}
	a := &attempts{x: new(Exchange)}
	return &events{leased: &leased{ReadCloser: io.NopCloser(io.MultiReader(readers...)), attempts: a}, border: true}
}

func TestEvents_TheFarewellComesAfterAWholeEvent(t *testing.T) {
	for name, c := range map[string]struct {
		pieces []string
		before int // pieces read before the goodbye
		want   string
	}{
		"at a border":                       {[]string{"data: 1\n\n", "data: 2\n\n"}, 1, "data: 1\n\n"},
		"before the first event":            {[]string{"data: 1\n\n"}, 0, ""},
		"in the middle of an event":         {[]string{"data: 1\n\nda", "ta: 2\n\ndata: 3\n\n"}, 1, "data: 1\n\ndata: 2\n\n"},
		"between the two ends of a line":    {[]string{"data: 1\n", "\ndata: 2\n\n"}, 1, "data: 1\n\n"},
		"lines that end with CRLF":          {[]string{"data: 1\r\n\r", "\ndata: 2\r\n\r\n"}, 1, "data: 1\r\n\r\n"},
		"lines that end with CR":            {[]string{"data: 1\r", "\rdata: 2\r\r"}, 1, "data: 1\r\r"},
		"an event that never becomes whole": {[]string{"data: 1\n\nda", "ta: 2"}, 1, "data: 1\n\ndata: 2"},
	} {
		t.Run(name, func(t *testing.T) {
			e := stream(c.pieces...)
			var got strings.Builder
			p := make([]byte, 64)
			for range c.before {
				n, err := e.Read(p)
				if err != nil {
					t.Fatal(err)
				}
				got.Write(p[:n])
			}
			e.goodbye()
			rest, err := io.ReadAll(e)
			if err != nil {
				t.Fatal(err)
			}
			got.Write(rest)
			if want := c.want + farewell; got.String() != want && !(strings.HasPrefix(name, "an event that never") && got.String() == c.want) {
				t.Errorf("the visitor saw %q, want %q", got.String(), want)
			}
		})
	}
}

// meanwhile is a body that a goodbye meets while it is read.
type meanwhile struct {
	io.Reader
	comes func()
}

func (m *meanwhile) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	m.comes()
	return n, err
}

func TestEvents_AGoodbyeDuringAReadEndsAtABorderToo(t *testing.T) {
	for read, want := range map[string]string{
		"data: 2":             "",
		"data: 2\n\ndata: 3":  "data: 2\n\n",
		"data: 2\n\n":         "data: 2\n\n",
		"data: 2\r\n\r\nda":   "data: 2\r\n\r\n",
		"data: a line\ndata:": "",
	} {
		e := stream("data: 1\n\n")
		first := make([]byte, 64)
		n, err := e.Read(first)
		if err != nil || string(first[:n]) != "data: 1\n\n" {
			t.Fatalf("%q, %v", first[:n], err)
		}
		e.ReadCloser = io.NopCloser(&meanwhile{strings.NewReader(read), e.goodbye})
		rest, err := io.ReadAll(e)
		if err != nil || string(rest) != want+farewell {
			t.Errorf("of %q the visitor saw %q, %v; want %q and the farewell", read, rest, err, want)
		}
	}
}

// Without a goodbye the bytes pass as they are; with one the visitor sees whole
// events of the stream and then the farewell, or the target's own end.
func FuzzEvents(f *testing.F) {
	f.Add("data: 1\n\ndata: 2\n\n", 3, 1)
	f.Add("data: 1\r\n\r\n:\r\n\r\n", 1, 7)
	f.Add("\n\n\n", 1, 0)
	f.Fuzz(func(t *testing.T, text string, step, before int) {
		text = text[:min(len(text), 1<<10)]
		step, before = 1+(step&0x7fffffff)%16, (before&0x7fffffff)%32
		var pieces []string
		for rest := text; rest != ""; {
			n := min(step, len(rest))
			pieces = append(pieces, rest[:n])
			rest = rest[n:]
		}
		e := stream(pieces...)
		var got strings.Builder
		p := make([]byte, 8)
		for range before {
			n, err := e.Read(p)
			got.Write(p[:n])
			if err != nil {
				return // ended before the goodbye
			}
		}
		if !strings.HasPrefix(text, got.String()) {
			t.Fatalf("of %q came %q", text, got.String())
		}
		e.goodbye()
		rest, err := io.ReadAll(e)
		if err != nil {
			t.Fatal(err)
		}
		got.Write(rest)
		seen, parted := strings.CutSuffix(got.String(), farewell)
		if !strings.HasPrefix(text, seen) {
			t.Fatalf("of %q came %q", text, seen)
		}
		if parted && seen != "" && !blankLine([]byte(seen)) {
			t.Fatalf("the farewell came inside an event: %q", seen)
		}
	})
}
