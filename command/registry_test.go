package command

import (
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/posener/complete"
)

// inScope are the commands of the public command line that must exist.
var inScope = []string{
	"acl", "acl auth-method", "acl auth-method create", "acl auth-method delete", "acl auth-method info", "acl auth-method list",
	"acl auth-method update", "acl binding-rule", "acl binding-rule create", "acl binding-rule delete", "acl binding-rule info",
	"acl binding-rule list", "acl binding-rule update", "acl bootstrap", "acl explain", "acl policy", "acl policy apply", "acl policy delete",
	"acl policy info", "acl policy lint", "acl policy list", "acl policy self", "acl policy test", "acl role", "acl role create",
	"acl role delete", "acl role info", "acl role list", "acl role update", "acl token", "acl token create", "acl token delete",
	"acl token info", "acl token list", "acl token self", "acl token update", "login",
	"agent", "agent-info", "namespace", "namespace apply", "namespace delete", "namespace inspect", "namespace list",
	"namespace status", "operator", "operator api", "operator metrics", "operator raft", "operator raft list-peers",
	"operator raft remove-peer", "operator raft transfer-leadership", "server", "server force-leave", "server join",
	"server members", "server-force-leave", "server-join", "server-members", "status",
	"tls", "tls ca", "tls ca create", "tls ca info", "tls cert", "tls cert create", "tls cert info", "var", "var purge", "var init",
	"var list", "var put", "var lock", "var get", "version",
}

func TestEveryCommandInScopeIsRegistered(t *testing.T) {
	var have []string
	for _, e := range registry {
		if slices.Contains(have, e.name) {
			t.Errorf("%q is registered twice", e.name)
		}
		have = append(have, e.name)
	}
	for _, name := range inScope {
		if !slices.Contains(have, name) {
			t.Errorf("%q is not registered", name)
		}
	}
	for _, name := range have {
		if i := strings.LastIndex(name, " "); i > 0 && !slices.Contains(have, name[:i]) {
			t.Errorf("%q has no parent", name)
		}
	}
}

func TestHelpOfEveryCommand(t *testing.T) {
	long := regexp.MustCompile(`(?m)^.{101,}$`)
	for _, e := range registry {
		for _, flag := range []string{"-h", "-help", "--help"} {
			r := invocation{}.run(append(strings.Fields(e.name), flag)...)
			r.expect(t, 0, []string{"Usage: cairn " + e.name, "Examples:", "$ cairn " + firstWord(e), "Exit codes:"}, nil)
			if bad := long.FindString(r.stdout); bad != "" && !strings.Contains(bad, "$ cairn") {
				t.Errorf("%s: line too long: %q", e.name, bad)
			}
		}
		a := e.new().about()
		if a.synopsis == "" || strings.HasSuffix(a.synopsis, ".") || len(a.synopsis) > 50 {
			t.Errorf("%s: bad synopsis %q", e.name, a.synopsis)
		}
	}
}

// firstWord is the first word an example of the command must start with.
func firstWord(e entry) string {
	name := e.name
	if e.oldNameOf != "" {
		name = e.oldNameOf
	}
	return strings.Fields(name)[0]
}

func TestEveryOptionIsExplainedAndCompleted(t *testing.T) {
	for _, e := range registry {
		r := &runner{entry: e, act: e.new(), opts: &Options{Getenv: func(string) string { return "" }, Stdout: io.Discard}}
		_, f := r.prepare()
		completed := r.AutocompleteFlags()
		for _, d := range f.docs {
			if _, ok := completed["-"+d.name]; !ok {
				t.Errorf("%s: -%s is not completed", e.name, d.name)
			}
			if d.usage == "" || !strings.HasSuffix(d.usage, ".") {
				t.Errorf("%s: -%s has the usage text %q", e.name, d.name, d.usage)
			}
			if !strings.Contains(r.Help(), "\n  -"+d.name) {
				t.Errorf("%s: -%s is not in the help", e.name, d.name)
			}
		}
		_ = r.AutocompleteArgs()
		if a := e.new().about(); a.groups&withAgent != 0 {
			for _, name := range []string{"-address", "-token", "-ca-cert", "-tls-skip-verify", "-no-color", "-force-color"} {
				if _, ok := completed[name]; !ok {
					t.Errorf("%s: %s is missing", e.name, name)
				}
			}
		}
	}
}

func TestRootHelpListsCommandsWithoutOldNames(t *testing.T) {
	r := invocation{}.run("-h")
	r.expect(t, 0, []string{"agent-info", "namespace", "operator", "server", "status", "var", "version"}, nil)
	if strings.Contains(r.stdout, "server-members") {
		t.Errorf("an old name is listed:\n%s", r.stdout)
	}
	invocation{}.run("nonsense").expect(t, 127, nil, []string{"Commands:", `error: unknown command "nonsense"`})
	invocation{}.run("var").expect(t, 1, nil, []string{"Subcommands:", "purge"})
	invocation{}.run("var", "gte", "a").expect(t, 1, nil, []string{`unknown subcommand "gte"`, "`cairn var -h` for help"})
	if r := (invocation{}).run(); r.code != 127 || strings.Contains(r.stderr, "error") {
		t.Errorf("a bare call ends with %d: %s", r.code, r.stderr)
	}
}

func TestUsageErrors(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"var", "get"}, "too few arguments"},
		{[]string{"var", "get", "a", "b"}, `too many arguments: "b" was not expected`},
		{[]string{"var", "get", "-nope", "a"}, "unknown option -nope"},
		{[]string{"var", "get", "-out", "xml", "a"}, `"xml" is not one of none, table, hcl, json`},
		{[]string{"var", "get", "-out", "go-template", "a"}, "needs a template"},
		{[]string{"var", "get", "-json", "-out", "hcl", "a"}, "cannot be combined"},
		{[]string{"var", "get", "-item", "k", "-json", "a"}, "cannot be combined"},
		{[]string{"var", "get", "-json", "-t", "{{.}}", "a"}, "exclude each other"},
		{[]string{"var", "put", "-force", "-check-index", "3", "a", "k=v"}, "exclude each other"},
		{[]string{"var", "put", "-in", "yaml", "a", "k=v"}, `"yaml" is not one of hcl, json`},
		{[]string{"var", "put", "k=v", "l=w"}, "where the path is expected"},
		{[]string{"var", "put", "a", "kv"}, "not of the form key=value"},
		{[]string{"var", "put", "a", "=v"}, "not of the form key=value"},
		{[]string{"var", "put", "a"}, "at least one item"},
		{[]string{"var", "put", "-check-index", "-1", "a", "k=v"}, "invalid value"},
		{[]string{"var", "put", "-check-index", "latest", "a", "k=v"}, "it takes a whole number, 0 or more"},
		{[]string{"var", "lock", "-ttl", "1d", "a", "true"}, `"1d" for flag -ttl: it takes numbers with units, such as 90s`},
		{[]string{"var", "list", "-per-page", "4294967296"}, "-per-page"},
		{[]string{"var", "lock", "a"}, "too few arguments"},
		{[]string{"var", "lock", "-ttl", "0s", "a", "true"}, "-ttl must be positive"},
		{[]string{"namespace", "apply", "-json", "web"}, "-json goes with a file"},
		{[]string{"operator", "raft", "remove-peer"}, "-peer-id is missing"},
		{[]string{"operator", "raft", "transfer-leadership"}, "exactly one of"},
		{[]string{"operator", "raft", "transfer-leadership", "-peer-id", "a", "-peer-address", "b"}, "exactly one of"},
		{[]string{"operator", "metrics", "-format", "xml"}, `"xml" is not one of json, prometheus`},
		{[]string{"operator", "metrics", "-format", "prometheus", "-json"}, "cannot be combined"},
		{[]string{"operator", "api", "-H", "bad", "/v1/regions"}, `bad header "bad"`},
	} {
		r := invocation{env: map[string]string{"CAIRN_ADDR": "http://127.0.0.1:1"}}.run(tc.args...)
		r.expect(t, 1, nil, []string{"error: ", tc.want, " -h` for help"})
		if r.stdout != "" {
			t.Errorf("%q printed on stdout: %s", tc.args, r.stdout)
		}
	}
}

func TestOptionsMayFollowArguments(t *testing.T) {
	for _, tc := range []struct {
		words []string
		child bool
		args  []string
		json  bool
	}{
		{[]string{"-json", "a", "b"}, false, []string{"a", "b"}, true},
		{[]string{"a", "-json", "b"}, false, []string{"a", "b"}, true},
		{[]string{"a", "b", "--", "-json"}, false, []string{"a", "b", "-json"}, false},
		{[]string{"a", "-"}, false, []string{"a", "-"}, false},
		{[]string{"a", "cmd", "-json"}, true, []string{"a", "cmd", "-json"}, false},
		{[]string{"a", "-json", "--", "cmd", "-x"}, true, []string{"a", "cmd", "-x"}, true},
	} {
		f, got := newFlags("x"), false
		f.boolean(&got, "json", "j")
		args, err := f.parse(tc.words, tc.child)
		if err != nil || !slices.Equal(args, tc.args) || got != tc.json {
			t.Errorf("%q child %v: args %q json %v err %v", tc.words, tc.child, args, got, err)
		}
	}
}

func TestCompletionAsksTheAgent(t *testing.T) {
	f := newFakeAgent(t, map[string]reply{
		"GET /v1/vars?prefix=app":                    {body: []map[string]any{{"Path": "app/db"}, {"Path": "app/web"}}},
		"GET /v1/namespaces?prefix=app":              {body: []map[string]any{{"Name": "app-ns"}}},
		"GET /v1/agent/members":                      {body: map[string]any{"Members": []map[string]any{{"Name": "s1.global"}}}},
		"GET /v1/operator/raft/configuration?stale=": {body: map[string]any{"Servers": []map[string]any{{"ID": "id-1", "Address": "10.0.0.1:4647"}}}},
	})
	opts := &Options{Getenv: func(n string) string { return map[string]string{"NOMAD_ADDR": f.URL}[n] }}
	find := func(name string) *runner {
		i := slices.IndexFunc(registry, func(e entry) bool { return e.name == name })
		return &runner{entry: registry[i], act: registry[i].new(), opts: opts}
	}
	for _, tc := range []struct {
		name string
		p    complete.Predictor
		want []string
	}{
		{"paths", find("var get").AutocompleteArgs(), []string{"app/db", "app/web"}},
		{"namespaces", find("namespace status").AutocompleteArgs(), []string{"app-ns"}},
		{"-namespace", find("var get").AutocompleteFlags()["-namespace"], []string{"app-ns"}},
		{"-out", find("var get").AutocompleteFlags()["-out"], []string{"none", "table", "hcl", "json", "go-template"}},
		{"servers", find("server force-leave").AutocompleteArgs(), []string{"s1.global"}},
		{"-peer-id", find("operator raft remove-peer").AutocompleteFlags()["-peer-id"], []string{"id-1"}},
		{"-peer-address", find("operator raft transfer-leadership").AutocompleteFlags()["-peer-address"], []string{"10.0.0.1:4647"}},
	} {
		if got := tc.p.Predict(complete.Args{Last: "app"}); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
	f.Close()
	if got := find("var get").AutocompleteArgs().Predict(complete.Args{}); len(got) != 0 {
		t.Errorf("without an agent: %q", got)
	}
}

// What the line says already decides where completion looks.
func TestCompletionHeedsTheLine(t *testing.T) {
	var asked *http.Request
	f := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"Matches":{"vars":["app/db"]},"Truncations":{}}`)
	}))
	defer f.Close()
	env := map[string]string{"CAIRN_ADDR": "http://127.0.0.1:1", "CAIRN_NAMESPACE": "of-the-environment", "CAIRN_TOKEN": "of-the-environment"}
	opts := &Options{Getenv: func(n string) string { return env[n] }}
	for _, tc := range []struct {
		command                  string
		line                     []string
		namespace, region, token string
	}{
		{"var get", nil, "of-the-environment", "", "of-the-environment"},
		{"var get", []string{"-namespace", "shop"}, "shop", "", "of-the-environment"},
		{"var get", []string{"-json", "-namespace=shop", "--region", "mars", "-token", "'secret'"}, "shop", "mars", "secret"},
		{"var get", []string{"-unknown", "-namespace", `"*"`, "app/web"}, "*", "", "of-the-environment"},
		{"var get", []string{"-json=perhaps", "app/web", "-namespace", "shop"}, "shop", "", "of-the-environment"},
		{"var get", []string{"--", "-namespace", "shop"}, "of-the-environment", "", "of-the-environment"},
		{"var lock", []string{"-region=mars", "app/web", "child", "-namespace", "shop"}, "of-the-environment", "mars", "of-the-environment"},
	} {
		at := slices.IndexFunc(registry, func(e entry) bool { return e.name == tc.command })
		r := &runner{entry: registry[at], act: registry[at].new(), opts: opts}
		asked = nil
		line := append([]string{"-address", f.URL}, tc.line...)
		got := r.AutocompleteArgs().Predict(complete.Args{Completed: line, Last: "app"})
		if !slices.Equal(got, []string{"app/db"}) || asked == nil {
			t.Errorf("%s %q: %q", tc.command, tc.line, got)
			continue
		}
		if q := asked.URL.Query(); q.Get("namespace") != tc.namespace || q.Get("region") != tc.region || asked.Header.Get("X-Nomad-Token") != tc.token {
			t.Errorf("%s %q asks %s with the token %q", tc.command, tc.line, asked.URL, asked.Header.Get("X-Nomad-Token"))
		}
	}
	at := slices.IndexFunc(registry, func(e entry) bool { return e.name == "var get" })
	r := &runner{entry: registry[at], act: registry[at].new(), opts: opts}
	r.AutocompleteFlags()["-namespace"].Predict(complete.Args{Completed: []string{"-address", f.URL, "-region", "mars", "-namespace"}})
	if asked.URL.Query().Get("region") != "mars" {
		t.Errorf("the value of an option asks %s", asked.URL)
	}
}

func TestCompletionSearches(t *testing.T) {
	hits := func(more bool, names ...string) reply {
		return reply{body: map[string]any{"Matches": map[string]any{"vars": names}, "Truncations": map[string]bool{"vars": more}}}
	}
	f := newFakeAgent(t, map[string]reply{"PUT /v1/search": hits(false, "app/db", "app/web")})
	opts := &Options{Getenv: func(n string) string { return map[string]string{"NOMAD_ADDR": f.URL}[n] }}
	at := slices.IndexFunc(registry, func(e entry) bool { return e.name == "var get" })
	complete := func() []string {
		r := &runner{entry: registry[at], act: registry[at].new(), opts: opts}
		return r.AutocompleteArgs().Predict(complete.Args{Last: "app"})
	}
	if got := complete(); !slices.Equal(got, []string{"app/db", "app/web"}) || len(f.asked()) != 1 || !strings.Contains(f.last().body, `"Prefix":"app","Context":"vars"`) {
		t.Errorf("%q after %v", got, f.last())
	}
	f.replies["PUT /v1/search"] = hits(true, "app/db")
	f.replies["GET /v1/vars?prefix=app"] = reply{body: []map[string]any{{"Path": "app/db"}, {"Path": "apps"}}}
	if got := complete(); !slices.Equal(got, []string{"app/db", "apps"}) {
		t.Errorf("where there is more: %q", got)
	}
	f.replies["PUT /v1/search"] = reply{body: map[string]any{"Matches": map[string]any{"vars": []string{"v"}, "nodes": []string{"n"}, "jobs": nil}}}
	f.replies["GET /v1/agent/members"] = reply{body: map[string]any{"Members": []map[string]any{{"Name": "s1.global"}}}}
	at = slices.IndexFunc(registry, func(e entry) bool { return e.name == "status" })
	if got := complete(); !slices.Equal(got, []string{"n", "v", "s1.global"}) {
		t.Errorf("anything: %q", got)
	}
}

func TestVersion(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"-version"}, {"--version"}} {
		r := invocation{}.run(args...)
		r.expect(t, 0, nil, nil)
		if first, rest, _ := strings.Cut(r.stdout, "\n"); first != "Cairn v1.2.3" || strings.TrimSpace(rest) != "Revision abcdef" {
			t.Errorf("%q printed %q", args, r.stdout)
		}
	}
	r := invocation{}.run("version", "-json")
	r.expect(t, 0, []string{`"Version": "1.2.3"`}, nil)
}

func TestAgentGetsAllWordsAndItsCode(t *testing.T) {
	var got []string
	i := invocation{agent: func(args []string, out, _ io.Writer, _ <-chan struct{}) int {
		got = args
		_, _ = io.WriteString(out, "running\n")
		return 7
	}}
	i.run("agent", "-dev", "-config", "x.hcl").expect(t, 7, []string{"running"}, nil)
	if !slices.Equal(got, []string{"-dev", "-config", "x.hcl"}) {
		t.Errorf("agent got %q", got)
	}
	invocation{}.run("agent", "-dev").expect(t, 1, nil, []string{"this build has no agent"})
}

func TestAgentOptionsAreExplainedAndCompleted(t *testing.T) {
	opts := &Options{Getenv: os.Getenv, AgentFlags: func() *flag.FlagSet {
		set := flag.NewFlagSet("agent", flag.ContinueOnError)
		set.Bool("dev", false, "run for development")
		set.Func("config", "read this `file`", func(string) error { return nil })
		return set
	}}
	agentEntry := registry[slices.IndexFunc(registry, func(e entry) bool { return e.name == "agent" })]
	r := &runner{entry: agentEntry, act: agentEntry.new(), opts: opts}
	help := r.Help()
	for _, want := range []string{"  -config=<file>\n      Read this file.\n", "  -dev\n      Run for development.\n"} {
		if !strings.Contains(help, want) {
			t.Errorf("help lacks %q:\n%s", want, help)
		}
	}
	if flags := r.AutocompleteFlags(); flags["-config"] == nil || flags["-dev"] != nil {
		t.Errorf("completion is %v", flags)
	}
}
