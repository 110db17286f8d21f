package client

import (
	"cmp"
	"maps"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-sockaddr"
	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"
	hostinfo "github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/mem"

	"github.com/cairn-project/cairn/nomad/structs"
)

// unknownMHz is the speed that a core is taken to have where nothing says it.
const unknownMHz = 1000

// host is what was found out about the machine. It is safe for concurrent use.
type host struct {
	config *ResourcesConfig
	// dir is the directory whose disk work may use, advertised the host that others
	// reach the agent by.
	dir, advertised string
	logger          hclog.Logger

	mu sync.Mutex
	// attributes and resources are replaced, never changed; guarded by mu.
	attributes map[string]string
	resources  *structs.NodeResources
}

// newHost looks at the machine. What cannot be found out is left out.
func newHost(c *Config, dir string, logger hclog.Logger) *host {
	advertised, _, _ := net.SplitHostPort(c.HTTPAddr)
	h := &host{config: &c.Resources, dir: dir, advertised: advertised, logger: logger}
	h.attributes, h.resources = h.look()
	return h
}

// describe returns the attributes and resources of the machine; neither may be
// changed.
func (h *host) describe() (map[string]string, *structs.NodeResources) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.attributes, h.resources
}

// lookAgain looks at what may change while the machine runs, and reports whether it
// has: addresses, cores and memory. How much of the disk is free is no change.
func (h *host) lookAgain() bool {
	attributes, resources := h.look()
	h.mu.Lock()
	defer h.mu.Unlock()
	same := func(key string) bool { return h.attributes[key] == attributes[key] }
	if same(attrIP) && same("cpu.numcores") && same("memory.totalbytes") && same("kernel.version") {
		return false
	}
	h.attributes, h.resources = attributes, resources
	return true
}

// attrIP is the attribute that holds the machine's address.
const attrIP = "unique.network.ip-address"

func (h *host) look() (map[string]string, *structs.NodeResources) {
	attributes, r := map[string]string{}, &structs.NodeResources{}
	for _, part := range []struct {
		name string
		look func(map[string]string, *structs.NodeResources) error
	}{{"system", lookSystem}, {"cpu", h.lookCPU}, {"memory", h.lookMemory}, {"disk", h.lookDisk}, {"network", h.lookNetwork}} {
		if err := part.look(attributes, r); err != nil {
			h.logger.Warn("part of the machine is not known", "part", part.name, "error", err)
		}
	}
	maps.Copy(attributes, lookCgroups())
	r.MinDynamicPort, r.MaxDynamicPort = h.config.dynamicPorts()
	return attributes, r
}

func lookSystem(a map[string]string, _ *structs.NodeResources) error {
	a["cpu.arch"], a["kernel.name"] = runtime.GOARCH, runtime.GOOS
	info, err := hostinfo.Info()
	if err != nil {
		return err
	}
	a["unique.hostname"] = info.Hostname
	a["os.name"], a["os.version"] = cmp.Or(info.Platform, info.OS), info.PlatformVersion
	a["kernel.version"], a["kernel.arch"] = info.KernelVersion, info.KernelArch
	if info.VirtualizationRole == "guest" {
		a["platform.virtualization"] = info.VirtualizationSystem
	}
	return nil
}

func (h *host) lookCPU(a map[string]string, r *structs.NodeResources) error {
	cores := runtime.NumCPU()
	info, err := cpu.Info()
	mhz := 0.0
	for _, c := range info {
		mhz = max(mhz, c.Mhz)
		if c.ModelName != "" {
			a["cpu.modelname"] = strings.Join(strings.Fields(c.ModelName), " ")
		}
	}
	if mhz < 1 {
		mhz = unknownMHz
	} else {
		a["cpu.frequency"] = strconv.Itoa(int(mhz))
	}
	total := int64(mhz) * int64(cores)
	if h.config.CPUTotalMHz > 0 {
		total = int64(h.config.CPUTotalMHz)
	}
	r.Cpu.CpuShares, r.Cpu.TotalCpuCores = total, uint16(cores)
	for i := range cores {
		r.Cpu.ReservableCpuCores = append(r.Cpu.ReservableCpuCores, uint16(i))
	}
	a["cpu.numcores"], a["cpu.totalcompute"] = strconv.Itoa(cores), strconv.FormatInt(total, 10)
	a["cpu.usablecompute"] = strconv.FormatInt(max(0, total-h.config.Reserved.Cpu.CpuShares), 10)
	return err
}

func (h *host) lookMemory(a map[string]string, r *structs.NodeResources) error {
	total := uint64(h.config.MemoryTotalMB) << 20
	if total == 0 {
		m, err := mem.VirtualMemory()
		if err != nil {
			return err
		}
		total = m.Total
	}
	a["memory.totalbytes"] = strconv.FormatUint(total, 10)
	r.Memory.MemoryMB = int64(total >> 20)
	return nil
}

func (h *host) lookDisk(a map[string]string, r *structs.NodeResources) error {
	u, err := disk.Usage(h.dir)
	if err != nil {
		u = &disk.UsageStat{Path: h.dir}
	}
	if h.config.DiskTotalMB > 0 {
		u.Total = uint64(h.config.DiskTotalMB) << 20
		u.Free = min(u.Free, u.Total)
	}
	if h.config.DiskFreeMB > 0 {
		u.Free = uint64(h.config.DiskFreeMB) << 20
	}
	a["unique.storage.volume"] = u.Path
	a["unique.storage.bytestotal"], a["unique.storage.bytesfree"] = strconv.FormatUint(u.Total, 10), strconv.FormatUint(u.Free, 10)
	r.Disk.DiskMB = int64(u.Free >> 20)
	return err
}

// lookNetwork finds the interface to announce: the configured one, else that of the
// address that the agent advertises, else the first with a private or public address.
func (h *host) lookNetwork(a map[string]string, r *structs.NodeResources) error {
	all, err := sockaddr.GetAllInterfaces()
	if err != nil {
		return err
	}
	all, _, err = sockaddr.IfByType("IP", all)
	if err != nil {
		return err
	}
	if name := h.config.NetworkInterface; name != "" {
		all = slices.DeleteFunc(all, func(i sockaddr.IfAddr) bool { return i.Name != name })
	}
	rank := func(i sockaddr.IfAddr) int {
		ip := net.ParseIP(hostOf(i))
		switch {
		case hostOf(i) == h.advertised:
			return 0
		case ip.IsLoopback():
			return 4
		case ip.IsLinkLocalUnicast():
			return 3
		case ip.To4() != nil:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(all, func(x, y sockaddr.IfAddr) int { return rank(x) - rank(y) })
	if len(all) == 0 {
		return &net.AddrError{Err: "no address", Addr: h.config.NetworkInterface}
	}
	device := all[0].Name
	for _, i := range all {
		if i.Name != device {
			continue
		}
		ip := hostOf(i)
		bits := 128
		if net.ParseIP(ip).To4() != nil {
			bits = 32
		}
		r.Networks = append(r.Networks, &structs.NetworkResource{Mode: "host", Device: device, IP: ip,
			CIDR: ip + "/" + strconv.Itoa(bits), MBits: cmp.Or(h.config.NetworkSpeed, linkSpeed(device))})
	}
	a[attrIP] = r.Networks[0].IP
	return nil
}

func hostOf(i sockaddr.IfAddr) string {
	ip, ok := i.SockAddr.(sockaddr.IPAddr)
	if !ok {
		return ""
	}
	return ip.NetIP().String()
}

// assumedMBits is the speed of a network device that does not tell it.
const assumedMBits = 1000
