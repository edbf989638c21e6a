package proxy

import "testing"

func TestResolved_IsThePathWithoutItsDotSegments(t *testing.T) {
	for path, want := range map[string]string{
		"":              "",
		"*":             "*",
		"../..":         "../..",
		"/":             "/",
		"/a/b":          "/a/b",
		"/.":            "/",
		"/..":           "/",
		"/./":           "/",
		"/a/./b":        "/a/b",
		"/a/.":          "/a/",
		"/a/b/..":       "/a/",
		"/a/b/../":      "/a/",
		"/a/../../b":    "/b",
		"/a/%2e%2E/b":   "/b",
		"/a/.%2e/b":     "/b",
		"/a/%2e/b":      "/a/b",
		"//a//../b":     "//a/b",
		"/a/...":        "/a/...",
		"/a/.b/..c/%2f": "/a/.b/..c/%2f",
		"/a/%252e/b":    "/a/%252e/b",
	} {
		if got := Resolved(path); got != want {
			t.Errorf("Resolved(%q) = %q, want %q", path, got, want)
		}
	}
}
