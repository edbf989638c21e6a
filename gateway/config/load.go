package config

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"math"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Problem is one thing that is wrong with a file, at its place.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Message string `json:"message"`
}

// Error is the form that editors and people jump to.
func (p Problem) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
}

// Problems is everything that is wrong with a file, in the file's order.
type Problems []Problem

// Error says each problem on a line of its own.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, one := range p {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// A Rule is one that this package cannot hold itself, because it rests on what
// config must not know. It is asked of a whole file.
type Rule func(*File) []Fault

// A Fault is what a Rule finds wrong with a file.
type Fault struct {
	Path    []any // keys and indexes that lead to the value
	Message string
	Beside  []any // the other one, of two that exclude each other; nil: there is none
}

// Load reads a file with the variables of the environment, holds it to our own
// rules and more, and returns beside it the text that it was read from. The error
// is always Problems.
func Load(path string, more ...Rule) (*File, []byte, error) {
	src, err := read(path)
	if err != nil {
		return nil, nil, Problems{{File: path, Line: 1, Column: 1, Message: err.Error()}}
	}
	file, err := Parse(path, src, os.LookupEnv, more...)
	return file, src, err
}

// largest is more than a hundred thousand routes take.
const largest = 32 << 20

func read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() { // opening a pipe would wait for whoever writes to it
		err = fmt.Errorf("%s is no regular file", path)
	}
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	src, err := io.ReadAll(io.LimitReader(f, largest+1))
	if err == nil && len(src) > largest {
		err = fmt.Errorf("the file is larger than %d MiB", largest>>20)
	}
	return src, err
}

// Parse reads src, which name stands for in problems. A nil error means that
// the File is whole, valid, and has its defaults.
func Parse(name string, src []byte, env func(string) (string, bool), more ...Rule) (*File, error) {
	d := &decoder{name: name, env: env, given: map[any]*yaml.Node{}, unreadable: map[*yaml.Node]bool{}, unsound: map[*yaml.Node]bool{}}
	file := &File{}
	docs, err := documents(src)
	if err != nil {
		text := strings.TrimPrefix(err.Error(), "yaml: ")
		if _, rest, ok := strings.Cut(text, ": "); ok && strings.HasPrefix(text, "line ") {
			text = rest
		}
		return nil, Problems{{File: name, Line: firstBad(src), Column: 1, Message: "not valid YAML: " + text}}
	}
	if len(docs) == 0 || len(docs[0].Content) == 0 {
		return nil, Problems{{File: name, Line: 1, Column: 1, Message: "the file is empty; the least is version, listen, services and routes"}}
	}
	root := docs[0].Content[0]
	d.value(root, reflect.ValueOf(file).Elem(), "file", 0)
	v := &validator{decoder: d, file: file, root: root}
	v.defaults()
	v.validate()
	for _, rule := range more {
		v.ask(rule)
	}
	if len(docs) > 1 {
		d.reject(docs[1], "a second document begins here, and a file may have one; take the --- away")
	}
	if len(d.problems) > 0 {
		slices.SortStableFunc(d.problems, func(a, b Problem) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
		})
		return nil, d.problems
	}
	return file, nil
}

// documents parses all YAML documents of src.
func documents(src []byte) (docs []*yaml.Node, err error) {
	for y := yaml.NewDecoder(bytes.NewReader(src)); ; {
		doc := new(yaml.Node)
		if err := y.Decode(doc); err == io.EOF {
			return docs, nil
		} else if err != nil {
			return nil, err
		}
		docs = append(docs, doc)
	}
}

// firstBad is the line at which src stops being YAML. The parser often names an
// earlier one, or none, so it is asked for the most lines that it takes, from the
// last that it read on upwards.
func firstBad(src []byte) int {
	lines := bytes.SplitAfter(src, []byte("\n"))
	in := &byLine{lines: lines}
	for y := yaml.NewDecoder(in); y.Decode(new(yaml.Node)) == nil; {
	}
	end := 0
	for _, line := range lines[:in.read] {
		end += len(line)
	}
	for n, budget := in.read, 2<<20; n > 0 && budget > 0; n-- { // bytes: each try costs as much as the file
		end -= len(lines[n-1])
		budget -= end
		if _, err := documents(src[:end]); err == nil {
			return n
		}
	}
	return max(in.read, 1)
}

// byLine gives one line at a time, and counts them.
type byLine struct {
	lines [][]byte
	read  int // lines that were asked for
	rest  []byte
}

// Read is io.Reader's.
func (r *byLine) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		if r.read == len(r.lines) {
			return 0, io.EOF
		}
		r.rest = r.lines[r.read]
		r.read++
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// decoder fills the types from YAML nodes, strictly. It is written here and not
// left to the YAML library, whose errors have no column and stop at the first.
type decoder struct {
	name       string
	env        func(string) (string, bool)
	problems   Problems
	unreadable map[*yaml.Node]bool // values, and what has an unknown key: no rule is asked of them
	unsound    map[*yaml.Node]bool // something in them is unreadable
	given      map[any]*yaml.Node  // by address of a field: where the file gives it
}

// reject notes a problem. Of what could not be read nothing else is said: it would
// follow from that.
func (d *decoder) reject(n *yaml.Node, format string, args ...any) {
	if d.unreadable[aliased(n)] {
		return
	}
	d.problems = append(d.problems, Problem{d.name, max(n.Line, 1), max(n.Column, 1), fmt.Sprintf(format, args...)})
}

// misshapen rejects what is no mapping or list that the file may have.
func (d *decoder) misshapen(n *yaml.Node, format string, args ...any) {
	d.reject(n, format, args...)
	d.unreadable[n] = true
}

// stray rejects a key of n that nobody knows: it may stand for one that n lacks.
func (d *decoder) stray(n, key *yaml.Node, format string, args ...any) {
	d.reject(key, format, args...)
	d.unreadable[key], d.unreadable[n] = true, true
}

// aliased is what n stands for.
func aliased(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	prefixType   = reflect.TypeFor[netip.Prefix]()
	shareType    = reflect.TypeFor[Share]()
	serviceType  = reflect.TypeFor[Service]()
)

const deepest = 32 // no file of this format is deeper: an alias bomb is

func (d *decoder) value(n *yaml.Node, v reflect.Value, what string, depth int) {
	if depth > deepest {
		d.misshapen(n, "%s is nested too deeply", what)
		return
	}
	n = aliased(n)
	before := len(d.problems)
	defer func() { d.unsound[n] = d.unsound[n] || len(d.problems) > before }()
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return
	}
	if v.CanAddr() && v.Kind() != reflect.Struct {
		d.given[v.Addr().Interface()] = n
	}
	switch {
	case v.Type() == durationType, v.Type() == prefixType, v.Kind() == reflect.String, v.Kind() == reflect.Bool, v.Kind() == reflect.Int, v.Kind() == reflect.Int64, v.Kind() == reflect.Float64:
		if n.Kind != yaml.ScalarNode {
			d.misshapen(n, "%s must be %s, not a %s", what, kindName(v.Type()), nodeName(n))
			break
		}
		if text, ok := d.expand(n); ok && text != "" {
			d.scalar(n, text, v, what)
		} else if ok && v.CanAddr() { // as if the file did not give it
			delete(d.given, v.Addr().Interface())
		}
		d.unreadable[n] = d.unreadable[n] || len(d.problems) > before
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, v.Elem(), what, depth+1)
	case v.Kind() == reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			d.misshapen(n, "%s must be a list, not a %s", what, nodeName(n))
			break
		}
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
		for i, item := range n.Content {
			d.value(item, v.Index(i), fmt.Sprintf("%s[%d]", what, i), depth+1)
		}
	case v.Kind() == reflect.Map:
		d.mapping(n, v, what, depth)
	case v.Kind() == reflect.Struct:
		d.structure(n, v, what, depth)
	}
}

// YAML 1.1's merging of mappings, which would hide from the reader what a key says.
const (
	merging = "!!merge"
	noMerge = "%s has a merge key (<<), which is not read: write the keys out, or name a whole mapping by an alias"
)

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, what string, depth int) {
	if n.Kind != yaml.MappingNode {
		d.misshapen(n, "%s must be a mapping, not a %s", what, nodeName(n))
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].ShortTag() == merging {
			d.stray(n, n.Content[i], noMerge, what)
			continue
		}
		key := reflect.ValueOf(n.Content[i].Value)
		if v.MapIndex(key).IsValid() {
			d.reject(n.Content[i], "%q is given twice in %s", n.Content[i].Value, what)
			continue
		}
		item := reflect.New(v.Type().Elem()).Elem()
		if item.Type() == serviceType {
			item.Set(reflect.ValueOf(defaultService())) // what the file says, a zero too, stands above it
		}
		d.value(n.Content[i+1], item, what+"."+n.Content[i].Value, depth+1)
		v.SetMapIndex(key, item)
	}
}

func (d *decoder) structure(n *yaml.Node, v reflect.Value, what string, depth int) {
	if n.Kind == yaml.ScalarNode {
		switch v.Type() {
		case reflect.TypeFor[Target](): // its URL alone
			d.value(n, v.FieldByName("URL"), what, depth+1)
			return
		case reflect.TypeFor[Health](): // "health: off"
			switch text, ok := d.expand(n); {
			case ok && (text == "off" || text == "false"):
				v.FieldByName("Off").SetBool(true)
				return
			case !ok || text == "": // as if the file did not give it
				return
			}
		}
	}
	if n.Kind != yaml.MappingNode {
		d.misshapen(n, "%s must be a mapping, not a %s", what, nodeName(n))
		return
	}
	var keys []string
	fields := map[string]int{}
	for i := range v.NumField() {
		key := v.Type().Field(i).Tag.Get("yaml")
		keys, fields[key] = append(keys, key), i
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		at, known := fields[key.Value]
		switch {
		case key.ShortTag() == merging:
			d.stray(n, key, noMerge, what)
		case !known:
			d.stray(n, key, "unknown key %q in %s%s", key.Value, what, hint(key.Value, keys))
		case seen[key.Value]:
			d.reject(key, "%q is given twice in %s", key.Value, what)
		default:
			seen[key.Value] = true
			d.value(n.Content[i+1], v.Field(at), strings.TrimPrefix(what+"."+key.Value, "file."), depth+1)
		}
	}
}

// expand puts variables into a scalar, after parsing: a value can never become
// YAML of its own. $$ is a dollar sign.
func (d *decoder) expand(n *yaml.Node) (string, bool) {
	var out strings.Builder
	ok := true
	for s := n.Value; ; {
		before, rest, found := strings.Cut(s, "$")
		out.WriteString(before)
		if !found {
			return out.String(), ok
		}
		switch {
		case strings.HasPrefix(rest, "$"):
			out.WriteByte('$')
			s = rest[1:]
		case strings.HasPrefix(rest, "{"):
			inner, after, closed := strings.Cut(rest[1:], "}")
			if !closed {
				d.reject(n, "%q has no closing brace", n.Value)
				return "", false
			}
			name, fallback, hasDefault := strings.Cut(inner, ":-")
			if strings.Contains(fallback, "${") {
				d.reject(n, "%q: a default cannot hold another variable", n.Value)
				return "", false
			}
			value, set := d.env(name)
			switch {
			case set && value != "":
			case hasDefault:
				value = fallback
			case !set:
				d.reject(n, "variable %s is not set; set it, or write ${%s:-default}", name, name)
				ok = false
			}
			out.WriteString(value)
			s = after
		default:
			out.WriteByte('$')
			s = rest
		}
	}
}

func (d *decoder) scalar(n *yaml.Node, text string, v reflect.Value, what string) {
	bad := func() { d.reject(n, "%s: %q is not %s", what, text, kindName(v.Type())) }
	switch {
	case v.Type() == durationType:
		if value, err := time.ParseDuration(text); err != nil || value < 0 {
			bad()
		} else {
			v.SetInt(int64(value))
		}
	case v.Type() == prefixType:
		if p, err := netip.ParsePrefix(text); err == nil {
			v.Set(reflect.ValueOf(p.Masked()))
		} else if a, err := netip.ParseAddr(text); err == nil {
			v.Set(reflect.ValueOf(netip.PrefixFrom(a, a.BitLen())))
		} else {
			bad()
		}
	case v.Kind() == reflect.String:
		v.SetString(text)
	case v.Kind() == reflect.Bool:
		switch text {
		case "true", "on", "yes":
			v.SetBool(true)
		case "false", "off", "no":
		default:
			bad()
		}
	case v.Kind() == reflect.Int:
		if value, err := strconv.Atoi(text); err != nil {
			bad()
		} else {
			v.SetInt(int64(value))
		}
	case v.Kind() == reflect.Int64:
		if value, ok := size(text); !ok {
			bad()
		} else {
			v.SetInt(value)
		}
	case v.Type() == shareType:
		if value, ok := share(text); !ok {
			bad()
		} else {
			v.SetFloat(value)
		}
	case v.Kind() == reflect.Float64:
		if value, err := strconv.ParseFloat(text, 64); err != nil || !(value >= 0) || math.IsInf(value, 0) {
			bad()
		} else {
			v.SetFloat(value)
		}
	}
}

// size reads a number of bytes: 512, 64KiB, 10MiB, 1GiB.
func size(text string) (int64, bool) {
	unit := int64(1)
	for suffix, factor := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if number, ok := strings.CutSuffix(text, suffix); ok {
			text, unit = number, factor
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	return n * unit, err == nil && n >= 0 && n < 1<<62/unit
}

// share reads 20% or 0.2.
func share(text string) (float64, bool) {
	number, percent := strings.CutSuffix(text, "%")
	f, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if percent {
		f /= 100
	}
	return f, err == nil && f >= 0 && f <= 1 // NaN is neither
}

func kindName(t reflect.Type) string {
	switch {
	case t == durationType:
		return "a duration such as 30s"
	case t == prefixType:
		return "an address or prefix such as 10.0.0.0/8"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Int:
		return "a whole number"
	case t.Kind() == reflect.Int64:
		return "a size such as 10MiB"
	case t == shareType:
		return "a share such as 20%"
	case t.Kind() == reflect.Float64:
		return "a number such as 1.5"
	}
	return "a string"
}

func nodeName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "mapping"
	case yaml.SequenceNode:
		return "list"
	}
	return "single value"
}

// hint names the key that was probably meant, or all of them.
func hint(key string, keys []string) string {
	best, least := "", 3
	for _, k := range keys {
		if n := distance(key, k); n < least {
			best, least = k, n
		}
	}
	if best != "" {
		return fmt.Sprintf("; did you mean %q?", best)
	}
	return "; it takes " + strings.Join(keys, ", ")
}

// distance is Levenshtein's.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = min(diagonal, row[j], row[j+1]) + 1
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
