// Package router knows the servers of every region. Gossip tells it who is
// there, callers tell it whom they could not reach.
package router

import (
	"net"
	"strconv"
	"strings"

	"github.com/hashicorp/serf/serf"
)

// Server is one server as gossip describes it. It is a value: copies share nothing.
type Server struct {
	// ID is the Raft server ID, Name the gossip name "<node>.<region>".
	ID   string
	Name string
	// Region and Datacenter are where the server says it is.
	Region     string
	Datacenter string
	// Addr is the server port as host:port.
	Addr string
	// Build is the software version, Version the protocol version of the tags,
	// RaftVersion the Raft protocol version.
	Build       string
	Version     int
	RaftVersion int
	// Bootstrap and Expect are the server's bootstrap settings.
	Bootstrap bool
	Expect    int
	NonVoter  bool
	// TLS is true when its server port speaks TLS.
	TLS bool
	// Status is what gossip believes of the server's health.
	Status serf.MemberStatus
}

// The tags of a server in the gossip pool. The names are those of HashiCorp
// Nomad, so that its servers and ours can share a pool.
const (
	TagRole        = "role"
	TagRegion      = "region"
	TagDatacenter  = "dc"
	TagBuild       = "build"
	TagVersion     = "vsn"
	TagRaftVersion = "raft_vsn"
	TagID          = "id"
	TagRPCAddr     = "rpc_addr"
	TagPort        = "port"
	TagBootstrap   = "bootstrap"
	TagExpect      = "expect"
	TagNonVoter    = "nonvoter"
	// TagTLS is an addition of ours.
	TagTLS = "tls"
	// RoleServer is the value of TagRole that marks a server.
	RoleServer = "nomad"
)

// ParseMember reads the tags of m. It reports false for a member that is not a
// server or whose tags make no sense.
func ParseMember(m serf.Member) (Server, bool) {
	t := m.Tags
	if t[TagRole] != RoleServer || t[TagRegion] == "" || t[TagID] == "" {
		return Server{}, false
	}
	if node, ok := strings.CutSuffix(m.Name, "."+t[TagRegion]); !ok || node == "" {
		return Server{}, false
	}
	p := tagParser{tags: t, ok: true}
	port := p.number(TagPort, 1, 65535, true)
	s := Server{
		ID:          t[TagID],
		Name:        m.Name,
		Region:      t[TagRegion],
		Datacenter:  t[TagDatacenter],
		Build:       t[TagBuild],
		Version:     p.number(TagVersion, 0, maxTagNumber, false),
		RaftVersion: p.number(TagRaftVersion, 0, maxTagNumber, false),
		Bootstrap:   p.present(TagBootstrap),
		Expect:      p.number(TagExpect, 0, maxTagNumber, false),
		NonVoter:    p.present(TagNonVoter),
		TLS:         p.present(TagTLS),
		Status:      m.Status,
	}
	host := t[TagRPCAddr]
	if host == "" && m.Addr != nil {
		host = m.Addr.String()
	}
	if !p.ok || !plausibleHost(host) {
		return Server{}, false
	}
	s.Addr = net.JoinHostPort(host, strconv.Itoa(port))
	return s, true
}

// plausibleHost reports whether host may be an IP address or a host name, so
// that it can be dialed and logged.
func plausibleHost(host string) bool {
	outside := func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && !strings.ContainsRune(".-_:%", c)
	}
	return host != "" && strings.IndexFunc(host, outside) < 0
}

// maxTagNumber bounds the numbers of tags, far above any that make sense.
const maxTagNumber = 1 << 16

// tagParser reads tags until one is wrong.
type tagParser struct {
	tags map[string]string
	ok   bool
}

func (p *tagParser) number(tag string, low, high int, required bool) int {
	v, set := p.tags[tag]
	if !set && !required {
		return 0
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < low || n > high {
		p.ok = false
		return 0
	}
	return n
}

// present reads a flag: servers send "1" or leave the tag out.
func (p *tagParser) present(tag string) bool {
	v, set := p.tags[tag]
	return set && v != "" && v != "0" && v != "false"
}
