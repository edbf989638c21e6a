package transport

import (
	"net/http"

	"golang.org/x/net/http/httpguts"
)

const (
	maxChunkLine = 4096     // size and extensions
	maxOverhead  = 16 << 10 // bytes of framing beyond what the data is worth
	maxTrailers  = 64 << 10
)

// chunks decodes the chunked transfer coding (RFC 9112 7.1), strictly, in
// whatever pieces it comes.
type chunks struct {
	state    chunkState
	size     uint64 // of the chunk under way, as far as read
	digits   int
	line     int // bytes of the size line
	left     uint64
	overhead int64
	trailers []byte // the trailer section with the empty line that ends it
}

type chunkState int

const (
	inSize          chunkState = iota
	beforeExtension            // whitespace was seen
	inExtension
	afterSize // LF is due
	inData
	afterData // CR is due
	afterDataCR
	inTrailer
	whole
)

var errChunk = malformed("a chunk is not framed as chunks are")

// decode takes bytes from src and writes data to dst, which may begin where src
// does: it is never ahead. It stops when dst is full, src is spent, or the body
// is whole.
func (c *chunks) decode(dst, src []byte) (written, taken int, err error) {
	for taken < len(src) {
		if c.state == inData {
			if written == len(dst) {
				return written, taken, nil
			}
			n := copy(dst[written:], src[taken:min(len(src), taken+int(min(c.left, uint64(len(src)))))])
			written, taken, c.left = written+n, taken+n, c.left-uint64(n)
			if c.left == 0 {
				c.state = afterData
			}
			continue
		}
		if c.state == whole {
			break
		}
		if err := c.frame(src[taken]); err != nil {
			return written, taken, err
		}
		taken++
	}
	return written, taken, nil
}

// frame takes one byte that is not data.
func (c *chunks) frame(b byte) error {
	switch c.state {
	case inSize, beforeExtension, inExtension:
		return c.sizeLine(b)
	case afterSize:
		if b != '\n' {
			return errChunk
		}
		return c.begin()
	case afterData:
		if b != '\r' {
			return errChunk
		}
		c.state = afterDataCR
	case afterDataCR:
		if b != '\n' {
			return errChunk
		}
		c.state, c.size, c.digits, c.line = inSize, 0, 0, 0
	case inTrailer:
		return c.trailer(b)
	}
	return nil
}

func (c *chunks) sizeLine(b byte) error {
	if c.line++; c.line > maxChunkLine {
		return malformed("the line of a chunk's size is too long")
	}
	switch {
	case b == '\r':
		if c.digits == 0 {
			return errChunk
		}
		c.state = afterSize
	case c.state == inExtension:
		if b < ' ' && b != '\t' || b == 0x7f {
			return errChunk
		}
	case b == ';' && c.digits > 0:
		c.state = inExtension
	case (b == ' ' || b == '\t') && c.digits > 0:
		c.state = beforeExtension
	case c.state == beforeExtension:
		return errChunk
	default:
		digit, ok := hex(b)
		if c.digits++; !ok || c.digits > 15 { // below 2^60: nothing overflows
			return errChunk
		}
		c.size = c.size<<4 | uint64(digit)
	}
	return nil
}

func hex(b byte) (byte, bool) {
	switch {
	case b >= '0' && b <= '9':
		return b - '0', true
	case b >= 'a' && b <= 'f':
		return b - 'a' + 10, true
	case b >= 'A' && b <= 'F':
		return b - 'A' + 10, true
	}
	return 0, false
}

// begin is after a size line. Framing that costs much more than it carries is
// refused, as net/http does.
func (c *chunks) begin() error {
	if c.size == 0 {
		c.state = inTrailer
		return nil
	}
	c.left, c.state = c.size, inData
	c.overhead = max(0, c.overhead+int64(c.line)+1-16-2*int64(min(c.size, 1<<40)))
	if c.overhead > maxOverhead {
		return malformed("its chunks hold more framing than data")
	}
	return nil
}

func (c *chunks) trailer(b byte) error {
	c.trailers = append(c.trailers, b)
	n := len(c.trailers)
	switch {
	case n > maxTrailers:
		return malformed("its trailers are longer than %d bytes", maxTrailers)
	case b != '\n':
	case n < 2 || c.trailers[n-2] != '\r':
		return malformed("a line of its trailers ends without CR")
	case n == 2, c.trailers[n-3] == '\n':
		c.state = whole
	}
	return nil
}

// fields returns the trailer section. Fields that may not stand there
// (RFC 9110 6.5.1) are dropped.
func (c *chunks) fields() (http.Header, error) {
	if len(c.trailers) <= 2 {
		return nil, nil
	}
	h := http.Header{}
	for rest := c.trailers; len(rest) > 2; {
		end := 0
		for rest[end] != '\n' {
			end++
		}
		line := rest[:end-1]
		rest = rest[end+1:]
		if err := checkLine(line, false); err != nil {
			return nil, err
		}
		text := string(line)
		for i := range len(text) {
			if text[i] == ':' {
				if name := text[:i]; httpguts.ValidTrailerHeader(name) {
					h[name] = append(h[name], trim(text[i+1:]))
				}
				break
			}
		}
	}
	return h, nil
}
