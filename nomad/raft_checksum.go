package nomad

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"sync"

	"github.com/hashicorp/raft"
)

var errDamagedEntry = errors.New("its checksum does not fit")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checkedLog keeps a CRC-32C (RFC 3720) behind the data of every entry: the log
// stores check none when they read one. The format is frozen: the data, then the
// sum of index, term, type and data, little-endian.
type checkedLog struct {
	raft.LogStore
	mu      sync.Mutex
	scratch []byte // guarded by mu; log stores on disk keep nothing that they are given
}

// maxLogScratch bounds the memory kept from one call to the next.
const maxLogScratch = 1 << 20

func entrySum(l *raft.Log, data []byte) uint32 {
	var head [17]byte
	binary.LittleEndian.PutUint64(head[:], l.Index)
	binary.LittleEndian.PutUint64(head[8:], l.Term)
	head[16] = byte(l.Type)
	return crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, data)
}

// StoreLog writes one entry.
func (c *checkedLog) StoreLog(l *raft.Log) error { return c.StoreLogs([]*raft.Log{l}) }

// StoreLogs writes entries with their sums. It does not change logs.
func (c *checkedLog) StoreLogs(logs []*raft.Log) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	size := 0
	for _, l := range logs {
		size += len(l.Data) + crc32.Size
	}
	room := slices.Grow(c.scratch[:0], size)
	if cap(room) <= maxLogScratch {
		c.scratch = room
	}
	copies, out := make([]raft.Log, len(logs)), make([]*raft.Log, len(logs))
	for i, l := range logs {
		at := len(room)
		room = binary.LittleEndian.AppendUint32(append(room, l.Data...), entrySum(l, l.Data))
		copies[i] = *l
		copies[i].Data = room[at:len(room):len(room)]
		out[i] = &copies[i]
	}
	return c.LogStore.StoreLogs(out)
}

// GetLog reads an entry and fails if a bit of it has changed.
func (c *checkedLog) GetLog(index uint64, l *raft.Log) error {
	if err := c.LogStore.GetLog(index, l); err != nil {
		return err
	}
	n := len(l.Data) - crc32.Size
	if n < 0 || l.Index != index || entrySum(l, l.Data[:n]) != binary.LittleEndian.Uint32(l.Data[n:]) {
		return errDamagedEntry
	}
	l.Data = l.Data[:n:n]
	if n == 0 {
		l.Data = nil
	}
	return nil
}

// IsMonotonic is what the log below says of itself; part of raft.MonotonicLogStore.
func (c *checkedLog) IsMonotonic() bool { return isMonotonic(c.LogStore) }

func isMonotonic(log raft.LogStore) bool {
	m, ok := log.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}
