package nomad

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// finishSeal finishes in dir what a stop came between: the end of the newest segment, and
// the next one. The library opens such a log and reads it, but then takes no entry, or
// believes in an index of which only the start was written. A log that is not there, or
// that the library refuses, stays as it is.
func finishSeal(dir string, segmentSize int) (err error) {
	if _, err := os.Stat(filepath.Join(dir, metadb.FileName)); err != nil {
		return nil
	}
	meta := &metadb.BoltMetaDB{}
	defer func() { err = errors.Join(err, meta.Close()) }()
	known, err := meta.Load(dir)
	if err != nil || len(known.Segments) == 0 {
		return err
	}
	tail := &known.Segments[len(known.Segments)-1]
	path := filepath.Join(dir, segment.FileName(*tail))
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !tail.SealTime.IsZero() {
		return nil
	}
	if err != nil {
		return err
	}
	end, torn := walEnd(b)
	if torn > 0 {
		if err := wipe(path, torn, len(bytes.TrimRight(b, "\x00"))); err != nil {
			return fmt.Errorf("cannot take back an index in segment %s that was written in part: %w", filepath.Base(path), err)
		}
	}
	if end.index == 0 || end.entries == 0 {
		return nil
	}
	return beginNext(meta, known, end, segmentSize)
}

// wipe puts zeros from one byte of a file up to another.
func wipe(path string, from, to int) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(make([]byte, to-from), int64(from))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// beginNext lists the newest segment, which ends there, as ended and a next one; the
// library makes the file of that when it opens.
func beginNext(meta types.MetaStore, known types.PersistentState, end walCut, segmentSize int) error {
	tail := &known.Segments[len(known.Segments)-1]
	tail.SealTime = time.Now()
	tail.MaxIndex = tail.BaseIndex + uint64(end.entries) - 1
	tail.IndexStart = uint64(end.index) + walFrameSize
	next := types.SegmentInfo{
		ID:         known.NextSegmentID,
		BaseIndex:  tail.MaxIndex + 1,
		MinIndex:   tail.MaxIndex + 1,
		SizeLimit:  uint32(segmentSize),
		Codec:      wal.CodecBinaryV1,
		CreateTime: tail.SealTime,
	}
	known.NextSegmentID++
	known.Segments = append(known.Segments, next)
	return meta.CommitState(known)
}
