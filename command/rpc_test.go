package command

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/posener/complete"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/jsonrpc"
)

// rpcAgent answers /v1/rpc with one body.
func rpcAgent(t *testing.T, body string) *fakeAgent {
	return newFakeAgent(t, map[string]reply{"POST /v1/rpc": {body: json.RawMessage(body), header: map[string]string{"Content-Type": "application/json"}}})
}

func TestExitCodesOfRPC(t *testing.T) {
	for body, want := range map[string]int{
		`{"jsonrpc":"2.0","result":1,"id":1}`:                                                                      0,
		`{"jsonrpc":"2.0","error":{"code":9,"message":"failed"},"id":1}`:                                           2,
		`{"jsonrpc":"2.0","error":{"code":-32601,"message":"method not found"},"id":1}`:                            3,
		`{"jsonrpc":"2.0","error":{"code":-32000,"message":"busy"},"id":1}`:                                        75,
		`{"jsonrpc":"2.0","error":{"code":-32004,"message":"no leader"},"id":1}`:                                   75,
		`[{"jsonrpc":"2.0","error":{"code":-32000,"message":"b"},"id":1},{"error":{"code":9,"message":"c"}}]`:      2,
		`[{"jsonrpc":"2.0","error":{"code":-32000,"message":"b"},"id":1},{"error":{"code":-32004,"message":"c"}}]`: 75,
		`[{"jsonrpc":"2.0","result":1,"id":1},{"error":{"code":-32601,"message":"c"},"id":2}]`:                     3,
		`{"jsonrpc":"2.0","error":{"code":-32016,"message":"too many"},"id":1}`:                                    75,
		`{"jsonrpc":"2.0","error":{"code":-32019,"message":"no link"},"id":1}`:                                     75,
		`{"jsonrpc":"2.0","error":{"code":-32020,"message":"link lost"},"id":1}`:                                   75,
		`{"jsonrpc":"2.0","error":{"code":-32003,"message":"timed out"},"id":1}`:                                   75,
		`"nonsense"`: 2,
	} {
		f := rpcAgent(t, body)
		if r := (invocation{}).run("rpc", "invoke", "x", "-address", f.URL); r.code != want {
			t.Errorf("%s: exit %d, want %d\n%s%s", body, r.code, want, r.stdout, r.stderr)
		}
	}
	r := invocation{}.run("rpc", "invoke", "x", "-socket", filepath.Join(t.TempDir(), "none"))
	r.expect(t, 2, nil, []string{"is an agent running"})
	f := newFakeAgent(t, map[string]reply{"POST /v1/rpc": {status: http.StatusNotFound, body: "resource not found"}})
	r = invocation{}.run("rpc", "invoke", "x", "-http", f.URL)
	r.expect(t, 2, nil, []string{"HTTP 404", "no operator node"})
}

func TestParametersOfRPC(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p.yaml")
	if err := os.WriteFile(file, []byte("from: file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args []string
		want string // "" for none
	}{
		{nil, ""},
		{[]string{"-p", "a: 1", "-p", `{"b":"x"}`, "-p", "@" + file}, `{"a":1,"b":"x","from":"file"}`},
		{[]string{"-p", "[1, x]", "-p", `[{"y": 2}]`}, `[1,"x",{"y": 2}]`},
		{[]string{"-p", "n: 123456789012345678901234567890"}, `{"n":123456789012345678901234567890}`},
		{[]string{"-p", "{h: 0x1f, y: yes, d: 2026-01-02, t: true, f: 1.50, z: ~, q: \"7\"}"}, `{"h":31,"y":"yes","d":"2026-01-02","t":true,"f":1.50,"z":null,"q":"7"}`},
		{[]string{"-region", "eu", "-namespace", "ops", "-p", "a: 1"}, `{"a":1,"region":"eu","namespace":"ops"}`},
		{[]string{"-region", "eu", "-p", "region: us"}, `{"region":"us"}`},
		{[]string{"-region", "eu"}, `{"region":"eu"}`},
		{[]string{"-region", "eu", "-p", "[1]"}, `[1]`},
	} {
		f := rpcAgent(t, `{"jsonrpc":"2.0","result":1,"id":1}`)
		invocation{env: map[string]string{"NOMAD_NAMESPACE": "of-the-environment"}}.run(append([]string{"rpc", "invoke", "m", "-address", f.URL, "-token", "secret"}, tc.args...)...).expect(t, 0, []string{"1"}, nil)
		var sent struct {
			Params json.RawMessage
			Method string
			ID     string
			Token  *string
		}
		if err := json.Unmarshal([]byte(f.requests[0].body), &sent); err != nil || !sameJSON(t, string(sent.Params), tc.want) || sent.Method != "m" || sent.ID == "" {
			t.Errorf("%q sends %s, want %s: %v", tc.args, f.requests[0].body, tc.want, err)
		}
		if sent.Token != nil || f.requests[0].token != "secret" {
			t.Errorf("over HTTP the token belongs into the header: %+v", f.requests[0])
		}
	}
	for _, bad := range [][]string{
		{"-p", "1"}, {"-p", "a: [", "-p", "b: 1"}, {"-p", "a: 1", "-p", "[1]"}, {"-p", "a: 1", "-p", "a: 2"}, {"-p", "a: 1\na: 2"},
		{"-p", "a: .inf"}, {"-p", "? [x]\n: 1"}, {"-p", "a: !!binary eA=="}, {"-p", "a: 1\n---\nb: 2"}, {"-p", ""}, {"-p", "@/nowhere"},
		{"-batch"}, {"-node", "n"}, {"-format", "xml"}, {"-socket", "a", "-http", "b"},
	} {
		r := invocation{}.run(append([]string{"rpc", "invoke", "m"}, bad...)...)
		if r.code != 1 || r.stderr == "" {
			t.Errorf("%q: exit %d %s", bad, r.code, r.stderr)
		}
	}
}

func TestRPCAtANode(t *testing.T) {
	f := rpcAgent(t, `[{"jsonrpc":"2.0","result":1,"id":1}]`)
	for i, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"invoke", "Node.Ping"}, `{"node":"n7","method":"Node.Ping"}`},
		{[]string{"watch", "Node.Ping", "-count", "1"}, `{"node":"n7","method":"Node.Ping"}`},
		{[]string{"invoke", "Node.NotifyChange", "-p", "Kind: node", "-p", "Index: 3"}, `{"node":"n7","method":"Node.NotifyChange","args":{"Kind":"node","Index":3}}`},
	} {
		args := append([]string{"rpc"}, tc.args...)
		invocation{}.run(append(args, "-address", f.URL, "-node", "n7")...).expect(t, 0, []string{"1"}, nil)
		var sent struct {
			Method string
			Params json.RawMessage
		}
		if err := json.Unmarshal([]byte(f.requests[i].body), &sent); err != nil || sent.Method != "node_call" || !sameJSON(t, string(sent.Params), tc.want) {
			t.Errorf("%q sends %s, want %s: %v", tc.args, f.requests[i].body, tc.want, err)
		}
	}
	invocation{}.run("rpc", "invoke", "Node.Ping", "-node", "n7", "-notify", "-address", f.URL).expect(t, 1, nil, []string{"-notify"})
}

func TestMethodsOfANodeAreListed(t *testing.T) {
	f := rpcAgent(t, `{"jsonrpc":"2.0","result":{"node":"n7","methods":[
		{"name":"FS.Stream","revision":2,"class":"stream","needs":"operator:write","idempotent":true},
		{"name":"Node.Apply","revision":1,"class":"write","needs":"node:write","idempotent":false,"kinds":["drain","gc"],"args":{"type":"object","properties":{"Kind":{}}}}]},"id":1}`)
	run := func(args ...string) result {
		return invocation{}.run(append(args, "-node", "n7", "-address", f.URL)...)
	}
	run("rpc", "get-api").expect(t, 0, []string{"FS.Stream", "operator:write", "Node.Apply"}, nil)
	run("rpc", "get-api", "-format", "json").expect(t, 0, []string{`"class":"write"`}, nil)
	run("rpc", "describe", "Node.Apply").expect(t, 0, []string{"drain, gc", `"Kind"`, "rpc invoke Node.Apply -node n7"}, nil)
	run("rpc", "describe", "Node.Apply", "-format", "json").expect(t, 0, []string{`"args"`}, nil)
	run("rpc", "describe", "FS.Stream").expect(t, 0, []string{"node call n7 FS.Stream"}, nil)
	run("rpc", "describe", "Node.Nope").expect(t, 3, nil, []string{"Node.Nope", "rpc get-api -node n7"})
	var sent struct {
		Method string
		Params json.RawMessage
	}
	if err := json.Unmarshal([]byte(f.requests[0].body), &sent); err != nil || sent.Method != "get_node_methods" || !sameJSON(t, string(sent.Params), `{"node":"n7"}`) {
		t.Errorf("sends %s: %v", f.requests[0].body, err)
	}
	f = rpcAgent(t, `{"jsonrpc":"2.0","error":{"code":-32601,"message":"agents have no method"},"id":1}`)
	run("rpc", "invoke", "Node.Nope").expect(t, 3, nil, []string{"rpc get-api -node n7"})
	f = rpcAgent(t, `{"jsonrpc":"2.0","error":{"code":-32602,"message":"bad argument"},"id":1}`)
	run("rpc", "invoke", "FS.List").expect(t, 2, nil, []string{"rpc describe <name> -node n7"})
}

// sameJSON compares values; "" is no value.
func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	if a == "" || b == "" {
		return a == b
	}
	normal := func(text string) string {
		dec := json.NewDecoder(strings.NewReader(text))
		dec.UseNumber()
		var v any
		if err := dec.Decode(&v); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		out, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	return normal(a) == normal(b)
}

// A document of a few lines must not become gigabytes.
func TestYAMLAliasesAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n")
	for i := 1; i < 9; i++ {
		prev := string(rune('0' + i - 1))
		b.WriteString("a" + string(rune('0'+i)) + ": &a" + string(rune('0'+i)) + " [" + strings.Repeat("*a"+prev+",", 10) + "]\n")
	}
	if _, err := yamlToJSON([]byte(b.String())); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("%v", err)
	}
}

func FuzzYAMLToJSON(f *testing.F) {
	for _, s := range []string{"", "a: 1", "[1, 2]", "a: &x [1]\nb: *x", "? a\n: b", "!!float .5", "- 0o7\n- 1_0\n- 1e3\n", `{"a":1}`, "a: &a [*a]", "\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if out, err := yamlToJSON(text); err == nil && !json.Valid(out) {
			t.Fatalf("%q became %q", text, out)
		}
	})
}

func TestRPCOverTheSocket(t *testing.T) {
	srv, err := jsonrpc.New(jsonrpc.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	var token string
	who := jsonrpc.Func(func(ctx context.Context, _ any) (string, error) {
		token = jsonrpc.CallerOf(ctx).Token
		return "seen", nil
	})
	down := jsonrpc.Func(func(context.Context, any) (any, error) { return nil, errs.New(errs.NoLeader, "No cluster leader") })
	for _, m := range []jsonrpc.Method{{Name: "who", Handler: who}, {Name: "down", Handler: down}} {
		if err := srv.Register(m); err != nil {
			t.Fatal(err)
		}
	}
	conf := jsonrpc.DefaultSocketConfig()
	conf.Path = filepath.Join(t.TempDir(), "s")
	socket, err := srv.Listen(conf)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- socket.Serve(ctx) }()
	r := invocation{}.run("rpc", "invoke", "who", "-socket", conf.Path, "-token", "s3cret", "-format", "rpc")
	r.expect(t, 0, []string{`<-- {"jsonrpc":"2.0","result":"seen"`}, nil)
	if token != "s3cret" || strings.Contains(r.stdout, "s3cret") {
		t.Errorf("token %q, printed %s", token, r.stdout)
	}
	r = invocation{}.run("rpc", "watch", "down", "-socket", conf.Path, "-count", "2", "-every", "1ms")
	r.expect(t, 75, nil, []string{"No cluster leader"})
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestRPCGivesUpInTime(t *testing.T) {
	block := make(chan struct{})
	srv := newFakeAgent(t, nil)
	srv.Config.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-block })
	defer close(block)
	r := invocation{}.run("rpc", "invoke", "x", "-address", srv.URL, "-timeout", (10 * time.Millisecond).String())
	r.expect(t, 75, nil, []string{"deadline exceeded", "-timeout"})
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path) // takes connections, and answers none
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r = invocation{}.run("rpc", "invoke", "x", "-socket", path, "-timeout", (10 * time.Millisecond).String())
	r.expect(t, 75, nil, []string{"no answer in time", "-timeout"})
}

// What is wrong with one file does not keep the others from being sent.
func TestEveryFileIsSent(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := file("good.yaml", "{jsonrpc: '2.0', method: good, id: 1}")
	bad := file("bad.yaml", "jsonrpc: [")
	for _, tc := range []struct {
		args  []string
		want  int
		texts []string
	}{
		{[]string{good, good}, 0, nil},
		{[]string{bad, good, filepath.Join(dir, "none"), "-"}, 2, []string{"bad.yaml", "none"}},
		{[]string{bad}, 2, []string{"bad.yaml"}},
	} {
		f := rpcAgent(t, `{"jsonrpc":"2.0","result":"answered","id":1}`)
		sent := 0
		for _, name := range tc.args {
			if name == good || name == "-" {
				sent++
			}
		}
		r := invocation{stdin: strings.NewReader("{jsonrpc: '2.0', method: input, id: 1}")}.run(append([]string{"rpc", "file", "-address", f.URL}, tc.args...)...)
		r.expect(t, tc.want, nil, tc.texts)
		if len(f.requests) != sent || strings.Count(r.stdout, "answered") != sent {
			t.Errorf("%q: %d were sent, want %d\n%s", tc.args, len(f.requests), sent, r.stdout)
		}
	}
	f := rpcAgent(t, `{"jsonrpc":"2.0","error":{"code":-32000,"message":"busy"},"id":1}`)
	invocation{}.run("rpc", "file", "-address", f.URL, good, good).expect(t, 75, nil, []string{"good.yaml"})
	invocation{}.run("rpc", "file", "-address", f.URL, good, bad).expect(t, 2, nil, []string{"good.yaml", "bad.yaml"})
	if len(f.requests) != 3 {
		t.Errorf("%d were sent", len(f.requests))
	}
}

// An agent that starts again is watched on; one that was never there is not.
func TestWatchSurvivesARestart(t *testing.T) {
	calls := 0
	f := newFakeAgent(t, nil)
	f.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls++; calls == 2 {
			panic(http.ErrAbortHandler) // the connection ends without an answer
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"jsonrpc":"2.0","result":"answered","id":1}`))
	})
	r := invocation{}.run("rpc", "watch", "x", "-address", f.URL, "-count", "3", "-every", "1ms")
	r.expect(t, 0, nil, []string{"warning"})
	if calls != 3 || strings.Count(r.stdout, "answered") != 2 {
		t.Errorf("%d calls: %s", calls, r.stdout)
	}
	r = invocation{}.run("rpc", "watch", "x", "-socket", filepath.Join(t.TempDir(), "none"), "-every", "1ms")
	r.expect(t, 2, nil, []string{"no agent listens"})
}

// What `rpc` commands complete comes from where the line says that they go.
func TestMethodsAreCompleted(t *testing.T) {
	const offered = `{"node":"n7","methods":[{"name":"FS.Stream","class":"stream"},{"name":"Node.Apply","class":"write"},{"name":"Node.Ping","class":"read"}]}`
	f := newFakeAgent(t, nil)
	f.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/nodes" {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `[{"ID":"1f3a2b4c-0000-4000-8000-000000000000"}]`)
			return
		}
		var m struct {
			Method string
			Params struct{ Node string }
		}
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			t.Error(err)
		}
		result := `{"methods":["namespace_list"],"notifications":["mark"]}`
		if m.Method == methodNodeMethods && m.Params.Node == "1f3a2b4c-0000-4000-8000-000000000000" {
			result = offered
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":`+result+`}`)
	})
	opts := &Options{Getenv: func(string) string { return "" }}
	for _, tc := range []struct {
		command string
		line    []string
		want    []string
	}{
		{"rpc invoke", nil, []string{"namespace_list", "mark"}},
		{"rpc invoke", []string{"-node", "1f3a"}, []string{"Node.Apply", "Node.Ping"}},
		{"rpc watch", []string{"-every", "5s", "-node=1f3a2b4c-0000-4000-8000-000000000000"}, []string{"Node.Apply", "Node.Ping"}},
		{"rpc describe", []string{"-node", "1f3a"}, []string{"FS.Stream", "Node.Apply", "Node.Ping"}},
		{"rpc describe", []string{"-node", "1f3a", "-format", "none"}, nil},
		{"rpc invoke", []string{"-socket", filepath.Join(t.TempDir(), "none")}, nil},
		{"node call", []string{"-timeout", "5s", "1f3a"}, []string{"FS.Stream", "Node.Apply", "Node.Ping"}},
	} {
		at := slices.IndexFunc(registry, func(e entry) bool { return e.name == tc.command })
		r := &runner{entry: registry[at], act: registry[at].new(), opts: opts}
		line := append([]string{"-address", f.URL}, tc.line...)
		if got := r.AutocompleteArgs().Predict(complete.Args{Completed: line, LastCompleted: line[len(line)-1]}); !slices.Equal(got, tc.want) {
			t.Errorf("%s %q completes %q, want %q", tc.command, tc.line, got, tc.want)
		}
	}
}

// -node takes the beginning of an ID, as other commands do.
func TestRPCFindsANode(t *testing.T) {
	const id = "1f3a2b4c-0000-4000-8000-000000000000"
	f := rpcAgent(t, `[{"jsonrpc":"2.0","result":1,"id":1}]`)
	f.replies["GET /v1/nodes?prefix=1f3a"] = reply{body: []map[string]any{{"ID": id}}}
	f.replies["GET /v1/nodes?prefix=2"] = reply{body: "[]"}
	f.run("rpc", "invoke", "Node.Ping", "-node", "1f3a").expect(t, 0, []string{"1"}, nil)
	if last := f.last(); !strings.Contains(last.body, id) {
		t.Errorf("sends %s", last.body)
	}
	f.run("rpc", "invoke", "Node.Ping", "-node", "2").expect(t, 1, nil, []string{"no node has an ID that begins with", "node status"})
}
