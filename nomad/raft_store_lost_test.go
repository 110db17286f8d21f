package nomad

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/internal/errs"
)

// mustWrite opens the stores in dir, lets do use them and closes them.
func mustWrite(t *testing.T, dir string, kind LogStore, do func(s *raftStores)) {
	t.Helper()
	s, err := openRaftStores(storeConfig(dir, kind), nil)
	if err != nil {
		t.Fatal(err)
	}
	do(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// mustAppend stores entries of 100 KiB, ten to a segment.
func mustAppend(t *testing.T, s *raftStores, first, last uint64) {
	t.Helper()
	for i := first; i <= last; i++ {
		if err := s.Log.StoreLog(&raft.Log{Index: i, Term: 3, Data: make([]byte, 100<<10)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Stable.SetUint64(raftTermKey, 3); err != nil {
		t.Fatal(err)
	}
}

// mustRemove removes what matches pattern in the raft directory, the last match only if
// newest is set.
func mustRemove(t *testing.T, dir, pattern string, newest bool) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "raft", pattern))
	if err != nil || len(paths) == 0 {
		t.Fatalf("nothing matches %s: %v", pattern, err)
	}
	if newest {
		paths = paths[len(paths)-1:]
	}
	for _, path := range paths {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
}

// A server that forgot what it acknowledged must not vote: a leader without those
// entries could win.
func TestServerThatLostItsLogIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		write  func(*testing.T, *raftStores)
		lose   string
		newest bool
		want   string
	}{
		"the only segment":         {func(t *testing.T, s *raftStores) { mustAppend(t, s, 1, 5) }, "wal/*.wal", false, "was written and is missing"},
		"the newest segment":       {func(t *testing.T, s *raftStores) { mustAppend(t, s, 1, 25) }, "wal/*.wal", true, "was written and is missing"},
		"an older segment":         {func(t *testing.T, s *raftStores) { mustAppend(t, s, 1, 25) }, "wal/*-0000000000000000.wal", false, "cannot read the raft log"},
		"the directory of the log": {func(t *testing.T, s *raftStores) { mustAppend(t, s, 1, 5) }, "wal", false, "wal-meta.db is missing"},
		"its content":              {func(t *testing.T, s *raftStores) { mustAppend(t, s, 1, 5) }, "wal/*", false, "wal-meta.db is missing"},
		"what follows a snapshot":  {func(t *testing.T, s *raftStores) { mustFill(t, s, 5); mustAppend(t, s, 6, 7) }, "wal/*.wal", false, "was written and is missing"},
		"raft.db and the log": {func(t *testing.T, s *raftStores) { mustFill(t, s, 5) }, "[rw]a*", false,
			"does not belong to the snapshots"},
		"the snapshot": {func(t *testing.T, s *raftStores) {
			mustAppend(t, s, 1, 25)
			mustSnapshot(t, s, 24, "state")
			if err := s.Log.DeleteRange(1, 20); err != nil {
				t.Fatal(err)
			}
		}, "snapshots", false, "are in no snapshot and not in the log"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			mustWrite(t, dir, LogStoreWAL, func(s *raftStores) { c.write(t, s) })
			mustRemove(t, dir, c.lose, c.newest)
			for range 2 { // the first look must not hide it from the next
				s, err := openRaftStores(storeConfig(dir, LogStoreWAL), nil)
				if err == nil {
					s.Close()
					t.Fatal("opened")
				}
				if !errors.Is(err, errs.PreconditionFailed) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "let it join again") {
					t.Errorf("%v", err)
				}
			}
		})
	}
}

func TestLostLogIsNotBegunInBoltDB(t *testing.T) {
	for _, lost := range []string{"wal", "wal/*.wal"} {
		dir := t.TempDir()
		mustWrite(t, dir, LogStoreWAL, func(s *raftStores) { mustAppend(t, s, 1, 5) })
		mustRemove(t, dir, lost, false)
		if s, err := openRaftStores(storeConfig(dir, LogStoreBolt), nil); err == nil {
			s.Close()
			t.Errorf("opened without %s", lost)
		}
	}
}

// What a crash can leave is no loss.
func TestLogThatLostNothingOpens(t *testing.T) {
	for name, prepare := range map[string]func(*testing.T, string){
		"segment made and not written": func(t *testing.T, dir string) {
			mustWrite(t, dir, LogStoreWAL, func(s *raftStores) {})
			mustRemove(t, dir, "wal/*.wal", false)
		},
		"term before the first entry": func(t *testing.T, dir string) {
			mustWrite(t, dir, LogStoreWAL, func(s *raftStores) {
				if err := s.Stable.SetUint64(raftTermKey, 3); err != nil {
					t.Fatal(err)
				}
			})
		},
		"next segment not made after a snapshot took the place of all": func(t *testing.T, dir string) {
			mustWrite(t, dir, LogStoreWAL, func(s *raftStores) {
				mustAppend(t, s, 1, 25)
				mustSnapshot(t, s, 50, "state")
				if err := s.Log.DeleteRange(1, 25); err != nil {
					t.Fatal(err)
				}
			})
			mustRemove(t, dir, "wal/*.wal", false)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			prepare(t, dir)
			mustWrite(t, dir, LogStoreWAL, func(s *raftStores) { mustAppend(t, s, 51, 53) })
		})
	}
}

func TestEmptyServerWithATermSaysThatItWaits(t *testing.T) {
	dir := t.TempDir()
	open := func() string {
		var out bytes.Buffer
		s, err := openRaftStores(storeConfig(dir, LogStoreWAL), hclog.New(&hclog.LoggerOptions{Output: &out}))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.Stable.SetUint64(raftTermKey, 3); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	const want = "neither a log nor a snapshot"
	if said := open(); strings.Contains(said, want) {
		t.Errorf("a new server says %s", said)
	}
	if said := open(); !strings.Contains(said, want) || !strings.Contains(said, "let it join again") {
		t.Errorf("it says %q", said)
	}
}

// Entries are safe although the name of their segment could not be kept.
func TestEntriesAreStoredWithoutTheNameOfTheirSegment(t *testing.T) {
	var kept []string
	failing := true
	var out bytes.Buffer
	files := &tailFiles{diskFiles(), func(name string) error {
		if failing {
			return errors.New("no room")
		}
		kept = append(kept, name)
		return nil
	}, hclog.New(&hclog.LoggerOptions{Output: &out})}
	log, err := openPatient(t.TempDir(), 1<<20, files, newWaitForRoom(hclog.NewNullLogger()))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if n, err := fill(log, 1, 3); err != nil {
		t.Fatalf("after %d entries: %v", n, err)
	}
	if n := strings.Count(out.String(), "cannot keep"); n != 1 {
		t.Errorf("said %d times: %s", n, out.String())
	}
	failing = false
	if n, err := fill(log, 4, 6); err != nil {
		t.Fatalf("after %d entries: %v", n, err)
	}
	if len(kept) != 1 || !strings.HasSuffix(kept[0], ".wal") {
		t.Errorf("kept %v", kept)
	}
}
