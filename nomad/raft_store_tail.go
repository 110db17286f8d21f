package nomad

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
)

// The layout of raft-wal's segments, which is frozen: a header, then frames of 8
// bytes and their payload, padded to 8. The last frame of each batch is a commit; instead of a
// length it has the CRC-32C of what lies between it and the commit before.
const (
	walHeaderSize = 32
	walFrameSize  = 8
	walEntryFrame = 1
	walIndexFrame = 2
	walCommit     = 3
)

// checkLengths fails if a segment is shorter than it was made: each is made with room for
// all of it and never shortened, so that entries may be missing, as where a copy of the
// directory was cut short. A file that was never written is removed: it
// is made again, with room, when the log opens. The segment named tail was written, so
// that it must be there if the log still has it.
func checkLengths(dir, tail string) error {
	if _, err := os.Stat(filepath.Join(dir, metadb.FileName)); err != nil {
		return nil // a new log, or one that the library refuses
	}
	meta := &metadb.BoltMetaDB{}
	known, err := meta.Load(dir)
	if err = errors.Join(err, meta.Close()); err != nil {
		return err
	}
	for _, s := range known.Segments {
		path := filepath.Join(dir, segment.FileName(s))
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) && filepath.Base(path) == tail {
			return missingSegment(tail)
		}
		if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() >= int64(s.SizeLimit) {
			continue // a tail that is missing was never written, the library makes it
		}
		written := false
		if err == nil {
			written, err = segmentWritten(path)
		}
		if err == nil && s.SealTime.IsZero() && !written {
			err = os.Remove(path)
		} else if err == nil {
			err = fmt.Errorf("segment %s is cut short: %d bytes are left of %d", filepath.Base(path), info.Size(), s.SizeLimit)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkTail fails if whole batches lie behind the place where the newest segment
// at path stops making sense. The library takes all from there on for a write that
// a crash cut, and forgets it; but such a write is the last, and only it was never acknowledged.
func checkTail(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	cut, _ := walEnd(b)
	end := cut.at
	if at := wholeBatch(b, end); at > 0 {
		return fmt.Errorf("segment %s is damaged behind byte %d: what was written later, such as the batch that ends at byte %d, cannot be reached", filepath.Base(path), end, at)
	}
	return nil
}

// walCut is a place between two batches of a segment.
type walCut struct {
	at      int // in bytes from the start
	entries int // before it
	index   int // where the index before it begins; 0 if there is none
}

// walEnd returns where the library ends a segment: behind the last commit that it
// reaches from the start, or the one before if the sum of the last is wrong. torn is
// where the first index begins that it reaches behind that, 0 if there is none.
func walEnd(b []byte) (end walCut, torn int) {
	now := walCut{at: walHeaderSize}
	before, last := now, now
	sumFrom := 0 // that of the first commit is over the header too
	whole := true
	for at := walHeaderSize; at+walFrameSize <= len(b); {
		value := binary.LittleEndian.Uint32(b[at+4:])
		switch b[at] {
		case walEntryFrame, walIndexFrame:
			if b[at] == walEntryFrame {
				now.entries++
			} else if now.index == last.index {
				now.index = at
			}
			at += walFrameSize + (int(value)+walFrameSize-1)/walFrameSize*walFrameSize
			continue
		case walCommit:
			whole = crc32.Checksum(b[sumFrom:at], castagnoli) == value
			at += walFrameSize
			now.at = at
			before, last, sumFrom = last, now, at
			continue
		}
		break // no frame
	}
	if torn = now.index; !whole {
		if last.index > before.index {
			torn = last.index
		}
		last = before
	}
	if torn == last.index {
		torn = 0
	}
	return last, torn
}

// wholeBatch returns where the first whole batch at or behind from ends that follows
// another commit there, 0 if there is none.
func wholeBatch(b []byte, from int) int {
	commit := -1
	for at := from; at+walFrameSize <= len(b); at += walFrameSize {
		if binary.LittleEndian.Uint32(b[at:]) != walCommit {
			continue
		}
		if start := commit + walFrameSize; commit >= 0 && start < at && crc32.Checksum(b[start:at], castagnoli) == binary.LittleEndian.Uint32(b[at+4:]) {
			return at
		}
		commit = at
	}
	return 0
}
