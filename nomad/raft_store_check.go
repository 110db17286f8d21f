package nomad

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/internal/errs"
)

// The layout of a meta page of boltdb, which is frozen: offsets in bytes from
// the start of the page. A file has two of them, at its start.
const (
	boltMagic       = 0xED0CDAED
	boltMagicAt     = 16
	boltPageSizeAt  = 24
	boltHighWaterAt = 56 // number of pages in use
	boltTxIDAt      = 64
	boltMetaSize    = 80
)

// checkBoltSize fails if the file is shorter than the pages it says it has: the
// library maps the file into memory and dies, or never returns, beyond its end.
// A file that is absent or empty is fine.
func checkBoltSize(path string) error {
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	var newest, pages, pageSize uint64
	for _, at := range []int64{0, int64(os.Getpagesize())} {
		meta := make([]byte, boltMetaSize)
		if _, err := f.ReadAt(meta, at); err != nil && err != io.EOF {
			return err
		}
		if binary.LittleEndian.Uint32(meta[boltMagicAt:]) != boltMagic {
			continue
		}
		if tx := binary.LittleEndian.Uint64(meta[boltTxIDAt:]); tx >= newest {
			newest = tx
			pages = binary.LittleEndian.Uint64(meta[boltHighWaterAt:])
			pageSize = uint64(binary.LittleEndian.Uint32(meta[boltPageSizeAt:]))
		}
	}
	have := uint64(info.Size())
	if pageSize > 0 && pages > have/pageSize {
		return fmt.Errorf("it is cut short: %d bytes are left of %d pages of %d", have, pages, pageSize)
	}
	return nil
}

// checkLog reads every entry that raft will apply again, and fails if one is
// damaged or missing, those between the newest snapshot and the log too.
func (s *raftStores) checkLog() error {
	from := uint64(1)
	if snapshots, err := s.Snapshots.List(); err != nil {
		return err
	} else if len(snapshots) > 0 {
		from = snapshots[0].Index + 1
	}
	first, err := s.disk.FirstIndex()
	if err != nil {
		return err
	}
	last, err := s.disk.LastIndex()
	if err != nil {
		return err
	}
	if last > 0 && first > from {
		return errs.Newf(errs.PreconditionFailed, "entries %d to %d of %s are in no snapshot and not in the log: put back the snapshots that were there, or %s", from, first-1, s.dir, s.remedy())
	}
	for i := max(first, from); i <= last && last > 0; i++ {
		var entry raft.Log
		if err := s.disk.GetLog(i, &entry); err != nil {
			return errs.Newf(errs.PreconditionFailed, "entry %d of the raft log in %s cannot be read: %w; %s", i, s.dir, err, s.remedy())
		}
	}
	return nil
}

// alignLog forgets a log that ends before the newest snapshot does. All its
// entries are in the snapshot, and raft could append none after the gap. That is
// how a crash during the installation of a snapshot leaves a server, and also
// how a log looks that lost its end.
func (s *raftStores) alignLog(logger hclog.Logger) error {
	snapshots, err := s.Snapshots.List()
	if err != nil || len(snapshots) == 0 {
		return err
	}
	first, err := s.disk.FirstIndex()
	if err != nil {
		return err
	}
	last, err := s.disk.LastIndex()
	if err != nil || last == 0 || last >= snapshots[0].Index {
		return err
	}
	logger.Warn("the log ends before the newest snapshot and is dropped; entries after the snapshot, if there were any, must come from the other servers",
		"log_ends", last, "snapshot", snapshots[0].Index)
	if err := s.disk.DeleteRange(first, last); err != nil {
		return errs.Newf(errs.PreconditionFailed, "cannot drop the outdated raft log in %s: %w; %s", s.dir, err, s.remedy())
	}
	return nil
}
