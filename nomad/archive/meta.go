package archive

import (
	"encoding/binary"
	"io"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
)

// Version is that of the form which Write writes, and the newest that Open reads.
const Version = 1

// The members, in order.
const (
	metaName  = "meta.json"
	stateName = "state.bin"
	sumsName  = "SHA256SUMS"
)

// Meta says what an archive is a copy of. Names and meaning of the fields are frozen.
type Meta struct {
	Version int
	// Index and Term are those of Raft, StateIndex is what clients see as X-Nomad-Index.
	Index      uint64
	Term       uint64
	StateIndex uint64
	// Size is that of state.bin in bytes.
	Size    int64
	Created time.Time
	// ClusterID and Region are of the cluster that it is a copy of, Program and
	// ProgramVersion of the server that made it.
	ClusterID      string
	Region         string
	Program        string
	ProgramVersion string
}

// StateMagic begins every snapshot of the FSM. It is frozen, as is what follows: the Raft
// index of the last entry as a big-endian uint64, then the snapshot of the store.
var StateMagic = [8]byte{'C', 'A', 'I', 'R', 'N', 'F', 'S', '1'}

// AppendHead appends what a snapshot of the FSM begins with.
func AppendHead(b []byte, index uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, StateMagic[:]...), index)
}

// ReadHead reads it again; the snapshot of the store follows.
func ReadHead(r io.Reader) (index uint64, err error) {
	var head [16]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, errs.Wrap(errs.Invalid, "snapshot is cut short", err)
	}
	if [8]byte(head[:8]) != StateMagic {
		return 0, errs.New(errs.Invalid, "not a snapshot of this program")
	}
	return binary.BigEndian.Uint64(head[8:]), nil
}
