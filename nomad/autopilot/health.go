package autopilot

import (
	"cmp"
	"slices"
	"time"

	"github.com/cairn-project/cairn/nomad/structs"
)

// The words of gossip for a member that is there and for one that is not known.
const (
	StatusAlive   = "alive"
	StatusFailed  = "failed"
	StatusUnknown = "none"
)

// Peer is one Raft peer as the leader saw it in one look.
type Peer struct {
	ID, Name, Address, Version string
	// Status is what gossip says of it, StatusUnknown for nothing.
	Status string
	Voter  bool
	Leader bool
	// Answer is what it said of its log, nil if it did not answer in time.
	Answer *structs.RaftStatsResponse
}

// live reports whether the peer is there beyond doubt: gossip and its port agree.
func (p *Peer) live() bool { return p.Leader || p.Status == StatusAlive && p.Answer != nil }

// dead reports whether the peer is gone beyond doubt. One that left is no matter of
// ours: it is removed at once, on its own request.
func (p *Peer) dead() bool {
	return !p.Leader && p.Answer == nil && (p.Status == StatusFailed || p.Status == StatusUnknown)
}

// Look is what the leader saw at one moment.
type Look struct {
	Time time.Time
	// LastTerm and LastIndex are those of the leader's log before it asked the others.
	LastTerm, LastIndex uint64
	Peers               []Peer
}

// longestStep bounds what a look says of the time since the one before: a leader that
// was paused did not see whether a server lived meanwhile.
const longestStep = 5 * time.Second

// Pilot remembers what one leader saw, from the first look of its term on. One
// goroutine uses it.
type Pilot struct {
	servers map[string]*memory
	// looked is when the last look was, the zero time before the first.
	looked time.Time
	// removed is when the last server was, the zero time for none.
	removed time.Time
}

// memory is what is known of one server.
type memory struct {
	healthy bool
	since   time.Time // of healthy
	// deadSince is when it was first seen dead and not otherwise since, the zero time
	// for a server that is not; deadFor is how much of the time since was looked at.
	deadSince time.Time
	deadFor   time.Duration
	// answer is the last one, and answered when that was; nil for none.
	answer   *structs.RaftStatsResponse
	answered time.Time
}

// New returns a pilot that has seen nothing.
func New() *Pilot { return &Pilot{servers: map[string]*memory{}} }

// Note takes in a look and returns the health of every peer in it, by ID. The
// clocks of servers that are not in it are forgotten.
func (p *Pilot) Note(conf *structs.AutopilotConfig, look *Look) *structs.OperatorHealthReply {
	out := &structs.OperatorHealthReply{Healthy: true, Servers: []structs.ServerHealth{}, Voters: []string{}}
	known, healthyVoters := map[string]*memory{}, 0
	step := min(look.Time.Sub(p.looked), longestStep)
	p.looked = look.Time
	for i := range look.Peers {
		peer := &look.Peers[i]
		m := p.servers[peer.ID]
		if m == nil {
			m = &memory{since: look.Time, healthy: healthy(conf, look, peer)}
		}
		known[peer.ID] = m
		m.note(peer, look.Time, healthy(conf, look, peer))
		m.count(peer, look.Time, step)
		out.Servers = append(out.Servers, m.health(peer, look.Time))
		out.Healthy = out.Healthy && m.healthy
		if peer.Leader {
			out.Leader = peer.ID
		}
		if peer.Voter {
			out.Voters = append(out.Voters, peer.ID)
		}
		if peer.Voter && m.healthy {
			healthyVoters++
		}
	}
	p.servers = known
	out.FailureTolerance = max(0, healthyVoters-majority(len(out.Voters)))
	slices.Sort(out.Voters)
	slices.SortFunc(out.Servers, func(a, b structs.ServerHealth) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// note takes in what was seen of the server in one look.
func (m *memory) note(peer *Peer, now time.Time, healthy bool) {
	if m.healthy != healthy {
		m.healthy, m.since = healthy, now
	}
	if peer.Answer != nil {
		m.answer, m.answered = peer.Answer, now
	}
}

// count counts for how long the server has been dead; step is the time since the look
// before.
func (m *memory) count(peer *Peer, now time.Time, step time.Duration) {
	switch {
	case !peer.dead():
		m.deadSince, m.deadFor = time.Time{}, 0
	case m.deadSince.IsZero():
		m.deadSince = now
	default:
		m.deadFor += step
	}
}

func (m *memory) health(peer *Peer, now time.Time) structs.ServerHealth {
	out := structs.ServerHealth{
		ID: peer.ID, Name: peer.Name, Address: peer.Address, SerfStatus: peer.Status, Version: peer.Version,
		Leader: peer.Leader, Voter: peer.Voter, Healthy: m.healthy, StableSince: m.since,
	}
	if m.answer == nil {
		return out
	}
	out.LastTerm, out.LastIndex = m.answer.LastTerm, m.answer.LastIndex
	if m.answer.LastContact >= 0 {
		out.LastContact = m.answer.LastContact + now.Sub(m.answered)
	}
	return out
}

// healthy reports whether the peer is alive, knows of the leader and has nearly all
// of its log.
func healthy(conf *structs.AutopilotConfig, look *Look, peer *Peer) bool {
	a := peer.Answer
	switch {
	case peer.Status != StatusAlive || a == nil:
		return false
	case peer.Leader:
		return true
	}
	return a.LastContact >= 0 && a.LastContact <= conf.LastContactThreshold &&
		a.LastTerm == look.LastTerm && (a.LastIndex >= look.LastIndex || look.LastIndex-a.LastIndex <= conf.MaxTrailingLogs)
}

// majority is how many of n voters can write.
func majority(n int) int { return n/2 + 1 }
