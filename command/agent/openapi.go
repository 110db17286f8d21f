package agent

import (
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/cairn-project/cairn/nomad"
)

// object is a JSON object. Its keys are written in order, so that the document
// is the same each time.
type object = map[string]any

// readParams are taken by every read of the store.
var readParams = []param{
	{name: "region", kind: "string", summary: "region to ask, the agent's own by default"},
	{name: "namespace", kind: "string", summary: "namespace to read, default by default; * in lists for all that the caller may read"},
	staleParam,
	{name: "index", kind: "integer", summary: "wait until the result is newer than this index"},
	{name: "wait", kind: "string", summary: "longest time to wait, such as 60s; at most 300s"},
}

// listParams are taken by those lists that name them in their row.
var listParams = []param{
	{name: "prefix", kind: "string", summary: "list only keys that begin with it"},
	{name: "per_page", kind: "integer", summary: "size of a page"},
	{name: "next_token", kind: "string", summary: "where the page begins, from X-Nomad-NextToken"},
	{name: "filter", kind: "string", summary: "expression that selects objects"},
	{name: "reverse", kind: "boolean", summary: "list in descending order"},
}

// writeParams are taken by every write.
var writeParams = []param{
	{name: "region", kind: "string", summary: "region to write to, the agent's own by default"},
	{name: "namespace", kind: "string", summary: "namespace to write to, default by default"},
	{name: "idempotency_token", kind: "string", summary: "names the write: sent again by the same caller within minutes, it is applied once and gets the first answer"},
}

var prettyParam = param{name: "pretty", kind: "boolean", summary: "indent the JSON"}

// openAPI returns the OpenAPI 3.1 document of the table.
func openAPI(table []route) []byte {
	s := &schemas{components: object{}, owners: map[string]reflect.Type{}}
	paths := object{}
	for i := range table {
		r := &table[i]
		path := strings.ReplaceAll(r.pattern, "...}", "}")
		item, _ := paths[path].(object)
		if item == nil {
			item = object{}
			paths[path] = item
		}
		for _, m := range strings.Fields(r.methods) {
			item[strings.ToLower(m)] = s.operation(r, m)
		}
	}
	doc := object{
		"openapi": "3.1.0",
		"info": object{
			"title": "Cairn HTTP API", "version": nomad.Version,
			"description": "Cluster state over HTTP. Durations are nanoseconds unless a field says otherwise. " +
				"Errors are plain text.",
			"license": object{"name": "Apache-2.0", "identifier": "Apache-2.0"},
		},
		"servers":  []any{object{"url": "http://127.0.0.1:4646", "description": "local agent"}},
		"security": []any{object{}, object{"token": []any{}}, object{"bearer": []any{}}},
		"paths":    paths,
		"components": object{
			"schemas": s.components,
			"securitySchemes": object{
				"token":  object{"type": "apiKey", "in": "header", "name": "X-Nomad-Token"},
				"bearer": object{"type": "http", "scheme": "bearer"},
			},
		},
	}
	out, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		panic("openapi document: " + err.Error()) // a fault in the table, found by any test
	}
	return append(out, '\n')
}

func (s *schemas) operation(r *route, method string) object {
	op := object{
		"summary":     r.summary,
		"operationId": operationID(r, method),
		"tags":        []any{tag(r.pattern)},
		"parameters":  s.parameters(r),
		"responses":   s.responses(r),
	}
	if r.bodyMedia != "" {
		op["requestBody"] = object{"content": object{r.bodyMedia: object{"schema": object{"type": "string", "format": "binary"}}}}
	}
	if r.body != nil && method != http.MethodGet {
		op["requestBody"] = object{"required": !r.optionalBody, "content": jsonContent(s.of(r.body))}
	}
	return op
}

// operationID is unique: the method and the words of the path.
func operationID(r *route, method string) string {
	words := strings.FieldsFunc(r.pattern, func(c rune) bool { return strings.ContainsRune("/{}.-_", c) })
	return strings.ToLower(method) + "-" + strings.Join(words, "-")
}

func tag(pattern string) string {
	parts := strings.Split(strings.TrimPrefix(pattern, "/v1"), "/")
	switch {
	case len(parts) < 2 || parts[1] == "" || parts[1] == "openapi.json":
		return "meta"
	case parts[1] == "vars" || parts[1] == "var":
		return "variables"
	case parts[1] == "namespace":
		return "namespaces"
	case parts[1] == "node":
		return "nodes"
	case parts[1] == ".well-known":
		return "keyring"
	}
	return parts[1]
}

func (s *schemas) parameters(r *route) []any {
	var all []param
	switch r.kind {
	case readKind:
		all = slices.Concat(readParams, r.listParams(), r.params)
	case writeKind:
		all = slices.Concat(writeParams, r.params)
	default:
		all = slices.Clone(r.params)
		if r.region {
			all = append(all, readParams[0])
		}
	}
	all = append(all, prettyParam)
	out := make([]any, 0, len(all)+1)
	if _, name, ok := strings.Cut(r.pattern, "{"); ok {
		name, _, _ = strings.Cut(name, "}")
		p := object{"name": strings.TrimSuffix(name, "..."), "in": "path", "required": true, "schema": object{"type": "string"}}
		if strings.HasSuffix(name, "...") {
			p["description"] = "may contain slashes"
		}
		out = append(out, p)
	}
	for _, p := range all {
		out = append(out, p.object())
	}
	return out
}

func (d *doc) listParams() []param {
	named := strings.Fields(d.lists)
	return slices.DeleteFunc(slices.Clone(listParams), func(p param) bool { return !slices.Contains(named, p.name) })
}

func (p param) object() object {
	schema := object{"type": p.kind}
	if p.repeat {
		schema = object{"type": "array", "items": schema}
	}
	o := object{"name": p.name, "in": "query", "description": p.summary, "schema": schema}
	if p.kind == "boolean" {
		o["allowEmptyValue"] = true
	}
	return o
}

func (s *schemas) responses(r *route) object {
	ok := object{"description": "done", "headers": headers(r.kind)}
	switch {
	case r.media != "":
		ok["content"] = object{r.media: object{"schema": object{"type": "string"}}}
	case r.result != reflect.TypeFor[nothing]():
		ok["content"] = jsonContent(s.of(r.result))
	}
	out := object{"200": ok}
	for _, status := range append([]int{400, 403, 500}, r.status...) {
		out[strconv.Itoa(status)] = s.response(r, status)
	}
	return out
}

// response describes a status other than 200.
func (s *schemas) response(r *route, status int) object {
	text := object{"description": strings.ToLower(http.StatusText(status)),
		"content": object{"text/plain": object{"schema": object{"type": "string"}}}}
	switch {
	case status == http.StatusNoContent:
		return object{"description": "done", "headers": headers(r.kind)}
	case r.failure != nil:
		text["content"].(object)["application/json"] = object{"schema": s.of(r.failure)}
	case status == http.StatusConflict:
		conflict := s.of(r.conflictType())
		return object{"description": "the current variable", "headers": headers(r.kind), "content": jsonContent(conflict)}
	case status == http.StatusInternalServerError && r.result == reflect.TypeFor[agentHealth]():
		text["content"].(object)["application/json"] = object{"schema": s.of(r.result)}
	}
	return text
}

func headers(k kind) object {
	integer := func(text string) object {
		return object{"description": text, "schema": object{"type": "integer"}}
	}
	switch k {
	case readKind:
		return object{
			"X-Nomad-Index":       integer("index of the result; pass it as index to wait for a newer one"),
			"X-Nomad-LastContact": integer("milliseconds since the answering server heard from the leader"),
			"X-Nomad-KnownLeader": object{"description": "whether the answering server knows a leader", "schema": object{"type": "boolean"}},
			"X-Nomad-NextToken":   object{"description": "next_token of the next page, absent at the end", "schema": object{"type": "string"}},
		}
	case writeKind:
		return object{"X-Nomad-Index": integer("index of the write")}
	}
	return object{}
}

func jsonContent(schema object) object {
	return object{"application/json": object{"schema": schema}}
}
