package nomad

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/structs"
)

// request is a write that is applied once, however often it is sent.
type request struct {
	// id is zero for a call that must not be sent twice.
	id structs.RequestID
	// since is a logical index from before the first try, 0 in the first try.
	since uint64
}

// again reports whether an earlier try may have been applied.
func (r *request) again() bool { return r.since > 0 }

// appliedOnce lets the calls of m be sent again when an answer is lost. m commits
// one entry at most, through leaderCall.commit, and replies its index alone.
func appliedOnce[Req, Resp any, R interface {
	*Resp
	structs.WriteReply
}](m *writeMethod[Req, Resp]) *methodInfo {
	return toldAgain(m, func(_ context.Context, _ *leaderCall, _ *Req, reply *Resp, res applied) error {
		R(reply).WriteMetaData().Index = res.index
		return nil
	})
}

// toldAgain is appliedOnce for a method whose reply says more: tell makes it of what
// the one entry wrote, in the first try or long after.
func toldAgain[Req, Resp any](m *writeMethod[Req, Resp], tell func(context.Context, *leaderCall, *Req, *Resp, applied) error) *methodInfo {
	m.once, m.first = true, tell
	return m.methodInfo
}

// toldSecrets is toldAgain for a method whose reply holds secrets. The idempotency
// token of somebody without a token could be guessed, so that it does not count.
func toldSecrets[Req, Resp any](m *writeMethod[Req, Resp], tell func(context.Context, *leaderCall, *Req, *Resp, applied) error) *methodInfo {
	m.tellsSecrets = true
	return toldAgain(m, tell)
}

// askedAgain is appliedOnce for a method that runs in every try: it writes nothing, or
// running it twice is as good as once.
func askedAgain(m *methodInfo) *methodInfo {
	m.once = true
	return m
}

// The calls that are applied once, beside those of newWrite.
var _ = []*methodInfo{
	askedAgain(variableApply.methodInfo), askedAgain(variableRenew.methodInfo), appliedOnce(workloadEventRaise),
	appliedOnce(aclUpsertPolicies), appliedOnce(aclDeletePolicies), appliedOnce(aclDeleteTokens),
	appliedOnce(aclDeleteRolesByID), appliedOnce(aclDeleteAuthMethods), appliedOnce(aclDeleteBindingRules),
	toldAgain(aclUpsertRoles, tellRoles), toldAgain(aclUpsertAuthMethods, tellAuthMethods), toldAgain(aclUpsertBindingRules, tellBindingRules),
	toldSecrets(aclUpsertTokens, tellTokens), toldSecrets(aclBootstrap, tellBootstrap),
	toldSecrets(aclLogin, tellLogin[structs.ACLLoginRequest]), toldSecrets(aclOIDCCompleteAuth, tellLogin[structs.ACLOIDCCompleteAuthRequest]),
	toldSecrets(aclUpsertOneTimeToken, tellOneTimeToken), toldSecrets(aclExchangeOneTimeToken, tellExchange), appliedOnce(aclExpireOneTimeTokens),
	askedAgain(aclOIDCAuthURL.methodInfo), askedAgain(aclIntroduceNode.methodInfo),
	toldSecrets(nodeRegister, tellRegistered), toldSecrets(nodeUpdateStatus, tellStatus), appliedOnce(nodeEmitEvents),
	toldAgain(nodeUpdateDrain, tellDrain), toldAgain(nodeUpdateEligibility, tellEligibility),
	toldAgain(nodeDeregister, tellDeregistered), toldAgain(nodeBatchDeregister, tellBatchDeregistered), askedAgain(nodeEvaluate.methodInfo),
	toldAgain(authorityRotate, tellRotated), toldSecrets(joinTokenCreate, tellJoinToken), appliedOnce(joinTokenDelete), askedAgain(authorityJoin.methodInfo),
	appliedOnce(operationUpsert), askedAgain(systemGarbageCollect.methodInfo),
	toldAgain(operatorAutopilotSet, tellAutopilotSet), askedAgain(operatorReplicationAccept.methodInfo), askedAgain(operatorRemovePeer.methodInfo), askedAgain(operatorTransfer.methodInfo),
}

// errGoneAgain answers a second try whose first made something that is gone.
var errGoneAgain = errs.New(errs.Conflict, "the write was applied, and what it wrote was deleted or replaced before it could be answered: read before trying again")

// storedRows returns what a write wrote, as the store has it now.
func storedRows[T any](res applied, get func(string) *T) ([]*T, error) {
	names := res.rows()
	if len(names) == 0 {
		return nil, errs.New(errs.Internal, "the store does not tell what the write wrote")
	}
	out := make([]*T, len(names))
	for i, name := range names {
		if out[i] = get(name); out[i] == nil {
			return nil, errGoneAgain
		}
	}
	return out, nil
}

// onceSince is the first version that applies tagged entries.
const onceSince = "0.1.0"

// gatePeriod is how often a version gate on the way of every write is looked at.
const gatePeriod = time.Second

// gate remembers for a moment whether all servers have some version.
type gate struct {
	looked atomic.Int64 // Unix nanoseconds
	open   atomic.Bool
}

func (g *gate) passes(now time.Time, look func() bool) bool {
	if n := now.UnixNano(); n-g.looked.Load() > int64(gatePeriod) {
		g.open.Store(look())
		g.looked.Store(n)
	}
	return g.open.Load()
}

// name gives the call the ID that it came with, the one that its idempotency
// token stands for, or a new one.
func (s *Server) name(ctx context.Context, c *call, w *structs.WriteRequest) {
	if !c.once {
		return
	}
	if sent, ok := wire.CallFrom(ctx); ok && sent.Method == c.name && sent.WriteID != [16]byte{} {
		c.request = request{sent.WriteID, sent.WriteSince}
		return
	}
	if !s.onceGate.passes(c.began, s.tagsEntries) {
		return
	}
	if w != nil && w.IdempotencyToken != "" && (w.AuthToken != "" || !c.tellsSecrets) {
		c.request.id = tokenID(c.name, w)
		return
	}
	binary.LittleEndian.PutUint64(c.request.id[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(c.request.id[8:], rand.Uint64()|1) // never zero
}

// tagsEntries reports whether every server of the region applies tagged entries.
func (s *Server) tagsEntries() bool {
	return s.router.MeetsMinimumVersion(s.config.Region, onceSince, false)
}

// tokenID returns the ID of the request that a caller gave a token: others, and
// other methods and namespaces, have tokens of their own.
func tokenID(method string, w *structs.WriteRequest) (id structs.RequestID) {
	h := sha256.New()
	for _, part := range []string{method, w.AuthToken, w.RequestNamespace(), w.IdempotencyToken} {
		var size [8]byte
		binary.LittleEndian.PutUint64(size[:], uint64(len(part)))
		h.Write(size[:])
		_, _ = io.WriteString(h, part) // a hash takes everything
	}
	copy(id[:], h.Sum(nil))
	return id
}

// mayHaveRun reports whether err leaves open if a write was applied, so that only
// a call with an ID can be tried again.
func mayHaveRun(err error) bool {
	var e *errs.Error
	return errors.As(err, &e) && e.Code == errs.Unavailable && e.Executed == errs.ExecutedUnknown
}

// unsure explains that a call was refused before the store was asked, when an
// earlier try may have been applied.
func (c *call) unsure(err error) error {
	if err == nil || !c.request.again() || mayHaveRun(err) {
		return err
	}
	return &errs.Error{Code: errs.Deadline, Executed: errs.ExecutedUnknown,
		Msg: "the leader was lost before it answered, and the write was refused when it was tried again (" + err.Error() + "); the first try may have been applied, read before trying again"}
}

// tag returns what makes an entry be applied once; without an ID it does not.
func (r *request) tag(now time.Time) structs.RequestTag {
	return structs.RequestTag{ID: r.id, Time: now.Unix(), Base: r.since}
}

// apply has one entry committed, once for all tries of the call, and only while what
// the caller's rights were checked against stands.
func (c *leaderCall) apply(ctx context.Context, t structs.MessageType, msg any) (applied, error) {
	t, msg, err := c.checkedEntry(t, msg)
	if err != nil {
		return applied{}, err
	}
	entry, err := c.srv.encodeEntry(c.tag(c.began), t, msg)
	if err != nil {
		return applied{}, err
	}
	return c.submit(ctx, entry)
}

// submit is the proposer's, and notes that the store was asked.
func (c *leaderCall) submit(ctx context.Context, entry []byte) (applied, error) {
	c.asked = true
	return c.srv.proposer.submitFor(ctx, entry, c.epoch)
}

// newLockID returns an ID for a lock, the same for every try of the call.
func (c *leaderCall) newLockID() string {
	if c.request.id.IsZero() {
		return uuid.NewString()
	}
	sum := sha256.Sum256(append([]byte("lock "), c.request.id[:]...))
	id, _ := uuid.FromBytes(sum[:16]) // has the right length
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id.String()
}
