package structs

import "time"

// ReplicationStatusResponse tells how a region copies from the authoritative one.
type ReplicationStatusResponse struct {
	// Region is the one that answers, AuthoritativeRegion the one that owns what is
	// global, "" where regions share nothing.
	Region              string
	AuthoritativeRegion string
	// Tables is empty in the authoritative region.
	Tables []*ReplicatedTable
	QueryMeta
}

// ReplicatedTable tells how the copy of one table goes, since the leader took over.
type ReplicatedTable struct {
	Table string
	// Index is that of the authoritative region, up to which nothing is missing.
	Index uint64
	// LastSync is when the copy was last known to be in step, zero for never yet. In
	// quiet times it is renewed every minute.
	LastSync time.Time
	// LastError is what keeps the copy from being in step, "" for nothing.
	LastError     string
	LastErrorTime time.Time
	// Failures counts rounds, Written and Deleted rows.
	Failures uint64
	Written  uint64
	Deleted  uint64
}
