package structs

import "time"

// NodeConnQueryResponse answers whether a node's agent is connected to a server.
type NodeConnQueryResponse struct {
	Connected bool
	// Session says that it is by a session over which it calls servers.
	Session bool
	// Linked is true for a link of the versioned protocol.
	Linked bool
	// Established is when it connected, zero where that is not known.
	Established time.Time
	QueryMeta
}

// ClientStatsResponse answers how busy a node is.
type ClientStatsResponse struct {
	HostStats *HostStats
	QueryMeta
}

// HostStats is how busy a machine is.
type HostStats struct {
	Memory        *HostMemoryStats
	CPU           []*HostCPUStats
	DiskStats     []*HostDiskStats
	AllocDirStats *HostDiskStats
	// Uptime is in seconds, Timestamp in Unix nanoseconds.
	Uptime    uint64
	Timestamp int64
	// CPUTicksConsumed is in MHz.
	CPUTicksConsumed float64
}

// HostMemoryStats is the use of memory, in bytes.
type HostMemoryStats struct {
	Total     uint64
	Available uint64
	Used      uint64
	Free      uint64
}

// HostCPUStats is the use of one core, in percent.
type HostCPUStats struct {
	CPU    string
	User   float64
	System float64
	Idle   float64
	// TotalPercent is what is not idle, TotalTicks that in MHz.
	TotalPercent float64
	TotalTicks   float64
}

// HostDiskStats is the use of one file system, in bytes and percent.
type HostDiskStats struct {
	Device            string
	Mountpoint        string
	Size              uint64
	Used              uint64
	Available         uint64
	UsedPercent       float64
	InodesUsedPercent float64
}
