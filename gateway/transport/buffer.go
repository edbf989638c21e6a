package transport

import "sync"

// buffer is memory lent to one exchange while bytes move.
type buffer struct{ b []byte }

const (
	lentSmall = 8 << 10  // a head, and most answers with it
	lentLarge = 64 << 10 // bodies on their way to a target
	lentFrame = 16 << 10 // the same by HTTP/2: most frames are no larger
	keptSmall = 32 << 10 // one that grew beyond is left to the collector
)

var (
	small = sync.Pool{New: func() any { return &buffer{make([]byte, lentSmall)} }}
	large = sync.Pool{New: func() any { return &buffer{make([]byte, lentLarge)} }}

	frames = sync.Pool{New: func() any { return &buffer{make([]byte, lentFrame)} }}
)

func giveBack(b *buffer) {
	if b != nil && cap(b.b) <= keptSmall {
		small.Put(b)
	}
}
