package raftnet

import (
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

type counters struct {
	bytesSent, bytesReceived           atomic.Uint64
	dials, dialFailures, rejected      atomic.Uint64
	heartbeats, appends, snapshots     atomic.Uint64
	confirms, confirmRounds, confirmHB atomic.Uint64
	hints                              atomic.Uint64
}

// Stats are totals since New.
type Stats struct {
	// BytesSent and BytesReceived count frames, without the cost of TLS and TCP.
	BytesSent, BytesReceived uint64
	// Dials includes DialFailures.
	Dials, DialFailures uint64
	// Rejected counts inbound connections ended for what they sent.
	Rejected uint64
	// Heartbeats, Appends and Snapshots were sent for raft.
	Heartbeats, Appends, Snapshots uint64
	// Confirms were asked for, in ConfirmRounds rounds of ConfirmHeartbeats.
	Confirms, ConfirmRounds, ConfirmHeartbeats uint64
	// Hints made the local raft stand for election.
	Hints uint64
}

// Stats returns the totals.
func (t *Transport) Stats() Stats {
	c := &t.stats
	return Stats{
		BytesSent: c.bytesSent.Load(), BytesReceived: c.bytesReceived.Load(),
		Dials: c.dials.Load(), DialFailures: c.dialFailures.Load(), Rejected: c.rejected.Load(),
		Heartbeats: c.heartbeats.Load(), Appends: c.appends.Load(), Snapshots: c.snapshots.Load(),
		Confirms: c.confirms.Load(), ConfirmRounds: c.confirmRounds.Load(), ConfirmHeartbeats: c.confirmHB.Load(),
		Hints: c.hints.Load(),
	}
}

// LastSeen returns when the server last answered a request, zero for never.
func (t *Transport) LastSeen(id raft.ServerID) time.Time {
	if v, ok := t.lastSeen.Load(id); ok {
		return time.Unix(0, v.(*atomic.Int64).Load())
	}
	return time.Time{}
}

func (t *Transport) seen(id raft.ServerID) {
	v, ok := t.lastSeen.Load(id)
	if !ok {
		v, _ = t.lastSeen.LoadOrStore(id, new(atomic.Int64))
	}
	v.(*atomic.Int64).Store(time.Now().UnixNano())
}
