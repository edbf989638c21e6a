package transport

// canonical has for each byte of a field name what it becomes in the canonical
// form, at the beginning of a word and inside one; 0: no name holds it
// (RFC 9110 5.6.2).
var canonical = func() (t [2][256]byte) {
	for c := range 256 {
		b := byte(c)
		switch {
		case b >= 'a' && b <= 'z':
			t[0][c], t[1][c] = b-'a'+'A', b
		case b >= 'A' && b <= 'Z':
			t[0][c], t[1][c] = b, b-'A'+'a'
		case b >= '0' && b <= '9':
			t[0][c], t[1][c] = b, b
		}
	}
	for _, b := range []byte("!#$%&'*+-.^_`|~") {
		t[0][b], t[1][b] = b, b
	}
	return t
}()

// canonicalize makes a field name canonical where it is, and tells whether it is
// one.
func canonicalize(name []byte) bool {
	table := &canonical[0]
	for i, c := range name {
		to := table[c]
		if to == 0 {
			return false
		}
		name[i] = to
		table = &canonical[1]
		if c == '-' {
			table = &canonical[0]
		}
	}
	return len(name) > 0
}

func isToken(s string) bool {
	for i := range len(s) {
		if canonical[0][s[i]] == 0 {
			return false
		}
	}
	return s != ""
}

// isFieldValue tells whether v may stand in a field: no control byte but the tab
// (RFC 9110 5.5).
func isFieldValue(v []byte) bool {
	for _, c := range v {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// visible tells whether v holds only bytes that can be seen, or are beyond ASCII.
func visible(v []byte) bool {
	for _, c := range v {
		if c <= ' ' || c == 0x7f {
			return false
		}
	}
	return true
}
