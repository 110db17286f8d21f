package state

import (
	"bytes"
	"strings"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// varOp is one operation on one variable.
type varOp struct {
	tx  *Txn
	req *structs.VarApplyStateRequest
	old *structs.VariableEncrypted // nil if absent
}

func (o *varOp) run() (*structs.VarApplyStateResponse, error) {
	switch o.req.Op {
	case structs.VarOpSet, structs.VarOpCAS:
		return o.set()
	case structs.VarOpDelete, structs.VarOpDeleteCAS:
		return o.delete()
	case structs.VarOpLockAcquire:
		return o.acquire()
	case structs.VarOpLockRelease:
		return o.release()
	}
	return nil, errs.Newf(errs.Invalid, "unknown variable operation %q", string(o.req.Op))
}

// blocked reports whether the lock or the expected index forbids a change: a
// caller who names a lock must still hold it.
func (o *varOp) blocked() bool {
	if o.old != nil && o.old.LockID() != o.req.Var.LockID() {
		return true
	}
	switch o.req.Op {
	case structs.VarOpCAS, structs.VarOpDeleteCAS:
		var current uint64
		if o.old != nil {
			current = o.old.ModifyIndex
		}
		return current != o.req.Var.ModifyIndex
	}
	return false
}

func (o *varOp) set() (*structs.VarApplyStateResponse, error) {
	if o.blocked() {
		return o.conflict(), nil
	}
	if o.old == nil && o.req.Var.LockID() != "" {
		return nil, errs.Newf(errs.Invalid, "variable %q does not exist, so its lock cannot be held: acquire the lock to create it", o.req.Var.Path)
	}
	var lock *structs.VariableLock
	if o.old != nil {
		lock = o.old.Lock
	}
	return o.store(lock, o.req.Var.VariableData)
}

func (o *varOp) delete() (*structs.VarApplyStateResponse, error) {
	if o.blocked() {
		return o.conflict(), nil
	}
	if o.old == nil {
		return o.ok(nil, o.tx.last[Variables.at]), nil
	}
	Variables.drop(o.tx, Key{o.old.Namespace, o.old.Path})
	return o.ok(nil, o.tx.opIndex), nil
}

func (o *varOp) acquire() (*structs.VarApplyStateResponse, error) {
	id := o.req.Var.LockID()
	if id == "" {
		return nil, errs.New(errs.Invalid, "acquiring a lock requires a lock ID")
	}
	data := o.req.Var.VariableData
	if o.old == nil {
		lock := *o.req.Var.Lock
		return o.store(&lock, data)
	}
	if len(data.Data) == 0 {
		data = o.old.VariableData
	}
	switch o.old.LockID() {
	case id:
		return o.store(o.old.Lock, data)
	case "":
		lock := *o.req.Var.Lock
		return o.store(&lock, data)
	}
	return o.conflict(), nil
}

func (o *varOp) release() (*structs.VarApplyStateResponse, error) {
	if o.old == nil {
		return nil, errs.Newf(errs.NotFound, "variable %q not found", o.req.Var.Path)
	}
	if o.old.Lock == nil || o.old.LockID() != o.req.Var.LockID() {
		return o.conflict(), nil
	}
	return o.store(nil, o.old.VariableData)
}

// store writes the row with the lock and the data, unless it is as it was.
func (o *varOp) store(lock *structs.VariableLock, data structs.VariableData) (*structs.VarApplyStateResponse, error) {
	old := o.old
	if old != nil && old.Lock == lock && old.KeyID == data.KeyID && bytes.Equal(old.Data, data.Data) {
		return o.ok(&old.VariableMetadata, old.ModifyIndex), nil
	}
	v := o.req.Var
	row := &structs.VariableEncrypted{}
	if old != nil {
		row.VariableMetadata = old.VariableMetadata
	} else {
		ns := Namespaces.read(o.tx, Key{ID: v.Namespace})
		if ns == nil {
			return nil, errs.Newf(errs.NotFound, "namespace %q not found", v.Namespace)
		}
		row.Namespace, row.Path = ns.Name, strings.Clone(v.Path)
		row.CreateIndex, row.CreateTime = o.tx.opIndex, v.ModifyTime
	}
	row.ModifyIndex, row.ModifyTime, row.Lock = o.tx.opIndex, v.ModifyTime, lock
	row.KeyID = o.keyID(data.KeyID)
	row.Data = data.Data
	if old == nil || !sameSlice(old.Data, data.Data) {
		row.Data = make([]byte, len(data.Data))
		copy(row.Data, data.Data)
	}
	Variables.put(o.tx, row)
	return o.ok(&row.VariableMetadata, o.tx.opIndex), nil
}

// keyID returns id as the keyring's table or the old row spells it, so that rows
// share one text.
func (o *varOp) keyID(id string) string {
	if o.old != nil && o.old.KeyID == id {
		return o.old.KeyID
	}
	if k := RootKeys.read(o.tx, Key{ID: strings.ToLower(id)}); k != nil && k.KeyID == id {
		return k.KeyID
	}
	return strings.Clone(id)
}

func sameSlice(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

func (o *varOp) ok(written *structs.VariableMetadata, index uint64) *structs.VarApplyStateResponse {
	return &structs.VarApplyStateResponse{Op: o.req.Op, Result: structs.VarOpResultOk, Written: written,
		WriteMeta: structs.WriteMeta{Index: index}}
}

// conflict answers with what stood in the way; the index is that of its last change.
func (o *varOp) conflict() *structs.VarApplyStateResponse {
	resp := &structs.VarApplyStateResponse{Op: o.req.Op, Result: structs.VarOpResultConflict, Conflict: o.old}
	if o.old != nil {
		resp.Index = o.old.ModifyIndex
	}
	return resp
}
