package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
)

// directly is the size from which a read goes into the reader's own memory.
const directly = 1 << 10

// Read reads the answer's body. With its last bytes comes io.EOF.
func (x *exchange) Read(p []byte) (int, error) {
	x.reading.Lock()
	defer x.reading.Unlock()
	if x.over != nil {
		return 0, x.over
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := 0, error(nil)
	if x.chunks != nil {
		n, err = x.readChunks(p)
	} else {
		n, err = x.readPlain(p)
	}
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF):
		x.conclude()
	default:
		err = x.broken(err)
	}
	x.over = err
	return n, err
}

// Buffered is how many bytes have come from the target and wait for Read, which
// does not wait for them. Only the reader may ask.
func (x *exchange) Buffered() int {
	b := x.end - x.at
	if b == 0 || x.chunks == nil || x.chunks.state == inData {
		return b
	}
	// Framing alone is nothing to read.
	line := bytes.IndexByte(x.in.b[x.at:x.end], '\n') + 1
	if x.chunks.state != inSize || line == 0 {
		return 0
	}
	return b - line
}

func (x *exchange) readPlain(p []byte) (n int, err error) {
	if x.length >= 0 && int64(len(p)) > x.length {
		p = p[:x.length]
	}
	if x.at < x.end {
		n = copy(p, x.in.b[x.at:x.end])
		x.at += n
	} else {
		n, err = x.c.Read(p)
	}
	if x.length < 0 {
		return n, err
	}
	x.length -= int64(n)
	switch {
	case x.length == 0:
		return n, io.EOF
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (x *exchange) readChunks(p []byte) (int, error) {
	for {
		n, err := x.decode(p)
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// decode reads once where nothing is at hand, and decodes what there is: into p,
// and where p is large, in place.
func (x *exchange) decode(p []byte) (int, error) {
	src, mine := x.in.b[x.at:x.end], true
	var readErr error
	if x.at == x.end {
		x.at, x.end = 0, 0
		into := x.in.b
		if mine = len(p) < directly; !mine {
			into = p
		}
		n, err := x.c.Read(into)
		src, readErr = into[:n], err
		if mine {
			x.end = n
		}
	}
	n, taken, err := x.chunks.decode(p, src)
	if mine {
		x.at += taken
	} else if taken < len(src) { // beyond the body
		x.keep = false
	}
	switch {
	case err != nil:
		return n, err
	case x.chunks.state == whole:
		return n, x.endChunks()
	case readErr != nil && errors.Is(readErr, io.EOF):
		return n, io.ErrUnexpectedEOF
	}
	return n, readErr
}

func (x *exchange) endChunks() error {
	trailer, err := x.chunks.fields()
	if err != nil {
		return err
	}
	if x.res.Trailer == nil {
		x.res.Trailer = trailer
	} else {
		for name, values := range trailer {
			x.res.Trailer[name] = values
		}
	}
	return io.EOF
}

// broken ends an exchange whose answer is not whole.
func (x *exchange) broken(err error) error {
	x.finish(false)
	giveBack(x.in)
	x.in = nil
	if ctx := x.r.Context(); ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var body *BodyError
	if sent := x.sender.failure(); errors.As(sent, &body) {
		return sent
	}
	return err
}

// Close ends the exchange. An answer that was not read to its end costs the
// connection: to read the rest could take for ever. It wakes a Read under way.
func (x *exchange) Close() error {
	x.finish(false)
	if x.reading.TryLock() {
		if x.over == nil {
			x.over = http.ErrBodyReadAfterClose
		}
		giveBack(x.in)
		x.in = nil
		x.reading.Unlock()
	}
	return nil
}
