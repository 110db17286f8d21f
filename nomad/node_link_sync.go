package nomad

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/serf/serf"

	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/router"
	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// linkSyncPause gathers the changes of a moment into one message.
	linkSyncPause = 50 * time.Millisecond
	// linkSyncTick is how often the other servers are looked after when nothing
	// changes: new ones hear everything, gone ones are forgotten.
	linkSyncTick = 2 * time.Second
	// linkSyncTimeout bounds telling one server.
	linkSyncTimeout = 5 * time.Second
	// linkSyncAgain is after how many ticks a server that heard everything is asked
	// whether it still knows: it may have started anew.
	linkSyncAgain = 8
)

// told is what another server has heard.
type told struct {
	busy sync.Mutex // held while it is being told
	mu   sync.Mutex
	seq  uint64 // guarded by mu
	full bool   // the next message says everything; guarded by mu
	tick int    // guarded by mu
}

// runLinkSync tells the other servers of the region which links this one has, and
// forgets what servers said that are gone.
func (s *Server) runLinkSync(ctx context.Context) {
	peers := map[string]*told{}
	tick := time.NewTicker(linkSyncTick)
	defer tick.Stop()
	for ticks := 1; ; {
		ticked := false
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			ticked = true
			if ticks++; ticks%linkSyncAgain == 0 {
				s.checkLinks()
			}
		case <-s.links.wake:
			waitFor(ctx.Done(), linkSyncPause)
		}
		alive := map[string]bool{}
		for _, peer := range s.router.InRegion(s.config.Region) {
			if peer.ID == s.nodeID || peer.Status != serf.StatusAlive {
				continue
			}
			alive[peer.ID] = true
			t := peers[peer.ID]
			if t == nil {
				t = &told{full: true}
				peers[peer.ID] = t
			}
			if t.due(s.links.held.Seq(), ticked) {
				s.wg.Go(func() { s.tellLinks(ctx, peer, t) })
			}
		}
		for id := range peers {
			if !alive[id] {
				delete(peers, id)
			}
		}
		if ticked {
			s.links.directory.Keep(func(id string) bool { return alive[id] })
		}
	}
}

// due reports whether there is something to say, or it is time to ask again.
func (t *told) due(seq uint64, ticked bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if ticked {
		t.tick++
	}
	return t.full || t.seq != seq || t.tick >= linkSyncAgain
}

// tellLinks tells one server what changed since it was told last.
func (s *Server) tellLinks(ctx context.Context, peer router.Server, t *told) {
	if !t.busy.TryLock() {
		return
	}
	defer t.busy.Unlock()
	ctx, cancel := context.WithTimeout(ctx, linkSyncTimeout)
	defer cancel()
	for range 3 {
		t.mu.Lock()
		update := s.links.held.Since(t.seq, t.full)
		t.mu.Unlock()
		update.ServerID, update.Boot, update.Region, update.AllowStale = s.nodeID, s.links.boot, s.config.Region, true
		var reply structs.NodeLinkUpdateResponse
		err := s.pool.Call(ctx, peer.Addr, nodeLinkUpdate.name, update, &reply, wire.CallOptions{Hops: maxHops})
		t.mu.Lock()
		if err != nil {
			t.full = true // what it heard is not known
			t.mu.Unlock()
			s.logger.Debug("cannot tell a server the links", "server", peer.Name, "error", err)
			return
		}
		t.seq, t.full, t.tick = update.To, reply.Resync, 0
		done := !t.full && t.seq == s.links.held.Seq()
		t.mu.Unlock()
		if done {
			return
		}
	}
}
