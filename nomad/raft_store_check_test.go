package nomad

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/internal/errs"
)

func TestLogBehindTheSnapshotIsDropped(t *testing.T) {
	for _, kind := range []LogStore{LogStoreWAL, LogStoreBolt} {
		t.Run(string(kind), func(t *testing.T) {
			cfg := DefaultConfig()
			cfg.DataDir, cfg.Raft.LogStore = t.TempDir(), kind
			s, err := openRaftStores(cfg, nil)
			if err != nil {
				t.Fatal(err)
			}
			for i := uint64(1); i <= 20; i++ {
				if err := s.Log.StoreLog(&raft.Log{Index: i, Term: 1}); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Stable.SetUint64(raftTermKey, 1); err != nil {
				t.Fatal(err)
			}
			sink, err := s.Snapshots.Create(1, 50, 1, raft.Configuration{}, 1, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := sink.Close(); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if s, err = openRaftStores(cfg, nil); err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if last, err := s.Log.LastIndex(); err != nil || last != 0 {
				t.Fatalf("the log ends at %d, %v", last, err)
			}
			if err := s.Log.StoreLog(&raft.Log{Index: 51, Term: 2}); err != nil {
				t.Fatalf("the entry after the snapshot: %v", err)
			}
		})
	}
}

func TestShortBoltFileIsRefused(t *testing.T) {
	cfg := DefaultConfig()
	cfg.DataDir, cfg.Raft.LogStore = t.TempDir(), LogStoreBolt
	s, err := openRaftStores(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := uint64(1); i <= 500; i++ {
		if err := s.Log.StoreLog(&raft.Log{Index: i, Term: 1, Data: make([]byte, 512)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(cfg.DataDir, "raft", "raft.db")
	for _, part := range []int64{2, 10} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, info.Size()/part); err != nil {
			t.Fatal(err)
		}
		if s, err := openRaftStores(cfg, nil); !errors.Is(err, errs.PreconditionFailed) {
			t.Fatalf("opened %v, %v", s, err)
		}
	}
}

func TestDamagedEntryIsRefused(t *testing.T) {
	cfg := DefaultConfig()
	cfg.DataDir = t.TempDir()
	s, err := openRaftStores(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := uint64(1); i <= 50; i++ {
		data := []byte(fmt.Sprintf("entry number %03d of the log", i))
		if err := s.Log.StoreLog(&raft.Log{Index: i, Term: 1, Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Stable.SetUint64(raftTermKey, 1); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	segments, err := filepath.Glob(filepath.Join(cfg.DataDir, "raft", "wal", "*.wal"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("segments %v, %v", segments, err)
	}
	for _, path := range segments {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if at := bytes.Index(b, []byte("number 025")); at >= 0 {
			b[at] ^= 1
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := openRaftStores(cfg, nil); !errors.Is(err, errs.PreconditionFailed) || !strings.Contains(err.Error(), "entry 25") {
		t.Fatalf("opened a damaged log: %v", err)
	}
}
