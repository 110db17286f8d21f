// Package autopilot judges the health of the servers of a region, and which dead one
// may be taken out of the Raft peers. It works on what the leader saw, keeps the
// leader's clocks, and does nothing itself: package nomad looks, asks and removes.
package autopilot
