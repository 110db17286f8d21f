package nomad

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/archive"
	"github.com/cairn-project/cairn/nomad/structs"
)

// errArchiveOpen keeps snapshots from being taken while the log holds pieces of an archive
// that is not restored yet: the log could be cut off before them.
var errArchiveOpen = errs.New(errs.Busy, "an archive is about to be restored: the log is shortened after that")

// errOtherArchive answers what belongs to an archive that is not restored any more.
var errOtherArchive = errs.New(errs.Conflict, "the restore was given up, or another one took its place: nothing of it was applied")

// stagedArchive says where in the log the pieces of an archive are.
type stagedArchive struct {
	id      string
	entries []uint64
}

// archiveOp decodes an entry about an archive. It is applied alone, outside of the
// transactions of other writes, and may need to read the log.
func archiveOp[R any](body []byte, run func(n *nomadFSM, entry uint64, r *R) error) (op, bool) {
	r := new(R)
	err := structs.Decode(body, r)
	return op{err: err, archive: func(n *nomadFSM, entry uint64) error { return run(n, entry, r) }}, true
}

// archiveIn returns the one operation of an entry if it is about an archive.
func archiveIn(ops []op) *op {
	if len(ops) == 1 && ops[0].archive != nil {
		return &ops[0]
	}
	return nil
}

// applyArchive applies one entry about an archive. It fails, after the server has been
// made to stop, if the store would be another one than that of the other servers.
func (n *nomadFSM) applyArchive(log *raft.Log, o *op) ([]opResult, bool) {
	err := o.archive(n, log.Index)
	if errs.CodeOf(err) == errs.Internal {
		n.halt(log.Index, err)
		return nil, false
	}
	return []opResult{{applied: applied{index: n.state.LatestIndex()}, err: err}}, true
}

// takeChunk notes where a piece is.
func (n *nomadFSM) takeChunk(entry uint64, r *structs.ArchiveChunkRequest) error {
	st := n.staged.Load()
	if r.Seq == 0 {
		st = &stagedArchive{id: r.ID}
	}
	if st == nil || st.id != r.ID || uint64(len(st.entries)) != r.Seq {
		return errOtherArchive
	}
	n.staged.Store(&stagedArchive{id: st.id, entries: append(st.entries, entry)})
	return nil
}

// restoreArchive replaces the store. The server that proposed it has read the archive to
// its end already, so that a failure is one of this server alone.
func (n *nomadFSM) restoreArchive(entry uint64, r *structs.ArchiveRestoreRequest) error {
	st := n.staged.Load()
	if st == nil || st.id != r.ID || !r.Drop && uint64(len(st.entries)) != r.Chunks {
		return errOtherArchive
	}
	n.staged.Store(nil)
	if r.Drop {
		return nil
	}
	start := n.restoring.begin()
	defer n.restoring.end(start)
	whole := &summed{Reader: &stagedReader{fsm: n, archive: st}, sum: sha256.New(), want: r.Sum}
	a, err := archive.Open(whole)
	if err == nil {
		whole.inner = a
		state := bufio.NewReaderSize(readFunc(whole.state), 256<<10)
		if _, err = archive.ReadHead(state); err == nil {
			err = n.state.RestoreArchive(state)
		}
	}
	if err != nil {
		return errs.Newf(errs.Internal, "the archive in the log cannot be restored here: %w", err)
	}
	n.resetKeyring()
	if n.restored != nil {
		n.restored(n.state.LatestIndex())
	}
	if n.replaced != nil {
		n.replaced()
	}
	n.logger.Warn("an archive took the place of the state", "raft_index", entry, "index", n.state.LatestIndex(),
		"saved", a.Meta.Created, "from_cluster", a.Meta.ClusterID, "from_region", a.Meta.Region, "took", time.Since(start))
	return nil
}

// stagedReader reads an archive from the log.
type stagedReader struct {
	fsm     *nomadFSM
	archive *stagedArchive
	next    int
	rest    []byte
}

// Read returns io.EOF after the last piece.
func (s *stagedReader) Read(b []byte) (int, error) {
	for len(s.rest) == 0 {
		if s.next == len(s.archive.entries) {
			return 0, io.EOF
		}
		if err := s.load(s.archive.entries[s.next]); err != nil {
			return 0, err
		}
		s.next++
		s.fsm.work.moves.Add(1)
		s.fsm.restoring.moves.Add(1)
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *stagedReader) load(entry uint64) error {
	var log raft.Log
	if err := s.fsm.entry(entry, &log); err != nil {
		return fmt.Errorf("entry %d of the log: %w", entry, err)
	}
	if len(log.Data) == 0 || structs.MessageType(log.Data[0]) != structs.ArchiveChunkRequestType {
		return fmt.Errorf("entry %d of the log is no piece of an archive", entry)
	}
	var r structs.ArchiveChunkRequest
	if err := structs.Decode(log.Data[1:], &r); err != nil {
		return fmt.Errorf("entry %d of the log: %w", entry, err)
	}
	s.rest = r.Data
	return nil
}

// summed reads an archive and vouches for all of its bytes before it tells of its end.
type summed struct {
	io.Reader
	sum   hash.Hash
	want  []byte
	inner *archive.Reader
}

// Read reads the archive.
func (s *summed) Read(b []byte) (int, error) {
	n, err := s.Reader.Read(b)
	s.sum.Write(b[:n])
	return n, err
}

// state reads the state in it.
func (s *summed) state(b []byte) (int, error) {
	n, err := s.inner.Read(b)
	if err == io.EOF && !bytes.Equal(s.sum.Sum(nil), s.want) {
		err = errs.New(errs.Invalid, "the bytes of the archive are not those that were checked")
	}
	return n, err
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(b []byte) (int, error) { return f(b) }
