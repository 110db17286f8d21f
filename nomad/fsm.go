package nomad

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/keyring"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

// nomadFSM applies the log to the store. Raft calls it from one goroutine.
type nomadFSM struct {
	logger  hclog.Logger
	state   *state.StateStore
	keyring *keyring.Keyring
	work    *work // told of every batch
	// restored is told of a snapshot that took the place of the store, and of the
	// logical index then; nil for nobody to tell.
	restored func(index uint64)
	// replaced is told of an archive that took the place of the store, after restored;
	// nil for nobody to tell.
	replaced func()
	// persisting and restoring are told of snapshots.
	persisting, restoring *work
	// entry reads the log.
	entry func(index uint64, log *raft.Log) error
	// staged is the archive of which the log holds pieces, nil for none. What it points
	// to is not changed.
	staged atomic.Pointer[stagedArchive]

	// seen is the last entry that reached the store: it is the same number on
	// every server that has applied as much.
	seen atomic.Uint64
	// known is the last entry after which the store is known to be complete; a
	// barrier moves it past entries that never reach the store.
	known atomic.Uint64

	mu      sync.Mutex
	waiters map[chan struct{}]uint64 // guarded by mu, closed once known is as far
	waiting atomic.Int64

	// halted is closed when the log holds what this version must not skip.
	halted   chan struct{}
	haltOnce sync.Once
	haltErr  error // written before halted is closed
	stopped  <-chan struct{}
}

func newFSM(logger hclog.Logger, store *state.StateStore, keys *keyring.Keyring, stopped <-chan struct{}) *nomadFSM {
	return &nomadFSM{
		logger: logger, state: store, keyring: keys, stopped: stopped,
		waiters: map[chan struct{}]uint64{}, halted: make(chan struct{}), work: &work{slowAt: time.Hour},
		persisting: &work{slowAt: time.Hour}, restoring: &work{slowAt: time.Hour},
	}
}

// op is one decoded write.
type op struct {
	// variable is set for an operation on a variable, the most frequent write:
	// it needs no function of its own.
	variable *variableOp
	// run runs in the transaction of the batch. Without it and a variable the
	// write is skipped.
	run func(b *state.StateStore, index uint64) (any, error)
	// archive runs instead, for an entry about an archive.
	archive func(n *nomadFSM, entry uint64) error
	// err says that the body of a known type could not be decoded.
	err error
	// tag has an ID if the write is applied once.
	tag structs.RequestTag
}

// decodeOp returns the write for one entry of type t; known is false for a type
// that this version does not know.
func (n *nomadFSM) decodeOp(t structs.MessageType, body []byte) (o op, known bool) {
	switch t {
	case structs.VarApplyStateRequestType:
		return applyVariable(&variableOp{}, body)
	case structs.WrappedRootKeysUpsertRequestType:
		return apply(body, n.upsertRootKey)
	case structs.WrappedRootKeysDeleteRequestType:
		return apply(body, n.deleteRootKey)
	case structs.NamespaceUpsertRequestType:
		return apply(body, (*state.StateStore).UpsertNamespaces)
	case structs.NamespaceDeleteRequestType:
		return apply(body, (*state.StateStore).DeleteNamespaces)
	case structs.WorkloadEventRaiseRequestType:
		return apply(body, (*state.StateStore).RaiseWorkloadEvent)
	case structs.OperationUpsertRequestType:
		return apply(body, (*state.StateStore).UpsertOperation)
	case structs.ClusterMetadataRequestType:
		return apply(body, (*state.StateStore).SetClusterMetadata)
	case structs.ClusterCopiesRequestType:
		return apply(body, (*state.StateStore).SetCopiedCluster)
	case structs.AuthorityUpsertRequestType:
		return apply(body, (*state.StateStore).UpsertAuthority)
	case structs.AuthorityDeleteRequestType:
		return apply(body, (*state.StateStore).DeleteAuthority)
	case structs.JoinTokenUpsertRequestType:
		return apply(body, (*state.StateStore).UpsertJoinToken)
	case structs.JoinTokenDeleteRequestType:
		return apply(body, (*state.StateStore).DeleteJoinTokens)
	case structs.JoinTokenUseRequestType:
		return apply(body, (*state.StateStore).UseJoinToken)
	case structs.AutopilotRequestType:
		return applyRows(body, (*state.StateStore).SetAutopilotConfig)
	case structs.ACLCheckedRequestType:
		return decodeCheckedOp(body)
	case structs.ArchiveChunkRequestType:
		return archiveOp(body, (*nomadFSM).takeChunk)
	case structs.ArchiveRestoreRequestType:
		return archiveOp(body, (*nomadFSM).restoreArchive)
	}
	if o, known := decodeNodeOp(t, body); known {
		return o, known
	}
	return decodeACLOp(t, body)
}

// decodeNodeOp is decodeOp for the writes of nodes and their pools.
func decodeNodeOp(t structs.MessageType, body []byte) (o op, known bool) {
	switch t {
	case structs.NodeRegisterRequestType:
		return apply(body, (*state.StateStore).UpsertNode)
	case structs.NodeDeregisterRequestType:
		return apply(body, (*state.StateStore).DeleteNode)
	case structs.NodeUpdateStatusRequestType:
		return apply(body, (*state.StateStore).UpdateNodeStatus)
	case structs.NodeUpdateDrainRequestType:
		return apply(body, (*state.StateStore).UpdateNodeDrain)
	case structs.UpsertNodeEventsType:
		return apply(body, (*state.StateStore).UpsertNodeEvents)
	case structs.NodeUpdateEligibilityRequestType:
		return apply(body, (*state.StateStore).UpdateNodeEligibility)
	case structs.BatchNodeUpdateDrainRequestType:
		return apply(body, (*state.StateStore).UpdateNodeDrains)
	case structs.NodeBatchDeregisterRequestType:
		return apply(body, (*state.StateStore).DeleteNodes)
	case structs.NodePoolUpsertRequestType:
		return apply(body, (*state.StateStore).UpsertNodePools)
	case structs.NodePoolDeleteRequestType:
		return apply(body, (*state.StateStore).DeleteNodePools)
	}
	return op{}, false
}

// decodeACLOp is decodeOp for the writes of access control.
func decodeACLOp(t structs.MessageType, body []byte) (o op, known bool) {
	switch t {
	case structs.ACLPolicyUpsertRequestType:
		return apply(body, (*state.StateStore).UpsertACLPolicies)
	case structs.ACLPolicyDeleteRequestType:
		return apply(body, (*state.StateStore).DeleteACLPolicies)
	case structs.ACLTokenUpsertRequestType:
		return apply(body, (*state.StateStore).UpsertACLTokens)
	case structs.ACLTokenDeleteRequestType:
		return apply(body, (*state.StateStore).DeleteACLTokens)
	case structs.ACLTokenBootstrapRequestType:
		return apply(body, (*state.StateStore).BootstrapACLTokens)
	case structs.OneTimeTokenUpsertRequestType:
		return apply(body, (*state.StateStore).UpsertOneTimeToken)
	case structs.OneTimeTokenDeleteRequestType:
		return apply(body, (*state.StateStore).DeleteOneTimeTokens)
	case structs.OneTimeTokenExpireRequestType:
		return apply(body, (*state.StateStore).ExpireOneTimeTokens)
	case structs.ACLRolesUpsertRequestType:
		return apply(body, (*state.StateStore).UpsertACLRoles)
	case structs.ACLRolesDeleteByIDRequestType:
		return apply(body, (*state.StateStore).DeleteACLRolesByID)
	case structs.ACLAuthMethodsUpsertRequestType:
		return apply(body, (*state.StateStore).UpsertACLAuthMethods)
	case structs.ACLAuthMethodsDeleteRequestType:
		return apply(body, (*state.StateStore).DeleteACLAuthMethods)
	case structs.ACLBindingRulesUpsertRequestType:
		return apply(body, (*state.StateStore).UpsertACLBindingRules)
	case structs.ACLBindingRulesDeleteRequestType:
		return apply(body, (*state.StateStore).DeleteACLBindingRules)
	}
	return op{}, false
}

// variableOp is an operation on a variable as it is decoded.
type variableOp struct {
	req structs.VarApplyStateRequest
	row structs.VariableEncrypted
}

// applyVariable decodes an operation on a variable into v. Its sealed data stay
// where they are in the log's entry, as the store copies them.
func applyVariable(v *variableOp, body []byte) (op, bool) {
	return op{err: structs.DecodeVarApply(body, &v.req, &v.row), variable: v}, true
}

// apply decodes a request whose state method answers nothing. The answer is the
// names of the rows that it wrote, for those who have to show them.
func apply[R any](body []byte, method func(*state.StateStore, uint64, *R) error) (op, bool) {
	req := new(R)
	err := structs.Decode(body, req)
	return op{err: err, run: func(b *state.StateStore, index uint64) (any, error) {
		if err := method(b, index, req); err != nil {
			return nil, err
		}
		if w, ok := any(req).(structs.RowWriter); ok {
			return w.WrittenRows(), nil
		}
		return nil, nil
	}}, true
}

// applyRows is apply for a request whose state method itself tells the names of the
// rows that it wrote.
func applyRows[R any](body []byte, method func(*state.StateStore, uint64, *R) ([]string, error)) (op, bool) {
	req := new(R)
	err := structs.Decode(body, req)
	return op{err: err, run: func(b *state.StateStore, index uint64) (any, error) {
		return method(b, index, req)
	}}, true
}

// Apply runs one entry; Raft uses ApplyBatch.
func (n *nomadFSM) Apply(log *raft.Log) any { return n.ApplyBatch([]*raft.Log{log})[0] }

// ApplyBatch runs committed entries in order, in as few transactions as the
// bound on their size allows. The answer for each command is a []opResult.
func (n *nomadFSM) ApplyBatch(logs []*raft.Log) []any {
	out := make([]any, len(logs))
	select {
	case <-n.halted: // and about to stop
		return out
	default:
	}
	began := n.work.begin()
	defer n.work.end(began)
	plans := make([][]op, len(logs))
	for i, log := range logs {
		if log.Type != raft.LogCommand {
			continue
		}
		ops, err := n.plan(log.Data)
		if err != nil {
			n.halt(log.Index, err)
			return out
		}
		plans[i] = ops
	}
	for start := 0; start < len(logs); {
		start = n.applySome(logs, plans, out, start)
	}
	return out
}

// plan decodes the writes of one entry. It fails when the entry is damaged or
// holds a type that must not be skipped; nothing of the batch has been applied then.
func (n *nomadFSM) plan(data []byte) ([]op, error) {
	if len(data) == 0 {
		return nil, errs.New(errs.Internal, "empty entry")
	}
	if structs.MessageType(data[0]) != structs.BatchRequestType {
		o, err := n.planOne(data)
		return []op{o}, err
	}
	entries, err := structs.SplitBatch(data[1:])
	if err != nil {
		return nil, err
	}
	ops := make([]op, len(entries))
	var room []variableOp
	keyID := ""
	for i, e := range entries {
		tag, inner, err := structs.CutTag(e)
		if err != nil {
			return nil, err
		}
		if structs.MessageType(inner[0]) != structs.VarApplyStateRequestType {
			if ops[i], err = n.planOne(e); err != nil {
				return nil, err
			}
			if ops[i].archive != nil {
				return nil, damaged(structs.BatchRequestType, errOtherArchive)
			}
			continue
		}
		if len(room) == 0 { // all that are left of the group in one piece
			room = make([]variableOp, len(entries)-i)
		}
		room[0].row.KeyID = keyID
		if ops[i], _ = applyVariable(&room[0], inner[1:]); ops[i].err != nil {
			return nil, damaged(structs.VarApplyStateRequestType, ops[i].err)
		}
		ops[i].tag = tag
		keyID, room = room[0].row.KeyID, room[1:]
	}
	return ops, nil
}

func damaged(t structs.MessageType, err error) error {
	return errs.Newf(errs.Internal, "a request of type %d in the log is damaged: %w", t, err)
}

func (n *nomadFSM) planOne(entry []byte) (op, error) {
	tag, entry, err := structs.CutTag(entry)
	if err != nil {
		return op{}, err
	}
	t := structs.MessageType(entry[0])
	skip := t&structs.IgnoreUnknownTypeFlag != 0
	o, known := n.decodeOp(t&^structs.IgnoreUnknownTypeFlag, entry[1:])
	switch {
	case o.err != nil:
		return op{}, damaged(t, o.err)
	case known:
		o.tag = tag
		return o, nil
	case !skip:
		return op{}, errs.Newf(errs.Unsupported, "the log holds a request of type %d that this version does not know; run the version that wrote it, or a newer one", t)
	}
	n.logger.Warn("skipped a request of an unknown type that may be skipped", "type", t)
	return op{tag: tag}, nil // others, which know the type, remember the request too
}

// applySome runs entries from start on in one transaction and returns where
// the next transaction begins.
func (n *nomadFSM) applySome(logs []*raft.Log, plans [][]op, out []any, start int) int {
	if o := archiveIn(plans[start]); o != nil {
		results, ok := n.applyArchive(logs[start], o)
		if !ok {
			return len(logs)
		}
		out[start] = results
		n.applied(logs[start].Index)
		return start + 1
	}
	end, size := start, 0
	for end < len(logs) && archiveIn(plans[end]) == nil && (end == start || size+len(plans[end]) <= structs.MaxBatchOps) {
		size += len(plans[end])
		end++
	}
	n.state.Batch(func(b *state.StateStore) {
		for i := start; i < end; i++ {
			if plans[i] != nil {
				out[i] = n.runOps(b, plans[i])
			}
		}
	})
	n.applied(logs[end-1].Index)
	return end
}

// applied notes the last entry that the store has.
func (n *nomadFSM) applied(last uint64) {
	n.seen.Store(last)
	n.advance(last)
}

func (n *nomadFSM) runOps(b *state.StateStore, ops []op) []opResult {
	results := make([]opResult, len(ops))
	for i := range ops {
		o, r := &ops[i], &results[i]
		r.index = b.NextIndex() // also for what is skipped: other servers may know it
		if o.tag.ID.IsZero() {
			o.apply(b, r)
		} else {
			o.applyOnce(b, r)
		}
	}
	return results
}

func (o *op) apply(b *state.StateStore, r *opResult) {
	switch {
	case o.variable != nil:
		r.value, r.err = b.ApplyVariable(r.index, &o.variable.req)
	case o.run != nil:
		r.value, r.err = o.run(b, r.index)
	}
}

// applyOnce answers as the first try of the request was answered, if this is not
// the first.
func (o *op) applyOnce(b *state.StateStore, r *opResult) {
	var row *structs.VariableEncrypted
	if o.variable != nil {
		row = o.variable.req.Var
	}
	if first, known := b.FirstOutcome(&o.tag, row); known {
		r.index, r.err = first.Index, first.Err
		if r.value = first.Rows; first.Variable != nil {
			r.value = first.Variable
		}
		return
	}
	o.apply(b, r)
	variable, _ := r.value.(*structs.VarApplyStateResponse)
	b.KeepOutcome(&o.tag, state.Outcome{Index: r.index, Variable: variable, Rows: r.rows(), Err: r.err})
}

// halt stops applying for good: the server must not serve a store that lacks a
// write. It blocks the apply goroutine until the server stops.
func (n *nomadFSM) halt(index uint64, err error) {
	n.haltOnce.Do(func() {
		n.haltErr = err
		n.logger.Error("cannot apply the log, stopping", "raft_index", index, "error", err)
		close(n.halted)
	})
	<-n.stopped
}

// advance notes that the store is complete up to index and wakes who waits for it.
func (n *nomadFSM) advance(index uint64) {
	for {
		old := n.known.Load()
		if old >= index || n.known.CompareAndSwap(old, index) {
			break
		}
	}
	if n.waiting.Load() == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for ch, want := range n.waiters {
		if want <= index {
			close(ch)
			delete(n.waiters, ch)
			n.waiting.Add(-1)
		}
	}
}

// reached returns nil if the store is complete up to index, else a channel that
// is closed once it is.
func (n *nomadFSM) reached(index uint64) <-chan struct{} {
	if n.known.Load() >= index {
		return nil
	}
	ch := make(chan struct{})
	n.mu.Lock()
	n.waiters[ch] = index
	n.waiting.Add(1)
	n.mu.Unlock()
	if n.known.Load() >= index {
		n.advance(n.known.Load())
	}
	return ch
}

func (n *nomadFSM) upsertRootKey(b *state.StateStore, index uint64, r *structs.WrappedRootKeysUpsertRequest) error {
	if err := b.UpsertRootKey(index, r); err != nil {
		return err
	}
	if err := n.keyring.Add(r.WrappedRootKeys); err != nil {
		n.logger.Error("cannot unwrap a root key, variables under it are unreadable here", "key_id", r.WrappedRootKeys.KeyID, "error", err)
	}
	return nil
}

func (n *nomadFSM) deleteRootKey(b *state.StateStore, index uint64, r *structs.WrappedRootKeysDeleteRequest) error {
	if err := b.DeleteRootKey(index, r); err != nil {
		return err
	}
	n.keyring.Remove(r.KeyID)
	return nil
}
