package agent

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/cairn-project/cairn/drpc/agentpb"
	"github.com/cairn-project/cairn/internal/drpc"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// defaultGrace is how long a lock outlives its session unless asked otherwise,
	// maxGrace the longest.
	defaultGrace = 5 * time.Second
	maxGrace     = 10 * time.Minute
	// maxLocksPerUID bounds what is held for one local user.
	maxLocksPerUID = 256
)

// lockName is where a lock is.
type lockName struct{ namespace, path string }

func nameOfLock(namespace, path string) lockName {
	return lockName{cmp.Or(namespace, structs.DefaultNamespace), path}
}

// keptLock is one lock that the agent holds for a process.
type keptLock struct {
	name       lockName
	id         string
	uid        int
	ttl, grace time.Duration
	asked      time.Time          // when the servers were asked for it
	token      string             // guarded by the keeper's mu
	cancel     context.CancelFunc // ends the renewal
	// over is closed when the lock is not held any more; reason and released are
	// set before.
	over     chan struct{}
	reason   string
	released bool
	// session is nil while the lock outlives its session; guarded by the keeper's mu.
	session *drpc.Session
	expiry  *time.Timer // releases the lock then; guarded by the keeper's mu
}

// lockKeeper holds locks for as long as sessions last.
type lockKeeper struct {
	sockets *agentSockets

	mu      sync.Mutex
	held    map[lockName]*keptLock // guarded by mu
	watched map[*drpc.Session]bool // those whose end is looked out for; guarded by mu
	// leaving counts what is under way to give a lock back, by its ID: nobody may go on
	// with it any more. taking counts the locks that are asked for, by user.
	leaving map[string]int // guarded by mu
	taking  map[int]int    // guarded by mu
	closing bool           // the agent ends: locks are left to their TTL
}

func newLockKeeper(s *agentSockets) *lockKeeper {
	return &lockKeeper{sockets: s, held: map[lockName]*keptLock{}, watched: map[*drpc.Session]bool{},
		leaving: map[string]int{}, taking: map[int]int{}}
}

// hold answers 305.
func (s *agentSockets) hold(ctx context.Context, req *drpc.Request, in *agentpb.HoldRequest) (*agentpb.Held, error) {
	l := &keptLock{name: nameOfLock(in.Namespace, in.Path), id: cmp.Or(in.LockId, uuid.NewString()), token: in.Token, uid: req.Peer.UID,
		ttl: cmp.Or(time.Duration(in.TtlMs)*time.Millisecond, structs.DefaultVariableLockTTL), grace: graceOf(in.GraceMs),
		over: make(chan struct{}), session: req.Session}
	if in.TtlMs < 0 || in.TtlMs > structs.MaxVariableLockTTL.Milliseconds() || in.DelayMs < 0 || in.DelayMs > structs.MaxVariableLockTTL.Milliseconds() {
		return nil, errs.Newf(errs.Invalid, "ttl_ms and delay_ms: must be from 0 to %d", structs.MaxVariableLockTTL.Milliseconds())
	}
	if l.grace > maxGrace {
		return nil, errs.Newf(errs.Invalid, "grace_ms: must be at most %d", maxGrace.Milliseconds())
	}
	k := s.locks
	if in.LockId != "" {
		if kept, err := k.adopt(l); kept != nil || err != nil {
			return kept, err
		}
	}
	if err := s.workloads.accepting(in.LockId != ""); err != nil {
		return nil, err
	}
	if err := k.reserve(l.uid); err != nil {
		return nil, err
	}
	defer k.unreserve(l.uid)
	take := func() error { return k.acquire(ctx, l, time.Duration(in.DelayMs)*time.Millisecond) }
	if in.LockId != "" { // of before the agent was restarted: only if nobody had it since
		take = func() error { return k.resume(ctx, l) }
	}
	l.asked = time.Now()
	if err := take(); err != nil {
		return nil, err
	}
	k.keep(l)
	return l.reply(), nil
}

func (l *keptLock) reply() *agentpb.Held {
	return &agentpb.Held{LockId: l.id, TtlMs: l.ttl.Milliseconds()}
}

// graceOf returns the grace that a request asks for.
func graceOf(ms int64) time.Duration {
	switch {
	case ms == 0:
		return defaultGrace
	case ms < 0:
		return 0
	}
	return time.Duration(min(ms, 2*maxGrace.Milliseconds())) * time.Millisecond
}

// adopt hands a lock of an earlier session of the same user to the new one, unless it
// is being given back. It returns nil where the agent does not hold that lock.
func (k *lockKeeper) adopt(l *keptLock) (*agentpb.Held, error) {
	k.mu.Lock()
	if k.leaving[l.id] > 0 {
		k.mu.Unlock()
		return nil, errs.Newf(errs.Conflict, "the lock of %q in namespace %q is being released: take it anew", l.name.path, l.name.namespace)
	}
	kept := k.held[l.name]
	if kept == nil || kept.id != l.id || kept.uid != l.uid {
		k.mu.Unlock()
		return nil, nil
	}
	kept.token = cmp.Or(l.token, kept.token) // the old one may expire
	if kept.expiry != nil {
		kept.expiry.Stop()
		kept.expiry = nil
	}
	kept.session = l.session
	k.mu.Unlock()
	k.watch(l.session)
	return kept.reply(), nil
}

// reserve counts a lock that a user is about to take, or says that it has too many.
func (k *lockKeeper) reserve(uid int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := k.taking[uid]
	for _, l := range k.held {
		if l.uid == uid {
			n++
		}
	}
	if n >= maxLocksPerUID {
		return errs.Newf(errs.Busy, "uid %d holds %d locks, its limit: release some", uid, n).WithRetryAfter(time.Second)
	}
	k.taking[uid]++
	return nil
}

// unreserve ends what reserve began: the lock is held now, or was not to be had.
func (k *lockKeeper) unreserve(uid int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.taking[uid]--; k.taking[uid] == 0 {
		delete(k.taking, uid)
	}
}

// keep notes a lock that was taken, and renews it from now on.
func (k *lockKeeper) keep(l *keptLock) {
	var ctx context.Context
	ctx, l.cancel = context.WithCancel(k.sockets.life)
	k.mu.Lock()
	if old := k.held[l.name]; old != nil {
		k.endLocked(old, "somebody else took the lock", false)
	}
	k.held[l.name] = l
	k.mu.Unlock()
	k.sockets.wg.Go(func() { k.renew(ctx, l) })
	k.watch(l.session)
}

// watch begins the grace of a session's locks when the session ends.
func (k *lockKeeper) watch(session *drpc.Session) {
	k.mu.Lock()
	known := k.watched[session]
	k.watched[session] = true
	k.mu.Unlock()
	if !known {
		session.OnClose(func() { k.orphan(session) })
	}
}

// orphan leaves the locks of a session that ended to their grace.
func (k *lockKeeper) orphan(session *drpc.Session) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.watched, session)
	for _, l := range k.held {
		if l.session == session && !k.closing {
			l.session = nil
			l.expiry = time.AfterFunc(l.grace, func() { k.expire(l) })
		}
	}
}

// expire releases a lock whose process did not come back.
func (k *lockKeeper) expire(l *keptLock) {
	k.mu.Lock()
	if k.held[l.name] != l || l.session != nil || k.closing {
		k.mu.Unlock()
		return
	}
	k.endLocked(l, "its session ended", true)
	k.leaving[l.id]++
	k.mu.Unlock()
	defer k.left(l)
	ctx, cancel := context.WithTimeout(k.sockets.life, 2*l.ttl) // then the cluster has given it up itself
	defer cancel()
	for pause := time.Second; ; pause = min(2*pause, 10*time.Second) {
		err := k.giveBack(ctx, l)
		if err == nil || errors.Is(err, errs.Conflict) || ctx.Err() != nil {
			k.sockets.logger.Debug("lock of a session that ended", "namespace", l.name.namespace, "path", l.name.path, "error", err)
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// left ends giving a lock back.
func (k *lockKeeper) left(l *keptLock) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.leaving[l.id]--; k.leaving[l.id] == 0 {
		delete(k.leaving, l.id)
	}
}

// endLocked takes a lock out of the table; k.mu is held.
func (k *lockKeeper) endLocked(l *keptLock, reason string, released bool) {
	if k.held[l.name] != l {
		return
	}
	delete(k.held, l.name)
	if l.expiry != nil {
		l.expiry.Stop()
	}
	l.cancel()
	l.reason, l.released = reason, released
	close(l.over)
}

// mine returns the lock that the session holds under a name.
func (k *lockKeeper) mine(session *drpc.Session, name lockName) (*keptLock, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.held[name]
	if l == nil || l.session != session {
		return nil, errs.Newf(errs.NotFound, "this session does not hold the lock of %q in namespace %q", name.path, name.namespace)
	}
	return l, nil
}

// release answers 306.
func (k *lockKeeper) release(ctx context.Context, session *drpc.Session, in *agentpb.ReleaseRequest) error {
	l, err := k.mine(session, nameOfLock(in.Namespace, in.Path))
	if err != nil {
		return err
	}
	return k.releaseOne(ctx, l)
}

// releaseOne gives a lock back. It stays held where the servers could not be told.
func (k *lockKeeper) releaseOne(ctx context.Context, l *keptLock) error {
	k.mu.Lock()
	k.leaving[l.id]++
	k.mu.Unlock()
	defer k.left(l)
	err := k.giveBack(ctx, l)
	if err != nil && !errors.Is(err, errs.Conflict) {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.endLocked(l, "it was released", err == nil)
	return err
}

// releaseAll gives back what a session holds and returns how many that was.
func (k *lockKeeper) releaseAll(ctx context.Context, session *drpc.Session) (int, error) {
	var mine []*keptLock
	k.mu.Lock()
	for _, l := range k.held {
		if l.session == session {
			mine = append(mine, l)
		}
	}
	k.mu.Unlock()
	n := 0
	for _, l := range mine {
		switch err := k.releaseOne(ctx, l); {
		case err == nil:
			n++
		case !errors.Is(err, errs.Conflict): // one that was lost needs no release
			return n, err
		}
	}
	return n, nil
}

// awaitLoss answers 307.
func (k *lockKeeper) awaitLoss(ctx context.Context, req *drpc.Request, in *agentpb.AwaitLossRequest) (*agentpb.Loss, error) {
	l, err := k.mine(req.Session, nameOfLock(in.Namespace, in.Path))
	if err != nil {
		return nil, err
	}
	select {
	case <-l.over:
		return &agentpb.Loss{Reason: l.reason, Released: l.released}, nil
	case <-ctx.Done():
		return nil, errs.Wrap(errs.Deadline, "the lock is still held", ctx.Err())
	}
}

// count returns how many locks a session holds, all of them for nil.
func (k *lockKeeper) count(session *drpc.Session) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0
	for _, l := range k.held {
		if session == nil || l.session == session {
			n++
		}
	}
	return n
}

// leave lets go of nothing: processes that outlive the agent keep what they hold
// until its TTL is over, and may go on with it at the next agent.
func (k *lockKeeper) leave() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closing = true
	for _, l := range k.held {
		k.endLocked(l, "the agent stops", false)
	}
}
