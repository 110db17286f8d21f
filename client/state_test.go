package client

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/nomad/structs"
)

func openTest(t *testing.T, path string) *stateDir {
	t.Helper()
	s, err := openState(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestIdentityIsKept(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "client"))
	defer s.close()
	first, err := loadIdentity(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.take("a.b.c"); err != nil {
		t.Fatal(err)
	}
	second, err := loadIdentity(s)
	if err != nil || second.nodeID != first.nodeID || second.secretID != first.secretID || second.token() != "a.b.c" {
		t.Errorf("%+v, %v", second, err)
	}
	if !second.drop("a.b.c") || second.token() != first.secretID || second.drop(first.secretID) {
		t.Error("a refused identity is used on")
	}
	for _, name := range []string{fileNodeID, fileSecretID, fileIdentity} {
		if info, err := os.Stat(s.file(name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

func TestDamagedIdentityIsExplained(t *testing.T) {
	for name, tc := range map[string]struct{ file, text, want string }{
		"cut off":     {fileNodeID, "6e1dfd35-4ff0", "remove it"},
		"no secret":   {fileSecretID, "", "is damaged"},
		"zeroes":      {fileSecretID, strings.Repeat("\x00", 36), "is damaged"},
		"huge":        {fileNodeID, strings.Repeat("x", maxStateFile+1), "was not written by this agent"},
		"no metadata": {fileMetadata, `{"a":`, "go back to the configuration"},
		"bad key":     {fileMetadata, `{"a b":"c"}`, "invalid key"},
	} {
		t.Run(name, func(t *testing.T) {
			s := openTest(t, t.TempDir())
			defer s.close()
			if _, err := loadIdentity(s); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(s.file(tc.file), []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := loadIdentity(s)
			if err == nil {
				_, err = loadMetadata(s, nil)
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), tc.file) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestALostSecretIsNotReplaced(t *testing.T) {
	s := openTest(t, t.TempDir())
	defer s.close()
	if _, err := loadIdentity(s); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(s.file(fileSecretID)); err != nil {
		t.Fatal(err)
	}
	if _, err := loadIdentity(s); err == nil || !strings.Contains(err.Error(), "to join as a new node") {
		t.Errorf("got %v", err)
	}
}

func TestOneAgentUsesTheStateDirectory(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	if _, err := openState(dir); err == nil || !strings.Contains(err.Error(), "another agent uses") {
		t.Errorf("got %v", err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	openTest(t, dir).close()
	temporary := openTest(t, "")
	err := temporary.close()
	if _, gone := os.Stat(temporary.path); err != nil || !os.IsNotExist(gone) {
		t.Errorf("a temporary directory was kept: %v, %v", err, gone)
	}
}

func FuzzParseMetadata(f *testing.F) {
	for _, seed := range []string{`{"a":"b","c":null}`, `null`, `{`, `{"a b":"c"}`, `[1]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := parseMetadata(b); err == nil && (m == nil || checkMetadata(m) != nil) {
			t.Errorf("accepted %q as %v", b, m)
		}
	})
}

func infos(addrs ...string) []*structs.NodeServerInfo {
	var out []*structs.NodeServerInfo
	for _, a := range addrs {
		out = append(out, &structs.NodeServerInfo{RPCAdvertiseAddr: a})
	}
	return out
}

func TestServerList(t *testing.T) {
	l := newServerList(&Config{Preferred: "own:1"}, []string{"seed:1"})
	l.told(append(infos("a:1", "b:1"), nil))
	if got := l.candidates(); len(got) != 4 || got[0] != "own:1" || got[3] != "seed:1" {
		t.Errorf("%v", got)
	}
	l.failed("a:1")
	if got := l.candidates(); !cmp.Equal(got, []string{"own:1", "b:1", "a:1", "seed:1"}) {
		t.Errorf("a server that failed is tried first: %v", got)
	}
	l.told(infos("b:1", "a:1"))
	if got := l.candidates(); got[1] != "b:1" {
		t.Errorf("the order changed without need: %v", got)
	}
	l.told(nil)
	l.told(infos("not an address"))
	l.told(infos("b:1"))
	if got := l.candidates(); !cmp.Equal(got, []string{"own:1", "b:1", "seed:1"}) {
		t.Errorf("%v", got)
	}
}

func TestServerAddr(t *testing.T) {
	for in, want := range map[string]string{"a": "a:4647", "a:1": "a:1", "::1": "[::1]:4647", "[::1]:5": "[::1]:5", "10.0.0.1": "10.0.0.1:4647",
		"": "", "provider=aws x=y": "", "a:0": "", "a:x": "", ":4647": "", "http://a": "",
		"::::": "", "[::::]:5": "", "a:1:2": "", "[fe80::1%lo]": "[fe80::1%lo]:4647"} {
		got, err := serverAddr(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

func TestConfigProblemsComeTogether(t *testing.T) {
	c := Config{NodePool: "all", Servers: []string{"a b"}, Meta: map[string]string{"a b": "c"}, Resources: ResourcesConfig{MinDynamicPort: 9, MaxDynamicPort: 5}}
	err := c.Validate()
	for _, want := range []string{"region", "datacenter", "name", "node_pool", "servers", "meta", "min_dynamic_port"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in %v", want, err)
		}
	}
}
