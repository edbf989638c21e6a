package main

import (
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
)

// entries are the files that a browser asks for, by their place on the site,
// and the source that each begins with.
var entries = map[string]string{
	"/assets/app.js":    "static/js/main.js",
	"/assets/ticker.js": "static/js/ticker.js",
	"/assets/app.css":   "static/css/app.css",
	"/sw.js":            "static/js/sw.js",
}

// bundle joins the modules that an entry leads to into one small file: a page
// that is loaded in the middle of a deploy never mixes modules of two versions.
func bundle(files fs.FS, entry string) ([]byte, error) {
	result := api.Build(api.BuildOptions{
		EntryPoints:       []string{entry},
		Bundle:            true,
		Format:            api.FormatESModule,
		Target:            api.ES2022,
		Charset:           api.CharsetUTF8,
		LegalComments:     api.LegalCommentsNone,
		MinifyWhitespace:  true,
		MinifyIdentifiers: true,
		MinifySyntax:      true,
		External:          []string{"/assets/*"},
		LogLevel:          api.LogLevelSilent,
		Plugins:           []api.Plugin{embedded(files)},
	})
	if len(result.Errors) > 0 {
		said := api.FormatMessages(result.Errors, api.FormatMessagesOptions{Kind: api.ErrorMessage})
		return nil, fmt.Errorf("bundle %s: %s", entry, strings.TrimSpace(strings.Join(said, "\n")))
	}
	return result.OutputFiles[0].Contents, nil
}

// embedded makes esbuild read files instead of the disk.
func embedded(files fs.FS) api.Plugin {
	const space = "embedded"
	return api.Plugin{Name: space, Setup: func(build api.PluginBuild) {
		build.OnResolve(api.OnResolveOptions{Filter: `^(\./|static/)`}, func(a api.OnResolveArgs) (api.OnResolveResult, error) {
			// An entry comes with "./" before it where the disk happens to have
			// a file of its name.
			at := path.Clean(a.Path)
			if a.Importer != "" {
				at = path.Join(path.Dir(a.Importer), a.Path)
			}
			return api.OnResolveResult{Path: at, Namespace: space}, nil
		})
		build.OnLoad(api.OnLoadOptions{Filter: `.*`, Namespace: space}, func(a api.OnLoadArgs) (api.OnLoadResult, error) {
			source, err := fs.ReadFile(files, a.Path)
			text := string(source)
			loader := api.LoaderJS
			if path.Ext(a.Path) == ".css" {
				loader = api.LoaderCSS
			}
			return api.OnLoadResult{Contents: &text, Loader: loader}, err
		})
	}}
}
