package nomad

import (
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// wordsFSM keeps the words it was given.
type wordsFSM struct {
	mu    sync.Mutex
	words string
}

func (f *wordsFSM) get() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.words
}

func (f *wordsFSM) Apply(l *raft.Log) any {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.words += string(l.Data)
	return nil
}

func (f *wordsFSM) Snapshot() (raft.FSMSnapshot, error) { return wordsSnapshot(f.get()), nil }

func (f *wordsFSM) Restore(r io.ReadCloser) error {
	b, err := io.ReadAll(r)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.words = string(b)
	return err
}

type wordsSnapshot string

func (s wordsSnapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := io.WriteString(sink, string(s)); err != nil {
		return sink.Cancel()
	}
	return sink.Close()
}

func (wordsSnapshot) Release() {}

func mustRaft(t *testing.T, id raft.ServerID, s *raftStores, fsm raft.FSM, trans raft.Transport) *raft.Raft {
	t.Helper()
	cfg := raft.DefaultConfig()
	cfg.LocalID, cfg.Logger, cfg.TrailingLogs = id, hclog.NewNullLogger(), 2
	cfg.HeartbeatTimeout, cfg.ElectionTimeout, cfg.LeaderLeaseTimeout = 100*time.Millisecond, 100*time.Millisecond, 100*time.Millisecond
	if has, err := raft.HasExistingState(s.Log, s.Stable, s.Snapshots); err != nil {
		t.Fatal(err)
	} else if !has && id == "first" {
		servers := raft.Configuration{Servers: []raft.Server{{ID: id, Address: trans.LocalAddr()}}}
		if err := raft.BootstrapCluster(cfg, s.Log, s.Stable, s.Snapshots, trans, servers); err != nil {
			t.Fatal(err)
		}
	}
	r, err := raft.NewRaft(cfg, fsm, s.Log, s.Stable, s.Snapshots, trans)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func mustHappen(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for range 20_000 {
		if cond() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("never happened: %s", what)
}

func TestRaftRunsOnTheStores(t *testing.T) {
	for _, kind := range []LogStore{LogStoreWAL, LogStoreBolt, LogStoreMemory} {
		t.Run(string(kind), func(t *testing.T) {
			cfg := storeConfig(t.TempDir(), kind)
			stores, fsm := mustOpenStores(t, cfg), &wordsFSM{}
			_, trans := raft.NewInmemTransport("")
			leader := mustRaft(t, "first", stores, fsm, trans)
			mustHappen(t, "a leader", func() bool { return leader.State() == raft.Leader })
			for range 50 {
				if err := leader.Apply([]byte("word "), 0).Error(); err != nil {
					t.Fatal(err)
				}
			}
			if err := leader.Snapshot().Error(); err != nil {
				t.Fatal(err)
			}
			want := strings.Repeat("word ", 50)

			other, otherStores := &wordsFSM{}, mustOpenStores(t, storeConfig(t.TempDir(), kind))
			otherAddr, otherTrans := raft.NewInmemTransport("")
			trans.Connect(otherAddr, otherTrans)
			otherTrans.Connect(trans.LocalAddr(), trans)
			follower := mustRaft(t, "second", otherStores, other, otherTrans)
			if err := leader.AddNonvoter("second", otherAddr, 0, 0).Error(); err != nil {
				t.Fatal(err)
			}
			mustHappen(t, "the snapshot is installed", func() bool { return other.get() == want })
			if metas, err := otherStores.Snapshots.List(); err != nil || len(metas) == 0 {
				t.Errorf("the installed snapshot is not kept: %v", err)
			}
			for _, r := range []*raft.Raft{follower, leader} {
				if err := r.Shutdown().Error(); err != nil {
					t.Fatal(err)
				}
			}
			if kind == LogStoreMemory {
				return
			}
			if err := stores.Close(); err != nil {
				t.Fatal(err)
			}
			again := &wordsFSM{}
			_, trans = raft.NewInmemTransport(trans.LocalAddr())
			restarted := mustRaft(t, "first", mustOpenStores(t, cfg), again, trans)
			mustHappen(t, "the state is back after a restart", func() bool { return again.get() == want })
			if err := restarted.Shutdown().Error(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
