package compose_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// host is a deploy host as the scripts see it: ssh runs what it is told in a
// folder, but for a rollout while there is a file lost, and docker calls every container healthy but those of IMAGE_TAG=bad.
type host struct{ folder, programs string }

func newHost(t *testing.T) host {
	t.Helper()
	h := host{t.TempDir(), t.TempDir()}
	for name, text := range map[string]string{
		"ssh": `cd "$SHIP_TEST_HOST" && shift && case "$1 $(ls)" in *.ci/rollout*lost*) exit 255 ;; esac && exec sh -c "$1"`,
		"docker": `case "$*" in
"inspect -f {{.Id}} pomodoro-"*-next) ;;
"inspect"*) if grep -qx IMAGE_TAG=bad "$SHIP_TEST_HOST/pomodoro/compose/.env"; then echo starting; else echo healthy; fi ;;
"compose up"*) grep IMAGE_TAG "$SHIP_TEST_HOST/pomodoro/compose/.env" >>"$SHIP_TEST_HOST/ups" ;;
"ps"*) if [ -e "$SHIP_TEST_HOST/ups" ]; then echo id; fi ;;
"load"*) cat >/dev/null ;;
esac`,
	} {
		if err := os.WriteFile(filepath.Join(h.programs, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// deploy runs `ship deploy` for images of a tag and returns its exit code.
func (h host) deploy(t *testing.T, tag string) int {
	t.Helper()
	archive := "../dist/images.tar"
	if _, err := os.Stat(archive); err != nil {
		if err := os.MkdirAll("../dist", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(archive, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Remove(archive) })
	}
	c := exec.Command("../.ci/ship", "deploy")
	c.Env = append(os.Environ(), "PATH="+h.programs+":"+os.Getenv("PATH"), "SHIP_TEST_HOST="+h.folder,
		"DEPLOY_HOST=deploy@host", "DEPLOY_DIR=", "IMAGE_PREFIX=", "IMAGE_TAG="+tag, "STACK_PATIENCE=0")
	out, err := c.CombinedOutput()
	if c.ProcessState == nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Logf("deploy of %s: exit %d\n%s", tag, c.ProcessState.ExitCode(), out)
	return c.ProcessState.ExitCode()
}

func (h host) read(t *testing.T, name string) string {
	t.Helper()
	return string(read(t, filepath.Join(h.folder, name)))
}

func TestShip_ADeployKeepsTheSettingsOfTheHost(t *testing.T) {
	h := newHost(t)
	if code := h.deploy(t, "one"); code != 0 {
		t.Fatalf("exit %d", code)
	}
	file := filepath.Join(h.folder, "pomodoro/compose/.env")
	if err := os.WriteFile(file, []byte("PUBLIC_URL=https://a.test\nIMAGE_PREFIX=\nIMAGE_TAG=one\nHTTP_PUBLISH=8080\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code := h.deploy(t, "two"); code != 0 {
		t.Fatalf("exit %d", code)
	}
	if got, want := h.read(t, "pomodoro/compose/.env"), "PUBLIC_URL=https://a.test\nHTTP_PUBLISH=8080\nIMAGE_PREFIX=\nIMAGE_TAG=two\n"; got != want {
		t.Errorf(".env is\n%s, want\n%s", got, want)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v: secrets of the host became readable", info.Mode(), err)
	}
}

func TestShip_ADeployThatDoesNotBecomeHealthyBringsTheImagesOfBeforeBack(t *testing.T) {
	h := newHost(t)
	h.deploy(t, "one")
	if code := h.deploy(t, "bad"); code != 4 {
		t.Errorf("exit %d, want 4", code)
	}
	if ups := slices.Compact(strings.Fields(h.read(t, "ups"))); strings.Join(ups, " ") != "IMAGE_TAG=one IMAGE_TAG=bad IMAGE_TAG=one" {
		t.Errorf("started: %q", ups)
	}
	if env := h.read(t, "pomodoro/compose/.env"); !strings.Contains(env, "IMAGE_TAG=one\n") {
		t.Errorf("the next start on the host would take\n%s", env)
	}
}

// Its connection may end in the middle, after it has written its settings.
func TestShip_ADeployGoesBackPastOneThatWasInterrupted(t *testing.T) {
	h := newHost(t)
	h.deploy(t, "one")
	lost := filepath.Join(h.folder, "lost")
	if err := os.WriteFile(lost, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code := h.deploy(t, "two"); code == 0 {
		t.Error("a deploy whose connection was lost ended well")
	}
	if err := os.Remove(lost); err != nil {
		t.Fatal(err)
	}
	if code := h.deploy(t, "bad"); code != 4 {
		t.Errorf("exit %d, want 4", code)
	}
	if env := h.read(t, "pomodoro/compose/.env"); !strings.Contains(env, "IMAGE_TAG=one\n") {
		t.Errorf("the images of before are\n%s", env)
	}
}

func TestShip_AFirstDeployThatDoesNotBecomeHealthyFails(t *testing.T) {
	if code := newHost(t).deploy(t, "bad"); code != 1 {
		t.Errorf("exit %d, want 1", code)
	}
}

func TestShip_ADeployBesideAnotherLeavesTheHostsSettingsToThatOne(t *testing.T) {
	h := newHost(t)
	h.deploy(t, "one")
	folder := filepath.Join(h.folder, "pomodoro/compose")
	// Another deploy, of two, is in its rollout.
	other := exec.Command("bash", "-c", "mkdir .before && cp -p .env compose.yaml .before && sed -i s/IMAGE_TAG=one/IMAGE_TAG=two/ .env && exec 9>.rollout.lock && flock 9 && echo ready && exec cat")
	other.Dir = folder
	in, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	ready, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	ready.Read(make([]byte, 6))
	if code := h.deploy(t, "three"); code != 6 {
		t.Errorf("exit %d, want 6", code)
	}
	in.Close()
	other.Wait()
	if env := h.read(t, "pomodoro/compose/.env"); !strings.Contains(env, "IMAGE_TAG=two\n") {
		t.Errorf("two serves, and the next start on the host would take\n%s", env)
	}
}
