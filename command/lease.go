package command

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"
)

// retryFloor is the shortest pause between two tries of a call.
const retryFloor = 250 * time.Millisecond

// errLockLost says that somebody else may hold the lock from now on.
var errLockLost = errors.New("the lock is lost")

// lease holds the lock of one variable. Its methods must not run at the same time.
type lease struct {
	vars      *api.Variables
	path      string
	namespace string
	ttl       time.Duration
	delay     time.Duration
	// retries is how often a call that failed is repeated.
	retries uint64
	// trace tells what happens; it must not be nil.
	trace func(format string, args ...any)

	id string
	// held is when the last call that took or renewed the lock was sent.
	held time.Time
}

func (l *lease) variable() *api.Variable {
	return &api.Variable{
		Namespace: l.namespace, Path: l.path,
		Lock: &api.VariableLock{ID: l.id, TTL: l.ttl.String(), LockDelay: l.delay.String()},
	}
}

func (l *lease) write(ctx context.Context) *api.WriteOptions {
	return (&api.WriteOptions{Namespace: l.namespace}).WithContext(ctx)
}

// acquire blocks until the lock is held, ctx ends or calls keep failing.
func (l *lease) acquire(ctx context.Context) error {
	index := uint64(0)
	for failures := uint64(0); ; {
		sent := time.Now()
		v, _, err := l.vars.AcquireLock(l.variable(), l.write(ctx))
		switch {
		case err == nil && v.LockID() == "":
			return fmt.Errorf("taking the lock of %s: the answer has no lock ID", l.path)
		case err == nil:
			l.id, l.held = v.LockID(), sent
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case isHeld(err):
			failures = 0
			l.trace("lock of %s is held by somebody else, waiting", l.path)
			index = l.awaitChange(ctx, index)
		case isFinal(err) || failures >= l.retries:
			return failed("taking the lock of "+l.path, err)
		default:
			failures++
			l.trace("taking the lock failed, try %d of %d: %s", failures, l.retries, err)
		}
		if pause(ctx, retryFloor) != nil {
			return ctx.Err()
		}
	}
}

// awaitChange blocks until the variable changes after index, for one TTL at
// most, and returns its index then. Index 0 only asks for the present one, which
// the caller must know before its last try, or it could sleep through a release.
func (l *lease) awaitChange(ctx context.Context, index uint64) uint64 {
	ctx, cancel := context.WithTimeout(ctx, l.ttl)
	defer cancel()
	q := (&api.QueryOptions{Namespace: l.namespace, WaitIndex: index}).WithContext(ctx)
	if index != 0 {
		q.WaitTime = l.ttl
	}
	v, meta, err := l.vars.Peek(l.path, q)
	switch {
	case err != nil:
		_ = pause(ctx, l.ttl/2)
		return 0
	case v == nil:
		return 0
	}
	return max(meta.LastIndex, v.ModifyIndex)
}

// keep renews the lock until ctx ends, and then returns nil, or until it is
// lost, and then returns an error that is errLockLost. A lock that could not be
// renewed for one TTL counts as lost: servers wait longer, so nobody else can
// hold it yet.
func (l *lease) keep(ctx context.Context) error {
	for {
		if pause(ctx, l.ttl/2) != nil {
			return nil
		}
		if err := l.renew(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

func (l *lease) renew(ctx context.Context) error {
	expiry := l.held.Add(l.ttl)
	ctx, cancel := context.WithDeadline(ctx, expiry)
	defer cancel()
	wait := max(retryFloor, l.ttl/20)
	for failures := uint64(0); ; failures++ {
		sent := time.Now()
		_, _, err := l.vars.RenewLock(l.variable(), l.write(ctx))
		if err == nil {
			l.held = sent
			l.trace("renewed the lock of %s", l.path)
			return nil
		}
		if isHeld(err) {
			return fmt.Errorf("%w: somebody else holds it", errLockLost)
		}
		if isFinal(err) || failures >= l.retries {
			return fmt.Errorf("%w: renewing: %w", errLockLost, err)
		}
		l.trace("renewing the lock failed, try %d of %d: %s", failures+1, l.retries, err)
		if pause(ctx, wait) != nil {
			return fmt.Errorf("%w: it could not be renewed for %s: %w", errLockLost, l.ttl, err)
		}
		wait = min(2*wait, l.ttl/4)
	}
}

// release gives the lock up, so that the next one need not wait for it to expire.
func (l *lease) release(ctx context.Context) error {
	v := &api.Variable{Namespace: l.namespace, Path: l.path, Lock: &api.VariableLock{ID: l.id}}
	for failures := uint64(0); ; failures++ {
		_, _, err := l.vars.ReleaseLock(v, l.write(ctx))
		if err == nil || failures >= l.retries || isHeld(err) || isFinal(err) {
			return err
		}
		if pause(ctx, retryFloor) != nil {
			return err
		}
	}
}

// pause waits and returns an error if ctx ended first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// isHeld reports whether the answer says that somebody else holds the lock.
func isHeld(err error) bool {
	if isStatus(err, http.StatusConflict) {
		return true
	}
	return isStatus(err, http.StatusBadRequest) && strings.Contains(err.Error(), "already locked")
}

// isFinal reports whether no repetition can help: the request was refused as such.
func isFinal(err error) bool {
	var status api.UnexpectedResponseError
	if !errors.As(err, &status) {
		return false
	}
	return status.StatusCode()/100 == 4 && status.StatusCode() != http.StatusTooManyRequests
}
