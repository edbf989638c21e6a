package main

import (
	"bytes"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// post is a Markdown file with front matter.
type post struct {
	Slug        string
	Title       string
	Description string
	Date        time.Time
	Updated     time.Time // Date when the file does not say
	Draft       bool
	Markdown    []byte
	HTML        template.HTML // of Markdown
}

// Path is where the post is on the site.
func (p post) Path() string { return fmt.Sprintf("/blog/%d/%s/", p.Date.Year(), p.Slug) }

var slugs = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// readPosts returns the posts in dir, the newest first. Every problem of every
// file is told, each with its file and line.
func readPosts(files fs.FS, dir string, drafts bool) ([]post, error) {
	entries, err := fs.ReadDir(files, dir)
	if err != nil {
		return nil, fmt.Errorf("read posts: %w", err)
	}
	var posts []post
	var problems []error
	at := map[string]string{} // path on the site → file
	for _, e := range entries {
		slug, isPost := strings.CutSuffix(e.Name(), ".md")
		if !isPost {
			continue
		}
		name := path.Join(dir, e.Name())
		p, err := readPost(files, name, slug)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		if p.Draft && !drafts {
			continue
		}
		if other, taken := at[p.Path()]; taken {
			problems = append(problems, fmt.Errorf("%s:1: %s is at the same address", name, other))
		}
		at[p.Path()] = name
		posts = append(posts, p)
	}
	slices.SortStableFunc(posts, func(a, b post) int { return b.Date.Compare(a.Date) })
	return posts, errors.Join(problems...)
}

func readPost(files fs.FS, name, slug string) (post, error) {
	raw, err := fs.ReadFile(files, name)
	if err != nil {
		return post{}, fmt.Errorf("read post: %w", err)
	}
	p, err := parsePost(name, raw)
	if err == nil && !slugs.MatchString(slug) {
		err = fmt.Errorf("%s:1: the name must be of a-z, 0-9 and single hyphens", name)
	}
	if err != nil {
		return post{}, err
	}
	p.Slug = slug
	if p.HTML, err = toHTML(p.Markdown); err != nil {
		return post{}, fmt.Errorf("%s: render: %w", name, err)
	}
	return p, nil
}

// parsePost reads front matter ("---", key: value lines, "---") and keeps what
// follows as Markdown. Problems are given as name:line: why.
func parsePost(name string, raw []byte) (post, error) {
	var p post
	var problems []error
	line := 0
	reject := func(why string, args ...any) {
		problems = append(problems, fmt.Errorf("%s:%d: %s", name, line, fmt.Sprintf(why, args...)))
	}
	next := func() (text string, ok bool) {
		if len(raw) == 0 {
			return "", false
		}
		before, after, _ := bytes.Cut(raw, []byte("\n"))
		raw = after
		line++
		return strings.TrimRight(string(before), " \t\r"), true
	}
	if first, ok := next(); !ok || first != "---" {
		line = 1
		reject(`front matter must begin with "---"`)
		return p, errors.Join(problems...)
	}
	given := map[string]bool{}
	for {
		text, ok := next()
		if !ok {
			reject(`front matter does not end with "---"`)
			return p, errors.Join(problems...)
		}
		if text == "---" {
			break
		}
		if text == "" {
			continue
		}
		key, value, ok := strings.Cut(text, ":")
		if !ok {
			reject("%q is not key: value", text)
			continue
		}
		if given[key] {
			reject("%s is given twice", key)
		}
		given[key] = true
		value = strings.TrimSpace(value)
		if strings.HasPrefix(value, `"`) {
			unquoted, err := strconv.Unquote(value)
			if err != nil {
				reject("%s: the quoted text %s does not end well", key, value)
			}
			value = unquoted
		}
		if err := p.set(key, value); err != nil {
			reject("%s", err)
		}
	}
	for _, key := range []string{"title", "date", "description"} {
		if !given[key] {
			reject("%s is missing", key)
		}
	}
	if p.Updated.IsZero() {
		p.Updated = p.Date
	}
	p.Markdown = raw
	if len(bytes.TrimSpace(raw)) == 0 {
		reject("the post is empty")
	}
	return p, errors.Join(problems...)
}

func (p *post) set(key, value string) (err error) {
	switch key {
	case "title":
		p.Title = value
	case "description":
		p.Description = value
	case "date":
		p.Date, err = time.Parse(time.DateOnly, value)
	case "updated":
		p.Updated, err = time.Parse(time.DateOnly, value)
	case "draft":
		p.Draft, err = strconv.ParseBool(value)
	default:
		return fmt.Errorf("unknown key %q (title, date, description, updated, draft)", key)
	}
	if err != nil {
		return fmt.Errorf("%s: %q is not one such as %s", key, value, map[bool]string{true: "true", false: "2026-01-31"}[key == "draft"])
	}
	if value == "" {
		return fmt.Errorf("%s is empty", key)
	}
	return nil
}
