package nomad

import (
	"bufio"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/nomad/archive"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

// fsmSnapshot is a view of the store on its way to the disk.
type fsmSnapshot struct {
	view *state.Snapshot
	seen uint64
	n    *nomadFSM
}

// Snapshot takes a view of the store; it costs nothing but a pointer.
func (n *nomadFSM) Snapshot() (raft.FSMSnapshot, error) {
	select {
	case <-n.halted:
		return nil, n.haltErr
	default:
	}
	if n.staged.Load() != nil {
		return nil, errArchiveOpen
	}
	return &fsmSnapshot{view: n.state.Snapshot(), seen: n.seen.Load(), n: n}, nil
}

// Persist writes the view to sink.
func (f *fsmSnapshot) Persist(sink raft.SnapshotSink) error {
	start := f.n.persisting.begin()
	defer f.n.persisting.end(start)
	if err := f.write(moving{Writer: sink, work: f.n.persisting}); err != nil {
		_ = sink.Cancel()
		return fmt.Errorf("persist snapshot: %w", err)
	}
	f.n.logger.Debug("snapshot persisted", "raft_index", f.seen, "took", time.Since(start))
	return sink.Close()
}

// moving notes every read and write of a snapshot that comes to an end.
type moving struct {
	io.Writer
	io.Reader
	work *work
}

func (m moving) Write(b []byte) (int, error) {
	defer m.work.moves.Add(1)
	return m.Writer.Write(b)
}

func (m moving) Read(b []byte) (int, error) {
	defer m.work.moves.Add(1)
	return m.Reader.Read(b)
}

func (f *fsmSnapshot) write(w io.Writer) error {
	buf := bufio.NewWriterSize(w, 256<<10)
	if _, err := buf.Write(archive.AppendHead(nil, f.seen)); err != nil {
		return err
	}
	if err := f.view.Persist(buf); err != nil {
		return err
	}
	return buf.Flush()
}

// Release has nothing to give back: the garbage collector owns the view.
func (f *fsmSnapshot) Release() {}

// Restore replaces the store by a snapshot; on an error the store is unchanged.
func (n *nomadFSM) Restore(rc io.ReadCloser) error {
	defer rc.Close()
	start := n.restoring.begin()
	defer n.restoring.end(start)
	r := bufio.NewReaderSize(moving{Reader: rc, work: n.restoring}, 256<<10)
	index, err := archive.ReadHead(r)
	if err != nil {
		return err
	}
	if err := n.state.Restore(r); err != nil {
		return fmt.Errorf("restore snapshot: %w", err)
	}
	n.staged.Store(nil) // a snapshot has no part of an archive
	n.resetKeyring()
	if n.restored != nil {
		n.restored(n.state.LatestIndex())
	}
	n.seen.Store(index)
	n.advance(index)
	n.logger.Info("snapshot restored", "raft_index", index, "index", n.state.LatestIndex(), "took", time.Since(start))
	return nil
}

// resetKeyring makes the keyring hold what the store holds.
func (n *nomadFSM) resetKeyring() {
	var keys []*structs.RootKey
	for k := range n.state.Snapshot().RootKeys(nil) {
		keys = append(keys, k)
	}
	if err := n.keyring.Reset(keys); err != nil {
		n.logger.Error("cannot unwrap every root key, variables under the others are unreadable here", "error", err)
	}
}
