package structs

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// The states of a node.
const (
	NodeStatusInit         = "initializing"
	NodeStatusReady        = "ready"
	NodeStatusDown         = "down"
	NodeStatusDisconnected = "disconnected"
)

// Whether new work may be placed on a node.
const (
	NodeSchedulingEligible   = "eligible"
	NodeSchedulingIneligible = "ineligible"
)

// Node is a machine that takes work. Its agent owns the description of the
// machine; status, eligibility, drain and events are the servers'.
type Node struct {
	// ID is a UUID in lower case that the agent made and keeps.
	ID string
	// SecretID is a UUID that proves to servers that a call is from the node. It
	// never leaves the servers.
	SecretID   string `codec:"SecretID" json:"-"`
	Datacenter string
	// Name need not be unique.
	Name string
	// HTTPAddr is where the agent answers HTTP, host:port, with TLS if TLSEnabled.
	HTTPAddr   string
	TLSEnabled bool
	// Attributes are what the agent found out about the machine, by dotted names.
	Attributes map[string]string
	// NodeResources is what the machine has, ReservedResources what of it work may not use.
	NodeResources     *NodeResources
	ReservedResources *NodeReservedResources
	// Links name the machine in other systems, Meta is free for its operators.
	Links map[string]string
	Meta  map[string]string
	// NodeClass groups nodes of one kind, NodePool those of one purpose.
	NodeClass    string
	NodePool     string
	CgroupParent string
	// DrainStrategy is set while work is being moved off the node.
	DrainStrategy *DrainStrategy
	// SchedulingEligibility and Status are values of the constants above.
	SchedulingEligibility string
	Status                string
	StatusDescription     string
	// StatusUpdatedAt is when Status changed, in Unix seconds.
	StatusUpdatedAt int64
	// Events are the last MaxNodeEvents, the oldest first.
	Events []*NodeEvent
	// Drivers and the maps below are by name, as the agent reports them.
	Drivers              map[string]*DriverInfo
	CSIControllerPlugins map[string]*CSIInfo
	CSINodePlugins       map[string]*CSIInfo
	HostVolumes          map[string]*ClientHostVolumeConfig
	HostNetworks         map[string]*ClientHostNetworkConfig
	// GCVolumesOnNodeGC deletes the dynamic volumes of the node with it.
	GCVolumesOnNodeGC bool
	// LastDrain is the last drain, begun or ended; nil before the first.
	LastDrain *DrainMetadata
	// Ineligibility is why the node is ineligible and for how long, nil where
	// nothing was said of it.
	Ineligibility *NodeIneligibility `json:",omitempty"`
	// LastMissedHeartbeatIndex is when the node went down, 0 once it is ready.
	LastMissedHeartbeatIndex uint64
	// NodeMaxAllocs bounds the allocations on the node, 0 for no bound.
	NodeMaxAllocs int
	// IdentitySigningKeyID is the root key that signed the node's identity, "" for none.
	IdentitySigningKeyID string
	// LinkInstance is random, made by the process of an agent that serves the node
	// link, "" for others. LinkEpoch fences its link: the logical index at which the
	// first registration with that instance was stored; the higher one is the later.
	LinkInstance string `json:",omitempty"`
	LinkEpoch    uint64 `json:",omitempty"`

	// CreateIndex and ModifyIndex are logical indexes.
	CreateIndex uint64
	ModifyIndex uint64
}

// MaxNodeEvents is how many events of a node are kept.
const MaxNodeEvents = 10

// The subsystems that write events of nodes.
const (
	NodeEventSubsystemCluster = "Cluster"
	NodeEventSubsystemDrain   = "Drain"
)

// NodeEvent is something that happened to a node.
type NodeEvent struct {
	Message   string
	Subsystem string
	Details   map[string]string
	Timestamp time.Time
	// CreateIndex is set by the store.
	CreateIndex uint64
}

// NewNodeEvent returns an event of the time at.
func NewNodeEvent(subsystem, message string, at time.Time) *NodeEvent {
	return &NodeEvent{Subsystem: subsystem, Message: message, Timestamp: at.UTC()}
}

// Copy returns a deep copy; nil gives nil.
func (e *NodeEvent) Copy() *NodeEvent {
	if e == nil {
		return nil
	}
	c := *e
	c.Details = maps.Clone(e.Details)
	return &c
}

// DriverInfo is the state of one task driver.
type DriverInfo struct {
	Attributes        map[string]string
	Detected          bool
	Healthy           bool
	HealthDescription string
	UpdateTime        time.Time
}

// ClientHostVolumeConfig is a directory of the machine that work may mount.
type ClientHostVolumeConfig struct {
	Name     string
	Path     string
	ReadOnly bool
	// ID is set for dynamic volumes only.
	ID string
}

// ClientHostNetworkConfig is a named network of the machine.
type ClientHostNetworkConfig struct {
	Name          string
	CIDR          string
	Interface     string
	ReservedPorts string
}

// Copy returns a deep copy; nil gives nil.
func (n *Node) Copy() *Node {
	if n == nil {
		return nil
	}
	c := *n
	c.Attributes, c.Links, c.Meta = maps.Clone(n.Attributes), maps.Clone(n.Links), maps.Clone(n.Meta)
	c.NodeResources = n.NodeResources.Copy()
	c.ReservedResources = n.ReservedResources.Copy()
	c.DrainStrategy = clonePointer(n.DrainStrategy)
	c.LastDrain = n.LastDrain.Copy()
	c.Ineligibility = clonePointer(n.Ineligibility)
	c.Events = cloneEach(n.Events, (*NodeEvent).Copy)
	c.Drivers = cloneMap(n.Drivers, func(d *DriverInfo) *DriverInfo {
		d = clonePointer(d)
		if d != nil {
			d.Attributes = maps.Clone(d.Attributes)
		}
		return d
	})
	c.CSIControllerPlugins = cloneMap(n.CSIControllerPlugins, (*CSIInfo).Copy)
	c.CSINodePlugins = cloneMap(n.CSINodePlugins, (*CSIInfo).Copy)
	c.HostVolumes = cloneMap(n.HostVolumes, clonePointer)
	c.HostNetworks = cloneMap(n.HostNetworks, clonePointer)
	return &c
}

// WithoutSecret returns the node without its secret. It shares the rest.
func (n *Node) WithoutSecret() *Node {
	if n == nil {
		return nil
	}
	c := *n
	c.SecretID = ""
	return &c
}

// cloneEach copies a list by its elements; nil gives nil.
func cloneEach[T any](list []T, dup func(T) T) []T {
	out := slices.Clone(list)
	for i, v := range out {
		out[i] = dup(v)
	}
	return out
}

// cloneMap copies a map by its values; nil gives nil.
func cloneMap[T any](m map[string]T, dup func(T) T) map[string]T {
	out := maps.Clone(m)
	for k, v := range out {
		out[k] = dup(v)
	}
	return out
}

// Draining reports whether work is being moved off the node.
func (n *Node) Draining() bool { return n.DrainStrategy != nil }

// The types of events of nodes that servers act upon: a node was deleted, its
// eligibility or its drain changed.
const (
	EventNodeDeregistration = "NodeDeregistration"
	EventNodeEligibility    = "NodeEligibility"
	EventNodeDrain          = "NodeDrain"
)

// DownBefore reports whether the node has been down since a time, in seconds of
// Unix time, or for longer.
func (n *Node) DownBefore(at int64) bool {
	return n.Status == NodeStatusDown && n.StatusUpdatedAt <= at
}

// InPool reports whether the node is in the pool of the name.
func (n *Node) InPool(pool string) bool { return pool == NodePoolAll || pool == n.NodePool }

// NodeStubFields says what a list of nodes tells beside the usual.
type NodeStubFields struct {
	// Resources adds what the machines have, OS the name of their operating system.
	Resources bool
	OS        bool
}

// NodeListStub is a node as lists show it.
type NodeListStub struct {
	// Address is the host of HTTPAddr.
	Address               string
	ID                    string
	Attributes            map[string]string `json:",omitempty"`
	Datacenter            string
	Name                  string
	NodePool              string
	NodeClass             string
	Version               string
	Drain                 bool
	SchedulingEligibility string
	Status                string
	StatusDescription     string
	Drivers               map[string]*DriverInfo
	NodeResources         *NodeResources         `json:",omitempty"`
	ReservedResources     *NodeReservedResources `json:",omitempty"`
	LastDrain             *DrainMetadata
	Ineligibility         *NodeIneligibility `json:",omitempty"`
	CreateIndex           uint64
	ModifyIndex           uint64
}

// The attributes that lists show.
const (
	nodeAttributeOS      = "os.name"
	nodeAttributeVersion = "nomad.version"
)

// Stub returns what lists show of the node; nil fields ask for the usual. It
// shares memory with the node.
func (n *Node) Stub(fields *NodeStubFields) *NodeListStub {
	host := n.HTTPAddr
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		host = strings.Trim(host[:i], "[]")
	}
	s := &NodeListStub{
		Address: host, ID: n.ID, Datacenter: n.Datacenter, Name: n.Name, NodePool: n.NodePool, NodeClass: n.NodeClass,
		Version: n.Attributes[nodeAttributeVersion], Drain: n.Draining(), SchedulingEligibility: n.SchedulingEligibility,
		Status: n.Status, StatusDescription: n.StatusDescription, Drivers: n.Drivers, LastDrain: n.LastDrain, Ineligibility: n.Ineligibility,
		CreateIndex: n.CreateIndex, ModifyIndex: n.ModifyIndex,
	}
	if fields == nil {
		return s
	}
	if fields.Resources {
		s.NodeResources, s.ReservedResources = n.NodeResources, n.ReservedResources
	}
	if fields.OS {
		s.Attributes = map[string]string{nodeAttributeOS: n.Attributes[nodeAttributeOS]}
	}
	return s
}
