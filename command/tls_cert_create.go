package command

import (
	"net"
	"os"
	"slices"
	"strings"

	"github.com/cairn-project/cairn/internal/tlsconf"
)

// tlsCertCreate makes a certificate for an agent or a user.
type tlsCertCreate struct {
	server, client, cli bool
	region, domain      string
	days                uint64
	names, ips          []string
	ca, key             string
}

func (*tlsCertCreate) about() about {
	return about{
		synopsis: "make server, client, CLI cert",
		usage:    "[options]",
		text: "Makes a certificate and its key in the current directory, signed by the authority that `cairn tls ca create` made. What the holder may do follows " +
			"from the role: servers of a region trust server.<region>.nomad with everything, client.<region>.nomad with what node agents need, and " +
			"cli.<region>.nomad with the HTTP API." +
			"\n\nThe files are <region>-<role>-<domain>.pem and <region>-<role>-<domain>-key.pem; none is overwritten.",
		examples: [][2]string{
			{"For the servers of region global", "cairn tls cert create -server"},
			{"For servers that users reach by another name", "cairn tls cert create -server -region eu -additional-dnsname=cairn.example.com -additional-ipaddress=10.0.0.11"},
			{"For people and their browsers", "cairn tls cert create -cli"},
		},
	}
}

func (c *tlsCertCreate) flags(f *flags) {
	c.region, c.domain, c.days = tlsRegion, tlsDomain, 365
	f.boolean(&c.server, "server", "Make a certificate for servers.")
	f.boolean(&c.client, "client", "Make a certificate for node agents.")
	f.boolean(&c.cli, "cli", "Make a certificate for users of the HTTP API.")
	f.text(&c.region, "region", "name", "Region the holder belongs to, global by default.")
	f.text(&c.region, "cluster-region", "name", "Another name of -region.")
	f.text(&c.domain, "domain", "name", "End of the name. Agents look for nomad, the default.")
	f.number(&c.days, "days", "count", "Days until it expires, 365 by default; not later than the authority.")
	f.list(&c.names, "additional-dnsname", "name", "Another DNS name of the holder, beside localhost. May be repeated.")
	f.list(&c.ips, "additional-ipaddress", "address", "Another address of the holder, beside 127.0.0.1. May be repeated.")
	f.text(&c.ca, "ca", "file", "Certificate of the authority, <domain>-agent-ca.pem by default.", anyFile)
	f.text(&c.key, "key", "file", "Key of the authority, <domain>-agent-ca-key.pem by default.", anyFile)
}

func (c *tlsCertCreate) run(s *session, _ []string) error {
	role, err := c.role()
	if err != nil {
		return err
	}
	spec, err := c.spec(role)
	if err != nil {
		return err
	}
	ca, err := c.authority(c.ca, c.domain+"-agent-ca.pem")
	if err != nil {
		return err
	}
	caKey, err := c.authority(c.key, c.domain+"-agent-ca-key.pem")
	if err != nil {
		return err
	}
	cert, key, err := tlsconf.Issue(ca, caKey, spec)
	if err != nil {
		return failed("making the certificate", err)
	}
	if c.domain != tlsDomain {
		s.warn("agents look for names that end in .%s", tlsDomain)
	}
	name := c.region + "-" + string(role) + "-" + c.domain
	return s.writePair(name+".pem", name+"-key.pem", cert, key)
}

// role returns the one role that was asked for.
func (c *tlsCertCreate) role() (tlsconf.Role, error) {
	var roles []tlsconf.Role
	for role, given := range map[tlsconf.Role]bool{tlsconf.RoleServer: c.server, tlsconf.RoleClient: c.client, tlsconf.RoleCLI: c.cli} {
		if given {
			roles = append(roles, role)
		}
	}
	if len(roles) != 1 {
		return "", usagef("give one of -server, -client and -cli")
	}
	return roles[0], nil
}

func (c *tlsCertCreate) spec(role tlsconf.Role) (spec tlsconf.CertSpec, err error) {
	lifetime, err := tlsDays(c.days)
	if err != nil {
		return spec, err
	}
	for _, part := range []string{c.region, c.domain} {
		if part == "" || strings.ContainsAny(part, "*/ \\") {
			return spec, usagef("%q is no region or domain: it must be part of a DNS name", part)
		}
	}
	spec = tlsconf.RoleCert(role, c.region, lifetime)
	spec.Names[0] = string(role) + "." + c.region + "." + c.domain
	for _, name := range c.names {
		if m, ok := tlsconf.ParseName(name); ok {
			return spec, usagef("%s would make the holder a %s of region %s: make a certificate of that role instead", name, m.Role, m.Region)
		}
	}
	spec.Names = append(spec.Names, c.names...)
	slices.Sort(spec.Names[1:])
	spec.Names = slices.Compact(spec.Names)
	for _, text := range c.ips {
		ip := net.ParseIP(text)
		if ip == nil {
			return spec, usagef("-additional-ipaddress: %q is no address", text)
		}
		spec.IPs = append(spec.IPs, ip)
	}
	return spec, nil
}

// authority reads a file of the authority.
func (*tlsCertCreate) authority(name, usual string) ([]byte, error) {
	if name == "" {
		name = usual
	}
	text, err := os.ReadFile(name)
	if os.IsNotExist(err) {
		return nil, hinted(err, "`cairn tls ca create` makes an authority; -ca and -key say where another one is")
	}
	return text, err
}
