package autopilot

import (
	"cmp"
	"slices"
	"time"

	"github.com/cairn-project/cairn/nomad/structs"
)

// RemovalPause is the least time between two removals: the peers that are left have
// shown by then that they do without the first.
const RemovalPause = 10 * time.Second

// Removable returns the peer of the last noted look that is to be taken out of the
// Raft peers now, and since when it has been dead; nil for none. It is one that has
// been dead for ServerStabilizationTime in every look. A voter goes only while more
// than MinQuorum voters are there, and while the live ones are a majority of all,
// so that they are one of those that remain, too. Whoever removes it calls Removed.
func (p *Pilot) Removable(conf *structs.AutopilotConfig, look *Look) (*Peer, time.Time) {
	if !conf.CleanupDeadServers || !p.removed.IsZero() && look.Time.Sub(p.removed) < RemovalPause {
		return nil, time.Time{}
	}
	voters, live := 0, 0
	var dead []*Peer
	for i := range look.Peers {
		peer := &look.Peers[i]
		if peer.Voter {
			voters++
		}
		if peer.Voter && peer.live() {
			live++
		}
		if m := p.servers[peer.ID]; m != nil && !m.deadSince.IsZero() && m.deadFor >= conf.ServerStabilizationTime {
			dead = append(dead, peer)
		}
	}
	mayLose := live >= majority(voters) && uint64(voters) > conf.MinQuorum
	dead = slices.DeleteFunc(dead, func(peer *Peer) bool { return peer.Voter && !mayLose })
	if len(dead) == 0 {
		return nil, time.Time{}
	}
	since := func(peer *Peer) time.Time { return p.servers[peer.ID].deadSince }
	first := slices.MinFunc(dead, func(a, b *Peer) int { return cmp.Or(since(a).Compare(since(b)), cmp.Compare(a.ID, b.ID)) })
	return first, since(first)
}

// Removed notes that a removal was tried at now.
func (p *Pilot) Removed(now time.Time) { p.removed = now }
