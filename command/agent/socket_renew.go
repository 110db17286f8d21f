package agent

import (
	"context"
	"errors"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// acquire takes a lock. One that may have been taken although no answer came is
// given back.
func (k *lockKeeper) acquire(ctx context.Context, l *keptLock, delay time.Duration) error {
	req := k.apply(l, structs.VarOpLockAcquire)
	req.Var.Lock.TTL, req.Var.Lock.LockDelay = l.ttl, delay
	var reply structs.VariablesApplyResponse
	err := k.sockets.call(ctx, "Variables.Apply", req, &reply)
	switch {
	case err == nil && reply.Result == structs.VarOpResultOk:
		return nil
	case err == nil:
		return errs.Newf(errs.Conflict, "the variable %q in namespace %q is locked by somebody else", l.name.path, l.name.namespace)
	case errs.From(err, "").Executed != errs.ExecutedNo && unanswered(err):
		k.sockets.wg.Go(func() { _ = k.giveBack(k.sockets.life, l) })
	}
	return err
}

// unanswered reports an error that leaves open what the servers did.
func unanswered(err error) bool {
	return errors.Is(err, errs.Unavailable) || errors.Is(err, errs.Deadline) || errors.Is(err, errs.Internal)
}

// giveBack releases a lock at the servers. A conflict means that it was lost before.
func (k *lockKeeper) giveBack(ctx context.Context, l *keptLock) error {
	var reply structs.VariablesApplyResponse
	if err := k.sockets.call(ctx, "Variables.Apply", k.apply(l, structs.VarOpLockRelease), &reply); err != nil {
		return err
	}
	if reply.Result != structs.VarOpResultOk {
		return errs.New(errs.Conflict, "the lock was lost before it was released")
	}
	return nil
}

func (k *lockKeeper) apply(l *keptLock, op structs.VarOp) *structs.VariablesApplyRequest {
	v := &structs.VariableDecrypted{VariableMetadata: structs.VariableMetadata{Namespace: l.name.namespace, Path: l.name.path,
		Lock: &structs.VariableLock{ID: l.id}}}
	req := &structs.VariablesApplyRequest{Op: op, Var: v}
	req.Namespace, req.AuthToken = l.name.namespace, k.tokenOf(l)
	return req
}

func (k *lockKeeper) tokenOf(l *keptLock) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return l.token
}

// renewOnce begins the TTL of a lock again.
func (k *lockKeeper) renewOnce(ctx context.Context, l *keptLock) error {
	req := &structs.VariablesRenewLockRequest{Path: l.name.path, LockID: l.id}
	req.Namespace, req.AuthToken = l.name.namespace, k.tokenOf(l)
	return k.sockets.call(ctx, "Variables.RenewLock", req, &structs.VariablesRenewLockResponse{})
}

// resume goes on with a lock that was taken through an agent that was restarted. It
// fails where somebody else had the lock since.
func (k *lockKeeper) resume(ctx context.Context, l *keptLock) error {
	req := &structs.VariablesRenewLockRequest{Path: l.name.path, LockID: l.id}
	req.Namespace, req.AuthToken = l.name.namespace, k.tokenOf(l)
	var reply structs.VariablesRenewLockResponse
	err := k.sockets.call(ctx, "Variables.RenewLock", req, &reply)
	if err == nil && reply.VarMeta != nil && reply.VarMeta.Lock != nil && reply.VarMeta.Lock.TTL > 0 {
		l.ttl = reply.VarMeta.Lock.TTL
	}
	return err
}

// renew keeps a lock until it is over. A lock whose servers were silent for its
// TTL counts as lost: they may have given it to somebody else soon after.
func (k *lockKeeper) renew(ctx context.Context, l *keptLock) {
	ttl := l.ttl
	sure := l.asked // when the servers were asked that last said it is held
	pause := max(0, ttl/3-time.Since(sure))
	ask := func() error {
		ctx, cancel := context.WithTimeout(ctx, ttl/3)
		defer cancel()
		return k.renewOnce(ctx, l)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		began := time.Now()
		err := ask()
		switch {
		case err == nil:
			sure, pause = began, ttl/3
			continue
		case ctx.Err() != nil:
			return
		case errors.Is(err, errs.Conflict), errors.Is(err, errs.NotFound):
			k.lose(l, err.Error())
			return
		case time.Since(sure) >= ttl:
			k.lose(l, "no server confirmed the lock within its TTL: "+err.Error())
			return
		}
		pause = min(ttl/10, ttl-time.Since(sure))
	}
}

// lose ends a lock that is not held any more.
func (k *lockKeeper) lose(l *keptLock, reason string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.leaving[l.id] > 0 { // a release of ours came first
		k.endLocked(l, "it was released", true)
		return
	}
	k.sockets.logger.Warn("a lock held for a local process is lost", "namespace", l.name.namespace, "path", l.name.path, "uid", l.uid, "reason", reason)
	k.endLocked(l, reason, false)
}
