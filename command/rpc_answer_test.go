package command

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/posener/complete"
)

// peerThatSays returns a socket where every connection is told the same once something
// was read from it, and then ended, or held until the test ends.
func peerThatSays(t *testing.T, say string, hold bool) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ended, served := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(served)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = conn.Write([]byte(say))
			if hold {
				<-ended
			}
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		close(ended)
		_ = l.Close()
		<-served
	})
	return path
}

// A call that an agent did not come to answer is no success: it may have been killed.
func TestAnswersThatDoNotCome(t *testing.T) {
	const whole, part = `{"jsonrpc":"2.0","result":"first","id":1}` + "\n", `{"jsonrpc":"2.0","result":"sec`
	for _, tc := range []struct {
		say    string
		hold   bool
		args   []string
		want   int
		out    []string
		stderr []string
	}{
		{"", false, nil, 2, nil, []string{"ended without an answer", "not known"}},
		{"", false, []string{"-notify"}, 0, nil, nil},
		{part, false, nil, 2, nil, []string{"broke"}},
		{part, true, nil, 75, nil, []string{"no answer in time", "not known"}},
		{whole + part, true, nil, 75, []string{"first"}, []string{"no answer in time"}},
		{whole + part, false, nil, 2, []string{"first"}, []string{"broke"}},
		{whole, false, nil, 0, []string{"first"}, nil},
		{"null\n", false, nil, 2, nil, []string{"no answer of JSON-RPC"}},
		{"[{}]\n", false, nil, 2, nil, []string{"no answer of JSON-RPC"}},
		{"hello\n", false, nil, 2, nil, []string{"no answer of JSON-RPC"}},
		{`{"jsonrpc":"2.0","result":null,"id":1}` + "\n", false, nil, 0, nil, nil},
	} {
		args := append([]string{"rpc", "invoke", "m", "-socket", peerThatSays(t, tc.say, tc.hold), "-timeout", "30s"}, tc.args...)
		if tc.hold {
			args[len(args)-1] = "2s"
		}
		r := invocation{}.run(args...)
		t.Logf("%q", tc.say)
		r.expect(t, tc.want, tc.out, tc.stderr)
	}
	both := `{"jsonrpc":"2.0","error":{"code":-32004,"message":"no leader"},"id":1}` + "\n" + part
	r := invocation{}.run("rpc", "invoke", "m", "-socket", peerThatSays(t, both, true), "-timeout", "2s")
	r.expect(t, 75, nil, []string{"no leader", "no answer in time"})
	r = invocation{stdin: strings.NewReader(`{"jsonrpc":"2.0","method":"m","id":1}{"jsonrpc":"2.0","method":"m","id":2}`)}.
		run("rpc", "input", "-raw", "-format", "json", "-socket", peerThatSays(t, whole+part, false))
	r.expect(t, 2, []string{strings.TrimSpace(whole)}, []string{"broke"})
}

// What is given twice would be lost in a map without a word.
func TestMembersGivenTwiceAreRefused(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	f := rpcAgent(t, `{"jsonrpc":"2.0","result":1,"id":1}`)
	for _, tc := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"file", file("twice.json", `{"jsonrpc":"2.0","method":"m","id":1,"id":2}`)}, 2, []string{"twice.json", `"id" is given twice`}},
		{[]string{"file", "-check", file("check.json", `{"jsonrpc":"2.0","method":"m","\u006dethod":"n","id":1}`)}, 2, []string{`"method" is given twice`}},
		{[]string{"file", file("batch.json", `[{"jsonrpc":"2.0"},{"id":1,"id":1}]`)}, 2, []string{"element 2", `"id" is given twice`}},
		{[]string{"file", file("numbers.json", `[1]`)}, 2, []string{"element 1", "no object"}},
		{[]string{"file", file("number.json", `1`)}, 2, []string{"an object, or a list"}},
		{[]string{"invoke", "m", "-p", `{"a":1,"a":2}`, "-p", "b: 1"}, 1, []string{`"a" is given twice`}},
		{[]string{"invoke", "m", "-p", `{"a":1,"a":2}`, "-region", "eu"}, 1, []string{`"a" is given twice`}},
	} {
		invocation{}.run(append([]string{"rpc", tc.args[0], "-address", f.URL}, tc.args[1:]...)...).expect(t, tc.code, nil, tc.want)
	}
	if len(f.requests) != 0 {
		t.Errorf("%d messages were sent", len(f.requests))
	}
}

// A check of a call at a node goes by what the agent of that node offers.
func TestCallsAtANodeAreChecked(t *testing.T) {
	f := rpcAgent(t, `{"jsonrpc":"2.0","result":{"node":"n7","methods":[
		{"name":"FS.Stream","revision":1,"class":"stream","needs":"operator:write","idempotent":true},
		{"name":"Node.Ping","revision":1,"class":"read","needs":"node:read","idempotent":true},
		{"name":"Node.Apply","revision":1,"class":"write","needs":"node:write","idempotent":false,
		 "args":{"type":"object","required":["Kind"],"additionalProperties":false,"properties":{"Kind":{"type":"string"}}}}]},"id":1}`)
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"Node.Ping"}, 0, ""},
		{[]string{"Node.Ping", "-p", "a: 1"}, 2, "maxProperties"},
		{[]string{"Node.Ping", "-p", "[]"}, 2, "object"},
		{[]string{"Node.Apply", "-p", "Kind: gc"}, 0, ""},
		{[]string{"Node.Apply"}, 2, "Kind"},
		{[]string{"Node.Apply", "-batch", "-p", "Kind: gc", "-p", "Kind: 1"}, 2, "/Kind"},
		{[]string{"Node.Nope"}, 3, "rpc get-api -node n7"},
		{[]string{"FS.Stream"}, 2, "cairn node call n7 FS.Stream"},
		{[]string{"ping"}, 1, "no method of a node"},
	} {
		var out, texts []string
		if tc.code == 0 {
			out = []string{"ok"}
		} else {
			texts = []string{tc.want}
		}
		invocation{}.run(append([]string{"rpc", "invoke", "-check", "-node", "n7", "-address", f.URL}, tc.args...)...).expect(t, tc.code, out, texts)
	}
	for _, r := range f.requests {
		if !strings.Contains(r.body, "get_node_methods") {
			t.Errorf("sent %s", r.body)
		}
	}
}

// Names are completed where the line says, be it an address, a socket or a node.
func TestNamesAreCompletedWhereTheLineSays(t *testing.T) {
	handlers := `{"jsonrpc":"2.0","result":{"methods":["ping"],"notifications":["mark"]},"id":1}`
	offered := `{"jsonrpc":"2.0","result":{"methods":[{"name":"Node.Ping"},{"name":"FS.List"}]},"id":1}`
	here, atNode := rpcAgent(t, handlers), rpcAgent(t, offered)
	opts := &Options{Getenv: func(name string) string { return map[string]string{"CAIRN_ADDR": here.URL}[name] }}
	for _, tc := range []struct {
		line []string
		want []string
	}{
		{nil, []string{"ping", "mark"}},
		{[]string{"-socket", peerThatSays(t, strings.Replace(handlers, "ping", "local", 1)+"\n", false)}, []string{"local", "mark"}},
		{[]string{"-http", atNode.URL, "-node", "n7"}, []string{"Node.Ping", "FS.List"}},
		{[]string{"-socket", "/nowhere"}, nil},
		{[]string{"-format", "xml"}, nil},
	} {
		for _, name := range []string{"rpc invoke", "rpc describe", "rpc watch"} {
			at := slices.IndexFunc(registry, func(e entry) bool { return e.name == name })
			r := &runner{entry: registry[at], act: registry[at].new(), opts: opts}
			if got := r.AutocompleteArgs().Predict(complete.Args{Completed: tc.line}); !slices.Equal(got, tc.want) {
				t.Errorf("%s %q: %q, want %q", name, tc.line, got, tc.want)
			}
		}
	}
	if body := atNode.requests[0].body; !strings.Contains(body, "get_node_methods") || !strings.Contains(body, "n7") {
		t.Errorf("sent %s", body)
	}
}
