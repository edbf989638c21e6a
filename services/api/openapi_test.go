package main

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"pomodoro.cc/services/internal/testbed"
)

// described is openapi.json with its schemas compiled as they are needed.
type described struct {
	doc map[string]any

	mu       sync.Mutex // guards compiler and schemas: it is shared by all visitors
	compiler *jsonschema.Compiler
	schemas  map[string]*jsonschema.Schema
}

// description is the document that every answer of every test is held against.
var description = sync.OnceValue(func() *described {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(openAPIDocument))
	if err != nil {
		panic(err)
	}
	d := &described{doc: doc.(map[string]any), compiler: jsonschema.NewCompiler(), schemas: map[string]*jsonschema.Schema{}}
	d.compiler.DefaultDraft(jsonschema.Draft2020)
	d.compiler.AssertFormat()
	if err := d.compiler.AddResource("openapi.json", doc); err != nil {
		panic(err)
	}
	return d
})

// at returns the value behind names, following references, and where it is.
func (d *described) at(names ...string) (value map[string]any, pointer string) {
	var now any = d.doc
	for _, name := range names {
		object, _ := now.(map[string]any)
		if now = object[name]; now == nil {
			return nil, ""
		}
		pointer += "/" + strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
		if object, _ := now.(map[string]any); object["$ref"] != nil {
			target := strings.TrimPrefix(object["$ref"].(string), "#/")
			return d.at(append(strings.Split(target, "/"), names[slices.Index(names, name)+1:]...)...)
		}
	}
	value, _ = now.(map[string]any)
	return value, pointer
}

func (d *described) schema(pointer string) (*jsonschema.Schema, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s, compiled := d.schemas[pointer]; compiled {
		return s, nil
	}
	s, err := d.compiler.Compile("openapi.json#" + pointer)
	d.schemas[pointer] = s
	return s, err
}

var parameter = regexp.MustCompile(`\{[a-z]+\}`)

// template finds the path of the document that an address is of.
func (d *described) template(address string) string {
	paths := d.doc["paths"].(map[string]any)
	if _, plain := paths[address]; plain {
		return address
	}
	for path := range paths {
		if regexp.MustCompile("^" + parameter.ReplaceAllString(path, "[^/]+") + "$").MatchString(address) {
			return path
		}
	}
	return ""
}

// agrees says what the document does not say about an answer.
func (d *described) agrees(method, address string, status int, header http.Header, body []byte) error {
	path := d.template(address)
	if path == "" {
		if status != http.StatusNotFound {
			return fmt.Errorf("%s is not in openapi.json", address)
		}
		return nil
	}
	if d.doc["paths"].(map[string]any)[path].(map[string]any)[strings.ToLower(method)] == nil && status == http.StatusMethodNotAllowed {
		return nil
	}
	names := []string{"paths", path, strings.ToLower(method), "responses", strconv.Itoa(status)}
	response, _ := d.at(names...)
	if response == nil {
		return fmt.Errorf("openapi.json has no %d for %s %s", status, method, path)
	}
	headers, _ := response["headers"].(map[string]any)
	for name := range headers {
		if header.Get(name) == "" {
			return fmt.Errorf("%d for %s %s has no header %s", status, method, path, name)
		}
	}
	content, _ := response["content"].(map[string]any)
	kind, _, _ := strings.Cut(header.Get("Content-Type"), ";")
	if content == nil {
		if status != http.StatusFound && len(body) > 0 {
			return fmt.Errorf("%d for %s %s has a body", status, method, path)
		}
		return nil
	}
	_, pointer := d.at(append(names, "content", kind, "schema")...)
	if pointer == "" {
		return fmt.Errorf("%d for %s %s is %q", status, method, path, kind)
	}
	if !strings.HasSuffix(kind, "json") {
		return nil
	}
	schema, err := d.schema(pointer)
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err == nil {
		err = schema.Validate(value)
	}
	if err != nil {
		return fmt.Errorf("%d for %s %s: %w\n%s", status, method, path, err, body)
	}
	return nil
}

// operations are the methods and paths of the document.
func (d *described) operations() []string {
	var all []string
	for path, item := range d.doc["paths"].(map[string]any) {
		for method := range item.(map[string]any) {
			if method != "parameters" {
				all = append(all, strings.ToUpper(method)+" "+path)
			}
		}
	}
	slices.Sort(all)
	return all
}

func TestOpenAPI_HasEveryRouteAndNoOther(t *testing.T) {
	var routes []string
	a := newAPI(settings{fakeLogin: true}, nil, nil, nil)
	for path, answers := range a.routes() {
		for method := range answers {
			routes = append(routes, method+" "+path)
		}
	}
	slices.Sort(routes)
	if got := description().operations(); !slices.Equal(got, routes) {
		t.Errorf("openapi.json has\n%s\nthe api has\n%s", strings.Join(got, "\n"), strings.Join(routes, "\n"))
	}
}

// unmet are the answers that no small scene brings about: other tests do.
var unmet = regexp.MustCompile(`^(101|413|429|503|405) `)

func TestOpenAPI_EveryAnswerThatItNamesIsGiven(t *testing.T) {
	onEachPairWithOAuth(t, func(t *testing.T, s *site, _, _ *authority, _ *testbed.Output) {
		given := map[string]bool{}
		v := visit(t, s.url, "ann")
		v.seen = func(method, path string, status int) { given[fmt.Sprint(status, " ", method, " ", path)] = true }
		everyAnswer(t, s, v)
		bare := visit(t, serveOn(t, s.api.docs, s.api.live).url, "")
		bare.seen = v.seen
		for _, name := range providerNames {
			bare.says("GET", "/auth/"+name, ``, 404)
			bare.says("GET", "/auth/"+name+"/callback", ``, 404)
		}
		for _, operation := range description().operations() {
			method, path, _ := strings.Cut(operation, " ")
			responses, _ := description().at("paths", path, strings.ToLower(method), "responses")
			for _, status := range slices.Sorted(maps.Keys(responses)) {
				if name := status + " " + operation; !given[name] && !unmet.MatchString(name) {
					t.Errorf("never given: %s", name)
				}
			}
		}
	})
}

// everyAnswer asks for each status of each operation once. What is answered is
// held against the document by the visitor.
func everyAnswer(t *testing.T, s *site, v *visitor) {
	stranger := visit(t, s.url, "")
	stranger.seen = v.seen
	nothing := "/" + strings.Repeat("A", 26)
	foreign := []string{"Sec-Fetch-Site", "cross-site"}
	text := []string{"Content-Type", "text/plain"}
	for _, path := range []string{"/api/pomodoro", "/api/todos"} {
		made := entry("2026-03-01T10:00:00Z")
		if path == "/api/todos" {
			made = `{"text":"a"}`
		}
		at := path + "/" + v.says("POST", path, made, 201)["id"].(string)
		v.says("POST", path, `{`, 400)
		v.says("POST", path, made, 403, foreign...)
		v.says("POST", path, made, 415, text...)
		v.says("POST", path, `{}`, 422)
		v.says("GET", path, ``, 200)
		v.says("GET", at, ``, 200)
		v.says("GET", path+nothing, ``, 404)
		v.says("PATCH", at, `{}`, 200)
		v.says("PATCH", at, `[]`, 400)
		v.says("PATCH", at, `{}`, 403, foreign...)
		v.says("PATCH", path+nothing, `{}`, 404)
		v.says("PATCH", at, `{}`, 415, text...)
		v.says("PATCH", at, `{"x":1}`, 422)
		v.says("DELETE", at, ``, 403, foreign...)
		v.says("DELETE", path+nothing, ``, 404)
		for method, address := range map[string]string{"POST": path, "GET": path} {
			stranger.says(method, address, ``, 401)
		}
		for _, method := range []string{"GET", "PATCH", "DELETE"} {
			stranger.says(method, at, ``, 401)
		}
		if path == "/api/pomodoro" {
			v.says("POST", path, made, 409)
			v.says("POST", path, entry("2026-03-01T12:00:00Z"), 201)
			v.says("PATCH", at, `{"startedAt":"2026-03-01T12:00:00Z"}`, 409)
			v.says("GET", path+"?limit=x", ``, 422)
		}
		v.says("DELETE", at, ``, 204)
	}
	timer := `{"type":"break","minutes":5,"startedAt":"2026-03-01T10:00:00Z","tags":["a"],"distractions":["2026-03-01T10:01:00Z"]}`
	v.says("PUT", "/api/timer", timer, 200)
	v.says("PUT", "/api/timer", `7`, 400)
	v.says("PUT", "/api/timer", timer, 403, foreign...)
	v.says("PUT", "/api/timer", timer, 415, text...)
	v.says("PUT", "/api/timer", `{}`, 422)
	v.says("GET", "/api/timer", ``, 200)
	stranger.says("PUT", "/api/timer", ``, 401)
	v.says("GET", "/api/statistics?from=2026-03-01&to=2026-03-02", ``, 200)
	v.says("GET", "/api/statistics", ``, 422)
	v.says("GET", "/api/export", ``, 200)
	v.says("HEAD", "/api/events", ``, 200)
	v.seen("GET", "/api/events", 200) // a stream has no end to wait for here
	for _, path := range []string{"/api/timer", "/api/statistics", "/api/export", "/api/events", "/auth/info"} {
		stranger.says("GET", path, ``, 401)
	}
	v.says("GET", "/api/team/a", ``, 403, "Upgrade", "websocket", "Origin", "https://evil.test")
	v.says("GET", "/api/team/A", ``, 404)
	v.says("GET", "/api/team/a", ``, 426)
	v.says("GET", "/api/openapi.json", ``, 200)
	v.says("GET", "/auth/info", ``, 200)
	v.says("GET", "/auth/providers", ``, 200)
	v.says("POST", "/auth/apikey", ``, 201)
	v.says("POST", "/auth/apikey", ``, 403, foreign...)
	stranger.says("POST", "/auth/apikey", ``, 401)
	stranger.says("GET", "/auth/fake?user="+strings.Repeat("x", 65), ``, 400)
	stranger.says("GET", "/auth/fake", ``, 302)
	for _, p := range s.api.providers {
		v.says("GET", "/auth/"+p.name, ``, 302)
		v.says("GET", "/auth/"+p.name+"/callback", ``, 302)
	}
	v.says("POST", "/auth/logout", ``, 403, foreign...)
	v.says("POST", "/auth/logout", ``, 204)
}

func TestOpenAPI_EventsAndRoomsAreAsItSays(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "ann")
		l := v.listen("")
		l.next()
		id := v.says("POST", "/api/pomodoro", entry("2026-03-01T10:00:00Z"), 201)["id"].(string)
		v.says("DELETE", "/api/pomodoro/"+id, "", 204)
		v.says("POST", "/api/todos", `{"text":"a"}`, 201)
		v.says("PUT", "/api/timer", `{"type":"break","minutes":5,"startedAt":"2026-03-01T10:00:00Z"}`, 200)
		for range 4 {
			is(t, "Change", []byte(l.next().data))
		}
		g := join(t, s.url, "described")
		g.sees("itself", present("guest"))
		for _, message := range []string{`{"type":"hello","name":"x"}`, `{"type":"start","kind":"break","minutes":5}`, `{"type":"stop"}`} {
			is(t, "Saying", []byte(message))
			g.says(message)
			_, raw, err := g.conn.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			is(t, "Room", raw)
		}
	})
}

// is checks a document against a schema of the components.
func is(t *testing.T, name string, raw []byte) {
	t.Helper()
	schema, err := description().schema("/components/schemas/" + name)
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err == nil {
		err = schema.Validate(value)
	}
	if err != nil {
		t.Errorf("%s: %v\n%s", name, err, raw)
	}
}
