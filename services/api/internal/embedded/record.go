package embedded

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"pomodoro.cc/services/api/internal/store"
)

// entry is a pomodoro as it is kept.
type entry struct {
	store.Pomodoro
	Print []byte `json:"print,omitempty"` // of the request with an Idempotency-Key
}

// A record is what counting needs, and then the entry as JSON: statistics of a
// year read a thousand records, and decoding JSON would be most of the work.
//
//	byte 0     recordVersion
//	byte 1     works, cancelled
//	bytes 2-5  milliseconds that it took
//	byte 6     how many tags, and then each with its length before it
const (
	recordVersion = 1
	works         = 1 << 0
	cancelled     = 1 << 1
	headSize      = 7
)

var errRecord = errors.New("a record is damaged")

func encode(e entry) ([]byte, error) {
	var flags byte
	if e.Works() {
		flags |= works
	}
	if e.CancelledAt != nil {
		flags |= cancelled
	}
	raw := append(make([]byte, 0, 512), recordVersion, flags)
	raw = binary.BigEndian.AppendUint32(raw, uint32(e.End().Sub(e.StartedAt).Milliseconds()))
	raw = append(raw, byte(len(e.Tags)))
	for _, tag := range e.Tags {
		raw = append(append(raw, byte(len(tag))), tag...)
	}
	doc, err := json.Marshal(e)
	return append(raw, doc...), err
}

// facts are what counting needs. The tags are parts of the record.
type facts struct {
	works, cancelled bool
	took             time.Duration
	tags             [][]byte
}

// split takes a record apart. Tags are appended to room, which a caller that
// reads many can give again.
func split(raw []byte, room [][]byte) (f facts, doc []byte, err error) {
	if len(raw) < headSize || raw[0] != recordVersion {
		return f, nil, errRecord
	}
	f = facts{
		works: raw[1]&works != 0, cancelled: raw[1]&cancelled != 0,
		took: time.Duration(binary.BigEndian.Uint32(raw[2:])) * time.Millisecond, tags: room,
	}
	doc = raw[headSize:]
	for range raw[6] {
		if len(doc) == 0 || len(doc) <= int(doc[0]) {
			return f, nil, errRecord
		}
		f.tags = append(f.tags, doc[1:1+doc[0]])
		doc = doc[1+doc[0]:]
	}
	return f, doc, nil
}

// decode reads the entry of a record.
func decode(raw []byte) (e entry, err error) {
	_, doc, err := split(raw, nil)
	if err == nil {
		err = json.Unmarshal(doc, &e)
	}
	if err != nil {
		return e, fmt.Errorf("read a record of %d bytes: %w", len(raw), err)
	}
	return e, nil
}
