package nomad

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"github.com/cairn-project/cairn/internal/errs"
)

func storeConfig(dir string, kind LogStore) *Config {
	cfg := DefaultConfig()
	cfg.DataDir = dir
	cfg.Raft.LogStore = kind
	cfg.Raft.SegmentSizeMB = 1
	return cfg
}

func mustOpenStores(t *testing.T, cfg *Config) *raftStores {
	t.Helper()
	s, err := openRaftStores(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// mustFill writes a term, n entries and a snapshot.
func mustFill(t *testing.T, s *raftStores, n int) {
	t.Helper()
	if err := s.Stable.SetUint64(raftTermKey, 3); err != nil {
		t.Fatal(err)
	}
	var logs []*raft.Log
	for i := 1; i <= n; i++ {
		logs = append(logs, &raft.Log{Index: uint64(i), Term: 3, Data: fmt.Appendf(nil, "entry %d", i), Extensions: []byte{1}})
	}
	if err := s.Log.StoreLogs(logs); err != nil {
		t.Fatal(err)
	}
	mustSnapshot(t, s, uint64(n), "state of the machine")
}

func mustSnapshot(t *testing.T, s *raftStores, index uint64, state string) string {
	t.Helper()
	sink, err := s.Snapshots.Create(raft.SnapshotVersionMax, index, 3, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(sink, state); err != nil {
		t.Fatal(err)
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	return sink.ID()
}

func checkFilled(t *testing.T, s *raftStores, n int) {
	t.Helper()
	if last, err := s.Log.LastIndex(); err != nil || last != uint64(n) {
		t.Errorf("last index %d, %v; want %d", last, err, n)
	}
	var l raft.Log
	if err := s.Log.GetLog(2, &l); err != nil || string(l.Data) != "entry 2" {
		t.Errorf("entry 2 is %q, %v", l.Data, err)
	}
	if term, err := s.Stable.GetUint64(raftTermKey); err != nil || term != 3 {
		t.Errorf("term %d, %v; want 3", term, err)
	}
	metas, err := s.Snapshots.List()
	if err != nil || len(metas) != 1 {
		t.Fatalf("snapshots %v, %v; want one", metas, err)
	}
	_, r, err := s.Snapshots.Open(metas[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != "state of the machine" {
		t.Errorf("snapshot holds %q, %v", got, err)
	}
}

func TestRaftStoresKeepEverything(t *testing.T) {
	for _, kind := range []LogStore{LogStoreWAL, LogStoreBolt} {
		t.Run(string(kind), func(t *testing.T) {
			cfg := storeConfig(t.TempDir(), kind)
			s := mustOpenStores(t, cfg)
			mustFill(t, s, 100)
			checkFilled(t, s, 100)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			checkFilled(t, mustOpenStores(t, cfg), 100)
		})
	}
	t.Run("memory", func(t *testing.T) {
		s := mustOpenStores(t, storeConfig("", LogStoreMemory))
		mustFill(t, s, 100)
		checkFilled(t, s, 100)
	})
}

func TestRaftStoresRefuse(t *testing.T) {
	fill := func(kind LogStore) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			s := mustOpenStores(t, storeConfig(dir, kind))
			mustFill(t, s, 100)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	spoil := func(pattern string, change func(b []byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			fill(LogStoreWAL)(t, dir)
			paths, err := filepath.Glob(filepath.Join(dir, "raft", pattern))
			if err != nil || len(paths) == 0 {
				t.Fatalf("no file %s: %v", pattern, err)
			}
			b, err := os.ReadFile(paths[0])
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(paths[0], change(b), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	zero := func(b []byte) []byte { clear(b); return b }
	for name, c := range map[string]struct {
		prepare func(*testing.T, string)
		kind    LogStore
		want    []string
	}{
		"wal to boltdb": {fill(LogStoreWAL), LogStoreBolt, []string{"kept by the log store wal", "asks for boltdb"}},
		"boltdb to wal": {fill(LogStoreBolt), LogStoreWAL, []string{"kept by the log store boltdb", "asks for wal"}},
		"another program's file": {func(t *testing.T, dir string) {
			path := filepath.Join(dir, "raft")
			if err := os.MkdirAll(path, 0o700); err != nil {
				t.Fatal(err)
			}
			db, err := raftboltdb.NewBoltStore(filepath.Join(path, "raft.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if err := db.SetUint64(raftTermKey, 7); err != nil {
				t.Fatal(err)
			}
		}, LogStoreWAL, []string{"written by another program", "empty data_dir"}},
		"newer format": {func(t *testing.T, dir string) {
			s := mustOpenStores(t, storeConfig(dir, LogStoreWAL))
			defer s.Close()
			if err := s.Stable.Set(raftFormatKey, []byte("9")); err != nil {
				t.Fatal(err)
			}
		}, LogStoreWAL, []string{`format "9"`, `reads "1"`}},
		"raft.db is text":     {spoil("raft.db", func([]byte) []byte { return bytes.Repeat([]byte("text "), 2000) }), LogStoreWAL, []string{"corrupt or no boltdb file"}},
		"raft.db cut short":   {spoil("raft.db", func(b []byte) []byte { return b[:5000] }), LogStoreWAL, []string{"raft.db", "corrupt"}},
		"segment overwritten": {spoil("wal/*.wal", func(b []byte) []byte { copy(b, bytes.Repeat([]byte{0xa5}, 64)); return b }), LogStoreWAL, []string{"cannot read the raft log", "let it join again"}},
		"metadata of zeros":   {spoil("wal/wal-meta.db", zero), LogStoreWAL, []string{"cannot read the raft log", "let it join again"}},
		"raft.db lost": {func(t *testing.T, dir string) {
			fill(LogStoreWAL)(t, dir)
			os.Remove(filepath.Join(dir, "raft", "raft.db"))
		}, LogStoreWAL, []string{"does not belong to the log"}},
		"locked":       {func(t *testing.T, dir string) { mustOpenStores(t, storeConfig(dir, LogStoreWAL)) }, LogStoreWAL, []string{"locked by another process"}},
		"no directory": {func(t *testing.T, dir string) { os.WriteFile(filepath.Join(dir, "raft"), nil, 0o600) }, LogStoreWAL, []string{"cannot create the raft directory"}},
		"snapshots is a file": {func(t *testing.T, dir string) {
			os.Mkdir(filepath.Join(dir, "raft"), 0o700)
			os.WriteFile(filepath.Join(dir, "raft", "snapshots"), nil, 0o600)
		}, LogStoreWAL, []string{"snapshots", "check its owner"}},
		"unknown kind of store": {func(*testing.T, string) {}, "paper", []string{`unknown log store "paper"`}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c.prepare(t, dir)
			s, err := openRaftStores(storeConfig(dir, c.kind), nil)
			if err == nil {
				s.Close()
				t.Fatal("opened")
			}
			if errs.CodeOf(err) == errs.Internal {
				t.Errorf("no code: %v", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

func TestRaftStoresSwitchWhileEmpty(t *testing.T) {
	dir := t.TempDir()
	for _, kind := range []LogStore{LogStoreWAL, LogStoreBolt, LogStoreWAL} {
		s := mustOpenStores(t, storeConfig(dir, kind))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRaftStoresUnwritable(t *testing.T) {
	if os.Getuid() == 0 {
		t.Log("root may write everywhere: only the message's code is checked")
	}
	dir := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	s, err := openRaftStores(storeConfig(dir, LogStoreWAL), nil)
	if err == nil {
		s.Close()
		if os.Getuid() != 0 {
			t.Fatal("opened a directory that is not writable")
		}
		return
	}
	if !errors.Is(err, errs.PreconditionFailed) || !strings.Contains(err.Error(), "check data_dir") {
		t.Errorf("got %v", err)
	}
}

func TestMemorySnapshotsShowOnlyCompleteOnes(t *testing.T) {
	s := mustOpenStores(t, storeConfig("", LogStoreMemory))
	sink, err := s.Snapshots.Create(raft.SnapshotVersionMax, 9, 3, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(sink, "half")
	if metas, _ := s.Snapshots.List(); len(metas) != 0 {
		t.Errorf("a snapshot being written is listed")
	}
	if err := sink.Cancel(); err != nil {
		t.Fatal(err)
	}
	sink.Close()
	if metas, _ := s.Snapshots.List(); len(metas) != 0 {
		t.Errorf("a cancelled snapshot is listed")
	}
	mustSnapshot(t, s, 30, "c")
	older := mustSnapshot(t, s, 10, "a")
	if _, _, err := s.Snapshots.Open(older); err != nil {
		t.Errorf("the snapshot just written cannot be opened: %v", err)
	}
	newest := mustSnapshot(t, s, 40, "d")
	metas, _ := s.Snapshots.List()
	if len(metas) != 2 || metas[0].ID != newest || metas[1].Index != 30 || metas[0].Size != 1 {
		t.Errorf("listed %+v", metas)
	}
}

// BenchmarkRaftLogCache stores batches and reads each entry three times, as two
// followers' senders and the state machine do.
func BenchmarkRaftLogCache(b *testing.B) {
	for _, kind := range []LogStore{LogStoreWAL, LogStoreBolt} {
		for _, cached := range []bool{true, false} {
			for _, batch := range []int{1, 64} {
				b.Run(fmt.Sprintf("%s/cache=%v/batch=%d", kind, cached, batch), func(b *testing.B) {
					s, err := openRaftStores(storeConfig(b.TempDir(), kind), nil)
					if err != nil {
						b.Fatal(err)
					}
					defer s.Close()
					if cached {
						benchmarkLog(b, s.Log, batch)
					} else {
						benchmarkLog(b, s.disk, batch)
					}
				})
			}
		}
	}
}

func benchmarkLog(b *testing.B, store raft.LogStore, batch int) {
	logs := make([]*raft.Log, batch)
	var next uint64 = 1
	for b.Loop() {
		first := next
		for i := range logs {
			logs[i] = &raft.Log{Index: next, Term: 1, Data: make([]byte, 256)}
			next++
		}
		if err := store.StoreLogs(logs); err != nil {
			b.Fatal(err)
		}
		for range 3 {
			for i := range logs {
				var l raft.Log
				if err := store.GetLog(first+uint64(i), &l); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "entries/s")
}
