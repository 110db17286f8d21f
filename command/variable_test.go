package command

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
)

var stored = map[string]any{
	"Namespace": "default", "Path": "app/db", "CreateIndex": 7, "ModifyIndex": 42,
	"CreateTime": 1700000000000000000, "ModifyTime": 1700000001000000000,
	"Items": map[string]string{"user": "web", "pass": "s3cret ${x} %{y} \"q\"\n"},
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestVarGetFormats(t *testing.T) {
	f := newFakeAgent(t, map[string]reply{"GET /v1/var/app/db": {body: stored}})
	for _, tc := range []struct {
		args []string
		want []string
	}{
		{nil, []string{"Namespace   = default\n", "Path        = app/db\n", "Create Time = 2023-11-14T22:13:20Z\n", "Check Index = 42\n", "Items\n", "user = web\n"}},
		{[]string{"-out", "json"}, []string{`"ModifyIndex": 42`, `"user": "web"`}},
		{[]string{"-json"}, []string{`"ModifyIndex": 42`}},
		{[]string{"-out", "hcl"}, []string{"modify_index = 42", "items {", `"web"`}},
		{[]string{"-t", "{{.Items.user}}"}, []string{"web\n"}},
		{[]string{"-out", "go-template", "-t", "{{.Path}}"}, []string{"app/db\n"}},
	} {
		f.run(append([]string{"var", "get", "app/db"}, tc.args...)...).expect(t, 0, tc.want, nil)
	}
	if r := f.run("var", "get", "-out", "none", "app/db"); r.stdout != "" || r.code != 0 {
		t.Errorf("-out none: %+v", r)
	}
	if r := f.run("var", "get", "-item", "user", "app/db"); r.stdout != "web" {
		t.Errorf("-item printed %q, want the bare value", r.stdout)
	}
	f.run("var", "get", "-item", "nope", "app/db").expect(t, 1, nil, []string{`app/db has no item "nope"`, "it has pass, user"})
	f.run("var", "get", "other").expect(t, 1, nil, []string{"other: variable not found", "cairn var list"})
}

func TestPrintedVariablesReadBack(t *testing.T) {
	for _, items := range []api.VariableItems{
		{"user": "web", "pass": "s3cret ${x} %{y} \"q\"\n"},
		{"with.dot": "a", "with space": "b", "": "c"},
		{"unicode": "é\x00\u2028", "path": `C:\x`, "if": "1", "null": "2"},
	} {
		v := &api.Variable{Namespace: "n", Path: "p/q", ModifyIndex: 9, CreateTime: 5, Items: items}
		asJSON, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		for _, src := range [][]byte{variableHCL(v), asJSON} {
			got, err := parseVariable(src, "x", "")
			if err != nil {
				t.Fatalf("%s\n%s", err, src)
			}
			if got.Path != "p/q" || got.Namespace != "n" || got.ModifyIndex != 9 || !maps.Equal(got.Items, items) {
				t.Errorf("read back %+v from\n%s", got, src)
			}
		}
	}
}

func FuzzParseVariable(f *testing.F) {
	f.Add([]byte(sampleHCL), "")
	f.Add([]byte(sampleJSON), "json")
	f.Add([]byte(`items = { a = 1, b = true }`), "hcl")
	f.Add([]byte("items { a = [1] }\nitems { }"), "hcl")
	f.Add([]byte(`path = "${a}"`), "hcl")
	f.Fuzz(func(t *testing.T, src []byte, format string) {
		v, err := parseVariable(src, "fuzz", format)
		if (v == nil) == (err == nil) {
			t.Fatalf("variable %v, error %v", v, err)
		}
	})
}

func TestVarPutSends(t *testing.T) {
	hcl := write(t, "v.hcl", "namespace = \"fromfile\"\npath = \"file/path\"\nmodify_index = 5\nitems {\n  a = \"1\"\n  n = 2\n}\n")
	js := write(t, "v.any", `{"Path":"file/json","Items":{"a":"1"}}`)
	value := write(t, "value", "from a file\n")
	f := newFakeAgent(t, nil)
	for _, tc := range []struct {
		args  []string
		stdin string
		line  string
		items map[string]string
	}{
		{[]string{"app/db", "user=web", "pass=a=b"}, "", "PUT /v1/var/app/db?cas=0", map[string]string{"user": "web", "pass": "a=b"}},
		{[]string{"-force", "app/db", "k=v"}, "", "PUT /v1/var/app/db", map[string]string{"k": "v"}},
		{[]string{"app/db", "k=v", "-check-index", "42"}, "", "PUT /v1/var/app/db?cas=42", map[string]string{"k": "v"}},
		{[]string{"-namespace", "web", "app/db", "k=v"}, "", "PUT /v1/var/app/db?cas=0&namespace=web", map[string]string{"k": "v"}},
		{[]string{"@" + hcl}, "", "PUT /v1/var/file/path?cas=5&namespace=fromfile", map[string]string{"a": "1", "n": "2"}},
		{[]string{"other", "@" + hcl, "a=9", "b=3"}, "", "PUT /v1/var/other?cas=5&namespace=fromfile", map[string]string{"a": "9", "n": "2", "b": "3"}},
		{[]string{"-namespace", "web", "@" + hcl}, "", "PUT /v1/var/file/path?cas=5&namespace=web", map[string]string{"a": "1", "n": "2"}},
		{[]string{"@" + js}, "", "PUT /v1/var/file/json?cas=0", map[string]string{"a": "1"}},
		{[]string{"app/in", "-"}, `items { s = "stdin" }`, "PUT /v1/var/app/in?cas=0", map[string]string{"s": "stdin"}},
		{[]string{"-in", "json", "-"}, `{"Path":"j","Items":{"s":"stdin"}}`, "PUT /v1/var/j?cas=0", map[string]string{"s": "stdin"}},
		{[]string{"app/v", "cert=@" + value, `lit=\@x`, `dash=\-`, "in=-"}, "piped", "PUT /v1/var/app/v?cas=0",
			map[string]string{"cert": "from a file\n", "lit": "@x", "dash": "-", "in": "piped"}},
	} {
		f.mu.Lock()
		f.replies = map[string]reply{tc.line: {body: map[string]any{"Path": "stored", "ModifyIndex": 43}}}
		f.mu.Unlock()
		i := invocation{env: map[string]string{"CAIRN_ADDR": f.URL}, stdin: strings.NewReader(tc.stdin)}
		i.run(append([]string{"var", "put"}, tc.args...)...).expect(t, 0, []string{"wrote variable stored, modify index 43\n"}, nil)
		var sent api.Variable
		if err := json.Unmarshal([]byte(f.last().body), &sent); err != nil || !maps.Equal(sent.Items, tc.items) {
			t.Errorf("%q sent %s (%v)", tc.args, f.last().body, err)
		}
	}
}

func TestVarPutPrintsTheResult(t *testing.T) {
	f := newFakeAgent(t, map[string]reply{"PUT /v1/var/app/db": {body: stored}})
	for out, want := range map[string]string{"table": "Check Index = 42", "hcl": "items {", "json": `"ModifyIndex": 42`} {
		f.run("var", "put", "-out", out, "app/db", "k=v").expect(t, 0, []string{want}, nil)
	}
	f.run("var", "put", "-t", "{{.ModifyIndex}}", "app/db", "k=v").expect(t, 0, []string{"42\n"}, nil)
	f.run("var", "put", "-verbose", "app/db", "k=v").expect(t, 0, nil, []string{"writing 1 items to app/db"})
}

func TestVariableConflicts(t *testing.T) {
	empty := map[string]any{"Namespace": "default", "Path": "app/db"}
	locked := map[string]any{"Namespace": "default", "Path": "app/db", "ModifyIndex": 42, "Lock": map[string]any{"TTL": "15s"}}
	for _, tc := range []struct {
		args []string
		body any
		want []string
	}{
		{[]string{"put", "app/db", "k=v"}, stored, []string{"it exists already, with modify index 42", "-check-index 42", "-force"}},
		{[]string{"put", "-check-index", "7", "app/db", "k=v"}, stored, []string{"its modify index is 42, not 7", "cairn var get app/db"}},
		{[]string{"put", "-check-index", "7", "app/db", "k=v"}, empty, []string{"it does not exist, or somebody else holds its lock"}},
		{[]string{"put", "-check-index", "42", "app/db", "k=v"}, locked, []string{"writing app/db: somebody else holds its lock", "wait until"}},
		{[]string{"put", "app/db", "k=v"}, locked, []string{"somebody else holds its lock"}},
		{[]string{"put", "-force", "app/db", "k=v"}, stored, []string{"somebody else holds its lock"}},
		{[]string{"purge", "app/db"}, stored, []string{"deleting app/db: somebody else holds its lock"}},
		{[]string{"purge", "-check-index", "7", "app/db"}, stored, []string{"its modify index is 42, not 7"}},
	} {
		f := newFakeAgent(t, map[string]reply{
			"PUT /v1/var/app/db": {status: 409, body: tc.body}, "DELETE /v1/var/app/db": {status: 409, body: tc.body},
		})
		r := f.run(append([]string{"var"}, tc.args...)...)
		r.expect(t, 2, nil, tc.want)
		if strings.Contains(r.stderr, "s3cret") {
			t.Errorf("%q shows the items:\n%s", tc.args, r.stderr)
		}
	}
}

func TestVarPutBadFiles(t *testing.T) {
	f := newFakeAgent(t, nil)
	for name, tc := range map[string]struct{ text, want string }{
		"syntax.hcl":   {"items {", "syntax.hcl:1"},
		"unknown.hcl":  {"pth = \"x\"\n", "pth"},
		"list.hcl":     {"path = \"x\"\nitems { a = [1] }\n", `value of "a" must be a string`},
		"null.hcl":     {"path = \"x\"\nitems { a = null }\n", `value of "a" must be a string`},
		"unknown.json": {`{"Path":"x","Item":{}}`, "Item"},
		"number.json":  {`{"Path":"x","Items":{"a":1}}`, "cannot unmarshal number"},
		"two.json":     {`{"Path":"x","Items":{"a":"1"}}{}`, "more than one"},
		"nopath.hcl":   {"items { a = 1 }\n", "the path is missing"},
	} {
		f.run("var", "put", "@"+write(t, name, tc.text)).expect(t, 1, nil, []string{tc.want})
	}
	f.run("var", "put", "@/no/such/file").expect(t, 1, nil, []string{"no such file"})
	big := write(t, "big.hcl", strings.Repeat("#", maxFile+1))
	f.run("var", "put", "@"+big).expect(t, 1, nil, []string{"is larger than"})
	i := invocation{env: map[string]string{"CAIRN_ADDR": f.URL}, stdin: strings.NewReader("x")}
	i.run("var", "put", "a", "k=-", "l=-").expect(t, 1, nil, []string{"only once"})
	if got := f.asked(); len(got) != 0 {
		t.Errorf("requests were sent: %q", got)
	}
}

func TestVarList(t *testing.T) {
	f := newFakeAgent(t, map[string]reply{
		"GET /v1/vars?filter=f&next_token=tok&per_page=2&prefix=app": {
			body:   []map[string]any{{"Namespace": "default", "Path": "app/a", "ModifyIndex": 3}, {"Namespace": "web", "Path": "app/b"}},
			header: map[string]string{"X-Nomad-NextToken": "web.app/c", "X-Nomad-Index": "9", "X-Nomad-LastContact": "0", "X-Nomad-KnownLeader": "true"},
		},
		"GET /v1/vars?filter=bad": {status: 400, body: "failed to read filter expression"},
		"GET /v1/vars":            {body: "null"},
	})
	page := []string{"var", "list", "-per-page", "2", "-page-token", "tok", "-filter", "f", "app"}
	more := []string{"-page-token 'web.app/c'"}
	f.run(page...).expect(t, 0, []string{"Namespace  Path   Modify Index  Last Updated\n", "default    app/a  3             -\n"}, more)
	f.run(append(page, "-out", "terse")...).expect(t, 0, []string{"app/a\napp/b\n"}, more)
	f.run(append(page, "-json")...).expect(t, 0, []string{`"Path": "app/a"`}, more)
	f.run(append(page, "-t", "{{len .}}")...).expect(t, 0, []string{"2\n"}, more)
	f.run("var", "list", "-filter", "bad").expect(t, 1, nil, []string{"check -filter"})
	f.run("var", "list", "-json").expect(t, 0, []string{"[]\n"}, nil)
}

func TestVarPurge(t *testing.T) {
	f := newFakeAgent(t, map[string]reply{"DELETE /v1/var/app/db": {status: 204}})
	f.run("var", "purge", "app/db").expect(t, 0, []string{"deleted variable app/db\n"}, nil)
	f.run("var", "purge", "-check-index", "42", "app/db").expect(t, 0, nil, nil)
	if got := f.last().line; got != "DELETE /v1/var/app/db?cas=42" {
		t.Errorf("sent %s", got)
	}
}

func TestVarInitWritesWhatPutReads(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, args := range [][]string{{}, {"-quiet", "q.hcl"}, {"-out", "json"}, {"named.json"}} {
		r := invocation{}.run(append([]string{"var", "init"}, args...)...)
		r.expect(t, 0, nil, nil)
		if quiet := len(args) > 0 && args[0] == "-quiet"; quiet != (r.stdout == "") {
			t.Errorf("%q printed %q", args, r.stdout)
		}
	}
	for _, name := range []string{"variable.hcl", "q.hcl", "variable.json", "named.json"} {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := parseVariable(src, name, ""); err != nil || v.Path != "app/db" || v.Items["pass"] != "s3cret" {
			t.Errorf("%s: %+v, %v", name, v, err)
		}
		invocation{}.run("var", "init", name).expect(t, 1, nil, []string{name + " exists already"})
		if again, _ := os.ReadFile(name); string(again) != string(src) {
			t.Errorf("%s was overwritten", name)
		}
	}
	invocation{}.run("var", "init", "-").expect(t, 0, []string{"items {"}, nil)
	invocation{}.run("var", "init", "-out", "xml").expect(t, 1, nil, []string{"xml"})
}
