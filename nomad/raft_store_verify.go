package nomad

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/internal/errs"
)

// StorageCheck is what a look at everything that one part of a server's storage
// holds has found.
type StorageCheck struct {
	// Items are the entries or snapshots that were read, Bytes the length of their data.
	Items int
	Bytes int64
	// First and Last are the indexes of the ends, 0 where there is nothing.
	First, Last uint64
	// Problems says what is damaged or missing, at most maxStorageProblems of them.
	Problems []string
	// More is how many problems are not in Problems.
	More int
}

// maxStorageProblems bounds what is said about one part of the storage.
const maxStorageProblems = 20

func (c *StorageCheck) problem(format string, args ...any) {
	if len(c.Problems) == maxStorageProblems {
		c.More++
		return
	}
	c.Problems = append(c.Problems, fmt.Sprintf(format, args...))
}

// VerifyLog reads the whole Raft log from disk, entry by entry against its
// checksum, while the server works. What is damaged is no error of the look.
func (s *Server) VerifyLog(ctx context.Context) (*StorageCheck, error) {
	return s.stores.verifyLog(ctx)
}

// VerifySnapshots reads the snapshots that are kept against their checksums.
func (s *Server) VerifySnapshots(ctx context.Context) (*StorageCheck, error) {
	return s.stores.verifySnapshots(ctx)
}

// CompactLog takes a snapshot of the state and forgets the entries of the log that
// it makes superfluous, but for those kept for servers that lag. It does so for this
// server alone, and reports false where the newest snapshot has everything.
func (s *Server) CompactLog() (bool, error) {
	list, err := s.stores.Snapshots.List()
	if err == nil && len(list) > 0 && list[0].Index >= s.raft.AppliedIndex() {
		return false, nil
	}
	err = s.raft.Snapshot().Error()
	switch {
	case errors.Is(err, raft.ErrNothingNewToSnapshot):
		return false, nil
	case errors.Is(err, raft.ErrRaftShutdown):
		return false, errs.Wrap(errs.Unavailable, "the server is stopping", err)
	case err != nil:
		return false, errs.Newf(errs.Unavailable, "no snapshot could be taken: %w", err)
	}
	return true, nil
}

// LogBounds returns the first and the last index of the Raft log, 0 for an empty one.
func (s *Server) LogBounds() (first, last uint64, err error) { return s.stores.bounds() }

// bounds returns the ends of the log below the cache.
func (s *raftStores) bounds() (first, last uint64, err error) {
	log := s.source()
	if first, err = log.FirstIndex(); err == nil {
		last, err = log.LastIndex()
	}
	return first, last, err
}

// source is the log on disk, or what there is in its place.
func (s *raftStores) source() raft.LogStore {
	if s.disk == nil {
		return s.Log
	}
	return s.disk
}

// verifyLog reads every entry. Raft may cut either end off meanwhile: what is not
// within the log any more is no loss.
func (s *raftStores) verifyLog(ctx context.Context) (*StorageCheck, error) {
	first, last, err := s.bounds()
	if err != nil {
		return nil, errs.Newf(errs.Unavailable, "the ends of the log cannot be read: %w", err)
	}
	out := &StorageCheck{First: first, Last: last}
	for i := first; i <= last && last > 0; i++ {
		if err := ctx.Err(); err != nil {
			return out, errs.Wrap(errs.Deadline, "the look at the log was ended", err)
		}
		var entry raft.Log
		err := shielded(func() error { return s.source().GetLog(i, &entry) })
		if err == nil {
			out.Items++
			out.Bytes += int64(len(entry.Data))
			continue
		}
		if from, to, boundsErr := s.bounds(); boundsErr == nil && (i < from || i > to) {
			continue
		}
		out.problem("entry %d: %v", i, err)
	}
	s.checkReach(out)
	return out, nil
}

// checkReach looks for a gap between the newest snapshot and the log.
func (s *raftStores) checkReach(out *StorageCheck) {
	snapshots, err := s.Snapshots.List()
	if err != nil || out.First == 0 {
		return // verifySnapshots reports it; an empty log has no gap
	}
	covered := uint64(0)
	if len(snapshots) > 0 {
		covered = snapshots[0].Index
	}
	if out.First > covered+1 {
		out.problem("entries %d to %d are in no snapshot and not in the log", covered+1, out.First-1)
	}
}

// verifySnapshots opens the snapshots, which checks their sums, and reads them.
func (s *raftStores) verifySnapshots(ctx context.Context) (*StorageCheck, error) {
	list, err := s.Snapshots.List()
	if err != nil {
		return nil, errs.Newf(errs.Unavailable, "the snapshots cannot be listed: %w", err)
	}
	out := &StorageCheck{}
	for _, meta := range list {
		if err := ctx.Err(); err != nil {
			return out, errs.Wrap(errs.Deadline, "the look at the snapshots was ended", err)
		}
		n, err := s.readSnapshot(meta.ID)
		switch {
		case err == nil:
			out.Items++
			out.Bytes += n
			out.First, out.Last = meta.Index, max(out.Last, meta.Index)
		case s.kept(meta.ID): // else a newer one has taken its place
			out.problem("snapshot %s: %v", meta.ID, err)
		}
	}
	return out, nil
}

func (s *raftStores) readSnapshot(id string) (int64, error) {
	_, r, err := s.Snapshots.Open(id)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	return io.Copy(io.Discard, r)
}

// kept reports whether a snapshot is still there.
func (s *raftStores) kept(id string) bool {
	list, err := s.Snapshots.List()
	if err != nil {
		return true
	}
	for _, meta := range list {
		if meta.ID == id {
			return true
		}
	}
	return false
}
