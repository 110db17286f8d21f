package nomad

import (
	"context"
	"time"

	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/limit"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/auth"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

// methodKind says who may answer a call.
type methodKind int

const (
	// readKind is answered by the leader, or by any server when stale.
	readKind methodKind = iota
	// writeKind is answered by the leader only.
	writeKind
	// localKind is answered by the server that receives it.
	localKind
)

// methodInfo is what routing needs to know of a method before its body is decoded.
type methodInfo struct {
	name string
	kind methodKind
	// tables are the ones a read touches; its index is the newest of theirs.
	// A read of none looks at the server itself and needs no caught-up store.
	tables []string
	// serversOnly keeps peers out that are not servers of this region.
	serversOnly bool
	// operatorsOnly keeps nodes' certificates out while access control is off.
	operatorsOnly bool
	// raftType is the request type of a write that is one log entry, 0 otherwise.
	raftType structs.MessageType
	// once says that a write may be sent again under its request ID.
	once bool
	// instant reads never wait for a change.
	instant bool
	// fresh reads are answered by the leader alone, whatever is asked for.
	fresh bool
	// invoke serves a call; args and reply are pointers to the method's types.
	invoke func(ctx context.Context, s *Server, args, reply any) error
	// class says how urgent the method is, and which limits hold for it.
	class limit.Class
	// proves marks a method that takes another proof than a token: a caller whose
	// token is not known comes in as nobody.
	proves bool
	// checked writes are refused by the store when access control has changed since
	// the caller's rights were looked at, see runChecked.
	checked bool
	// tellsSecrets marks a write whose answer holds secrets that its leader made.
	tellsSecrets bool
	// global writes may belong in the authoritative region, as their body says.
	global bool
}

// methods holds every method, by name, as the constructors declared them.
// It is filled while the package is initialised and never changes afterwards.
var methods = map[string]*methodInfo{}

func declare(info methodInfo) *methodInfo {
	if methods[info.name] != nil {
		panic("method declared twice: " + info.name)
	}
	info.class = classOf(&info)
	methods[info.name] = &info
	return &info
}

// invoker makes serve fit methodInfo.invoke.
func invoker[Req, Resp any](serve func(context.Context, *Server, *Req, *Resp) error) func(context.Context, *Server, any, any) error {
	return func(ctx context.Context, s *Server, args, reply any) error {
		a, okArgs := args.(*Req)
		r, okReply := reply.(*Resp)
		if !okArgs || !okReply {
			return errs.Newf(errs.Internal, "the method takes a %T and a %T, not a %T and a %T", a, r, args, reply)
		}
		return serve(ctx, s, a, r)
	}
}

// view is what the run function of a read works on: one snapshot of the store.
type view struct {
	*state.Snapshot
	// ws collects what the read touched; nil when it will not block.
	ws memdb.WatchSet
	// acl is what the caller may do, id who it is.
	acl *acl.ACL
	id  *auth.Identity
	srv *Server
	// index is set by reads of single objects; 0 means the index of the tables.
	index uint64
}

// readMethod is a read: authenticate, forward unless stale, allow, run.
type readMethod[Req, Resp any] struct {
	*methodInfo
	allow func(*acl.ACL, *Req) bool
	run   func(*view, *Req, *Resp) error
	query func(*Req) *structs.QueryOptions
	meta  func(*Resp) *structs.QueryMeta
}

// newRead declares a read of tables. run fills the reply from the view; it may
// run several times, each with a fresh reply, while the query blocks.
func newRead[Req, Resp any, Q interface {
	*Req
	structs.Query
}](name string, tables []string, allow func(*acl.ACL, *Req) bool, run func(*view, *Req, *Resp) error) *readMethod[Req, Resp] {
	m := &readMethod[Req, Resp]{
		methodInfo: declare(methodInfo{name: name, kind: readKind, tables: tables}),
		allow:      allow,
		run:        run,
		query:      func(r *Req) *structs.QueryOptions { return Q(r).QueryOpts() },
		meta:       queryMeta[Resp],
	}
	m.invoke = invoker(m.serve)
	return m
}

// atOnce makes the read answer at once, whatever index is asked for.
func (m *readMethod[Req, Resp]) atOnce() *readMethod[Req, Resp] {
	m.instant = true
	return m
}

// onLeader makes the read one of what the leader alone knows.
func (m *readMethod[Req, Resp]) onLeader() *readMethod[Req, Resp] {
	m.fresh = true
	return m
}

// queryMeta returns where the meta data of a reply go; replies without any get
// a place that nobody looks at.
func queryMeta[Resp any](r *Resp) *structs.QueryMeta {
	if q, ok := any(r).(structs.QueryReply); ok {
		return q.Meta()
	}
	return &structs.QueryMeta{}
}

// serveOnce answers one call on the server that received it.
func (m *readMethod[Req, Resp]) serveOnce(ctx context.Context, s *Server, args *Req, reply *Resp) error {
	if m.fresh && m.query(args).AllowStale {
		confirmed := *args
		m.query(&confirmed).AllowStale = false
		args = &confirmed
	}
	return s.serve(ctx, &call{
		methodInfo: m.methodInfo, routing: queryRouting(m.query(args)), args: args, reply: reply, answer: m.answer,
	})
}

// answer runs the read here; a token may be revoked while it waits.
func (m *readMethod[Req, Resp]) answer(ctx context.Context, s *Server, c *call) error {
	if err := s.enter(ctx, m.methodInfo); err != nil {
		return err
	}
	defer s.gate.Leave(m.class)
	args, reply := c.args.(*Req), c.reply.(*Resp)
	opts := m.query(args)
	q := blockedQuery{Server: s, ctx: ctx, m: m.methodInfo, opts: opts, meta: m.meta(reply)}
	q.run = func(v *view, again bool) (uint64, error) {
		if again || v.Restored() != c.epoch {
			var err error
			c.epoch = v.Restored()
			if c.id, err = s.authenticate(ctx, opts.AuthToken); err != nil {
				return 0, s.countUnknown(err)
			}
		}
		if !m.allow(c.id.ACL, args) {
			return 0, refuseCall(s, m.methodInfo, c.id, m.allow, args)
		}
		v.acl, v.id = c.id.ACL, c.id
		*reply = *new(Resp)
		if err := m.inTurn(ctx, func() error { return m.run(v, args, reply) }); err != nil {
			return v.index, refusedRun(v, err, m.run, args)
		}
		return v.index, nil
	}
	return q.answer()
}

// inTurn runs a read. One that reads as much as there is waits for its turn, and so
// does what encodes the answer.
func (m *readMethod[Req, Resp]) inTurn(ctx context.Context, run func() error) error {
	if m.class != limit.Bulk {
		return run()
	}
	if w, ok := wire.CallFrom(ctx); ok && w.Typed == nil {
		w.Bulk = true
	}
	end, err := limit.Turn(ctx)
	if err != nil {
		return err
	}
	defer end()
	return run()
}

// writeMethod is a write: authenticate, forward to the leader, allow, run.
type writeMethod[Req, Resp any] struct {
	*methodInfo
	allow func(*acl.ACL, *Req) bool
	run   func(context.Context, *leaderCall, *Req, *Resp) error
	opts  func(*Req) *structs.WriteRequest
	owned ownership[Req] // nil for what belongs to one region
	// first answers a call that was sent again by what its first try did; nil where
	// the call runs again.
	first func(context.Context, *leaderCall, *Req, *Resp, applied) error
}

// leaderCall is what a write has at hand while it runs on the leader.
type leaderCall struct {
	srv *Server
	// acl is what the caller may do, id who it is.
	acl *acl.ACL
	id  *auth.Identity
	request
	began time.Time
	// epoch is the state in which the caller was found out: the call writes to no other.
	epoch uint64
	// checked is the index of access control that the caller's rights were checked
	// after, 0 for a caller that may do everything.
	checked uint64
	// asked says that an entry was proposed: what the store answered holds for
	// all tries.
	asked bool
}

// newWrite declares a write whose request is one log entry. check refuses what
// the store could not accept anyway; the store checks again in its transaction.
func newWrite[Req, Resp any, W interface {
	*Req
	structs.Write
}, R interface {
	*Resp
	structs.WriteReply
}](name string, t structs.MessageType, allow func(*acl.ACL, *Req) bool, check func(*state.Snapshot, *Req) error) *writeMethod[Req, Resp] {
	run := func(ctx context.Context, c *leaderCall, args *Req, reply *Resp) error {
		if err := check(c.srv.state.Snapshot(), args); err != nil {
			return err
		}
		entry := *args
		w := W(&entry).WriteOpts()
		*w = structs.WriteRequest{Namespace: w.Namespace}
		res, err := c.apply(ctx, t, W(&entry))
		R(reply).WriteMetaData().Index = res.index
		return err
	}
	m := newLeader[Req, Resp, W](name, allow, run)
	m.raftType = t
	appliedOnce[Req, Resp, R](m)
	return m
}

// newLeader declares a call that the leader runs and that takes more than one
// plain log entry, or none.
func newLeader[Req, Resp any, W interface {
	*Req
	structs.Write
}](name string, allow func(*acl.ACL, *Req) bool, run func(context.Context, *leaderCall, *Req, *Resp) error) *writeMethod[Req, Resp] {
	m := &writeMethod[Req, Resp]{
		methodInfo: declare(methodInfo{name: name, kind: writeKind}),
		allow:      allow,
		run:        run,
		opts:       func(r *Req) *structs.WriteRequest { return W(r).WriteOpts() },
	}
	m.invoke = invoker(m.serve)
	return m
}

// serve answers one call on the server that received it.
func (m *writeMethod[Req, Resp]) serve(ctx context.Context, s *Server, args *Req, reply *Resp) error {
	args, err := m.settleRegion(ctx, s, args)
	if err != nil {
		return err
	}
	opts := m.opts(args)
	return s.serve(ctx, &call{
		methodInfo: m.methodInfo, args: args, reply: reply, answer: m.answer, write: opts,
		routing: routing{region: opts.Region, forwarded: opts.Forwarded, token: opts.AuthToken},
	})
}

func (m *writeMethod[Req, Resp]) answer(ctx context.Context, s *Server, c *call) error {
	args, reply := c.args.(*Req), c.reply.(*Resp)
	lc := &leaderCall{srv: s, acl: c.id.ACL, id: c.id, request: c.request, began: c.began, epoch: c.epoch}
	if c.again() && m.first != nil {
		if o, known := s.state.Snapshot().Outcome(c.request.id); known {
			if o.Err != nil {
				return o.Err
			}
			return m.first(ctx, lc, args, reply, applied{index: o.Index, value: o.Rows})
		}
	}
	if !m.allow(c.id.ACL, args) {
		return c.unsure(refuseCall(s, m.methodInfo, c.id, m.allow, args))
	}
	if err := s.enter(ctx, m.methodInfo); err != nil {
		return c.unsure(err)
	}
	defer s.gate.Leave(m.class)
	err := s.refusedWrite(m.runChecked(ctx, lc, args, reply))
	if !lc.asked {
		err = c.unsure(err)
	}
	return err
}

// localMethod is a call that any server answers from what it knows itself.
type localMethod[Req, Resp any] struct {
	*methodInfo
	allow func(*acl.ACL, *Req) bool
	run   func(context.Context, *Server, *Req, *Resp) error
	query func(*Req) *structs.QueryOptions
}

// newLocal declares a call that never leaves the region and needs no leader.
func newLocal[Req, Resp any, Q interface {
	*Req
	structs.Query
}](name string, allow func(*acl.ACL, *Req) bool, run func(context.Context, *Server, *Req, *Resp) error) *localMethod[Req, Resp] {
	m := &localMethod[Req, Resp]{
		methodInfo: declare(methodInfo{name: name, kind: localKind}),
		allow:      allow,
		run:        run,
		query:      func(r *Req) *structs.QueryOptions { return Q(r).QueryOpts() },
	}
	m.invoke = invoker(m.serve)
	return m
}

// serve answers one call on the server that received it.
func (m *localMethod[Req, Resp]) serve(ctx context.Context, s *Server, args *Req, reply *Resp) error {
	return s.serve(ctx, &call{
		methodInfo: m.methodInfo, routing: queryRouting(m.query(args)), args: args, reply: reply, answer: m.answer,
	})
}

func (m *localMethod[Req, Resp]) answer(ctx context.Context, s *Server, c *call) error {
	args := c.args.(*Req)
	if !m.allow(c.id.ACL, args) {
		return refuseCall(s, m.methodInfo, c.id, m.allow, args)
	}
	if err := s.enter(ctx, m.methodInfo); err != nil {
		return err
	}
	defer s.gate.Leave(m.class)
	return m.run(withCaller(ctx, c.id), s, args, c.reply.(*Resp))
}

// serve is the way of every call: authenticate, route, and where it is answered
// authorise and run.
func (s *Server) serve(ctx context.Context, c *call) error {
	c.began, c.epoch = time.Now(), s.state.Snapshot().Restored()
	err := s.serveUnobserved(ctx, c)
	s.observe(c.methodInfo, c.began, err)
	return err
}

func (s *Server) serveUnobserved(ctx context.Context, c *call) (err error) {
	if err := s.refuseWhileOff(c.methodInfo); err != nil {
		return err
	}
	s.name(ctx, c, c.write)
	if c.id, err = s.admit(ctx, c); err != nil {
		return c.unsure(s.countUnknown(err))
	}
	return s.route(ctx, c)
}

// anyone is the rule of methods that need no right.
func anyone[Req any](*acl.ACL, *Req) bool { return true }
