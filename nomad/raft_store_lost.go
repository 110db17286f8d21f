package nomad

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/types"

	"github.com/cairn-project/cairn/internal/errs"
)

// raftTailKey is where raft.db has the name of the newest segment of the write-ahead
// log that was written. The library takes a newest segment that is missing for one that
// a crash left unmade; this tells it from one that was deleted. The key is frozen.
var raftTailKey = []byte("cairn/wal-tail")

// writtenTail returns the name of the newest segment that was written, "" if none was,
// or only by a version that did not keep it.
func (s *raftStores) writtenTail() (string, error) {
	name, err := s.bolt.Get(raftTailKey)
	if errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return "", nil
	}
	return string(name), err
}

// checkList fails if the list of segments is gone although one was written.
func checkList(dir, tail string) error {
	_, err := os.Stat(filepath.Join(dir, metadb.FileName))
	if tail == "" || !errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("%s is missing though segment %s was written, and with it what this server acknowledged: put the directory back as it was", metadb.FileName, tail)
}

// missingSegment says that a segment that was written is not there.
func missingSegment(name string) error {
	return fmt.Errorf("segment %s was written and is missing, and with it what this server acknowledged: put the file back", name)
}

// tailFiles tell which segment was written last, before what is in it is acknowledged.
type tailFiles struct {
	types.VFS
	keep   func(name string) error
	logger hclog.Logger
}

// Create makes the file of a segment.
func (t *tailFiles) Create(dir, name string, size uint64) (types.WritableFile, error) {
	f, err := t.VFS.Create(dir, name, size)
	if err != nil {
		return nil, err
	}
	return &tailFile{WritableFile: f, name: name, files: t}, nil
}

// OpenWriter opens the newest segment to write on.
func (t *tailFiles) OpenWriter(dir, name string) (types.WritableFile, error) {
	f, err := t.VFS.OpenWriter(dir, name)
	if err != nil {
		return nil, err
	}
	return &tailFile{WritableFile: f, name: name, files: t}, nil
}

// tailFile is a segment that is written by one goroutine.
type tailFile struct {
	types.WritableFile
	name       string
	files      *tailFiles
	kept, said bool
}

// Sync makes what was written last, file and name. That it was is kept with the first;
// where that fails the entries are safe all the same, and the next one tries again.
func (f *tailFile) Sync() error {
	if err := f.WritableFile.Sync(); err != nil || f.kept {
		return err
	}
	err := f.files.keep(f.name)
	f.kept = err == nil
	if err != nil && !f.said {
		f.said = true
		f.files.logger.Warn("cannot keep which segment of the raft log is the newest, will try again; until then its loss would not be noticed", "segment", f.name, "error", err)
	}
	return nil
}

// checkEmpty looks at a server without a log. With snapshots it must know its term: one
// that forgot its vote could vote twice. With neither it has nothing to vote for, but its
// owner may not expect that.
func (s *raftStores) checkEmpty(logger hclog.Logger) error {
	last, err := s.disk.LastIndex()
	if err != nil || last > 0 {
		return err
	}
	snapshots, err := s.Snapshots.List()
	if err != nil {
		return err
	}
	term, err := s.Stable.GetUint64(raftTermKey)
	if err != nil && !errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return errs.Newf(errs.PreconditionFailed, "cannot read the term in %s: %w; %s", filepath.Join(s.dir, "raft.db"), err, s.remedy())
	}
	switch {
	case len(snapshots) > 0 && term == 0:
		return errs.Newf(errs.PreconditionFailed, "raft.db in %s does not belong to the snapshots beside it: put the right one back, or %s", s.dir, s.remedy())
	case len(snapshots) == 0 && term > 0:
		logger.Warn("this server took part in elections and has neither a log nor a snapshot: it waits for a leader to send it all, as a new server does; "+
			"if it held anything before, its files are gone: stop it, and put them back or "+s.remedy(), "dir", s.dir, "term", term)
	}
	return nil
}

// refuseLost fails if dir, which holds no segment, had the log: boltdb must not begin
// a new one over what was lost.
func (s *raftStores) refuseLost(dir string) error {
	last, err := s.bolt.LastIndex()
	if err != nil || last > 0 {
		return err
	}
	tail, err := s.writtenTail()
	if err == nil {
		err = checkList(dir, tail)
	}
	if err == nil {
		err = checkLengths(dir, tail)
	}
	if err != nil {
		return errs.Newf(errs.PreconditionFailed, "cannot read the raft log in %s: %w; %s", dir, err, s.remedy())
	}
	return nil
}
