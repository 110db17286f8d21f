package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestBadConfigurationIsExplained(t *testing.T) {
	for name, c := range map[string]struct {
		text  string
		wants []string
	}{
		"unknown key":      {"name = \"x\"\n\nservr {\n}\n", []string{"conf.hcl", "3", "servr"}},
		"wrong type":       {"ports {\n  http = \"many\"\n}\n", []string{"conf.hcl", "2", "http"}},
		"several problems": {"nam = \"x\"\n\nlog_levl = \"info\"\n", []string{"nam", "log_levl"}},
		"half a block":     {"server {\n  enabled = true\n", []string{"conf.hcl"}},
		"half of JSON":     {`{"server": {"enabled": tr`, []string{"conf.hcl"}},
		"noise":            {string([]byte{0, 1, 2, 0xff, 0xfe, '{', 0x80}), []string{"conf.hcl"}},
		"deep":             {strings.Repeat("a {\n", 20_000), []string{"conf.hcl"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := write(t, dir, "conf.hcl", c.text)
			out, code := cairn(t, dir, "agent", "-dev", "-config", path)
			noPanic(t, out)
			if code != 1 {
				t.Errorf("exit code %d", code)
			}
			for _, want := range c.wants {
				if !strings.Contains(out, want) {
					t.Errorf("%q is not in the message:\n%s", want, tail(out))
				}
			}
		})
	}
	t.Run("missing file", func(t *testing.T) {
		out, code := cairn(t, t.TempDir(), "agent", "-dev", "-config", "nowhere.hcl")
		if code != 1 || !strings.Contains(out, "nowhere.hcl") {
			t.Errorf("exit code %d:\n%s", code, out)
		}
	})
}

func TestTakenPortIsExplained(t *testing.T) {
	first := newDev(t)
	second := newAgent(t, "second", settings{"ports": settings{"http": first.http, "rpc": first.rpc, "serf": first.serf}}, "-dev")
	second.start()
	if code := second.wait(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if !strings.Contains(second.out.String(), "in use") {
		t.Errorf("the message does not say that a port is taken:\n%s", tail(second.out.String()))
	}
	first.mustPut("app/db", "unharmed")
}

// written runs a server that has taken snapshots, writes, and ends it cleanly.
func written(t *testing.T, backend string) (*agent, map[string]string) {
	t.Helper()
	a := newServer(t, "one", 1, settings{
		"raft_logstore":           settings{"backend": backend},
		"raft_snapshot_threshold": 50, "raft_snapshot_interval": "1s",
	})
	a.start()
	a.ready()
	acked := map[string]string{}
	for i := range 300 {
		path := fmt.Sprintf("app/%d", i)
		a.mustPut(path, "value")
		acked[path] = "value"
	}
	eventually(t, "a snapshot is taken", func() bool { return len(find(t, a.dataDir(), "state.bin")) > 0 })
	a.interrupt()
	return a, acked
}

// find returns the files below dir whose name matches pattern, newest first.
func find(t *testing.T, dir, pattern string) []string {
	t.Helper()
	times := map[string]int64{}
	var out []string
	filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(path, ".tmp") {
			return nil // directories come and go under a live server
		}
		if ok, _ := filepath.Match(pattern, d.Name()); !ok {
			return nil
		}
		if info, err := d.Info(); err == nil {
			times[path] = info.ModTime().UnixNano()
			out = append(out, path)
		}
		return nil
	})
	slices.SortFunc(out, func(a, b string) int { return int(min(1, max(-1, times[b]-times[a]))) })
	return out
}

// survivesOrExplains starts the server on damaged data. It may refuse, then the
// message must name what is damaged; or it serves again.
func survivesOrExplains(t *testing.T, a *agent, wants ...string) (serves bool) {
	t.Helper()
	before := len(a.out.String())
	a.start()
	eventually(t, "the server serves or gives up", func() bool {
		code, body := a.get("/.well-known/jwks.json")
		serves = code == 200 && strings.Contains(body, `"kid"`)
		return serves || a.ended()
	})
	said := a.out.String()[before:]
	noPanic(t, said)
	if serves {
		return true
	}
	if code := a.wait(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if !slices.ContainsFunc(wants, func(w string) bool { return strings.Contains(strings.ToLower(said), w) }) {
		t.Errorf("the message says nothing about %v:\n%s", wants, tail(said))
	}
	return false
}

func TestSnapshotCutInHalf(t *testing.T) {
	a, acked := written(t, "wal")
	snapshots := find(t, a.dataDir(), "state.bin")
	for _, path := range snapshots {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, info.Size()/2); err != nil {
			t.Fatal(err)
		}
	}
	if survivesOrExplains(t, a, "snapshot") {
		verify(t, a, acked, false) // the log still has it all
	}
}

func TestNewestSnapshotCutInHalf(t *testing.T) {
	a, acked := written(t, "boltdb")
	newest := find(t, a.dataDir(), "state.bin")[0]
	if err := os.Truncate(newest, 10); err != nil {
		t.Fatal(err)
	}
	if survivesOrExplains(t, a, "snapshot") {
		verify(t, a, acked, false)
	}
}

func TestCorruptLog(t *testing.T) {
	for name, harm := range map[string]func([]byte) []byte{
		"cut":     func(b []byte) []byte { return b[:used(b)/2] },
		"empty":   func([]byte) []byte { return nil },
		"flipped": func(b []byte) []byte { b[used(b)/2] ^= 0xff; return b },
		"noise":   func(b []byte) []byte { copy(b, strings.Repeat("noise", 1000)); return b },
	} {
		for backend, pattern := range map[string]string{"wal": "*.wal", "boltdb": "raft.db"} {
			t.Run(backend+"/"+name, func(t *testing.T) {
				t.Parallel() // it waits for the disk
				a, acked := written(t, backend)
				files := find(t, a.dataDir(), pattern)
				if len(files) == 0 {
					t.Fatalf("no %s below the data directory", pattern)
				}
				data, err := os.ReadFile(files[0])
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(files[0], harm(data), 0o600); err != nil {
					t.Fatal(err)
				}
				if survivesOrExplains(t, a, "log", "wal", "raft", "segment") {
					a.mustPut("after/damage", "x")
					if name == "flipped" { // the others may look like a crash while the file was made
						verify(t, a, acked, false)
					}
				}
			})
		}
	}
}

// used returns the length of b without the zeros that preallocation left.
func used(b []byte) int {
	for i := len(b); i > 0; i-- {
		if b[i-1] != 0 {
			return i
		}
	}
	return 1
}

// A server with the data of another cluster must not mix the two.
func TestDataOfAnotherCluster(t *testing.T) {
	stranger, theirs := written(t, "wal")
	home := newServer(t, "home", 1, nil)
	home.start()
	home.ready()
	home.mustPut("app/home", "ours")

	stranger.configure(settings{"server": settings{"enabled": true, "bootstrap_expect": 1,
		"server_join": settings{"retry_join": []string{fmt.Sprintf("127.0.0.1:%d", home.serf)}, "retry_interval": "1s"}}})
	serves := survivesOrExplains(t, stranger, "cluster")
	for range 20 { // long enough for gossip to do harm
		home.mustPut("app/home", "ours")
		home.mustRead("app/home", "ours")
		home.mustRead("app/0", "")
	}
	if serves {
		verify(t, stranger, theirs, false)
		stranger.mustRead("app/home", "")
		eventually(t, "somebody notices", func() bool {
			return strings.Contains(home.out.String(), "cluster") || strings.Contains(stranger.out.String(), "cluster")
		})
	}
	noPanic(t, home.out.String())
}

func TestUnusableDataDirectory(t *testing.T) {
	a := newServer(t, "one", 1, nil)
	write(t, a.dir, "data", "a file where a directory should be")
	a.start()
	if code := a.wait(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if said := a.out.String(); !strings.Contains(said, a.dataDir()) {
		t.Errorf("the message does not name the directory:\n%s", tail(said))
	}
}
