package nomad

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	wal "github.com/hashicorp/raft-wal"
	"go.etcd.io/bbolt"

	"github.com/cairn-project/cairn/internal/errs"
)

const (
	// raftLogCache is how many of the newest log entries stay in memory.
	raftLogCache = 512
	// raftSnapshotsKept is how many snapshots stay on disk.
	raftSnapshotsKept = 2
	// raftLockWait bounds the wait for a process that is about to end.
	raftLockWait = 2 * time.Second
	// raftFormat is the value of raftFormatKey in raft.db. The key is frozen.
	raftFormat = "1"
)

var (
	raftFormatKey = []byte("cairn/format")
	// raftTermKey is where the raft library keeps the current term.
	raftTermKey = []byte("CurrentTerm")
)

// raftStores is where raft keeps its log, its vote and its snapshots: under
// <data_dir>/raft the log in wal/ or, for boltdb, in raft.db beside the vote,
// and the snapshots in snapshots/. The holder closes it after raft has stopped.
type raftStores struct {
	Log       raft.LogStore
	Stable    raft.StableStore
	Snapshots raft.SnapshotStore

	dir     string
	bolt    *raftboltdb.BoltStore // nil in memory
	disk    raft.LogStore         // below the cache of Log, nil in memory
	giveUp  func()                // ends waits for room on the disk; nil where nobody waits
	closers []func() error
}

// openRaftStores opens the stores that cfg asks for and creates what is missing.
// It refuses data that it does not understand rather than starting an empty server
// over it.
func openRaftStores(cfg *Config, logger hclog.Logger) (*raftStores, error) {
	if logger == nil {
		logger = hclog.NewNullLogger()
	}
	if cfg.Raft.LogStore == LogStoreMemory {
		store := raft.NewInmemStore()
		return &raftStores{Log: store, Stable: store, Snapshots: &memorySnapshots{}}, nil
	}
	s := &raftStores{dir: filepath.Join(cfg.DataDir, "raft")}
	if err := s.open(cfg, logger); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *raftStores) open(cfg *Config, logger hclog.Logger) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return errs.Newf(errs.PreconditionFailed, "cannot create the raft directory, check data_dir and its owner: %w", err)
	}
	if err := s.openBolt(cfg); err != nil {
		return err
	}
	var err error
	switch cfg.Raft.LogStore {
	case LogStoreWAL:
		s.disk, err = s.openWAL(cfg, logger)
	case LogStoreBolt:
		s.disk, err = s.bolt, s.refuseWAL(logger)
	default:
		err = errs.Newf(errs.Invalid, "unknown log store %q: must be wal, boltdb or memory", cfg.Raft.LogStore)
	}
	if err != nil {
		return err
	}
	s.disk = &checkedLog{LogStore: s.disk}
	if err := s.checkVote(s.disk); err != nil {
		return err
	}
	s.Snapshots, err = raft.NewFileSnapshotStoreWithLogger(s.dir, raftSnapshotsKept, logger.Named("snapshot"))
	if err != nil {
		return errs.Newf(errs.PreconditionFailed, "cannot use %s, check its owner: %w", filepath.Join(s.dir, "snapshots"), err)
	}
	if err := errors.Join(s.checkEmpty(logger), s.alignLog(logger), s.checkLog()); err != nil {
		return err
	}
	if s.Log, err = raft.NewLogCache(raftLogCache, s.disk); err != nil {
		return errs.Wrap(errs.Internal, "cannot create the log cache", err)
	}
	return nil
}

// openBolt opens raft.db, whose lock also guards the rest of the directory.
func (s *raftStores) openBolt(cfg *Config) error {
	path := filepath.Join(s.dir, "raft.db")
	if err := checkBoltSize(path); err != nil {
		return errs.Newf(errs.PreconditionFailed, "%s is corrupt: %w; %s", path, err, s.remedy())
	}
	err := shielded(func() (err error) {
		s.bolt, err = raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: &bbolt.Options{
			Timeout:        raftLockWait,
			NoFreelistSync: cfg.Raft.NoFreelistSync,
			FreelistType:   bbolt.FreelistMapType,
		}})
		return err
	})
	switch {
	case err == nil:
	case errors.Is(err, bbolt.ErrTimeout):
		return errs.Newf(errs.PreconditionFailed, "%s is locked by another process: stop the server that runs on this data_dir", path)
	case errors.Is(err, fs.ErrPermission):
		return errs.Newf(errs.PreconditionFailed, "cannot open %s, check its owner: %w", path, err)
	default:
		return errs.Newf(errs.PreconditionFailed, "%s is corrupt or no boltdb file: %w; %s", path, err, s.remedy())
	}
	s.Stable = s.bolt
	s.closers = append(s.closers, s.bolt.Close)
	return shielded(func() error { return s.checkFormat(path) })
}

// checkFormat marks a new raft.db and refuses one that somebody else wrote.
func (s *raftStores) checkFormat(path string) error {
	format, err := s.bolt.Get(raftFormatKey)
	if err == nil && string(format) == raftFormat {
		return nil
	}
	if err == nil {
		return errs.Newf(errs.PreconditionFailed, "%s has format %q and this version reads %q: run the version that wrote it", path, format, raftFormat)
	}
	if !errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return errs.Newf(errs.PreconditionFailed, "cannot read %s: %w; %s", path, err, s.remedy())
	}
	_, err = s.bolt.Get(raftTermKey)
	last, lastErr := s.bolt.LastIndex()
	if !errors.Is(err, raftboltdb.ErrKeyNotFound) || lastErr != nil || last > 0 {
		return errs.Newf(errs.PreconditionFailed, "%s was written by another program: choose an empty data_dir", path)
	}
	if err := s.bolt.Set(raftFormatKey, []byte(raftFormat)); err != nil {
		return errs.Newf(errs.PreconditionFailed, "cannot write %s: %w", path, err)
	}
	return nil
}

// openWAL opens the write-ahead log unless boltdb holds one.
func (s *raftStores) openWAL(cfg *Config, logger hclog.Logger) (raft.LogStore, error) {
	if last, err := s.bolt.LastIndex(); err != nil || last > 0 {
		return nil, s.switched(LogStoreBolt, LogStoreWAL, err)
	}
	dir := filepath.Join(s.dir, "wal")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, errs.Newf(errs.PreconditionFailed, "cannot create %s, check the owner of data_dir: %w", dir, err)
	}
	size := cfg.Raft.SegmentSizeMB << 20
	if size <= 0 {
		size = wal.DefaultSegmentSize
	}
	log, err := s.loadWAL(dir, size, logger)
	if noRoom(err) {
		return nil, errs.Newf(errs.PreconditionFailed, "cannot begin a segment of the raft log in %s: %w; make room on the disk and start again", dir, err)
	}
	if err != nil {
		return nil, errs.Newf(errs.PreconditionFailed, "cannot read the raft log in %s: %w; %s", dir, err, s.remedy())
	}
	s.closers, s.giveUp = append(s.closers, log.Close), log.giveUp
	return log, nil
}

func (s *raftStores) loadWAL(dir string, segmentSize int, logger hclog.Logger) (log *patientWAL, err error) {
	tail, err := s.writtenTail()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(checkList(dir, tail), checkSegments(dir)); err != nil {
		return nil, err
	}
	keep := func(name string) error { return s.bolt.Set(raftTailKey, []byte(name)) }
	err = shielded(func() (err error) {
		if err := checkLengths(dir, tail); err != nil {
			return err
		}
		log, err = openPatient(dir, segmentSize, &tailFiles{diskFiles(), keep, logger}, newWaitForRoom(logger))
		return err
	})
	return log, err
}

// walMagic starts every segment of raft-wal's file format, which is frozen.
var walMagic = []byte{0x0d, 0x6b, 0xeb, 0x58}

// checkSegments fails if a segment starts with neither the magic nor zeros, as one
// does that was created and never written. The library takes a newest segment
// with a damaged start for empty and would forget its entries.
func checkSegments(dir string) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		if _, err := segmentWritten(path); err != nil {
			return err
		}
	}
	if len(paths) > 0 { // sorted: the names begin with the index of the first entry
		return checkTail(paths[len(paths)-1])
	}
	return nil
}

// segmentWritten reports whether the segment at path has its header.
func segmentWritten(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	head := make([]byte, len(walMagic))
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, err
	}
	if n == len(head) && !bytes.Equal(head, walMagic) && !bytes.Equal(head, make([]byte, n)) {
		return false, fmt.Errorf("segment %s has a damaged header", filepath.Base(path))
	}
	return bytes.Equal(head, walMagic), nil
}

// refuseWAL fails if there is a write-ahead log with entries.
func (s *raftStores) refuseWAL(logger hclog.Logger) error {
	dir := filepath.Join(s.dir, "wal")
	found, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return s.refuseLost(dir)
	}
	log, err := s.loadWAL(dir, wal.DefaultSegmentSize, logger)
	if err != nil {
		return s.switched(LogStoreWAL, LogStoreBolt, err)
	}
	last, err := log.LastIndex()
	err = errors.Join(err, log.Close())
	if err != nil || last > 0 {
		return s.switched(LogStoreWAL, LogStoreBolt, err)
	}
	return nil
}

// switched says that the log is with another store than the one configured.
func (s *raftStores) switched(have, want LogStore, cause error) error {
	msg := fmt.Sprintf("the raft log in %s is kept by the log store %s and the configuration asks for %s: set it back to %s, or %s",
		s.dir, have, want, have, s.remedy())
	return errs.Wrap(errs.PreconditionFailed, msg, cause)
}

// checkVote refuses a log without the term and vote that belong to it: a server
// that forgot its vote could vote twice in a term.
func (s *raftStores) checkVote(log raft.LogStore) error {
	last, err := log.LastIndex()
	if err != nil {
		return errs.Newf(errs.PreconditionFailed, "cannot read the raft log in %s: %w; %s", s.dir, err, s.remedy())
	}
	if last == 0 {
		return nil
	}
	if term, err := s.Stable.GetUint64(raftTermKey); err != nil || term == 0 {
		return errs.Newf(errs.PreconditionFailed, "raft.db in %s does not belong to the log beside it: put the right one back, or %s", s.dir, s.remedy())
	}
	return nil
}

// remedy says how to give up the local copy.
func (s *raftStores) remedy() string {
	return fmt.Sprintf("to give up this server's copy, remove it from the cluster, move %s away and let it join again", s.dir)
}

// Close closes what is open, the log before the file that guards it.
func (s *raftStores) Close() error {
	var all error
	for i := len(s.closers) - 1; i >= 0; i-- {
		all = errors.Join(all, s.closers[i]())
	}
	s.closers = nil
	return all
}

// shielded turns the panics and page faults of a damaged memory-mapped file into
// an error.
func shielded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("damaged file: %v", p)
		}
	}()
	return f()
}
