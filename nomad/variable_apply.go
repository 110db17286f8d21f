package nomad

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/keyring"
	"github.com/cairn-project/cairn/nomad/structs"
)

// applyVariable runs one operation on one variable on the leader: check, seal,
// commit, and open again what the caller may see. The reply shares the items of r.
func (c *leaderCall) applyVariable(ctx context.Context, r *structs.VariablesApplyRequest, reply *structs.VariablesApplyResponse) error {
	s := c.srv
	if r.Var == nil {
		return errs.New(errs.Invalid, "variable is missing: give Var with a Path and Items")
	}
	req := structs.VariablesApplyRequest{Op: r.Op, Var: &structs.VariableDecrypted{
		VariableMetadata: r.Var.VariableMetadata.Copy(), Items: r.Var.Items,
	}}
	req.Var.Namespace = r.RequestNamespace()
	if err := c.checkVariable(&req); err != nil {
		return err
	}
	reply.Op = req.Op
	entry, err := c.variableEntry(ctx, &req, reply)
	if entry == nil || err != nil {
		return err
	}
	res, err := c.submit(ctx, entry)
	reply.Index = res.index
	if err != nil {
		return err
	}
	stored := res.value.(*structs.VarApplyStateResponse)
	if reply.Result = stored.Result; stored.Error != nil {
		return stored.Error
	}
	if stored.Result != structs.VarOpResultOk {
		return c.fillConflict(&req, stored.Conflict, reply)
	}
	s.locks.applied(&req, stored.Written, res.index)
	return c.fillOutput(&req, stored.Written, reply)
}

// sealing is memory that a write needs until its entry of the log is encoded, and
// a read until the items are parsed.
type sealing struct {
	plain  []byte // the items, nil if the operation has none
	sealed []byte
	stored []byte // the items of the row, opened
	entry  structs.VarApplyStateRequest
	row    structs.VariableEncrypted
}

var sealings = sync.Pool{New: func() any { return &sealing{} }}

// maxSealing bounds the buffers that are kept from one write to the next.
const maxSealing = 16 << 10

func (b *sealing) done() {
	b.entry, b.row = structs.VarApplyStateRequest{}, structs.VariableEncrypted{}
	if cap(b.plain)+cap(b.sealed)+cap(b.stored) <= maxSealing {
		sealings.Put(b)
	}
}

// variableEntry returns the entry for the log, nil if reply has the answer already
// as the write would change nothing.
func (c *leaderCall) variableEntry(ctx context.Context, r *structs.VariablesApplyRequest, reply *structs.VariablesApplyResponse) ([]byte, error) {
	b := sealings.Get().(*sealing)
	defer b.done()
	b.plain = b.plain[:0]
	if len(r.Var.Items) > 0 {
		b.plain = structs.AppendItems(b.plain, r.Var.Items)
	}
	if !c.again() { // the state may show the first try
		if done, err := c.sameAlready(ctx, r, b, reply); done || err != nil {
			return nil, err
		}
	}
	if err := c.srv.sealVariable(ctx, r, b); err != nil {
		return nil, err
	}
	return c.srv.encodeEntry(c.tag(c.began), structs.VarApplyStateRequestType, &b.entry)
}

// checkVariable sets what the request leaves open and refuses what can never be applied.
func (c *leaderCall) checkVariable(r *structs.VariablesApplyRequest) error {
	if l := r.Var.Lock; l != nil && r.Op == structs.VarOpLockAcquire {
		if l.TTL == 0 {
			l.TTL = structs.DefaultVariableLockTTL
		}
		if l.LockDelay == 0 {
			l.LockDelay = structs.DefaultVariableLockDelay
		}
		if l.ID == "" {
			l.ID = c.newLockID()
		}
	}
	if err := r.Validate(c.srv.config.MaxVariableSize); err != nil {
		return err
	}
	if r.Var.Lock != nil && !c.again() && (r.Op == structs.VarOpSet || r.Op == structs.VarOpCAS) {
		row := c.srv.state.Snapshot().Variable(nil, r.Var.Namespace, r.Var.Path)
		if row == nil || row.Lock == nil {
			return errs.New(errs.Invalid, "the variable is not locked, so the write must not carry a lock: acquire it first or leave the lock out")
		}
	}
	return nil
}

// sameAlready answers a write that would change nothing. No entry of the log
// proves that this server still leads then, so it asks the others, like a read.
func (c *leaderCall) sameAlready(ctx context.Context, r *structs.VariablesApplyRequest, b *sealing, reply *structs.VariablesApplyResponse) (bool, error) {
	if c.unchanged(r, b) == nil {
		return false, nil
	}
	if err := c.srv.confirmRead(ctx); err != nil {
		return false, err
	}
	row := c.unchanged(r, b)
	if row == nil {
		return false, nil
	}
	reply.Result = structs.VarOpResultOk
	reply.Index = row.ModifyIndex
	reply.Output = &structs.VariableDecrypted{VariableMetadata: *shownMetadata(c.acl, &row.VariableMetadata, r.Var.LockID()), Items: r.Var.Items}
	return true, nil
}

// unchanged returns the row that is stored already as the write would store it,
// nil if the write changes something. A stored variable that cannot be read is as
// good as a different one.
func (c *leaderCall) unchanged(r *structs.VariablesApplyRequest, b *sealing) *structs.VariableEncrypted {
	if r.Op != structs.VarOpSet && r.Op != structs.VarOpCAS {
		return nil
	}
	row := c.srv.state.Snapshot().Variable(nil, r.Var.Namespace, r.Var.Path)
	switch {
	case row == nil, row.LockID() != r.Var.LockID(), len(row.Data) != len(b.plain)+keyring.Overhead:
		return nil
	case r.Op == structs.VarOpCAS && r.Var.ModifyIndex != row.ModifyIndex:
		return nil
	}
	stored, err := c.srv.keyring.Open(b.stored[:0], row.Data, row.KeyID)
	if err != nil {
		return nil
	}
	if b.stored = stored; !bytes.Equal(stored, b.plain) {
		return nil
	}
	return row
}

// keyringTimeout bounds the wait of a write for the first root key of a new cluster.
const keyringTimeout = 10 * time.Second

// sealVariable fills b.entry, with the items encrypted.
func (s *Server) sealVariable(ctx context.Context, r *structs.VariablesApplyRequest, b *sealing) (err error) {
	b.entry = structs.VarApplyStateRequest{Op: r.Op, Var: &b.row}
	b.row.VariableMetadata = r.Var.VariableMetadata
	b.row.ModifyTime = time.Now().UnixNano()
	if len(b.plain) == 0 {
		return nil
	}
	if err := s.waitKeyring(ctx); err != nil {
		return err
	}
	if b.row.Data, b.row.KeyID, err = s.keyring.Seal(b.sealed[:0], b.plain); err == nil {
		b.sealed = b.row.Data
	}
	return err
}

func (s *Server) waitKeyring(ctx context.Context) error {
	select {
	case <-s.keyring.Ready():
		return nil
	default:
	}
	t := time.NewTimer(keyringTimeout)
	defer t.Stop()
	select {
	case <-s.keyring.Ready():
		return nil
	case <-ctx.Done():
		return errs.Gone(ctx.Err())
	case <-t.C:
		return errs.New(errs.Busy, "the cluster has no root key yet; try again shortly").WithRetryAfter(time.Second)
	}
}

// openItems decrypts the items of a stored variable.
func (s *Server) openItems(row *structs.VariableEncrypted) (structs.VariableItems, error) {
	if len(row.Data) == 0 {
		return structs.VariableItems{}, nil
	}
	b := sealings.Get().(*sealing)
	defer b.done()
	plain, err := s.keyring.Open(b.stored[:0], row.Data, row.KeyID)
	if err != nil {
		return nil, err
	}
	b.stored = plain
	return structs.ParseItems(plain)
}

// fillConflict shows the caller what stood in the way, as far as it may read it.
func (c *leaderCall) fillConflict(r *structs.VariablesApplyRequest, row *structs.VariableEncrypted, reply *structs.VariablesApplyResponse) error {
	bare := &structs.VariableDecrypted{VariableMetadata: structs.VariableMetadata{Namespace: r.Var.Namespace, Path: r.Var.Path}}
	if row == nil || row.Lock != nil && row.Lock.ID != r.Var.LockID() {
		reply.Conflict = bare // what somebody holds is not shown to others
		return nil
	}
	if !c.acl.AllowVariable(r.Var.Namespace, r.Var.Path, acl.VariablesRead) {
		reply.Result = structs.VarOpResultRedacted
		bare.VariableMetadata = *shownMetadata(c.acl, &row.VariableMetadata, r.Var.LockID())
		reply.Conflict = bare
		return nil
	}
	var err error
	reply.Conflict, err = c.srv.openVariable(c.acl, row, r.Var.LockID())
	return err
}

// fillOutput shows the caller what was written.
func (c *leaderCall) fillOutput(r *structs.VariablesApplyRequest, written *structs.VariableMetadata, reply *structs.VariablesApplyResponse) error {
	if written == nil {
		return nil
	}
	out := &structs.VariableDecrypted{VariableMetadata: *shownMetadata(c.acl, written, r.Var.LockID()), Items: r.Var.Items}
	reply.Output = out
	if len(out.Items) > 0 {
		return nil
	}
	row := c.srv.state.Snapshot().Variable(nil, written.Namespace, written.Path)
	if row == nil || row.ModifyIndex != written.ModifyIndex {
		return nil // changed again meanwhile: the meta data are what this write did
	}
	var err error
	out.Items, err = c.srv.openItems(row)
	return err
}
