package nomad

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

// snapshotMagic begins every snapshot of the FSM. The format is frozen: the
// magic, the index of the last entry in it as a big-endian uint64, then the
// snapshot of the store.
var snapshotMagic = [8]byte{'C', 'A', 'I', 'R', 'N', 'F', 'S', '1'}

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
	head := binary.BigEndian.AppendUint64(snapshotMagic[:len(snapshotMagic):len(snapshotMagic)], f.seen)
	if _, err := buf.Write(head); err != nil {
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
	var head [16]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return errs.Wrap(errs.Invalid, "snapshot is cut short", err)
	}
	if [8]byte(head[:8]) != snapshotMagic {
		return errs.New(errs.Invalid, "not a snapshot of this program")
	}
	if err := n.state.Restore(r); err != nil {
		return fmt.Errorf("restore snapshot: %w", err)
	}
	n.resetKeyring()
	if n.restored != nil {
		n.restored(n.state.LatestIndex())
	}
	index := binary.BigEndian.Uint64(head[8:])
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
