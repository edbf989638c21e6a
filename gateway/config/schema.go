package config

import (
	"encoding/json"
	"reflect"
)

// Schema returns the JSON Schema (2020-12) of the file, made from the same
// types that the file is read into.
func Schema() []byte {
	s := schemaOf(reflect.TypeFor[File]())
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "routes.yaml of pomodoro-main"
	s["required"] = []string{"version", "listen", "routes"}
	out, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		panic(err) // maps, strings and numbers
	}
	return append(out, '\n')
}

func schemaOf(t reflect.Type) map[string]any {
	// A variable may stand for any single value, and an empty one for none.
	variable := map[string]any{"type": "string", "pattern": `\$\{|^$`}
	single := func(s map[string]any) map[string]any {
		return map[string]any{"anyOf": []any{s, variable, map[string]any{"type": "null"}}}
	}
	switch {
	case t == durationType:
		return single(map[string]any{"type": []string{"string", "integer"}, "pattern": `^([0-9.]+(ns|us|µs|ms|s|m|h))+$|^0$`, "minimum": 0, "maximum": 0})
	case t == prefixType:
		return map[string]any{"type": "string"}
	case t == shareType:
		return single(map[string]any{"type": []string{"string", "number"}, "pattern": `^[0-9.]+%?$`, "minimum": 0, "maximum": 1})
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem())
	case reflect.Bool:
		return single(map[string]any{"enum": []any{true, false, "true", "false", "on", "off", "yes", "no"}})
	case reflect.Int:
		return single(map[string]any{"type": "integer"})
	case reflect.Int64:
		return single(map[string]any{"type": []string{"string", "integer"}, "pattern": `^[0-9]+ *([KMG]iB)?$`, "minimum": 0})
	case reflect.Float64:
		return single(map[string]any{"type": []string{"string", "number"}, "pattern": `^[0-9.]+$`, "minimum": 0})
	case reflect.String:
		return map[string]any{"type": []string{"string", "number", "boolean", "null"}}
	case reflect.Slice:
		return map[string]any{"type": []string{"array", "null"}, "items": schemaOf(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": []string{"object", "null"}, "additionalProperties": schemaOf(t.Elem())}
	}
	properties := map[string]any{}
	for i := range t.NumField() {
		f := t.Field(i)
		p := schemaOf(f.Type)
		if doc := f.Tag.Get("doc"); doc != "" {
			p["description"] = doc
		}
		properties[f.Tag.Get("yaml")] = p
	}
	s := map[string]any{"type": []string{"object", "null"}, "properties": properties, "additionalProperties": false}
	switch t {
	case reflect.TypeFor[Target]():
		return map[string]any{"anyOf": []any{map[string]any{"type": "string"}, s}}
	case reflect.TypeFor[Health]():
		return map[string]any{"anyOf": []any{map[string]any{"enum": []any{"off", false}}, s}}
	}
	return s
}
