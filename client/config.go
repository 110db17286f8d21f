package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/structs"
)

// DefaultPort is the server port where an address names none.
const DefaultPort = "4647"

// Config is what a node agent needs to know.
type Config struct {
	Region     string
	Datacenter string
	// NodeName need not be unique; NodePool is "" for the default one.
	NodeName  string
	NodeClass string
	NodePool  string
	// Meta is what the configuration says of the node; an operator may add to it
	// and override it while the agent runs.
	Meta map[string]string
	// StateDir holds the node's ID, its secret and what was changed while it ran.
	// It is made if it is missing; "" is for a directory that Shutdown removes.
	StateDir string

	// Servers are server ports to begin with, host or host:port. The servers tell
	// of the others.
	Servers []string
	// Preferred is a server port that is used whenever it answers, "" for none: that
	// of the server in the same process.
	Preferred string

	// Transport says over what servers are reached: their port, their HTTP API, or the
	// one where the other cannot be.
	Transport Transport
	// HTTPServers are the HTTP APIs of servers, as https://host:port.
	HTTPServers []string

	// HTTPAddr is where the agent answers HTTP, host:port, with TLS if HTTPTLS.
	HTTPAddr string
	HTTPTLS  bool

	Resources ResourcesConfig
	// Ineligible registers a new node as one that takes no work.
	Ineligible bool
	// MaxAllocs bounds the allocations on the node, 0 for no bound.
	MaxAllocs int
	// LeaveDrain moves work off the node before Leave says that it goes away, nil to
	// leave it. The node takes no work afterwards, until an operator says so.
	LeaveDrain *structs.DrainSpec
	// LogFile is the log file of the process, "" for none; the methods of the link show it.
	LogFile string
	// IntroductionToken lets a new node in where the servers ask for one.
	IntroductionToken string

	// LinkLimits bounds the calls of servers that run at once; its zero value means the
	// defaults.
	LinkLimits nodelink.Limits

	// EnableDebug lets profiles be taken while access control is off.
	EnableDebug bool
	// Workloads are told when the node drains; nil for an agent that knows of none.
	Workloads Workloads
	// Version is that of the build.
	Version string
	// Secure returns the TLS configuration of one connection to a server; it is nil
	// for connections in clear.
	Secure func() *tls.Config
	// SecureHTTP returns the TLS configuration of one connection to an HTTPS server; it
	// is nil for the authorities of the system.
	SecureHTTP func() *tls.Config
	// Dial opens a connection to a server port, nil for TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Logger may be nil.
	Logger hclog.Logger
}

// Transport is over what an agent reaches servers.
type Transport string

// The transports.
const (
	// TransportAuto takes the port, and HTTP while no port can be reached.
	TransportAuto      Transport = "auto"
	TransportPort      Transport = "port"
	TransportWebSocket Transport = "websocket"
)

// ResourcesConfig overrides what was found out about the machine; zero values
// do not.
type ResourcesConfig struct {
	// CPUTotalMHz is over all cores, the others are in MiB.
	CPUTotalMHz   int
	MemoryTotalMB int
	DiskTotalMB   int
	DiskFreeMB    int
	// NetworkInterface is the one to announce, NetworkSpeed its MBit/s.
	NetworkInterface string
	NetworkSpeed     int
	// MinDynamicPort and MaxDynamicPort bound the ports chosen for work.
	MinDynamicPort int
	MaxDynamicPort int
	// Reserved is what work may not use.
	Reserved structs.NodeReservedResources
}

// The ports that are chosen for work unless the configuration says otherwise.
const (
	DefaultMinDynamicPort = 20000
	DefaultMaxDynamicPort = 32000
)

// Validate returns every problem of the configuration at once.
func (c *Config) Validate() error {
	var all []error
	bad := func(when bool, format string, args ...any) {
		if when {
			all = append(all, fmt.Errorf(format, args...))
		}
	}
	bad(c.Region == "", "region: must be set")
	bad(c.Datacenter == "", "datacenter: must be set")
	bad(c.NodeName == "", "name: must be set")
	bad(c.NodePool == structs.NodePoolAll, "node_pool: %q has all nodes anyway, name another pool", c.NodePool)
	if c.NodePool != "" {
		if err := structs.ValidateNodePoolName(c.NodePool); err != nil {
			bad(true, "node_pool: %w", err)
		}
	}
	for key := range c.Meta {
		bad(!validMetaKey(key), "meta: %s", metaKeyProblem(key))
	}
	for _, addr := range c.Servers {
		_, err := serverAddr(addr)
		bad(err != nil, "servers: %w", err)
	}
	switch c.Transport {
	case "", TransportAuto, TransportPort:
	case TransportWebSocket:
		bad(len(c.HTTPServers) == 0, "node_link.http_servers: must be set, servers are reached over HTTP only")
	default:
		bad(true, "node_link.transport %q: must be auto, port or websocket", c.Transport)
	}
	for _, base := range c.HTTPServers {
		_, err := nodelink.WebSocketURL(base)
		bad(err != nil || !isWeb(base), "node_link.http_servers: %q must be an address such as https://cairn.example.com:4646", base)
	}
	r := &c.Resources
	low, high := r.dynamicPorts()
	bad(low < 1 || high > 65535 || low > high, "min_dynamic_port and max_dynamic_port: %d to %d is no range of ports", low, high)
	bad(r.CPUTotalMHz < 0 || r.MemoryTotalMB < 0 || r.DiskTotalMB < 0 || r.DiskFreeMB < 0 || r.NetworkSpeed < 0 || c.MaxAllocs < 0,
		"totals, network_speed and node_max_allocs: must not be negative")
	return errors.Join(all...)
}

func (r *ResourcesConfig) dynamicPorts() (low, high int) {
	low, high = r.MinDynamicPort, r.MaxDynamicPort
	if low == 0 {
		low = DefaultMinDynamicPort
	}
	if high == 0 {
		high = max(DefaultMaxDynamicPort, low)
	}
	return low, high
}

// isWeb reports whether an address is that of an HTTP API and not a server port.
func isWeb(addr string) bool {
	return strings.HasPrefix(addr, "http://") || strings.HasPrefix(addr, "https://")
}

// serverAddr returns an address with a port.
func serverAddr(addr string) (string, error) {
	if strings.ContainsAny(addr, "= \t/") || addr == "" {
		return "", fmt.Errorf("%q is no address: give host or host:port; discovery by provider is not supported", addr)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		host, port = strings.Trim(addr, "[]"), DefaultPort
	}
	if _, err := netip.ParseAddr(host); err != nil && strings.ContainsAny(host, ":[]") {
		return "", fmt.Errorf("%q is no address: give host or host:port", addr)
	}
	if n, err := net.LookupPort("tcp", port); err != nil || n == 0 || host == "" {
		return "", fmt.Errorf("%q is no address: give host or host:port", addr)
	}
	return net.JoinHostPort(host, port), nil
}
