package nodelink

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cairn-project/cairn/nomad/structs"
)

// Links are the links that a server has, one per node at most. A higher epoch wins
// over a lower one, and among equals the newest.
type Links struct {
	// Changed is told that links came or went, see Since; Storm of a node whose links
	// push each other out, with the last two addresses. They are called without a lock
	// held, are set before the links are used, and may be nil.
	Changed func()
	Storm   func(node, older, newer string)

	mu     sync.Mutex
	byNode map[string]*Link // guarded by mu
	kicks  map[string]*kicks
	total  uint64                   // kicks ever; guarded by mu
	seq    uint64                   // changes ever; guarded by mu
	recent []structs.NodeLinkChange // the last changes, up to seq; guarded by mu
}

// kicks counts how often the links of a node were pushed out within a minute.
type kicks struct {
	begun  time.Time
	count  int
	warned bool
}

// stormKicks within stormWindow are worth telling people about.
const (
	stormKicks  = 5
	stormWindow = time.Minute
)

// NewLinks returns an empty set.
func NewLinks() *Links {
	return &Links{byNode: map[string]*Link{}, kicks: map[string]*kicks{}}
}

// Get returns the link of a node, nil for none. One that has ended is none, though
// whoever serves it may not have seen that yet.
func (ls *Links) Get(node string) *Link {
	ls.mu.Lock()
	l := ls.byNode[node]
	ls.mu.Unlock()
	if l == nil {
		return nil
	}
	select {
	case <-l.Done():
		return nil
	default:
		return l
	}
}

// All returns the links in order of their nodes.
func (ls *Links) All() []*Link {
	ls.mu.Lock()
	out := make([]*Link, 0, len(ls.byNode))
	for _, l := range ls.byNode {
		out = append(out, l)
	}
	ls.mu.Unlock()
	slices.SortFunc(out, func(a, b *Link) int { return strings.Compare(a.hello.NodeID, b.hello.NodeID) })
	return out
}

// Kicks is how many links were ever pushed out by another one.
func (ls *Links) Kicks() uint64 {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ls.total
}

// ErrSuperseded is the refusal of an agent whose node registered from another
// process since.
func ErrSuperseded() *Refusal { return superseded() }

func superseded() *Refusal {
	return &Refusal{Reason: Superseded, RetryAfter: retiredRetry,
		Help: "the node registered from another process since: if this is a copy of its data directory, give it one of its own"}
}

// add takes a link in, and lets one that it replaces go.
func (ls *Links) add(l *Link) *Refusal {
	ls.mu.Lock()
	old := ls.byNode[l.hello.NodeID]
	if old != nil && old.hello.Epoch > l.hello.Epoch {
		ls.mu.Unlock()
		return superseded()
	}
	ls.byNode[l.hello.NodeID] = l
	ls.noteLocked(structs.NodeLinkChange{NodeID: l.hello.NodeID, Epoch: l.hello.Epoch, Up: true})
	storm := false
	if old != nil {
		storm = ls.countKickLocked(l.hello.NodeID)
	}
	ls.mu.Unlock()
	if old != nil {
		why := &Refusal{Reason: Kicked, Help: "a newer link of the node took the place of this one"}
		if old.hello.Instance != l.hello.Instance || old.hello.Epoch != l.hello.Epoch {
			why = superseded()
		}
		go old.Close(why) // it may wait for an agent that is gone
	}
	if storm && ls.Storm != nil {
		ls.Storm(l.hello.NodeID, old.from.Remote, l.from.Remote)
	}
	ls.changed()
	return nil
}

// countKickLocked reports whether the links of a node push each other out too
// often, once a window. The caller holds mu.
func (ls *Links) countKickLocked(node string) bool {
	now := time.Now()
	ls.total++
	for id, k := range ls.kicks {
		if now.Sub(k.begun) > stormWindow {
			delete(ls.kicks, id)
		}
	}
	k := ls.kicks[node]
	if k == nil {
		k = &kicks{begun: now}
		ls.kicks[node] = k
	}
	k.count++
	if k.count <= stormKicks || k.warned {
		return false
	}
	k.warned = true
	return true
}

// remove forgets a link that ended.
func (ls *Links) remove(l *Link) {
	ls.mu.Lock()
	held := ls.byNode[l.hello.NodeID] == l
	if held {
		delete(ls.byNode, l.hello.NodeID)
		ls.noteLocked(structs.NodeLinkChange{NodeID: l.hello.NodeID, Epoch: l.hello.Epoch})
	}
	ls.mu.Unlock()
	if held {
		ls.changed()
	}
}

// maxRecent is how many changes are kept for peers that lag behind; to one that
// lags behind further all links are told.
const maxRecent = 4096

// noteLocked records a change. The caller holds mu.
func (ls *Links) noteLocked(c structs.NodeLinkChange) {
	ls.seq++
	if len(ls.recent) >= 2*maxRecent {
		ls.recent = append([]structs.NodeLinkChange(nil), ls.recent[maxRecent:]...)
	}
	ls.recent = append(ls.recent, c)
}

// Since returns what changed after the change number seq, which another server
// has, or all links where that is too long ago or full is asked for. The caller
// adds who it is.
func (ls *Links) Since(seq uint64, full bool) *structs.NodeLinkUpdateRequest {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	u := &structs.NodeLinkUpdateRequest{From: seq, To: ls.seq}
	if behind := ls.seq - seq; !full && seq <= ls.seq && behind <= uint64(len(ls.recent)) {
		u.Changes = append(u.Changes, ls.recent[uint64(len(ls.recent))-behind:]...)
		return u
	}
	u.Full, u.From = true, 0
	for id, l := range ls.byNode {
		u.Changes = append(u.Changes, structs.NodeLinkChange{NodeID: id, Epoch: l.hello.Epoch, Up: true})
	}
	return u
}

// Seq is the number of the last change.
func (ls *Links) Seq() uint64 {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ls.seq
}

func (ls *Links) changed() {
	if ls.Changed != nil {
		ls.Changed()
	}
}

// Fence lets the link of a node go if its epoch is below the one given, and
// reports whether it was.
func (ls *Links) Fence(node string, epoch uint64) bool {
	l := ls.Get(node)
	if l == nil || l.hello.Epoch >= epoch {
		return false
	}
	ls.remove(l)
	go l.Close(superseded())
	return true
}

// Kick lets the link of a node go; its agent will dial again. It reports whether
// there was one.
func (ls *Links) Kick(node string) bool {
	return ls.end(node, &Refusal{Reason: Kicked, RetryAfter: leaveTimeout, Help: "an operator ended the link"})
}

// Purged lets the link of a node go that is not known any more; an agent that runs
// registers again. It reports whether there was one.
func (ls *Links) Purged(node string) bool {
	return ls.end(node, &Refusal{Reason: BadIdentity, Help: "the node was purged: register again"})
}

func (ls *Links) end(node string, why *Refusal) bool {
	l := ls.Get(node)
	if l == nil {
		return false
	}
	ls.remove(l)
	go l.Close(why) // it may wait for an agent that is gone
	return true
}
