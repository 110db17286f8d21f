package state

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"sync"

	"github.com/hashicorp/go-msgpack/v2/codec"

	"github.com/cairn-project/cairn/internal/msgp"
	"github.com/cairn-project/cairn/nomad/structs"
)

// A snapshot is, in this order, each record but the first preceded by its
// structs.SnapshotType byte and all in MessagePack:
//
//	header, one indexRow per table, the rows table by table, the outcomes of requests, end
//
// The format is frozen under its version; tables and fields may be added.
const (
	snapshotVersion = 1
	// snapshotEnd precedes the last record. It is not the number of any table.
	snapshotEnd structs.SnapshotType = 127
	// skippable is OR-ed onto the type of rows that a server which does not know
	// them may drop.
	skippable structs.SnapshotType = 128
)

// snapshotHeader is the first record.
type snapshotHeader struct {
	Version int
	// Index is the logical index of the state.
	Index uint64
	// Tables are the names of the tables that the snapshot may have rows of.
	Tables []string
	// Restored is the logical index at which an archive took the place of the state, 0
	// for never.
	Restored uint64
}

// indexRow is the logical index of the last change of a table.
type indexRow struct {
	Key   string
	Value uint64
}

// snapshotTrailer is the last record; a snapshot without it was cut.
type snapshotTrailer struct {
	// Rows counts the records between header and end.
	Rows uint64
}

// canonical is the wire's encoding with maps in order, as equal states must give
// equal bytes.
var canonical = func() *codec.MsgpackHandle {
	h := &codec.MsgpackHandle{}
	h.RawToString = true
	h.MapType = reflect.TypeOf(map[string]any(nil))
	h.TimeNotBuiltin = true
	h.Canonical = true
	return h
}()

var canonicalEncoders = sync.Pool{New: func() any { return codec.NewEncoderBytes(new([]byte), canonical) }}

// appendRow appends the encoding of v, a pointer.
func appendRow(b []byte, v any) ([]byte, error) {
	if a, ok := v.(msgp.Appender); ok {
		return a.AppendMsgpack(b), nil
	}
	e := canonicalEncoders.Get().(*codec.Encoder)
	var out []byte
	e.ResetBytes(&out)
	if err := e.Encode(v); err != nil {
		return b, err
	}
	canonicalEncoders.Put(e)
	return append(b, out...), nil
}

// chunk is how much is encoded before it is written.
const chunk = 128 << 10

// encoder writes the records of a snapshot.
type encoder struct {
	w    io.Writer
	buf  []byte
	rows uint64
}

func (e *encoder) record(st structs.SnapshotType, v any) (err error) {
	if e.buf, err = appendRow(append(e.buf, byte(st)), v); err != nil {
		return fmt.Errorf("encoding a snapshot row of type %d: %w", st, err)
	}
	e.rows++
	if len(e.buf) < chunk {
		return nil
	}
	return e.flush()
}

func (e *encoder) flush() error {
	_, err := e.w.Write(e.buf)
	e.buf = e.buf[:0]
	return err
}

// Persist writes the view. It may run beside writes to the store, which it does
// not see. Equal states give equal bytes.
func (sn *Snapshot) Persist(w io.Writer) error {
	e := &encoder{w: w, buf: make([]byte, 0, chunk+chunk/4)}
	header := snapshotHeader{Version: snapshotVersion, Index: sn.index, Restored: sn.restored}
	for _, t := range persisted() {
		header.Tables = append(header.Tables, t.describe().Name)
	}
	var err error
	if e.buf, err = appendRow(e.buf, &header); err != nil {
		return err
	}
	for _, t := range persisted() {
		if last := sn.last[t.describe().at]; last > 0 {
			err = errors.Join(err, e.record(structs.IndexSnapshot, &indexRow{t.describe().Name, last}))
		}
	}
	for _, t := range persisted() {
		if err == nil {
			err = t.persist(sn, e)
		}
	}
	if err == nil {
		err = sn.requests.persist(e)
	}
	if err != nil {
		return err
	}
	if err := e.record(snapshotEnd, &snapshotTrailer{Rows: e.rows}); err != nil {
		return err
	}
	return e.flush()
}

func (t *Table[T]) persist(sn *Snapshot, e *encoder) error {
	for row := range t.scan(sn, everything, Key{}, false) {
		if err := e.record(t.info.SnapshotType, row); err != nil {
			return err
		}
	}
	return nil
}
