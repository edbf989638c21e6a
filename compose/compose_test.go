// Package compose_test holds the promises of the files around the code: what
// compose starts, how the images are made, and what CI does.
package compose_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

// theSix are the containers of the site.
var theSix = []string{
	"pomodoro-api", "pomodoro-api-db", "pomodoro-api-sessions",
	"pomodoro-app", "pomodoro-blog", "pomodoro-main",
}

// container is what the tests ask of a service in a compose file.
type container struct {
	Image       string            `yaml:"image"`
	Ports       []string          `yaml:"ports"`
	NetworkMode string            `yaml:"network_mode"`
	ReadOnly    bool              `yaml:"read_only"`
	User        string            `yaml:"user"`
	Privileged  bool              `yaml:"privileged"`
	Environment map[string]string `yaml:"environment"`
	Volumes     []string          `yaml:"volumes"`
	Healthcheck struct {
		Test []string `yaml:"test"`
	} `yaml:"healthcheck"`
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func containers(t *testing.T, file string) map[string]container {
	t.Helper()
	var stack struct {
		Services map[string]container `yaml:"services"`
	}
	if err := yaml.Unmarshal(read(t, file), &stack); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return stack.Services
}

func TestCompose_StartsTheSixContainersOfTheSite(t *testing.T) {
	if got := slices.Sorted(maps.Keys(containers(t, "compose.yaml"))); !slices.Equal(got, theSix) {
		t.Errorf("services = %q, want %q", got, theSix)
	}
}

func TestCompose_TheTestOverrideAddsNoContainer(t *testing.T) {
	for name := range containers(t, "compose.test.yaml") {
		if !slices.Contains(theSix, name) {
			t.Errorf("%s is none of %q", name, theSix)
		}
	}
}

func TestCompose_OnlyTheGatewayPublishesPorts(t *testing.T) {
	for _, file := range []string{"compose.yaml", "compose.test.yaml"} {
		for name, c := range containers(t, file) {
			if name != "pomodoro-main" && (len(c.Ports) > 0 || c.NetworkMode != "") {
				t.Errorf("%s: %s publishes %q (network mode %q)", file, name, c.Ports, c.NetworkMode)
			}
		}
	}
	want := []string{"${HTTP_PUBLISH:-80}:80", "${HTTPS_PUBLISH:-443}:443"}
	if got := containers(t, "compose.yaml")["pomodoro-main"].Ports; !slices.Equal(got, want) {
		t.Errorf("the gateway publishes %q, want %q", got, want)
	}
}

func TestCompose_OurContainersAreReadOnlyAndNotRoot(t *testing.T) {
	for name, c := range containers(t, "compose.yaml") {
		if !strings.Contains(c.Image, "}"+name+":") {
			continue // not ours: an official image
		}
		if !c.ReadOnly || c.User != "65532:65532" || c.Privileged {
			t.Errorf("%s: read_only %t, user %q, privileged %t", name, c.ReadOnly, c.User, c.Privileged)
		}
	}
}

func TestCompose_NothingTouchesTheEngineSocket(t *testing.T) {
	for name, c := range containers(t, "compose.yaml") {
		for _, volume := range c.Volumes {
			if strings.Contains(volume, "docker.sock") {
				t.Errorf("%s mounts %s", name, volume)
			}
		}
	}
}

func TestCompose_RoutesAreMountedAsAFolderSoThatASaveByRenameIsSeen(t *testing.T) {
	main := containers(t, "compose.yaml")["pomodoro-main"]
	if want := "${ROUTES_DIR:-..}:/etc/pomodoro:ro"; !slices.Contains(main.Volumes, want) {
		t.Errorf("volumes = %q, want %q among them", main.Volumes, want)
	}
}

func TestCompose_TheFakeLoginIsNotInProduction(t *testing.T) {
	for name, c := range containers(t, "compose.yaml") {
		if _, set := c.Environment["POMODORO_FAKE_LOGIN"]; set {
			t.Errorf("%s sets POMODORO_FAKE_LOGIN", name)
		}
	}
}

func TestImages_AreFromScratchNotRootAndCheckTheirOwnHealth(t *testing.T) {
	stages := regexp.MustCompile(`(?m)^FROM `).Split(string(read(t, "Dockerfile")), -1)[1:]
	var targets []string
	for _, stage := range stages {
		base, rest, _ := strings.Cut(stage, " AS ")
		target, _, _ := strings.Cut(rest, "\n")
		targets = append(targets, target)
		if base != "scratch" {
			t.Errorf("%s is from %s", target, base)
		}
		binary := "/" + target
		if target == "main" {
			binary = "/pomodoro-main"
		}
		for _, want := range []string{
			"\nUSER 65532:65532\n",
			`CMD ["` + binary + `", "health", "http://127.0.0.1:`,
			`ENTRYPOINT ["` + binary + `"]`,
		} {
			if !strings.Contains(stage, want) {
				t.Errorf("%s has no %q", target, want)
			}
		}
	}
	if want := []string{"app", "api", "blog", "main"}; !slices.Equal(targets, want) {
		t.Errorf("targets = %q, want %q", targets, want)
	}
}

func TestDashboard_AsksForMetricsThatTheGatewayHas(t *testing.T) {
	var dashboard any
	text := read(t, "grafana.json")
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	source, err := fs.Glob(os.DirFS("../gateway"), "*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for _, file := range source {
		code.Write(read(t, "../gateway/"+file))
	}
	for _, name := range regexp.MustCompile(`gateway_[a-z_]+`).FindAllString(string(text), -1) {
		// The code names a metric with or without the prefix.
		base := strings.TrimSuffix(name, "_bucket")
		short := strings.TrimPrefix(base, "gateway_")
		if !strings.Contains(code.String(), `"`+base+`"`) && !strings.Contains(code.String(), `"`+short+`"`) {
			t.Errorf("the gateway has no metric %s", name)
		}
	}
}

const circleSchema = "../../shared/data/circleci-schema.json"

func TestCircleCI_TheConfigurationIsValid(t *testing.T) {
	if _, err := os.Stat(circleSchema); errors.Is(err, fs.ErrNotExist) {
		t.Skipf("the schema of CircleCI is not at %s: the configuration is not validated", circleSchema)
	}
	schema, err := jsonschema.NewCompiler().Compile(circleSchema)
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(circleConfig(t)); err != nil {
		t.Error(err)
	}
}

func TestCircleCI_EveryStepIsATargetOfTheMakefile(t *testing.T) {
	targets := map[string]bool{}
	for _, line := range regexp.MustCompile(`(?m)^([a-z-]+):.*## `).FindAllStringSubmatch(string(read(t, "../Makefile")), -1) {
		targets[line[1]] = true
	}
	jobs, _ := circleConfig(t).(map[string]any)["jobs"].(map[string]any)
	if len(jobs) == 0 {
		t.Fatal("no jobs")
	}
	for name, job := range jobs {
		steps, _ := job.(map[string]any)["steps"].([]any)
		for _, step := range steps {
			step, _ := step.(map[string]any)
			run, ok := step["run"].(map[string]any)
			if !ok {
				continue
			}
			words := strings.Fields(run["command"].(string))
			if words[0] != "make" {
				t.Errorf("%s: %q is not a make target", name, words)
			}
			for _, word := range words[1:] {
				if !strings.Contains(word, "=") && !targets[word] {
					t.Errorf("%s: the Makefile has no target %q", name, word)
				}
			}
		}
	}
}

// circleConfig returns the configuration as the values that JSON would give,
// which is what a JSON Schema is about.
func circleConfig(t *testing.T) any {
	t.Helper()
	var config any
	if err := yaml.Unmarshal(read(t, "../.circleci/config.yml"), &config); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return value
}
