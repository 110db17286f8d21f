package nomad

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// groupsInFlight is how many Raft entries are under way at once: one on its
	// way to the disk, the others to the followers and the store.
	groupsInFlight = 4
	// maxGroupBytes bounds an entry that holds several writes.
	maxGroupBytes = 256 << 10
	// enqueueTimeout bounds the wait for a place in Raft's queue.
	enqueueTimeout = 30 * time.Second
	// warnEntryBytes is the size from which a single write is worth a warning.
	warnEntryBytes = 1 << 20
	// maxSpareEntry bounds the memory of an encoded write that is used again.
	maxSpareEntry = 4 << 10
	// maxEntryBytes is the size from which a single write is refused.
	maxEntryBytes = 8 << 20
)

// applied is the outcome of one write.
type applied struct {
	index uint64 // logical
	value any    // what the state method answered, nil for most
}

// rows returns the names of what the write wrote, where the store tells them.
func (a *applied) rows() []string {
	names, _ := a.value.([]string)
	return names
}

// opResult is what the FSM answers for one write.
type opResult struct {
	applied
	err error
}

// proposal is a write that waits for its place in the log.
type proposal struct {
	entry []byte
	done  chan opResult // capacity 1
	// epoch is the state that it is meant for.
	epoch uint64
}

// proposer turns concurrent writes into few Raft entries. A lone write goes out
// at once. While an entry is being written to the log the next group fills, and
// it goes out as soon as the log is free: replication and apply of one group
// overlap with the disk write of the next.
type proposer struct {
	queue   chan *proposal
	propose func(entry []byte, timeout time.Duration) raft.ApplyFuture
	grouped func() bool // whether every server understands groups
	// appended receives a value when the log has written an entry.
	appended <-chan struct{}
	// turn holds the one value that allows to propose: the channel that is
	// closed when the outcome of the group before is known.
	turn    chan (<-chan struct{})
	stopped <-chan struct{} // closed when nothing is proposed any more
	// index returns the logical index of the store.
	index func() uint64
	// hangs returns a channel that is closed when the log or the store hangs.
	hangs func() <-chan struct{}
	// epoch names the state of the store: another one after an archive took its place.
	epoch func() uint64
	// fence is held for reading while a group is proposed.
	fence     sync.RWMutex
	replacing atomic.Bool // written under fence
	wg        sync.WaitGroup
	// spare holds proposals whose outcome was taken, entries memory for encoded
	// writes, as *[]byte.
	spare, entries sync.Pool
}

func newProposer(propose func([]byte, time.Duration) raft.ApplyFuture, grouped func() bool, appended, stopped <-chan struct{}) *proposer {
	p := &proposer{
		queue: make(chan *proposal, 4*structs.MaxBatchOps), propose: propose, grouped: grouped,
		appended: appended, turn: make(chan (<-chan struct{}), 1), stopped: stopped,
		hangs: func() <-chan struct{} { return nil }, index: func() uint64 { return 0 }, epoch: func() uint64 { return 0 },
	}
	none := make(chan struct{})
	close(none)
	p.turn <- none
	return p
}

// run proposes until ctx ends; it returns when nothing is under way any more.
func (p *proposer) run(ctx context.Context) {
	for range groupsInFlight {
		p.wg.Go(func() {
			for p.next(ctx) {
			}
		})
	}
	p.wg.Wait()
}

// next takes one group on its way, from the first write to the last result. It
// reports false when ctx has ended.
func (p *proposer) next(ctx context.Context) bool {
	var before <-chan struct{}
	select {
	case <-ctx.Done():
		return false
	case before = <-p.turn:
	}
	var first *proposal
	select {
	case <-ctx.Done():
		return false
	case first = <-p.queue:
	}
	select { // until the log is free
	case <-p.appended:
	case <-before:
	}
	group := p.fill([]*proposal{first})
	select {
	case <-p.appended: // of something else
	default:
	}
	f, group := p.proposeFitting(group)
	if f == nil {
		p.turn <- before
		return true
	}
	settled := make(chan struct{})
	p.turn <- settled
	settle(f, group)
	close(settled)
	return true
}

// proposeFitting proposes those of a group that are meant for the state that is there,
// and returns them; the others are told. Without any it proposes nothing.
func (p *proposer) proposeFitting(group []*proposal) (raft.ApplyFuture, []*proposal) {
	p.fence.RLock()
	defer p.fence.RUnlock()
	epoch := p.epoch()
	group = slices.DeleteFunc(group, func(g *proposal) bool {
		if p.replacing.Load() || g.epoch != epoch {
			g.done <- opResult{err: state.ErrReplaced}
			return true
		}
		return false
	})
	if len(group) == 0 {
		return nil, nil
	}
	base := p.index()
	for _, g := range group {
		structs.StampBase(g.entry, base)
	}
	return p.propose(p.groupEntry(group), enqueueTimeout), group
}

// replace keeps everything out of the log until resume, so that what follows there is
// behind all writes that were proposed. Those, and new ones, are told that they may not
// be kept.
func (p *proposer) replace() {
	p.fence.Lock()
	defer p.fence.Unlock()
	p.replacing.Store(true)
}

func (p *proposer) resume() { p.replacing.Store(false) }

// fill adds what waits already, without waiting for more.
func (p *proposer) fill(group []*proposal) []*proposal {
	if !p.grouped() {
		return group
	}
	size := len(group[0].entry)
	for len(group) < structs.MaxBatchOps && size < maxGroupBytes {
		select {
		case next := <-p.queue:
			group = append(group, next)
			size += len(next.entry)
		default:
			return group
		}
	}
	return group
}

// groupEntry returns the Raft entry for a group; a lone write needs no batch. What
// the writes of a batch were encoded into may be used again.
func (p *proposer) groupEntry(group []*proposal) []byte {
	if len(group) == 1 {
		return group[0].entry
	}
	entries, size := make([][]byte, len(group)), 16
	for i, g := range group {
		entries[i] = g.entry
		size += len(g.entry) + 4
	}
	batch := structs.AppendBatch(make([]byte, 0, size), entries)
	for i := range entries {
		if cap(entries[i]) <= maxSpareEntry {
			p.entries.Put(&entries[i])
		}
	}
	return batch
}

// settle hands out the results of a group.
func settle(f raft.ApplyFuture, group []*proposal) {
	if err := f.Error(); err != nil {
		err = raftError(err)
		for _, g := range group {
			g.done <- opResult{err: err}
		}
		return
	}
	results, _ := f.Response().([]opResult)
	for i, g := range group {
		if i < len(results) {
			g.done <- results[i]
		} else {
			g.done <- opResult{err: errs.New(errs.Internal, "the store gave no answer for the write")}
		}
	}
}

// submit is submitFor for the state that is there now.
func (p *proposer) submit(ctx context.Context, entry []byte) (applied, error) {
	return p.submitFor(ctx, entry, p.epoch())
}

// submitFor waits for the outcome of one entry, which is the proposer's from now on. When ctx ends first the write may
// still be applied. It is not applied to another state than that of epoch.
func (p *proposer) submitFor(ctx context.Context, entry []byte, epoch uint64) (applied, error) {
	if ctx.Err() != nil {
		return applied{}, &errs.Error{Code: errs.Deadline, Msg: "the caller went away before the write was proposed", Executed: errs.ExecutedNo}
	}
	g, _ := p.spare.Get().(*proposal)
	if g == nil {
		g = &proposal{done: make(chan opResult, 1)}
	}
	g.entry, g.epoch = entry, epoch
	select {
	case p.queue <- g:
	case <-ctx.Done():
		return applied{}, &errs.Error{Code: errs.Deadline, Msg: "no room to propose the write before the caller went away", Executed: errs.ExecutedNo}
	case <-p.hangs():
		return applied{}, errNotLeader
	case <-p.stopped:
		return applied{}, errNotLeader
	}
	select {
	case r := <-g.done:
		g.entry = nil
		p.spare.Put(g)
		if r.err == nil && p.replacing.Load() {
			return applied{}, state.ErrReplaced
		}
		return r.applied, r.err
	case <-ctx.Done():
		return applied{}, &errs.Error{Code: errs.Deadline, Msg: "the caller went away; the write may be applied", Executed: errs.ExecutedUnknown}
	case <-p.hangs():
		return applied{}, errs.Lost(errs.ExecutedUnknown, "the server hangs; the write may be applied, read before trying again", errHangs)
	case <-p.stopped:
		return applied{}, errs.Lost(errs.ExecutedUnknown, "the server is stopping; the write may be applied", nil)
	}
}

// raftError gives a failure of raft its meaning for the caller.
func raftError(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return errNotLeader
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return (&errs.Error{Code: errs.Busy, Msg: "the write-ahead queue is full, try again", Executed: errs.ExecutedNo}).WithRetryAfter(time.Second)
	case errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, raft.ErrRaftShutdown), errors.Is(err, raft.ErrAbortedByRestore):
		return errs.Lost(errs.ExecutedUnknown, "leadership was lost while the write was under way; it may have been applied, read before trying again", err)
	}
	return errs.Lost(errs.ExecutedUnknown, "the write could not be committed; it may have been applied", err)
}

// apply encodes msg, has it committed and returns what the store answered.
func (s *Server) apply(ctx context.Context, t structs.MessageType, msg any) (applied, error) {
	entry, err := s.encodeEntry(structs.RequestTag{}, t, msg)
	if err != nil {
		return applied{}, err
	}
	return s.proposer.submit(ctx, entry)
}

// encodeEntry returns msg as an entry of the log, behind tag if that has an ID.
// One that the store could not decode would stop every server: it is refused.
func (s *Server) encodeEntry(tag structs.RequestTag, t structs.MessageType, msg any) ([]byte, error) {
	var entry []byte
	if room, ok := s.proposer.entries.Get().(*[]byte); ok {
		entry = (*room)[:0]
	} else {
		entry = make([]byte, 0, structs.SizeHint(msg))
	}
	if !tag.ID.IsZero() {
		entry = structs.AppendTag(entry, &tag)
	}
	at := len(entry)
	entry, err := structs.AppendEntry(entry, t, msg)
	if err != nil {
		return nil, errs.Wrap(errs.Internal, "could not encode the write", err)
	}
	if len(entry) > warnEntryBytes {
		if len(entry) > maxEntryBytes {
			return nil, errs.Newf(errs.TooLarge, "write of %d bytes exceeds the limit of %d", len(entry), maxEntryBytes)
		}
		s.logger.Warn("large write", "type", t, "bytes", len(entry))
	}
	if t != structs.VarApplyStateRequestType { // whose codec takes back what it gives
		if o, _ := s.fsm.decodeOp(t, entry[at+1:]); o.err != nil {
			return nil, errs.Newf(errs.Invalid, "the request is too large or too complex to be stored: %w", o.err)
		}
	}
	return entry, nil
}
