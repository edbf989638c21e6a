package gateway_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mayImport is the architecture: each package and the packages of ours it may
// import. A package missing here fails the test, so the map stays whole.
var mayImport = map[string][]string{
	"gateway":                   {"gateway/accesslog", "gateway/admin", "gateway/certs", "gateway/config", "gateway/edge", "gateway/health", "gateway/metrics", "gateway/proxy", "gateway/router", "gateway/socket", "gateway/state", "gateway/swap", "gateway/takeover", "gateway/transport", "gateway/upstream"},
	"gateway/accesslog":         {},
	"gateway/admin":             {"gateway/swap"},
	"gateway/certs":             {},
	"gateway/cmd/pomodoro-main": {"gateway", "gateway/admin", "gateway/config", "gateway/swap", "gateway/takeover"},
	"gateway/config":            {},
	"gateway/edge":              {"gateway/sockio"},
	"gateway/gatewaytest":       {"gateway"},
	"gateway/health":            {},
	"gateway/metrics":           {},
	"gateway/proxy":             {"gateway/transport", "gateway/upstream"},
	"gateway/router":            {},
	"gateway/socket":            {},
	"gateway/sockio":            {},
	"gateway/state":             {},
	"gateway/swap":              {"gateway/health", "gateway/state", "gateway/upstream"},
	"gateway/takeover":          {},
	"gateway/transport":         {"gateway/sockio"},
	"gateway/upstream":          {},

	"compose":                        {},
	"services/api":                   {"services/api/internal/embedded", "services/api/internal/mongodb", "services/api/internal/redisdb", "services/api/internal/store", "services/internal/service"},
	"services/api/internal/embedded": {"services/api/internal/store", "services/api/internal/wake"},
	"services/api/internal/mongodb":  {"services/api/internal/store"},
	"services/api/internal/redisdb":  {"services/api/internal/store", "services/api/internal/wake"},
	"services/api/internal/store":    {},
	"services/api/internal/wake":     {},
	"services/app":                   {"services/internal/content", "services/internal/service"},
	"services/blog":                  {"services/internal/content", "services/internal/service"},
	"services/internal/content":      {},
	"services/internal/contract":     {"services/internal/service"},
	"services/internal/service":      {},
	"services/internal/testbed":      {},
}

// forTests may import testing outside of _test.go files: no program links them.
var forTests = []string{"gateway/gatewaytest", "services/internal/contract", "services/internal/testbed"}

const module = "pomodoro.cc/"

// sources calls f for every Go file of the repository, parsed. It reads the
// files and asks no go command: the test cache sees every one of them.
func sources(t *testing.T, f func(dir, name string, file *ast.File)) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (d.Name() == "data" || d.Name() == "bin" || strings.HasPrefix(d.Name(), ".") && d.Name() != "..") {
			if d != nil && d.IsDir() && err == nil {
				return filepath.SkipDir
			}
			return err
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel("..", filepath.Dir(path))
		f(filepath.ToSlash(dir), d.Name(), file)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestArchitecture_ImportsGoDownwardsOnly(t *testing.T) {
	sources(t, func(dir, name string, file *ast.File) {
		allowed, placed := mayImport[dir]
		if !placed {
			t.Errorf("package %s has no place in mayImport", dir)
		}
		test := strings.HasSuffix(name, "_test.go")
		for _, i := range file.Imports {
			path, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if path == "testing" && !test && !slices.Contains(forTests, dir) {
				t.Errorf("%s/%s imports testing", dir, name)
			}
			ours, ok := strings.CutPrefix(path, module)
			if ok && !test && !slices.Contains(allowed, ours) {
				t.Errorf("%s/%s imports %s", dir, name, ours)
			}
			if ok && strings.Split(ours, "/")[0] != strings.Split(dir, "/")[0] {
				t.Errorf("%s/%s imports %s: gateway and services never import each other", dir, name, ours)
			}
		}
	})
}

func TestArchitecture_EveryPackageHasItsCommentInOneFile(t *testing.T) {
	comments := map[string]int{}
	sources(t, func(dir, name string, file *ast.File) {
		if !strings.HasSuffix(name, "_test.go") {
			comments[dir] += 0
			if file.Doc != nil {
				comments[dir]++
			}
		}
	})
	for dir, n := range comments {
		if n != 1 {
			t.Errorf("package %s has its comment in %d files", dir, n)
		}
	}
}

// symbol is a name in docs written as `package.Name` or `package.Type.Method`.
var symbol = regexp.MustCompile("`([a-z]+)\\.([A-Z][A-Za-z]*)(?:\\.([A-Z][A-Za-z]*))?`")

func TestArchitecture_DocsNameRealSymbols(t *testing.T) {
	known := map[string]bool{}
	packages := map[string]bool{}
	sources(t, func(_, name string, file *ast.File) {
		if strings.HasSuffix(name, "_test.go") {
			return
		}
		pkg := file.Name.Name
		packages[pkg] = true
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil {
					known[pkg+"."+d.Name.Name] = true
					continue
				}
				recv := d.Recv.List[0].Type
				if star, ok := recv.(*ast.StarExpr); ok {
					recv = star.X
				}
				if id, ok := recv.(*ast.Ident); ok {
					known[pkg+"."+id.Name+"."+d.Name.Name] = true
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					switch s := s.(type) {
					case *ast.TypeSpec:
						known[pkg+"."+s.Name.Name] = true
					case *ast.ValueSpec:
						for _, n := range s.Names {
							known[pkg+"."+n.Name] = true
						}
					}
				}
			}
		}
	})
	docs, err := filepath.Glob("../docs/*.md")
	if err != nil || len(docs) == 0 {
		t.Fatalf("docs: %v, %v", docs, err)
	}
	for _, path := range docs {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range symbol.FindAllStringSubmatch(string(text), -1) {
			name := strings.Trim(m[0], "`")
			if packages[m[1]] && !known[name] {
				t.Errorf("%s names %s, which does not exist", path, name)
			}
		}
	}
}
