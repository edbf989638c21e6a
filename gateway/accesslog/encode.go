package accesslog

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// The most bytes that are taken of a string. One that is longer ends in "…".
const (
	maxText = 4 << 10 // path and user agent
	maxName = 256     // everything else
)

const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// appendEntry appends e as one JSON object and a newline. The keys are always
// the same ones in the same order.
func appendEntry(b []byte, e *Entry) []byte {
	b = append(b, `{"time":"`...)
	b = e.Time.UTC().AppendFormat(b, timeFormat)
	b = appendString(append(b, `","request_id":`...), e.RequestID, maxName)
	b = appendString(append(b, `,"trace_id":`...), e.TraceID, maxName)
	b = appendString(append(b, `,"client_ip":`...), e.ClientIP, maxName)
	b = appendString(append(b, `,"peer_ip":`...), e.PeerIP, maxName)
	b = appendString(append(b, `,"method":`...), e.Method, maxName)
	b = appendString(append(b, `,"host":`...), e.Host, maxName)
	b = appendString(append(b, `,"path":`...), e.Path, maxText)
	b = appendString(append(b, `,"protocol":`...), e.Protocol, maxName)
	b = strconv.AppendInt(append(b, `,"status":`...), int64(e.Status), 10)
	b = strconv.AppendInt(append(b, `,"bytes_in":`...), e.BytesIn, 10)
	b = strconv.AppendInt(append(b, `,"bytes_out":`...), e.BytesOut, 10)
	b = appendSeconds(append(b, `,"duration_seconds":`...), e.Duration)
	b = appendSeconds(append(b, `,"upstream_duration_seconds":`...), e.UpstreamDuration)
	b = appendString(append(b, `,"route":`...), e.Route, maxName)
	b = appendString(append(b, `,"service":`...), e.Service, maxName)
	b = appendString(append(b, `,"version":`...), e.Version, maxName)
	b = appendString(append(b, `,"target":`...), e.Target, maxName)
	b = strconv.AppendInt(append(b, `,"attempts":`...), int64(e.Attempts), 10)
	b = strconv.AppendBool(append(b, `,"held":`...), e.Held)
	b = appendString(append(b, `,"reason":`...), e.Reason, maxName)
	b = appendString(append(b, `,"user_agent":`...), e.UserAgent, maxText)
	return append(b, "}\n"...)
}

func appendSeconds(b []byte, d time.Duration) []byte {
	return strconv.AppendFloat(b, d.Seconds(), 'f', 6, 64)
}

// appendString appends s as a JSON string of at most limit bytes of s. Bytes
// that are no UTF-8 become U+FFFD. Besides what JSON demands it escapes what
// could steer the terminal of someone who reads the log: C1 controls, line
// separators and changes of writing direction.
func appendString(b []byte, s string, limit int) []byte {
	s, cut := shorten(s, limit)
	b = append(b, '"')
	done := 0 // s[:done] is in b
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= 0x20 && c != '"' && c != '\\' && c != 0x7f {
				i++
				continue
			}
			b = append(b, s[done:i]...)
			if c == '"' || c == '\\' {
				b = append(b, '\\', c)
			} else {
				b = appendEscape(b, rune(c))
			}
			i++
			done = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			b = append(b, s[done:i]...)
			b = append(b, "\uFFFD"...)
			done = i + size
		case r <= 0x9f || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069:
			b = append(b, s[done:i]...)
			b = appendEscape(b, r)
			done = i + size
		}
		i += size
	}
	b = append(b, s[done:]...)
	if cut {
		b = append(b, "…"...)
	}
	return append(b, '"')
}

// appendEscape appends r, which is below U+10000, as \uXXXX.
func appendEscape(b []byte, r rune) []byte {
	const hex = "0123456789abcdef"
	return append(b, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}

// shorten cuts s to limit bytes, at the start of a rune where there is one.
func shorten(s string, limit int) (short string, cut bool) {
	if len(s) <= limit {
		return s, false
	}
	end := limit
	for end > limit-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end], true
}
