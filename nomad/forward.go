package nomad

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/serf/serf"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/msgp"
	"github.com/cairn-project/cairn/internal/pool"
	"github.com/cairn-project/cairn/internal/presence"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/auth"
	"github.com/cairn-project/cairn/nomad/structs"
)

// maxHops bounds how often a call is passed on: to its region, then to the leader.
const maxHops = 2

// The texts that clients of the public API match on.
var (
	errNoLeader = errs.New(errs.NoLeader, "No cluster leader")
	errNotReady = errs.New(errs.Unavailable, "Not ready to serve consistent reads")
	errNoPath   = errs.New(errs.NoPath, "No path to region")
)

// errElection ends the wait for a leader that lost its term.
var errElection = errors.New("the leader lost its term")

// errNotLeader says that this server refused before it did anything.
var errNotLeader = &errs.Error{Code: errs.NoLeader, Msg: errNoLeader.Msg, Executed: errs.ExecutedNo}

// routing is the part of a request that decides where it is answered.
type routing struct {
	region    string
	stale     bool
	forwarded bool // a peer without hop counts has passed it on already
	token     string
	// blocking is how long the call may wait for a change, 0 for not at all.
	blocking time.Duration
}

func queryRouting(o *structs.QueryOptions) routing {
	return routing{
		region: o.Region, stale: o.AllowStale, forwarded: o.Forwarded, token: o.AuthToken,
		blocking: longestWait(o.MinQueryIndex, o.MaxQueryTime),
	}
}

// call is a request on its way to the server that answers it.
type call struct {
	*methodInfo
	routing
	// args and reply are pointers to the method's types, or wire.Raw and
	// *wire.Raw for a request that is passed on undecoded.
	args, reply any
	// answer runs the call on this server, for id.
	answer func(context.Context, *Server, *call) error
	// id is who calls, nil while that is not known.
	id    *auth.Identity
	began time.Time
	// epoch is the state, see state.Snapshot.Restored, when the call came.
	epoch uint64
	// write are the options of a write, nil for others and for what is not decoded.
	write *structs.WriteRequest
	request
}

// run answers the call here. Whoever was not known when the call was admitted has
// to be known now.
func (c *call) run(ctx context.Context, s *Server) (err error) {
	if c.id == nil {
		if c.id, err = s.authenticateFor(ctx, c.methodInfo, c.token); err != nil {
			return c.unsure(s.countUnknown(err))
		}
	}
	return c.answer(ctx, s, c)
}

// hops returns how often the call has been passed on.
func (c *call) hops(ctx context.Context) int {
	n := 0
	if w, ok := wire.CallFrom(ctx); ok {
		n = w.Hops
	}
	if c.forwarded && n == 0 {
		n = 1
	}
	return n
}

// route runs the call here or passes it on to where it belongs: first to its
// region, then to the leader. Calls that provably did nothing, reads, and writes
// with a request ID are tried again until the hold time-out, so that an election
// is a pause and not an error. A write is not tried again for a client that left:
// it may have written elsewhere meanwhile, and this write would undo that. The time
// that a blocking query waited for its change does not count.
func (s *Server) route(ctx context.Context, c *call) error {
	if c.region != "" && c.region != s.config.Region {
		return s.forwardRegion(ctx, c)
	}
	if c.kind == localKind {
		return c.run(ctx, s)
	}
	defer c.keepWait()()
	pace := hold{deadline: c.began.Add(s.config.RPCHoldTimeout), step: firstPause}
	before := max(s.state.LatestIndex(), 1)
	var lost error // of a try that may have been applied
	for start := c.began; ; start = time.Now() {
		changed := s.leaders.changed()
		err := s.routeOnce(ctx, c)
		if err == nil {
			return nil
		}
		if !c.request.id.IsZero() && mayHaveRun(err) {
			lost = err
		} else if lost != nil && errs.NotSent(err) {
			err = lost
		}
		if !c.mayRetry(err) || s.ctx.Err() != nil {
			return err
		}
		if lost != nil && !c.again() {
			c.since = before
		}
		c.waitRest()
		if time.Since(c.began) < 2*c.blocking { // what does not say how long it waits, waits anew
			pace.deadline = pace.deadline.Add(time.Since(start))
		}
		if !pace.wait(ctx, changed) || c.kind == writeKind && presence.Left(ctx) {
			return err
		}
	}
}

// waitRest leaves to a blocking query that is tried again the rest of its wait: else
// every election meanwhile would begin it anew, and its client give up.
func (c *call) waitRest() {
	if c.blocking == 0 {
		return
	}
	asked := c.blocking * jitterFraction / (jitterFraction + 1)
	rest := max(asked-time.Since(c.began), 1) // 0 would be the longest
	switch args := c.args.(type) {
	case structs.Query:
		args.QueryOpts().MaxQueryTime = rest
	case wire.Raw:
		c.args = withWait(args, rest)
	}
}

// withWait returns a copy of an encoded query that waits for as long as wait; the query
// itself if it does not say how long it waits.
func withWait(body wire.Raw, wait time.Duration) wire.Raw {
	from, to := 0, 0
	rd := msgp.NewReader(body)
	for range rd.MapHeader() {
		name := rd.StringKey()
		at := rd.Offset()
		if rd.Skip(); rd.Err() != nil {
			return body
		}
		if string(name) == "MaxQueryTime" { // the last one counts
			from, to = at, rd.Offset()
		}
	}
	if to == 0 {
		return body
	}
	out := msgp.AppendDuration(append(make(wire.Raw, 0, len(body)+9), body[:from]...), wait)
	return append(out, body[to:]...)
}

// keepWait returns what gives the request the wait again that its owner asked for.
func (c *call) keepWait() func() {
	q, ok := c.args.(structs.Query)
	if !ok || c.blocking == 0 {
		return func() {}
	}
	opts := q.QueryOpts()
	asked := opts.MaxQueryTime
	return func() { opts.MaxQueryTime = asked }
}

// routeOnce tries the call once, here or on the leader.
func (s *Server) routeOnce(ctx context.Context, c *call) error {
	if c.kind == readKind && c.stale {
		if len(c.tables) > 0 {
			if err := s.catchUp.wait(ctx, s.config.RPCHoldTimeout); err != nil {
				return err
			}
		}
		return c.run(ctx, s)
	}
	if term := s.leadership.Load(); term != nil {
		if !term.established() {
			return &errs.Error{Code: errNotReady.Code, Msg: errNotReady.Msg, Executed: errs.ExecutedNo}
		}
		return c.run(ctx, s)
	}
	leader := s.leaders.current()
	if leader.addr == "" || leader.id == s.nodeID || c.hops(ctx) >= maxHops {
		return errNotLeader
	}
	return s.forwardLeader(ctx, c, leader)
}

// mayRetry reports whether the call can be tried again without running twice.
func (c *call) mayRetry(err error) bool {
	if errs.NotSent(err) {
		return true
	}
	if c.kind == readKind {
		return errors.Is(err, errs.Unavailable) || errors.Is(err, errs.NoLeader)
	}
	return !c.request.id.IsZero() && mayHaveRun(err)
}

// electionGrace is how long a write may go on at a leader that lost its term. One
// that lives refuses it, passes it on or answers within that time.
const electionGrace = 300 * time.Millisecond

// forwardLeader passes the call to the leader and stops waiting when it loses its term.
func (s *Server) forwardLeader(ctx context.Context, c *call, leader *leaderInfo) error {
	leave, err := s.enterPassing(ctx, c)
	if err != nil {
		return c.unsure(err)
	}
	defer leave()
	bound, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(leader.ctx, func() {
		if c.kind == writeKind {
			waitFor(bound.Done(), electionGrace)
		}
		cancel(errElection)
	})()
	err = s.pool.Call(bound, leader.addr, c.name, c.args, c.reply, c.forwardOptions(ctx))
	if err != nil && ctx.Err() == nil && context.Cause(bound) == errElection {
		return s.endedByElection(leader, err)
	}
	return err
}

// endedByElection explains a call that an election cut off.
func (s *Server) endedByElection(leader *leaderInfo, err error) error {
	s.pool.Retire(leader.addr) // others may still get their answers there
	if errs.NotSent(err) {
		return err
	}
	if s.ctx.Err() != nil { // which ends the watch of the leader
		return errs.Lost(errs.ExecutedUnknown, "this server stopped before the leader answered; the call may have been applied, read before trying again", errElection)
	}
	return errs.Lost(errs.ExecutedUnknown, "leader lost its term before it answered; the call may have been applied, read before trying again", errElection)
}

// forwardRegion passes the call to a live server of another region.
func (s *Server) forwardRegion(ctx context.Context, c *call) error {
	if hops := c.hops(ctx); hops >= maxHops {
		return errs.Newf(errs.NoPath, "call for region %q was passed on %d times, check the region names of the servers", c.region, hops)
	}
	if local, err := s.localToken(ctx, c.token); err != nil {
		return err
	} else if local {
		return s.leaveTokenHere(ctx, c)
	}
	if c.kind == writeKind && !c.request.id.IsZero() {
		return s.forwardWrite(ctx, c)
	}
	return s.askRegion(ctx, c)
}

// askRegion tries the servers of another region until one can be reached.
func (s *Server) askRegion(ctx context.Context, c *call) error {
	defer c.keepWait()()
	err := s.noPath(c.region)
	for range len(s.router.InRegion(c.region)) {
		server, ok := s.router.Pick(c.region)
		if !ok {
			break
		}
		err = s.askWhileAlive(ctx, c, server.Addr)
		if !pool.Lost(err) {
			if ctx.Err() == nil { // whatever the answer was
				s.router.MarkOK(server.Addr)
			}
			return err
		}
		s.router.MarkFailed(server.Addr)
		if gone := c.kind != writeKind && errors.Is(err, errServerGone); !gone && c.kind != readKind && !errs.NotSent(err) {
			return regionLost(c.region, err)
		}
		c.waitRest()
	}
	return regionLost(c.region, err)
}

// regionLost names the region that a call did not reach, or that did not answer it.
func regionLost(region string, err error) error {
	if !pool.Lost(err) {
		return err
	}
	e := errs.From(err, "")
	return errs.Lost(e.Executed, fmt.Sprintf("no answer from region %q: %s", region, e.Msg), err)
}

// aliveCheck is how often a call to another region looks whether gossip still
// takes the server for alive.
const aliveCheck = time.Second

// errServerGone ends the wait for a server that gossip has given up.
var errServerGone = errors.New("the server has failed")

// askWhileAlive passes the call to a server of another region and stops waiting
// when gossip gives that server up: a process that hangs keeps its connections.
func (s *Server) askWhileAlive(ctx context.Context, c *call, addr string) error {
	bound, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		for !waitFor(bound.Done(), aliveCheck) {
			if server, ok := s.router.ByAddr(addr); !ok || server.Status != serf.StatusAlive {
				cancel(errServerGone)
			}
		}
	}()
	err := s.pool.Call(bound, addr, c.name, c.args, c.reply, c.forwardOptions(ctx))
	if err == nil || ctx.Err() != nil || context.Cause(bound) != errServerGone || errs.NotSent(err) {
		return err
	}
	s.pool.Drop(addr)
	return errs.Lost(errs.ExecutedUnknown, "the server of the other region has failed before it answered; the call may have been applied, read before trying again", errServerGone)
}

func (c *call) forwardOptions(ctx context.Context) wire.CallOptions {
	opts := wire.CallOptions{Hops: c.hops(ctx) + 1, WriteID: c.request.id, WriteSince: c.since}
	if w, ok := wire.CallFrom(ctx); ok {
		opts.RequestID = w.RequestID
	}
	return opts
}

// hold paces the tries of a call while there is no leader to take it.
type hold struct {
	deadline time.Time
	step     time.Duration
}

// firstPause is about how long the first pause lasts; each of the next is longer.
const firstPause = 5 * time.Millisecond

// wait sleeps until something changed or a growing, jittered pause is over.
// It reports whether another try is worth while.
func (h *hold) wait(ctx context.Context, changed <-chan struct{}) bool {
	left := time.Until(h.deadline)
	if left <= 0 {
		return false
	}
	pause := h.step/2 + rand.N(h.step)
	h.step = min(2*h.step, 320*time.Millisecond)
	t := time.NewTimer(min(pause, left))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-changed:
	case <-t.C:
	}
	return true
}
