package nomad

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/archive"
	"github.com/cairn-project/cairn/nomad/auth"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// chunkBytes is the size of a piece of an archive in the log; the newest entries of
	// the log are in memory.
	chunkBytes = 64 << 10
	// chunksInFlight is how many pieces are under way at once.
	chunksInFlight = 8
	// dutiesTimeout bounds the wait for the duties to begin anew.
	dutiesTimeout = time.Minute
)

// RestoreSnapshot has the archive that body gives take the place of the state. It is read
// to its end and checked before anything changes.
func (s *Server) RestoreSnapshot(ctx context.Context, r *structs.SnapshotRestoreRequest, body io.Reader) (resp *structs.SnapshotRestoreResponse, err error) {
	ask := *r
	ask.Passed++
	local := false
	if r.Region != "" && r.Region != s.config.Region {
		if local, err = s.localToken(ctx, r.AuthToken); err != nil {
			return nil, err
		} else if local {
			ask.AuthToken = ""
		}
	}
	err = s.routeStream(ctx, &streamHop{info: &snapshotRestInfo, region: r.Region, passed: r.Passed,
		here: func() (err error) {
			resp, err = s.restoreHere(ctx, r, body)
			return err
		},
		there: func(conn net.Conn) (err error) {
			resp, err = archive.SendRestore(ctx, conn, &ask, body)
			return err
		}})
	return resp, s.explainLocal(local, r.Region, err)
}

// restoreHere restores on the leader. Its errors do not say that nothing happened once
// body was read from.
func (s *Server) restoreHere(ctx context.Context, r *structs.SnapshotRestoreRequest, body io.Reader) (*structs.SnapshotRestoreResponse, error) {
	id, err := s.asker(ctx, &snapshotRestInfo, r.AuthToken, acl.SnapshotRestore)
	if err != nil {
		s.audit(&snapshotRestInfo, id, err)
		return nil, err
	}
	if !s.archives.restoring.TryLock() {
		return nil, errs.New(errs.Busy, "another archive is being restored: wait for its end, and look whether it is yours").WithRetryAfter(10 * time.Second)
	}
	defer s.archives.restoring.Unlock()
	resp, err := s.restoreBody(ctx, r, id, body)
	if errs.NotSent(err) {
		err = errs.Newf(errs.Unavailable, "%w: nothing was restored; try again", err)
	}
	if err != nil {
		s.audit(&snapshotRestInfo, id, err)
	}
	return resp, err
}

func (s *Server) restoreBody(ctx context.Context, r *structs.SnapshotRestoreRequest, id *auth.Identity, body io.Reader) (*structs.SnapshotRestoreResponse, error) {
	if !s.router.MeetsMinimumVersion(s.config.Region, archivesSince, false) {
		return nil, errs.Newf(errs.PreconditionFailed, "some server of the region is older than version %s, and cannot restore: upgrade it first", archivesSince)
	}
	f, err := s.scratchFile()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sum, err := receiveArchive(f, body)
	if err != nil {
		return nil, err
	}
	meta, err := s.checkArchive(f, r)
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, errs.Gone(ctx.Err())
	}
	resp := &structs.SnapshotRestoreResponse{Done: true, Before: s.state.LatestIndex(), ArchiveIndex: meta.StateIndex}
	if own := s.clusterID(); meta.ClusterID != own || meta.Region != s.config.Region {
		s.logger.Warn("the archive is of another cluster; this one keeps its ID", "cluster", meta.ClusterID, "region", meta.Region, "ours", own)
	}
	before := s.leadership.Load()
	if s.ctx.Err() != nil {
		return nil, errStopping
	}
	done := make(chan error, 1)
	s.wg.Go(func() { done <- s.restoreByLog(f, sum) }) // raft answers as long as the server waits for it
	if err := <-done; err != nil {
		return nil, err
	}
	s.awaitDuties(before)
	resp.Index = s.state.Snapshot().Restored()
	s.fillMeta(&resp.QueryMeta)
	s.audit(&snapshotRestInfo, id, nil, "saved", meta.Created, "archive_index", meta.StateIndex, "before", resp.Before, "index", resp.Index, "from_cluster", meta.ClusterID)
	return resp, nil
}

// receiveArchive writes the archive into f and returns its sum.
func receiveArchive(f *os.File, body io.Reader) ([]byte, error) {
	sum := sha256.New()
	in := io.TeeReader(body, sum)
	for {
		if err := archive.Room(f, archive.SpareRoom/4); err != nil {
			return nil, err
		}
		_, err := io.CopyN(f, in, archive.SpareRoom/4)
		if err == io.EOF {
			return sum.Sum(nil), nil
		}
		var known *errs.Error
		if errors.As(err, &known) {
			return nil, err
		}
		if err != nil {
			return nil, errs.Newf(errs.Invalid, "the archive did not arrive whole, nothing was restored: %w", err)
		}
	}
}

// checkArchive reads all of the archive, as a restore would.
func (s *Server) checkArchive(f *os.File, r *structs.SnapshotRestoreRequest) (*archive.Meta, error) {
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, err
	}
	var meta *archive.Meta
	if _, err = f.Seek(0, io.SeekStart); err == nil {
		meta, err = archive.Verify(f) // damage is told of as such, before its rows are looked at
	}
	if err != nil {
		return nil, err
	}
	if meta.Region != s.config.Region && !r.OtherRegion {
		return nil, errs.Newf(errs.PreconditionFailed, "the archive is of the region %q, and this is %q: if that is meant, say so with other_region (-other-region)", meta.Region, s.config.Region)
	}
	if err := archive.Room(f, size+meta.Size); err != nil { // in the log, and as a snapshot
		return nil, err
	}
	keys, err := state.Check(func() (io.Reader, error) { return openState(f) })
	if err != nil {
		return nil, err
	}
	if err := s.keyring.Check(keys); err != nil {
		return nil, errs.Newf(errs.PreconditionFailed, "nothing was restored, as what is sealed in the archive could not be read here: %w", err)
	}
	return meta, nil
}

// openState returns the state in the archive in f.
func openState(f *os.File) (io.Reader, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	a, err := archive.Open(f)
	if err != nil {
		return nil, err
	}
	in := bufio.NewReaderSize(a, 256<<10)
	if _, err := archive.ReadHead(in); err != nil {
		return nil, err
	}
	return in, nil
}

// restoreByLog puts the archive into the log and has it restored from there, so that every
// server does that at the same place among the writes, or none does.
func (s *Server) restoreByLog(f *os.File, sum []byte) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	id := uuid.NewString()
	s.logger.Info("an archive goes into the log", "archive", id)
	chunks, err := s.proposeChunks(id, f)
	if err == nil {
		s.logger.Info("the archive is in the log, it is restored next", "archive", id, "pieces", chunks)
		err = s.proposeRestore(&structs.ArchiveRestoreRequest{ID: id, Chunks: chunks, Sum: sum})
	}
	if err == nil || errors.Is(err, errs.Unavailable) { // who leads next drops the pieces
		return err
	}
	if drop := s.proposeAlone(structs.ArchiveRestoreRequestType, &structs.ArchiveRestoreRequest{ID: id, Drop: true}); drop != nil {
		s.logger.Warn("the pieces of an archive stay in the log until the leader drops them", "archive", id, "error", drop)
	}
	return err
}

// proposeRestore has the pieces restored. Until the duties of the leader have ended nothing
// else gets into the log.
func (s *Server) proposeRestore(r *structs.ArchiveRestoreRequest) error {
	s.proposer.replace()
	err := s.proposeAlone(structs.ArchiveRestoreRequestType, r)
	if err != nil {
		s.proposer.resume()
	}
	return err
}

// proposeChunks proposes the pieces and returns how many there are.
func (s *Server) proposeChunks(id string, f io.Reader) (uint64, error) {
	var underway []raft.ApplyFuture
	settleTo := func(most int) error {
		for len(underway) > most {
			first := underway[0]
			underway = underway[1:]
			if err := outcomeAlone(first); err != nil {
				return err
			}
		}
		return nil
	}
	buf := make([]byte, chunkBytes)
	for seq := uint64(0); ; seq++ {
		n, err := io.ReadFull(f, buf)
		if n == 0 && err == io.EOF {
			return seq, settleTo(0)
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return seq, errs.Newf(errs.Internal, "the archive cannot be read again: %w", err)
		}
		if err := settleTo(chunksInFlight - 1); err != nil {
			return seq, err
		}
		if s.ctx.Err() != nil {
			return seq, errs.Lost(errs.ExecutedUnknown, "the server is stopping, nothing was restored", nil)
		}
		entry, err := structs.Encode(structs.ArchiveChunkRequestType, &structs.ArchiveChunkRequest{ID: id, Seq: seq, Data: buf[:n]})
		if err != nil {
			return seq, err
		}
		underway = append(underway, s.raft.Apply(entry, enqueueTimeout))
	}
}

// proposeAlone proposes an entry that is in no group.
func (s *Server) proposeAlone(t structs.MessageType, msg any) error {
	entry, err := structs.Encode(t, msg)
	if err != nil {
		return err
	}
	return outcomeAlone(s.raft.Apply(entry, enqueueTimeout))
}

func outcomeAlone(f raft.ApplyFuture) error {
	if err := f.Error(); err != nil {
		return raftError(err)
	}
	if results, ok := f.Response().([]opResult); ok && len(results) == 1 {
		return results[0].err
	}
	return errs.New(errs.Internal, "the store gave no answer")
}

// awaitDuties returns once this server has begun its duties anew, or leads no more. The
// state is restored in any case.
func (s *Server) awaitDuties(before *term) {
	const look = 10 * time.Millisecond
	for end := time.Now().Add(dutiesTimeout); time.Now().Before(end) && s.ctx.Err() == nil; {
		switch t := s.leadership.Load(); {
		case t != nil && t != before && t.established():
			return
		case t == nil && s.raft.State() != raft.Leader:
			return
		}
		waitFor(s.ctx.Done(), look)
	}
}
