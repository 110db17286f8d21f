package raftnet

import (
	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/internal/errs"
)

var errSilent = errs.New(errs.Unavailable, "this server sends nothing as a leader while it hangs")

// Silence keeps everything back that tells a follower that its leader is well:
// heartbeats, appends, snapshots and the questions of Confirm. The raft library's
// main loop cannot step down while a write to the log does not return; followers
// that hear nothing elect another leader all the same. What asks for a vote or
// hands leadership over is sent as ever.
func (t *Transport) Silence(on bool) { t.silent.Store(on) }

// heard is a leader as it named itself.
type heard struct {
	term uint64
	id   raft.ServerID
	addr raft.ServerAddress
}

// hear notes who leads in the newest term of which an append came in.
func (t *Transport) hear(ae *raft.AppendEntriesRequest) {
	for {
		old := t.heard.Load()
		if old != nil && ae.Term <= old.term {
			return
		}
		now := &heard{term: ae.Term, id: raft.ServerID(ae.ID), addr: t.DecodePeer(ae.Addr)}
		if t.heard.CompareAndSwap(old, now) {
			return
		}
	}
}

// HeardLeader returns the newest term of which an append came in and the server
// that leads in it, whether or not raft's main loop has looked at it; 0 for none.
func (t *Transport) HeardLeader() (term uint64, addr raft.ServerAddress, id raft.ServerID) {
	h := t.heard.Load()
	if h == nil {
		return 0, "", ""
	}
	return h.term, h.addr, h.id
}
