package config_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"

	"pomodoro.cc/gateway"
	"pomodoro.cc/gateway/config"
)

func unset(string) (string, bool) { return "", false }

func files(t *testing.T, pattern string) []string {
	t.Helper()
	list, err := filepath.Glob(pattern)
	if err != nil || len(list) == 0 {
		t.Fatalf("%s: %v, %v", pattern, list, err)
	}
	return list
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestLoad_EveryProblemIsSaidAtItsPlace(t *testing.T) {
	for _, path := range files(t, "testdata/bad/*.yaml") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			_, _, err := gateway.Load(path)
			if err == nil {
				t.Fatal("the file was taken")
			}
			got := strings.ReplaceAll("\n"+err.Error(), "\n"+path+":", "\n")[1:]
			if want := strings.TrimSpace(string(read(t, strings.TrimSuffix(path, "yaml")+"want"))); got != want {
				t.Errorf("problems:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func TestLoad_GoodFilesAreTaken(t *testing.T) {
	for _, path := range files(t, "testdata/good/*.yaml") {
		if _, _, err := gateway.Load(path); err != nil {
			t.Error(err)
		}
	}
}

// A rule that no schema can express is in a file that begins with beyond_.
func TestSchema_AgreesWithParse(t *testing.T) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(config.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("routes.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("routes.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(files(t, "testdata/good/*.yaml"), files(t, "testdata/bad/*.yaml")...) {
		var v any
		err := yaml.Unmarshal(read(t, path), &v)
		if err == nil {
			err = schema.Validate(v)
		}
		name := filepath.Base(path)
		if refused := strings.Contains(path, "bad") && !strings.HasPrefix(name, "beyond_"); (err != nil) != refused {
			t.Errorf("%s: the schema says %v", name, err)
		}
	}
}

func TestSchema_HasASentenceForEveryKey(t *testing.T) {
	eachKey(t, func(path string, key map[string]any) {
		if key["description"] == nil {
			t.Errorf("%s has none", path)
		}
	})
}

func TestDocs_RoutesNamesEveryKey(t *testing.T) {
	text := string(read(t, "../../docs/routes.md"))
	eachKey(t, func(path string, _ map[string]any) {
		key := path[strings.LastIndex(path, ".")+1:]
		if !regexp.MustCompile(`\b` + key + `\b`).MatchString(text) {
			t.Errorf("%s is not named", path)
		}
	})
}

// eachKey calls f for every key of the schema with its path.
func eachKey(t *testing.T, f func(path string, key map[string]any)) {
	t.Helper()
	var schema map[string]any
	if err := json.Unmarshal(config.Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	seen := 0
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case []any:
			for _, one := range v {
				walk(path, one)
			}
		case map[string]any:
			properties, _ := v["properties"].(map[string]any)
			for name, key := range properties {
				seen++
				f(path+"."+name, key.(map[string]any))
				walk(path+"."+name, key)
			}
			for _, within := range []string{"items", "additionalProperties", "anyOf"} {
				walk(path, v[within])
			}
		}
	}
	walk("", schema)
	if seen < 90 {
		t.Errorf("%d keys", seen)
	}
}

func TestLoad_APipeIsNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "routes.yaml")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := config.Load(path); err == nil || !strings.Contains(err.Error(), "is no regular file") {
		t.Errorf("%v", err)
	}
}

func TestParse_DefaultsAreThoseOfTheDocumentation(t *testing.T) {
	f, err := config.Parse("least", read(t, "testdata/good/least.yaml"), unset)
	if err != nil {
		t.Fatal(err)
	}
	s := f.Services["app"]
	if s.Health.Interval != time.Second || s.Hold.Requests != 1000 || s.Hold.Body != 1<<20 || s.Balance != "least" || s.Targets[0].Weight != 1 || f.Limits.HeaderBytes != 64<<10 || f.Routes[0].Path != "/" {
		t.Errorf("defaults: %+v", f)
	}
}

func TestParse_AZeroThatTheFileGivesStays(t *testing.T) {
	f, err := config.Parse("f", []byte("version: 1\nlisten: {http: \":80\"}\nservices: {app: {eject: {failures: 0}, hold: {for: 0s}, retry: {budget: 0}, swap: {watch: 0s, slower: 0}}}\nroutes: [{service: app}]\n"), unset)
	if err != nil {
		t.Fatal(err)
	}
	s := f.Services["app"]
	if s.Eject.Failures != 0 || s.Hold.For != 0 || s.Retry.Budget != 0 || s.Swap.Watch != 0 || s.Swap.Slower != 0 || s.Swap.Drain != 30*time.Second {
		t.Errorf("%+v", s)
	}
}

func TestParse_AnEmptyValueIsAsIfItWereNotGiven(t *testing.T) {
	head := "version: 1\nlisten: {http: \":80\", https: \":443\"}\n"
	empty := `state_dir: ${X:-}
access_log: ${X:-}
admin: {socket: "${X:-}"}
tls: {mode: internal, redirect: "${X:-}"}
limits: {header_bytes: "${X:-}"}
stop: {grace: "", lame_duck: }
services: {app: {targets: [{url: http://a:1, weight: "${X:-}"}], balance: "", health: {path: "${X:-}"}}, api: {health: "${X:-}"}}
routes: [{host: "${X:-}", path: "", service: app}]
`
	none := `tls: {mode: internal}
services: {app: {targets: [http://a:1]}, api: {}}
routes: [{service: app}]
`
	got, err := config.Parse("f", []byte(head+empty), unset)
	if err != nil {
		t.Fatal(err)
	}
	want, err := config.Parse("f", []byte(head+none), unset)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestParse_AVariableCannotBecomeYAML(t *testing.T) {
	env := func(string) (string, bool) { return "x, service: other}", true }
	f, err := config.Parse("f", []byte("version: 1\nlisten: {http: \":80\"}\nservices: {app: {}}\nroutes: [{name: \"${N}\", service: app}]\n"), env)
	if err != nil || f.Routes[0].Name != "x, service: other}" || f.Routes[0].Service != "app" {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestCanonical(t *testing.T) {
	for text, want := range map[string]string{
		"http://a:8080":       "http://a:8080",
		"http://a:8080/":      "http://a:8080",
		"HTTP://A.Example":    "http://a.example",
		"http://a:80":         "http://a",
		"http://a:":           "http://a",
		"http://a:443":        "http://a:443",
		"https://a:443/":      "https://a",
		"h2c://a:80":          "h2c://a",
		"http://[::1]:80/":    "http://[::1]",
		"http://[2001:DB8::]": "http://[2001:db8::]",
		"unix:///Run/App":     "unix:///Run/App",
		"http://a/path":       "http://a/path", // is refused as it was written
		"nothing":             "nothing",
	} {
		if got := config.Canonical(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

func TestDocs_EveryExampleOfRoutesLoads(t *testing.T) {
	parts := strings.Split(string(read(t, "../../docs/routes.md")), "```yaml\n")
	if len(parts) < 3 {
		t.Fatal("docs/routes.md has lost its examples")
	}
	for i, part := range parts[1:] {
		example, _, _ := strings.Cut(part, "```")
		if _, err := config.Parse("example", []byte(example), unset); err != nil {
			t.Errorf("example %d: %v", i+1, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, dir := range []string{"good", "bad"} {
		list, err := filepath.Glob("testdata/" + dir + "/*.yaml")
		if err != nil {
			f.Fatal(err)
		}
		for _, path := range list {
			b, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		file, err := config.Parse("f", src, unset)
		if (file == nil) == (err == nil) {
			t.Errorf("file %v, error %v", file, err)
		}
	})
}
