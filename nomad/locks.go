package nomad

import (
	"context"
	"sync"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// lockTTLFactor is how many TTLs a holder may be silent before the lock is lost.
	lockTTLFactor = 2
	// lockReleaseTries and lockReleaseBackoff pace the release of a lost lock.
	lockReleaseTries   = 6
	lockReleaseBackoff = 10 * time.Second
)

// lockKey names a variable.
type lockKey struct{ namespace, path string }

// heldLock is the timer of one lock.
type heldLock struct {
	lock  structs.VariableLock
	index uint64 // of the write that took the lock
	timer *time.Timer
	lost  bool // the TTL ran out, the delay is running; renewing is too late
}

// lockTimers ends the locks whose holders fell silent. Only a leader has any: a
// new leader starts every timer afresh, so that no lock is lost early.
type lockTimers struct {
	srv *Server
	mu  sync.Mutex
	// term is the leadership in which the timers run, nil when none is; guarded by mu.
	term *term
	held map[lockKey]*heldLock // guarded by mu
}

func newLockTimers(s *Server) *lockTimers {
	return &lockTimers{srv: s, held: map[lockKey]*heldLock{}}
}

// startLocks starts the timers of every lock in the store.
func (s *Server) startLocks(t *term) error {
	s.locks.mu.Lock()
	s.locks.term = t
	s.locks.mu.Unlock()
	for row := range s.state.Snapshot().LockedVariables() {
		s.locks.start(lockKey{row.Namespace, row.Path}, *row.Lock, row.ModifyIndex)
	}
	return nil
}

// start begins the TTL of a lock that the write at index took. Whoever reports a
// write may be overtaken by who reports a later one, so an older one is ignored.
func (l *lockTimers) start(key lockKey, lock structs.VariableLock, index uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if old := l.held[key]; old == nil || old.index <= index {
		l.startLocked(key, lock, index)
	}
}

// startLocked begins the TTL of a lock, or begins it again; the caller holds mu.
func (l *lockTimers) startLocked(key lockKey, lock structs.VariableLock, index uint64) {
	if l.term == nil {
		return
	}
	if old := l.held[key]; old != nil {
		old.timer.Stop()
	}
	h := &heldLock{lock: lock, index: index}
	h.timer = time.AfterFunc(lockTTLFactor*lock.TTL, func() { l.expire(key, h) })
	l.held[key] = h
}

// applied follows a successful operation on a variable, which took place at index.
func (l *lockTimers) applied(r *structs.VariablesApplyRequest, written *structs.VariableMetadata, index uint64) {
	key := lockKey{r.Var.Namespace, r.Var.Path}
	if written != nil && written.Lock != nil {
		if r.Op == structs.VarOpLockAcquire {
			l.start(key, *written.Lock, index)
		}
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.held[key]; h != nil && h.index <= index {
		h.timer.Stop()
		delete(l.held, key)
	}
}

// renew begins the TTL of the lock again. It reports false when the lock is
// lost or not the one that is held.
func (l *lockTimers) renew(key lockKey, lock structs.VariableLock) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.held[key]
	if h != nil && (h.lost || h.lock.ID != lock.ID) {
		return false
	}
	index := uint64(0) // the store's row, where no timer runs yet
	if h != nil {
		index = h.index
	}
	l.startLocked(key, lock, index)
	return true
}

// expire marks a lock as lost and lets it go after its delay.
func (l *lockTimers) expire(key lockKey, h *heldLock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[key] != h || l.term == nil {
		return
	}
	h.lost = true
	t := l.term
	h.timer = time.AfterFunc(h.lock.LockDelay, func() { l.release(t.ctx, key, h) })
}

// release takes a lost lock out of the store.
func (l *lockTimers) release(ctx context.Context, key lockKey, h *heldLock) {
	req := &structs.VarApplyStateRequest{Op: structs.VarOpLockRelease, Var: &structs.VariableEncrypted{
		VariableMetadata: structs.VariableMetadata{
			Namespace: key.namespace, Path: key.path, ModifyTime: time.Now().UnixNano(),
			Lock: &structs.VariableLock{ID: h.lock.ID},
		},
	}}
	backoff := lockReleaseBackoff
	for try := 1; ctx.Err() == nil; try++ {
		_, err := l.srv.apply(ctx, structs.VarApplyStateRequestType, req)
		if err == nil {
			l.srv.logger.Debug("released the lock of a silent holder", "namespace", key.namespace, "path", key.path)
			break
		}
		l.srv.logger.Warn("could not release a lost lock", "namespace", key.namespace, "path", key.path, "try", try, "error", err)
		if try == lockReleaseTries {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(backoff):
		}
		backoff *= 2
	}
	l.forget(key, h)
}

func (l *lockTimers) forget(key lockKey, h *heldLock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[key] == h {
		delete(l.held, key)
	}
}

// clear stops every timer.
func (l *lockTimers) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.term = nil
	for key, h := range l.held {
		h.timer.Stop()
		delete(l.held, key)
	}
}

// renewLock keeps a lock for another TTL. It writes nothing: the timer is in
// the leader's memory, and a new leader gives every holder a full TTL.
func (s *Server) renewLock(ctx context.Context, r *structs.VariablesRenewLockRequest, reply *structs.VariablesRenewLockResponse) error {
	if err := structs.ValidateVariablePath(r.Path); err != nil {
		return err
	}
	if r.LockID == "" {
		return errs.New(errs.Invalid, "renewing a lock requires the lock ID")
	}
	if err := s.confirmRead(ctx); err != nil {
		return err
	}
	row := s.state.Snapshot().Variable(nil, r.RequestNamespace(), r.Path)
	switch {
	case row == nil:
		return errVariableNotFound
	case row.Lock == nil:
		return errs.New(errs.Conflict, "the variable is not locked: acquire the lock again")
	case row.Lock.ID != r.LockID:
		return errs.New(errs.Conflict, "the lock is held by somebody else")
	}
	if !s.locks.renew(lockKey{row.Namespace, row.Path}, *row.Lock) {
		return errs.New(errs.Conflict, "the lock was lost: its holder was silent for too long")
	}
	reply.VarMeta = &row.VariableMetadata
	reply.Index = row.ModifyIndex
	return nil
}
