// Package state is the replicated store: typed tables in go-memdb,
// transactions on them, snapshots, and the way from a change to its events.
//
// One goroutine writes, the FSM's. Readers take a Snapshot, which is immutable
// and costs one atomic load. Rows that a Snapshot returns are shared and must
// not be changed.
package state
