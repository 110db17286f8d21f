package structs

// HostData is what helps to debug a machine.
type HostData struct {
	OS      string
	Network []map[string]string
	// ResolvConf and Hosts are the files of that name.
	ResolvConf, Hosts string
	// Environment is the agent's; values that may be secret are masked.
	Environment map[string]string
	Disk        map[string]DiskUsage
}

// DiskUsage is the use of one file system.
type DiskUsage struct{ DiskMB, UsedMB int64 }

// AgentTarget says which agent is asked: that of a node, or a server of the region
// by ID, by name, or as "leader". With neither it is the server that receives it.
type AgentTarget struct {
	NodeID   string
	ServerID string
}

// AgentHostRequest asks for what helps to debug the machine of an agent.
type AgentHostRequest struct {
	AgentTarget
	QueryOptions
}

// AgentHostResponse answers it.
type AgentHostResponse struct {
	// AgentID is the ID of the node or the server.
	AgentID  string
	HostData *HostData
}

// AgentProfileRequest asks for a profile of an agent.
type AgentProfileRequest struct {
	// ReqType is cpu, trace, cmdline or lookup; Profile is the name of a lookup, such
	// as heap.
	ReqType, Profile string
	// Seconds is how long cpu and trace look, 1 by default.
	Seconds int
	// Debug above 0 makes a lookup text, GC above 0 collects garbage first.
	Debug, GC int
	AgentTarget
	QueryOptions
}

// AgentProfileResponse answers it.
type AgentProfileResponse struct {
	AgentID     string
	Payload     []byte
	HTTPHeaders map[string]string
}
