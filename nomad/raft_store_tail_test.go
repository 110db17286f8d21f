package nomad

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/internal/errs"
)

// TestDamagedFrames checks that a log whose middle is damaged is refused, and that
// one whose last write a crash cut is not.
func TestDamagedFrames(t *testing.T) {
	for name, c := range map[string]struct {
		entry int
		spoil func(b []byte, frame int)
		last  uint64 // entry that is left, 0 if the log is refused
	}{
		"length":                {25, func(b []byte, at int) { b[at+6] = 0xff }, 0},
		"short length":          {25, func(b []byte, at int) { b[at+4] = 8 }, 0},
		"type":                  {25, func(b []byte, at int) { b[at] = 0x77 }, 0},
		"zeros":                 {25, func(b []byte, at int) { clear(b[at : at+16]) }, 0},
		"many zeros":            {25, func(b []byte, at int) { clear(b[at : at+600]) }, 0},
		"first":                 {1, func(b []byte, at int) { b[at] = 0 }, 0},
		"last but one":          {49, func(b []byte, at int) { b[at] = 0 }, 0},
		"sum of the last":       {50, func(b []byte, at int) { b[at+12] ^= 1 }, 49},
		"last entry cut":        {50, func(b []byte, at int) { clear(b[at+16:]) }, 49},
		"nothing of the last":   {50, func(b []byte, at int) { clear(b[at:]) }, 49},
		"start of the last cut": {50, func(b []byte, at int) { clear(b[at : at+24]) }, 49},
		"undamaged":             {50, func([]byte, int) {}, 50},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := storeConfig(t.TempDir(), LogStoreWAL)
			fillLog(t, cfg, 50)
			spoilFrame(t, cfg, fmt.Sprintf("number %03d", c.entry), c.spoil)
			s, err := openRaftStores(cfg, nil)
			if c.last == 0 {
				if !errors.Is(err, errs.PreconditionFailed) || !strings.Contains(err.Error(), "is damaged behind byte") {
					t.Fatalf("opened a damaged log: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if last, err := s.Log.LastIndex(); err != nil || last != c.last {
				t.Fatalf("last entry %d (%v), want %d", last, err, c.last)
			}
		})
	}
}

// TestLogAfterACutWrite checks that what a cut write left behind is no damage once
// the log has gone on over it.
func TestLogAfterACutWrite(t *testing.T) {
	cfg := storeConfig(t.TempDir(), LogStoreWAL)
	fillLog(t, cfg, 50)
	for range 3 {
		spoilFrame(t, cfg, "number 050", func(b []byte, at int) { clear(b[at : at+8]) })
		s := mustOpenStores(t, cfg)
		if err := s.Log.StoreLog(logEntry(50)); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func logEntry(i uint64) *raft.Log {
	return &raft.Log{Index: i, Term: 1, Data: fmt.Appendf(nil, "entry number %03d of the log", i)}
}

// fillLog writes n entries, one by one.
func fillLog(t *testing.T, cfg *Config, n uint64) {
	s := mustOpenStores(t, cfg)
	for i := uint64(1); i <= n; i++ {
		if err := s.Log.StoreLog(logEntry(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.Stable.SetUint64(raftTermKey, 1), s.Close()); err != nil {
		t.Fatal(err)
	}
}

// spoilFrame changes the segment, given where the frame of the entry with text begins.
func spoilFrame(t *testing.T, cfg *Config, text string, spoil func(b []byte, frame int)) {
	paths, err := filepath.Glob(filepath.Join(cfg.DataDir, "raft", "wal", "*.wal"))
	if err != nil || len(paths) != 1 {
		t.Fatalf("segments %v, %v", paths, err)
	}
	b, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	pos := bytes.LastIndex(b, []byte(text))
	at := pos &^ (walFrameSize - 1)
	for ; at > walHeaderSize; at -= walFrameSize {
		if binary.LittleEndian.Uint32(b[at:]) == walEntryFrame && at+walFrameSize+int(binary.LittleEndian.Uint32(b[at+4:])) > pos {
			break
		}
	}
	spoil(b, at)
	if err := os.WriteFile(paths[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func FuzzCheckTail(f *testing.F) {
	frame := func(kind byte, value uint32, payload ...byte) []byte {
		return append(binary.LittleEndian.AppendUint32([]byte{kind, 0, 0, 0}, value), payload...)
	}
	f.Add([]byte{})
	f.Add(append(make([]byte, walHeaderSize), frame(walEntryFrame, 8, 1, 2, 3, 4, 5, 6, 7, 8)...))
	f.Add(append(make([]byte, walHeaderSize), append(frame(walIndexFrame, 1<<31), frame(walCommit, 7)...)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		cut, torn := walEnd(b)
		end := cut.at
		if end < walHeaderSize || end > max(len(b), walHeaderSize) {
			t.Fatalf("the end %d of %d bytes", end, len(b))
		}
		if torn != 0 && (torn < end || torn > len(b)-walFrameSize || b[torn] != walIndexFrame) {
			t.Fatalf("an index at %d of %d bytes behind %d", torn, len(b), end)
		}
		if at := wholeBatch(b, end); at != 0 && at <= end {
			t.Fatalf("a batch at %d behind %d", at, end)
		}
	})
}
