package drpc

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

var ctxBackground = context.Background()

func yieldCPU() { runtime.Gosched() }

// TestConformanceRunnerNoticesWrongAnswers changes what each case expects, one
// key at a time: the runner must call every such case failed.
func TestConformanceRunnerNoticesWrongAnswers(t *testing.T) {
	checked := map[string]int{}
	for _, cases := range conformanceFiles(t, "testdata") {
		for i := range cases {
			for what, wrong := range spoil(t, cases[i]) {
				checked[what]++
				if wrong.check() == nil {
					t.Errorf("%s: the runner passes it with a wrong %s", wrong.Name, what)
				}
			}
		}
	}
	for _, what := range []string{"sequence", "status", "status_name", "body_hex", "body_pattern_len", "response_hex",
		"session", "error", "message_hex", "message_len", "chunk_data_sizes", "step"} {
		if checked[what] == 0 {
			t.Errorf("no case was tried with a wrong %s", what)
		}
	}
}

// spoil returns copies of the case, each with one expectation that is wrong.
func spoil(t *testing.T, c conformanceCase) map[string]*conformanceCase {
	t.Helper()
	out := map[string]*conformanceCase{}
	change := func(what string, there bool, f func(*conformanceCase)) {
		if there {
			wrong := c
			wrong.Steps = append([]conformanceStep(nil), c.Steps...)
			f(&wrong)
			out[what] = &wrong
		}
	}
	text, n := "77", 424242
	status := int32(99)
	e := c.Expect
	change("sequence", e.Sequence != nil, func(c *conformanceCase) { c.Expect.Sequence = &text })
	change("status", e.Status != nil, func(c *conformanceCase) { c.Expect.Status = &status })
	change("status_name", e.StatusName != nil, func(c *conformanceCase) { c.Expect.StatusName = &text })
	change("body_hex", e.BodyHex != nil, func(c *conformanceCase) { c.Expect.BodyHex = &text })
	change("body_pattern_len", e.BodyPatternLen != nil, func(c *conformanceCase) { c.Expect.BodyPatternLen = &n })
	change("response_hex", e.ResponseHex != nil, func(c *conformanceCase) { c.Expect.ResponseHex = &text })
	change("session", e.Session != "", func(c *conformanceCase) {
		c.Expect.Session = map[string]string{"open": "closed", "closed": "open"}[e.Session]
	})
	change("error", e.Error != "", func(c *conformanceCase) { c.Expect.Error = "bad-version" })
	change("message_hex", e.MessageHex != nil, func(c *conformanceCase) { c.Expect.MessageHex = &text })
	change("message_len", e.MessageLen != nil, func(c *conformanceCase) { c.Expect.MessageLen = &n })
	change("chunk_data_sizes", e.ChunkDataSizes != nil, func(c *conformanceCase) { c.Expect.ChunkDataSizes = []number{1, 2, 3} })
	change("step", len(c.Steps) > 0, func(c *conformanceCase) { c.Steps[len(c.Steps)-1].Expect.Status = &status })
	return out
}

// TestConformanceRunnerRefusesUnknownKeys: what it does not look at it must not pass.
func TestConformanceRunnerRefusesUnknownKeys(t *testing.T) {
	for _, bad := range []string{
		`{"level": "message", "setup": {"weather": "rain"}}`,
		`{"level": "message", "expect": {"smell": "smoke"}}`,
	} {
		var c conformanceCase
		if err := json.Unmarshal([]byte(bad), &c); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
	hello := conformanceStep{Send: new(string)}
	for _, bad := range []conformanceCase{
		{Level: "message", conformanceStep: hello, Setup: setup{Peer: "king"}}, {Level: "message", conformanceStep: hello, Setup: setup{Modules: "some"}},
		{Level: "magic"}, {Level: "message"}, {Level: "session"}, {Level: "frame"}, {Level: "split"},
	} {
		if bad.check() == nil {
			t.Errorf("a case of level %s that states nothing passed", bad.Level)
		}
	}
}

// TestConformanceFiles: other data files may lie beside the cases.
func TestConformanceFiles(t *testing.T) {
	dir := t.TempDir()
	ours := `[{"name": "n", "group": "g", "level": "split", "message_len": 1, "chunk_capacity": 2, "expect": {"chunk_data_sizes": [1]}}]`
	for name, body := range map[string]string{
		"conformance-drpc.json": ours, "more.json": ours, "jsonrpc.json": `[{"name": "n", "send": "{}"}]`, "object.json": `{}`, "notes.txt": ours,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files := conformanceFiles(t, dir)
	if len(files) != 2 || len(files["conformance-drpc.json"]) != 1 || len(files["more.json"]) != 1 {
		t.Errorf("read %v, want the two files of cases", files)
	}
}
