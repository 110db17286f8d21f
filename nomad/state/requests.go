package state

import (
	"errors"
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
)

// errForgotten answers a try that may be the second of a request whose outcome
// has been dropped.
var errForgotten = &errs.Error{Code: errs.Deadline, Executed: errs.ExecutedUnknown,
	Msg: "the write was tried again so late that the cluster does not know any more whether it was applied; read before trying again"}

// Outcome is what became of a request.
type Outcome struct {
	// Index is the logical index at which it was applied.
	Index uint64
	// Variable is the answer to an operation on a variable, nil for others.
	Variable *structs.VarApplyStateResponse
	// Err is nil for a request that succeeded.
	Err error
}

// kept is an outcome as the window keeps it: in one piece, without references to
// rows, which would stay in memory.
type kept struct {
	id       structs.RequestID
	time     int64
	index    uint64
	err      *errs.Error
	variable bool // those below have a meaning
	op       structs.VarOp
	result   structs.VarOpResult
	at       uint64
	conflict bool                     // meta are those of the row that stood in the way
	meta     structs.VariableMetadata // without a path for none
}

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

// add remembers k and drops what is too much or too old.
func (w *requestWindow) add(k *kept) {
	n := w.next - w.start
	if n/chunkSize == uint64(len(w.chunks)) {
		w.chunks = append(w.chunks, new(keptChunk))
	}
	w.chunks[n/chunkSize][n%chunkSize] = *k
	w.at[k.id] = w.next
	w.next++
	w.clock = max(w.clock, k.time)
	for w.full() {
		w.drop()
	}
}

// full reports whether the oldest outcome has to go.
func (w *requestWindow) full() bool {
	n := w.next - w.first
	return n > maxOutcomes || n > 0 && w.get(w.first).time < w.clock-maxOutcomeAge
}

// drop forgets the oldest outcome.
func (w *requestWindow) drop() {
	k := w.get(w.first)
	delete(w.at, k.id)
	w.floor = k.index
	w.first++
	if w.first-w.start == chunkSize {
		w.chunks, w.start = w.chunks[1:], w.first
	}
}

// outcome returns k as it was first answered, but for the data of a row that stood
// in the way: rows has the row if it is still the same. A nil rows has none.
func (k *kept) outcome(rows func(ns, path string) *structs.VariableEncrypted) Outcome {
	o := Outcome{Index: k.index}
	if k.err != nil {
		o.Err = k.err
	}
	if !k.variable {
		return o
	}
	o.Variable = &structs.VarApplyStateResponse{Op: k.op, Result: k.result, WriteMeta: structs.WriteMeta{Index: k.at}}
	switch meta := k.meta; {
	case meta.Path == "":
	case !k.conflict:
		o.Variable.Written = &meta
	default:
		o.Variable.Conflict = &structs.VariableEncrypted{VariableMetadata: meta}
		if rows == nil {
			break
		}
		if row := rows(meta.Namespace, meta.Path); row != nil && row.ModifyIndex == meta.ModifyIndex {
			o.Variable.Conflict = row
		}
	}
	return o
}

// keep turns an outcome into what is kept of it.
func keep(tag *structs.RequestTag, o *Outcome) *kept {
	k := &kept{id: tag.ID, time: tag.Time, index: o.Index}
	if o.Err != nil {
		k.err = errs.New(errs.CodeOf(o.Err), o.Err.Error())
		k.err.Msg = strings.ToValidUTF8(k.err.Msg[:min(len(k.err.Msg), maxOutcomeText)], "")
		var e *errs.Error
		if errors.As(o.Err, &e) && len(e.Errata) <= maxOutcomeErrata {
			k.err.Errata = e.Errata
		}
	}
	if v := o.Variable; v != nil {
		k.variable, k.op, k.result, k.at = true, v.Op, v.Result, v.Index
		switch {
		case v.Written != nil:
			k.meta = *v.Written
		case v.Conflict != nil:
			k.meta, k.conflict = v.Conflict.VariableMetadata, true
		}
	}
	return k
}

// FirstOutcome returns what became of an earlier try of the request. known is
// false for a first try. It must run in a batch.
func (s *StateStore) FirstOutcome(tag *structs.RequestTag) (o Outcome, known bool) {
	w := s.core.requests
	if at, ok := w.at[tag.ID]; ok {
		return w.get(at).outcome(func(ns, path string) *structs.VariableEncrypted {
			return Variables.read(s.txn, Key{ns, path})
		}), true
	}
	if tag.Base < w.floor {
		return Outcome{Err: errForgotten}, true
	}
	return Outcome{}, false
}

// KeepOutcome remembers what became of a request's first try. It must run in the
// batch of that try.
func (s *StateStore) KeepOutcome(tag *structs.RequestTag, o Outcome) {
	s.core.requests.add(keep(tag, &o))
}

// Outcome returns what became of a request. It looks at all that are remembered.
func (sn *Snapshot) Outcome(id structs.RequestID) (o Outcome, known bool) {
	for at := sn.requests.next; at > sn.requests.first; at-- {
		if k := sn.requests.get(at - 1); k.id == id {
			return k.outcome(nil), true
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
		o := k.outcome(nil)
		r := &structs.RequestRecord{ID: k.id[:], Time: k.time, Index: k.index, Variable: o.Variable}
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
	o := Outcome{Index: r.Index, Variable: r.Variable}
	if r.Code != "" {
		o.Err = errs.New(r.Code, r.Msg).WithErrata(r.Errata...)
	}
	w.add(keep(&tag, &o))
	return nil
}
