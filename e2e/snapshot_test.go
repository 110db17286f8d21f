package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// TestSaveAndRestore brings three processes back to what an archive has: through a server
// that follows, while one is away, and so that it outlives kills of them all.
func TestSaveAndRestore(t *testing.T) {
	for _, backend := range []string{"wal", "boltdb"} {
		t.Run(backend, func(t *testing.T) {
			c := newCluster(t, settings{"raft_logstore": settings{"backend": backend}, "raft_trailing_logs": 16})
			follower := c.others(c.leader())[0]
			for range 300 { // more than one piece
				follower.mustPut("fill/"+uuid.NewString(), strings.Repeat(uuid.NewString(), 100))
			}
			follower.mustPut("app/db", "old")
			file := filepath.Join(t.TempDir(), "backup.snap")
			out, code := follower.try("operator", "snapshot", "save", file)
			if info, err := os.Stat(file); code != 0 || err != nil || info.Mode().Perm() != 0o600 {
				t.Fatalf("save: %d %s, %v", code, out, err)
			}
			if out, code := follower.try("operator", "snapshot", "save", file); code != 1 || !strings.Contains(out, "exists") {
				t.Errorf("over a file that is there: %d %s", code, out)
			}
			c.lookAtArchive(follower, file)
			follower.mustPut("app/db", "new")
			follower.mustPut("app/late", "lost")

			away := c.others(c.leader(), follower)[0]
			away.kill()
			c.refuseDamaged(follower, file)
			if out, code := follower.try("operator", "snapshot", "restore", file); code != 1 || !strings.Contains(out, "-yes") {
				t.Errorf("without a terminal: %d %s", code, out)
			}
			if out, code := follower.try("operator", "snapshot", "restore", "-yes", file); code != 0 || !strings.Contains(out, "Index Now") {
				t.Fatalf("restore: %d %s", code, out)
			}
			follower.mustRead("app/db", "old")
			follower.mustPut("app/after", "kept")
			away.start()
			away.ready()
			c.mustHaveRestored()
			for _, a := range c.servers {
				a.kill()
			}
			c.startAll()
			c.mustHaveRestored()
			c.servers[0].mustPut("app/after", "kept")
		})
	}
}

func (c *cluster) mustHaveRestored() {
	c.t.Helper()
	for _, a := range c.servers {
		for path, want := range map[string]string{"app/db": "old", "app/late": "", "app/after": "kept"} {
			eventually(c.t, a.name+" has "+want+" at "+path, func() bool {
				have, err := a.read(path, true)
				return err == nil && have == want
			})
		}
	}
}

func (c *cluster) lookAtArchive(a *agent, file string) {
	c.t.Helper()
	out, code := a.try("operator", "snapshot", "inspect", "-json", file)
	var found struct {
		Region string
		Tables []struct {
			Table string
			Rows  int
		}
	}
	if err := json.Unmarshal([]byte(out), &found); code != 0 || err != nil || found.Region != "global" {
		c.t.Fatalf("inspect: %d %s, %v", code, out, err)
	}
	rows := map[string]int{}
	for _, table := range found.Tables {
		rows[table.Table] = table.Rows
	}
	if rows["variables"] < 300 || rows["namespaces"] != 1 {
		c.t.Errorf("inspect tells %v", rows)
	}
	out, code = a.try("operator", "snapshot", "state", file)
	if code != 0 || !strings.Contains(out, `"Path":"app/db"`) || !strings.Contains(out, "withheld") {
		c.t.Errorf("state: %d %.300s", code, out)
	}
	if out, code := a.try("operator", "snapshot", "state", "-secrets", file); code != 0 || strings.Contains(out, "withheld") {
		c.t.Errorf("state with secrets: %d %.300s", code, out)
	}
}

// refuseDamaged sends an archive with a wrong bit past the check of the command line.
func (c *cluster) refuseDamaged(a *agent, file string) {
	c.t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		c.t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if _, err := a.api.Operator().SnapshotRestore(bytes.NewReader(b), nil); err == nil || !strings.Contains(err.Error(), "damaged") {
		c.t.Errorf("a damaged archive: %v", err)
	}
	if out, code := a.try("operator", "snapshot", "restore", "-yes", write(c.t, c.t.TempDir(), "bad", string(b))); code != 1 || !strings.Contains(out, "damaged") {
		c.t.Errorf("a damaged file: %d %s", code, out)
	}
	a.mustRead("app/db", "new")
}
