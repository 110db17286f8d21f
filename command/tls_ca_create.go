package command

import (
	"github.com/cairn-project/cairn/internal/tlsconf"
)

// tlsCACreate makes an authority for the agents of a cluster.
type tlsCACreate struct {
	domain, commonName string
	additional         []string
	constraint         bool
	days               uint64
}

func (*tlsCACreate) about() about {
	return about{
		synopsis: "make a private CA",
		usage:    "[options]",
		text: "Makes a certificate authority of your own in the current directory: <domain>-agent-ca.pem, which every agent and every user needs, and " +
			"<domain>-agent-ca-key.pem, which makes certificates and belongs in a safe place." +
			"\n\nNothing is sent anywhere and no file is overwritten.",
		examples: [][2]string{
			{"Make an authority", "cairn tls ca create"},
			{"One that can vouch for names of agents only", "cairn tls ca create -name-constraint"},
		},
	}
}

func (c *tlsCACreate) flags(f *flags) {
	c.domain, c.days = tlsDomain, 1825
	f.text(&c.domain, "domain", "name", "Domain of the names to vouch for. Agents look for nomad, the default.")
	f.number(&c.days, "days", "count", "Days until the authority expires, 1825 by default.")
	f.text(&c.commonName, "common-name", "name", "Common name of the authority.")
	f.boolean(&c.constraint, "name-constraint", "Make peers refuse names outside of -domain, -additional-domain and localhost.")
	f.list(&c.additional, "additional-domain", "name", "Another domain that -name-constraint allows. May be repeated.")
}

func (c *tlsCACreate) run(s *session, _ []string) error {
	lifetime, err := tlsDays(c.days)
	switch {
	case err != nil:
		return err
	case c.domain == "":
		return usagef("-domain must not be empty")
	case len(c.additional) > 0 && !c.constraint:
		return usagef("-additional-domain needs -name-constraint: without it every name is allowed")
	}
	spec := tlsconf.AuthoritySpec{Name: c.commonName, Lifetime: lifetime}
	if c.constraint {
		spec.Domains = append([]string{c.domain}, c.additional...)
	}
	cert, key, err := tlsconf.NewAuthority(spec)
	if err != nil {
		return err
	}
	if err := s.writePair(c.domain+"-agent-ca.pem", c.domain+"-agent-ca-key.pem", cert, key); err != nil {
		return err
	}
	s.note("next: `cairn tls cert create -server` for each region")
	return nil
}
