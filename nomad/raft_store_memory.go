package nomad

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/hashicorp/raft"
)

// memorySnapshots is a raft.SnapshotStore that keeps the newest complete snapshots
// in memory. A snapshot shows only once its sink is closed, unlike with the store
// of the library, where a follower could be sent one half written.
type memorySnapshots struct {
	mu   sync.Mutex
	kept []memorySnapshot // newest first, at most raftSnapshotsKept
	next uint64
}

type memorySnapshot struct {
	meta raft.SnapshotMeta
	data []byte // never changed
}

// Create starts a snapshot.
func (m *memorySnapshots) Create(version raft.SnapshotVersion, index, term uint64,
	config raft.Configuration, configIndex uint64, _ raft.Transport,
) (raft.SnapshotSink, error) {
	if version != raft.SnapshotVersionMax {
		return nil, fmt.Errorf("unsupported snapshot version %d", version)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next++
	return &memorySink{store: m, meta: raft.SnapshotMeta{
		Version: version, ID: fmt.Sprintf("%d-%d-%d", term, index, m.next),
		Index: index, Term: term, Configuration: config, ConfigurationIndex: configIndex,
	}}, nil
}

// List returns what there is, newest first.
func (m *memorySnapshots) List() ([]*raft.SnapshotMeta, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*raft.SnapshotMeta
	for _, s := range m.kept {
		out = append(out, &s.meta)
	}
	return out, nil
}

// Open returns a snapshot, which stays readable when newer ones replace it.
func (m *memorySnapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.kept {
		if s.meta.ID == id {
			return &s.meta, io.NopCloser(bytes.NewReader(s.data)), nil
		}
	}
	return nil, nil, fmt.Errorf("snapshot %s is gone", id)
}

// add keeps s, which raft is about to open, in place of the oldest other one.
func (m *memorySnapshots) add(s memorySnapshot) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.kept) == raftSnapshotsKept {
		m.kept = m.kept[:raftSnapshotsKept-1]
	}
	m.kept = append(slices.Clone(m.kept), s)
	slices.SortStableFunc(m.kept, func(a, b memorySnapshot) int {
		return cmp.Or(cmp.Compare(b.meta.Term, a.meta.Term), cmp.Compare(b.meta.Index, a.meta.Index))
	})
}

// memorySink collects one snapshot. It is used by one goroutine.
type memorySink struct {
	store *memorySnapshots
	meta  raft.SnapshotMeta
	buf   bytes.Buffer
	done  bool
}

var errSinkDone = errors.New("snapshot is complete")

func (s *memorySink) ID() string { return s.meta.ID }

func (s *memorySink) Write(p []byte) (int, error) {
	if s.done {
		return 0, errSinkDone
	}
	return s.buf.Write(p)
}

// Close publishes the snapshot.
func (s *memorySink) Close() error {
	if s.done {
		return nil
	}
	s.done = true
	s.meta.Size = int64(s.buf.Len())
	s.store.add(memorySnapshot{s.meta, s.buf.Bytes()})
	return nil
}

// Cancel throws the snapshot away.
func (s *memorySink) Cancel() error {
	s.done = true
	s.buf = bytes.Buffer{}
	return nil
}
