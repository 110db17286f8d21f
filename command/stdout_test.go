package command

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
)

// brokenWriter takes room bytes and fails then.
type brokenWriter struct {
	room int
	err  error
}

func (w *brokenWriter) Write(p []byte) (int, error) {
	n := min(len(p), w.room)
	w.room -= n
	if n < len(p) {
		return n, fmt.Errorf("write /dev/stdout: %w", w.err)
	}
	return n, nil
}

// A command whose answer cannot be written fails and says so, however it prints; a
// reader that had enough is no failure.
func TestOutputThatCannotBeWritten(t *testing.T) {
	f := newFakeAgent(t, map[string]reply{
		"GET /v1/vars": {body: []map[string]any{{"Path": "a"}}}, "GET /v1/var/a": {body: map[string]any{"Path": "a", "Items": map[string]string{"k": "v"}}},
		"GET /v1/namespaces": {body: []map[string]any{{"Name": "b"}}}, "PUT /v1/namespace": {},
		"GET /v1/metrics": {body: "a 1\n"}, "GET /v1/status/leader": {body: "10.0.0.1:4647"},
		"POST /v1/rpc": {body: json.RawMessage(`{"jsonrpc":"2.0","result":{"a":1},"id":1}`), header: map[string]string{"Content-Type": "application/json"}},
	})
	lines := [][]string{
		{"-h"}, {"-version"}, {"version"}, {"var", "list", "-h"},
		{"var", "list"}, {"var", "list", "-json"}, {"var", "list", "-t", "{{.}}"}, {"var", "get", "a"}, {"var", "get", "-out", "json", "a"},
		{"var", "init", "-quiet", "-"}, {"namespace", "list"}, {"namespace", "apply", "x"}, {"operator", "metrics"}, {"operator", "api", "/v1/status/leader"},
		{"rpc", "invoke", "x"}, {"rpc", "invoke", "x", "-format", "json"}, {"rpc", "invoke", "x", "-format", "rpc"}, {"rpc", "watch", "x", "-every", "1ms"},
	}
	run := func(line []string, out *brokenWriter) (int, string) {
		var errs lockedBuffer
		code := Run(line, Options{Version: "1.2.3", Stdin: strings.NewReader(""), Stdout: out, Stderr: &errs, Getenv: func(name string) string {
			return map[string]string{"CAIRN_ADDR": f.URL}[name]
		}})
		return code, errs.String()
	}
	for _, line := range lines {
		all := &brokenWriter{room: 1 << 20}
		works := line
		if line[0] == "rpc" && line[1] == "watch" {
			works = append(works, "-count", "1")
		}
		code, said := run(works, all)
		if code != 0 || all.room == 1<<20 {
			t.Fatalf("%v: code %d, %d bytes: %s", line, code, 1<<20-all.room, said)
		}
		for _, room := range []int{0, 1<<20 - all.room - 1} {
			if code, said := run(line, &brokenWriter{room, syscall.ENOSPC}); code != 1 || strings.Count(said, "no space left on device") != 1 {
				t.Errorf("%v with room for %d bytes: code %d\n%s", line, room, code, said)
			}
		}
	}
	if code, said := run([]string{"var", "list"}, &brokenWriter{0, syscall.EPIPE}); code != 0 || said != "" {
		t.Errorf("a reader that left: code %d\n%s", code, said)
	}
}

// Whole numbers above 2^53 arrive as they are, in JSON and in templates.
func TestLargeNumbersStayWhole(t *testing.T) {
	const id = "1f3a2b4c-0000-4000-8000-000000000000"
	f := newFakeAgent(t, map[string]reply{
		"GET /v1/nodes":                          {body: `[{"ID":"` + id + `"}]`},
		"PUT /v1/node/" + id + "/call/Node.Size": {body: `{"bytes":9007199254740993,"list":[{"n":12000000}],"part":0.5,"more":123456789012345678901}`},
	})
	f.run("node", "call", id, "Node.Size").expect(t, 0, []string{`"bytes": 9007199254740993`, `"more": 123456789012345678901`, `"part": 0.5`}, nil)
	f.run("node", "call", "-t", `{{.bytes}} {{(index .list 0).n}} {{printf "%.2f" .part}} {{gt .part 0.25}} {{gt .bytes 1}}`, id, "Node.Size").
		expect(t, 0, []string{"9007199254740993 12000000 0.50 true true\n"}, nil)
}
