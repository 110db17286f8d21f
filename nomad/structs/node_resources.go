package structs

import (
	"maps"
	"slices"
	"time"
)

// NodeResources is what a machine has.
type NodeResources struct {
	Cpu      NodeCpuResources
	Memory   NodeMemoryResources
	Disk     NodeDiskResources
	Networks []*NetworkResource
	Devices  []*NodeDeviceResource
	// MinDynamicPort and MaxDynamicPort bound the ports that are chosen for work.
	MinDynamicPort int
	MaxDynamicPort int
}

// NodeCpuResources is the computing power of a machine.
type NodeCpuResources struct {
	// CpuShares is in MHz, over all cores.
	CpuShares          int64
	TotalCpuCores      uint16
	ReservableCpuCores []uint16
}

// NodeMemoryResources is the memory of a machine.
type NodeMemoryResources struct {
	MemoryMB int64
}

// NodeDiskResources is the disk that work may use.
type NodeDiskResources struct {
	DiskMB int64
}

// NetworkResource is one network interface, or what is asked of one.
type NetworkResource struct {
	Mode          string
	Device        string
	CIDR          string
	IP            string
	Hostname      string `json:",omitempty"`
	MBits         int
	DNS           *DNSConfig
	ReservedPorts []Port
	DynamicPorts  []Port
}

// DNSConfig says how names are resolved.
type DNSConfig struct {
	Servers  []string
	Searches []string
	Options  []string
}

// Port is a port by its label.
type Port struct {
	Label           string
	Value           int
	To              int
	HostNetwork     string
	IgnoreCollision bool
}

// NodeDeviceResource is a group of devices of one model.
type NodeDeviceResource struct {
	Vendor     string
	Type       string
	Name       string
	Instances  []*NodeDevice
	Attributes map[string]*Attribute
}

// NodeDevice is one device.
type NodeDevice struct {
	ID                string
	Healthy           bool
	HealthDescription string
	// Locality is nil where it is not known.
	Locality *NodeDeviceLocality
}

// NodeDeviceLocality says where a device sits.
type NodeDeviceLocality struct {
	PciBusID string
}

// Attribute is a value of one of four kinds; the others are nil.
type Attribute struct {
	Float  *float64 `json:",omitempty"`
	Int    *int64   `json:",omitempty"`
	String *string  `json:",omitempty"`
	Bool   *bool    `json:",omitempty"`
	// Unit is of Float or Int, "" for none.
	Unit string
}

// NodeReservedResources is what work may not use.
type NodeReservedResources struct {
	Cpu      NodeReservedCpuResources
	Memory   NodeReservedMemoryResources
	Disk     NodeReservedDiskResources
	Networks NodeReservedNetworkResources
}

// NodeReservedCpuResources is computing power that work may not use, in MHz and
// by the numbers of the cores.
type NodeReservedCpuResources struct {
	CpuShares        int64
	ReservedCpuCores []uint16
}

// NodeReservedMemoryResources is memory that work may not use.
type NodeReservedMemoryResources struct {
	MemoryMB int64
}

// NodeReservedDiskResources is disk that work may not use.
type NodeReservedDiskResources struct {
	DiskMB int64
}

// NodeReservedNetworkResources are ports that work may not use, as a list of
// numbers and ranges such as "22,8000-8010".
type NodeReservedNetworkResources struct {
	ReservedHostPorts string
}

// CSIInfo is the state of one storage plugin.
type CSIInfo struct {
	PluginID                 string
	AllocID                  string
	Healthy                  bool
	HealthDescription        string
	UpdateTime               time.Time
	Provider                 string
	ProviderVersion          string
	RequiresControllerPlugin bool
	RequiresTopologies       bool
	ControllerInfo           *CSIControllerInfo `json:",omitempty"`
	NodeInfo                 *CSINodeInfo       `json:",omitempty"`
}

// CSIControllerInfo says what a controller plugin can do.
type CSIControllerInfo struct {
	SupportsCreateDelete             bool
	SupportsAttachDetach             bool
	SupportsListVolumes              bool
	SupportsGetCapacity              bool
	SupportsCreateDeleteSnapshot     bool
	SupportsListSnapshots            bool
	SupportsClone                    bool
	SupportsReadOnlyAttach           bool
	SupportsExpand                   bool
	SupportsListVolumesAttachedNodes bool
	SupportsCondition                bool
	SupportsGet                      bool
}

// CSINodeInfo says what a node plugin can do.
type CSINodeInfo struct {
	// ID is what the storage calls the node.
	ID                      string
	MaxVolumes              int64
	AccessibleTopology      *CSITopology
	RequiresNodeStageVolume bool
	SupportsStats           bool
	SupportsExpand          bool
	SupportsCondition       bool
}

// CSITopology is a place from which storage can be reached.
type CSITopology struct {
	Segments map[string]string
}

// Copy returns a deep copy; nil gives nil.
func (r *NodeResources) Copy() *NodeResources {
	if r == nil {
		return nil
	}
	c := *r
	c.Cpu.ReservableCpuCores = slices.Clone(r.Cpu.ReservableCpuCores)
	c.Networks = cloneEach(r.Networks, (*NetworkResource).Copy)
	c.Devices = cloneEach(r.Devices, (*NodeDeviceResource).Copy)
	return &c
}

// Copy returns a deep copy; nil gives nil.
func (r *NodeReservedResources) Copy() *NodeReservedResources {
	if r == nil {
		return nil
	}
	c := *r
	c.Cpu.ReservedCpuCores = slices.Clone(r.Cpu.ReservedCpuCores)
	return &c
}

// Copy returns a deep copy; nil gives nil.
func (n *NetworkResource) Copy() *NetworkResource {
	if n == nil {
		return nil
	}
	c := *n
	if d := n.DNS; d != nil {
		c.DNS = &DNSConfig{slices.Clone(d.Servers), slices.Clone(d.Searches), slices.Clone(d.Options)}
	}
	c.ReservedPorts, c.DynamicPorts = slices.Clone(n.ReservedPorts), slices.Clone(n.DynamicPorts)
	return &c
}

// Copy returns a deep copy; nil gives nil.
func (d *NodeDeviceResource) Copy() *NodeDeviceResource {
	if d == nil {
		return nil
	}
	c := *d
	c.Instances = cloneEach(d.Instances, func(i *NodeDevice) *NodeDevice {
		i = clonePointer(i)
		if i != nil {
			i.Locality = clonePointer(i.Locality)
		}
		return i
	})
	c.Attributes = cloneMap(d.Attributes, func(a *Attribute) *Attribute {
		if a == nil {
			return nil
		}
		return &Attribute{clonePointer(a.Float), clonePointer(a.Int), clonePointer(a.String), clonePointer(a.Bool), a.Unit}
	})
	return &c
}

// Copy returns a deep copy; nil gives nil.
func (i *CSIInfo) Copy() *CSIInfo {
	if i == nil {
		return nil
	}
	c := *i
	c.ControllerInfo, c.NodeInfo = clonePointer(i.ControllerInfo), clonePointer(i.NodeInfo)
	if n := c.NodeInfo; n != nil && n.AccessibleTopology != nil {
		n.AccessibleTopology = &CSITopology{maps.Clone(n.AccessibleTopology.Segments)}
	}
	return &c
}
