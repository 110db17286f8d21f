package state

import (
	"errors"
	"slices"
	"strings"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// The bounds of what is remembered of requests. All servers drop the same
// outcomes at the same entry of the log: a change needs a version gate.
const (
	maxOutcomes = 16384
	// maxOutcomeAge is in seconds of the leaders' clocks.
	maxOutcomeAge = 600
	// maxOutcomeText and maxOutcomeErrata bound what is kept of an error.
	maxOutcomeText   = 1024
	maxOutcomeErrata = 8
	// maxOutcomeRows bounds the names of rows, in bytes, that are kept of all outcomes.
	maxOutcomeRows = 4 << 20
)

// errForgotten answers a try that may be the second of a request whose outcome
// has been dropped.
var errForgotten = &errs.Error{Code: errs.Deadline, Executed: errs.ExecutedUnknown,
	Msg: "the write was tried again so late that the cluster does not know any more whether it was applied; read before trying again"}

// ErrReplaced answers a write that was under way when an archive took the place of the
// state. Nobody tries it again by himself: it was meant for another state.
var ErrReplaced = &errs.Error{Code: errs.Deadline, Executed: errs.ExecutedUnknown,
	Msg: "an archive took the place of the state while the write was under way: it may not have been kept; read before trying again"}

// Outcome is what became of a request.
type Outcome struct {
	// Index is the logical index at which it was applied.
	Index uint64
	// Variable is the answer to an operation on a variable, nil for others.
	Variable *structs.VarApplyStateResponse
	// Rows names what the request wrote, where its answer cannot be told without; the
	// rows themselves are in the store.
	Rows []string
	// Err is nil for a request that succeeded.
	Err error
}

// kept is an outcome as the window keeps it: small, and with next to no pointers,
// as every write makes one. Namespace and path come with the request again.
type kept struct {
	id    structs.RequestID
	time  int64
	index uint64
	err   *errs.Error
	rows  *keptRows // nil for none

	// The rest is the answer to an operation on a variable.
	variable rowOf
	op       uint8 // position in varOps
	result   uint8 // position in varResults
	at       uint64
	// These are of the row that variable tells.
	createIndex, modifyIndex uint64
	createTime, modifyTime   int64
	lock                     *structs.VariableLock
}

// keptRows are the names of the rows that a request wrote, and their bytes.
type keptRows struct {
	names []string
	size  int
}

// rowOf tells which row an answer has.
type rowOf uint8

const (
	noVariable rowOf = iota // the answer is not about a variable
	noRow
	writtenRow
	conflictRow
)

// What an answer can have, so that it can be kept as a number. Others are kept as
// the first, which is none of them.
var (
	varOps     = []structs.VarOp{"", structs.VarOpSet, structs.VarOpCAS, structs.VarOpDelete, structs.VarOpDeleteCAS, structs.VarOpLockAcquire, structs.VarOpLockRelease}
	varResults = []structs.VarOpResult{"", structs.VarOpResultOk, structs.VarOpResultConflict}
)

const chunkSize = 256

type keptChunk [chunkSize]kept

// requestView is an immutable view of the window. Positions count all outcomes
// since the window was made.
type requestView struct {
	chunks []*keptChunk // from position start on
	start  uint64
	// first is the position of the oldest outcome, next the one after the newest.
	first, next uint64
	// floor is the index of the newest outcome that was dropped, clock the newest
	// time of all.
	floor uint64
	clock int64
	// rows is the size of the names that are kept.
	rows int
}

func (v *requestView) get(at uint64) *kept {
	n := at - v.start
	return &v.chunks[n/chunkSize][n%chunkSize]
}

// requestWindow remembers the outcomes of the last requests, so that one that is
// tried again is not applied again. It belongs to the writer; what views have
// seen is never changed.
type requestWindow struct {
	requestView
	at map[structs.RequestID]uint64 // position
}

func newRequestWindow() *requestWindow {
	return &requestWindow{at: make(map[structs.RequestID]uint64)}
}

// add remembers an outcome and drops what is too much or too old.
func (w *requestWindow) add(tag *structs.RequestTag, o *Outcome) {
	n := w.next - w.start
	if n/chunkSize == uint64(len(w.chunks)) {
		w.chunks = append(w.chunks, new(keptChunk))
	}
	k := &w.chunks[n/chunkSize][n%chunkSize]
	k.set(tag, o)
	w.rows += k.rowBytes()
	w.at[tag.ID] = w.next
	w.next++
	w.clock = max(w.clock, tag.Time)
	for w.full() {
		w.drop()
	}
}

// full reports whether the oldest outcome has to go.
func (w *requestWindow) full() bool {
	n := w.next - w.first
	return n > maxOutcomes || w.rows > maxOutcomeRows || n > 0 && w.get(w.first).time < w.clock-maxOutcomeAge
}

// drop forgets the oldest outcome.
func (w *requestWindow) drop() {
	k := w.get(w.first)
	delete(w.at, k.id)
	w.floor = max(w.floor, k.index)
	w.rows -= k.rowBytes()
	w.first++
	if w.first-w.start == chunkSize {
		w.chunks, w.start = w.chunks[1:], w.first
	}
}

// outcome returns k as it was first answered, but for the names of the row and the
// data of one that stood in the way.
func (k *kept) outcome() Outcome {
	o := Outcome{Index: k.index}
	if k.err != nil {
		o.Err = k.err
	}
	if k.rows != nil {
		o.Rows = k.rows.names
	}
	if k.variable == noVariable {
		return o
	}
	o.Variable = &structs.VarApplyStateResponse{Op: varOps[k.op], Result: varResults[k.result], WriteMeta: structs.WriteMeta{Index: k.at}}
	meta := structs.VariableMetadata{CreateIndex: k.createIndex, CreateTime: k.createTime, ModifyIndex: k.modifyIndex, ModifyTime: k.modifyTime, Lock: k.lock}
	switch k.variable {
	case writtenRow:
		o.Variable.Written = &meta
	case conflictRow:
		o.Variable.Conflict = &structs.VariableEncrypted{VariableMetadata: meta}
	}
	return o
}

// set fills k.
func (k *kept) set(tag *structs.RequestTag, o *Outcome) {
	*k = kept{id: tag.ID, time: tag.Time, index: o.Index}
	if o.Err != nil {
		k.err = shortened(o.Err)
	}
	if len(o.Rows) > 0 {
		k.rows = &keptRows{names: o.Rows}
		for _, name := range o.Rows {
			k.rows.size += len(name)
		}
	}
	v := o.Variable
	if v == nil {
		return
	}
	k.variable, k.at = noRow, v.Index
	k.op, k.result = uint8(max(slices.Index(varOps, v.Op), 0)), uint8(max(slices.Index(varResults, v.Result), 0))
	switch {
	case v.Written != nil:
		k.variable = writtenRow
		k.row(v.Written)
	case v.Conflict != nil:
		k.variable = conflictRow
		k.row(&v.Conflict.VariableMetadata)
	}
}

// rowBytes is the size of the names that k keeps.
func (k *kept) rowBytes() int {
	if k.rows == nil {
		return 0
	}
	return k.rows.size
}

func (k *kept) row(m *structs.VariableMetadata) {
	k.createIndex, k.createTime, k.modifyIndex, k.modifyTime, k.lock = m.CreateIndex, m.CreateTime, m.ModifyIndex, m.ModifyTime, m.Lock
}

// shortened returns what is kept of an error.
func shortened(err error) *errs.Error {
	msg := err.Error()
	out := errs.New(errs.CodeOf(err), strings.ToValidUTF8(msg[:min(len(msg), maxOutcomeText)], ""))
	var e *errs.Error
	if errors.As(err, &e) && len(e.Errata) <= maxOutcomeErrata {
		out.Errata = e.Errata
	}
	return out
}

// FirstOutcome returns what became of an earlier try of the request. known is
// false for a first try. v is the variable of the request, nil for others. It must
// run in a batch.
func (s *StateStore) FirstOutcome(tag *structs.RequestTag, v *structs.VariableEncrypted) (o Outcome, known bool) {
	w := s.core.requests
	at, known := w.at[tag.ID]
	if !known {
		if tag.Base < s.Snapshot().restored {
			return Outcome{Err: ErrReplaced}, true
		}
		if tag.Base < w.floor {
			return Outcome{Err: errForgotten}, true
		}
		return Outcome{}, false
	}
	o = w.get(at).outcome()
	if v == nil || o.Variable == nil {
		return o, true
	}
	if m := o.Variable.Written; m != nil {
		m.Namespace, m.Path = v.Namespace, v.Path
	}
	if c := o.Variable.Conflict; c != nil {
		c.Namespace, c.Path = v.Namespace, v.Path
		if row := Variables.read(s.txn, Key{v.Namespace, v.Path}); row != nil && row.ModifyIndex == c.ModifyIndex {
			o.Variable.Conflict = row
		}
	}
	return o, true
}

// KeepOutcome remembers what became of a request's first try. It must run in the
// batch of that try.
func (s *StateStore) KeepOutcome(tag *structs.RequestTag, o Outcome) {
	if errors.Is(o.Err, ErrACLChanged) {
		return
	}
	s.core.requests.add(tag, &o)
}

// Outcome returns what became of a request. It looks at all that are remembered.
func (sn *Snapshot) Outcome(id structs.RequestID) (o Outcome, known bool) {
	for at := sn.requests.next; at > sn.requests.first; at-- {
		if k := sn.requests.get(at - 1); k.id == id {
			return k.outcome(), true
		}
	}
	return Outcome{}, false
}

// persist writes the view as records of a snapshot, none for a window that was
// never used.
func (v *requestView) persist(e *encoder) error {
	if v.next == 0 && v.floor == 0 {
		return nil
	}
	err := e.record(structs.RequestSnapshot, &structs.RequestRecord{Time: v.clock, Index: v.floor})
	for at := v.first; at < v.next && err == nil; at++ {
		k := v.get(at)
		o := k.outcome()
		r := &structs.RequestRecord{ID: k.id[:], Time: k.time, Index: k.index, Variable: o.Variable, Rows: o.Rows}
		if k.err != nil {
			r.Code, r.Msg, r.Errata = k.err.Code, k.err.Msg, k.err.Errata
		}
		err = e.record(structs.RequestSnapshot, r)
	}
	return err
}

// restore takes one record.
func (w *requestWindow) restore(r *structs.RequestRecord) error {
	if len(r.ID) == 0 {
		w.clock, w.floor = r.Time, r.Index
		return nil
	}
	tag := structs.RequestTag{Time: r.Time}
	if copy(tag.ID[:], r.ID) != len(r.ID) || len(r.ID) != len(tag.ID) {
		return errs.Newf(errs.Invalid, "a request ID has %d bytes", len(r.ID))
	}
	o := Outcome{Index: r.Index, Variable: r.Variable, Rows: r.Rows}
	if r.Code != "" {
		o.Err = errs.New(r.Code, r.Msg).WithErrata(r.Errata...)
	}
	w.add(&tag, &o)
	return nil
}
