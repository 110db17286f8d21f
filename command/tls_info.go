package command

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"time"

	"github.com/cairn-project/cairn/internal/tlsconf"
)

// tlsInfo shows a certificate, of an authority or of anybody else.
type tlsInfo struct{ authority bool }

func (i *tlsInfo) about() about {
	a := about{
		synopsis: "show a certificate's details",
		usage:    "[options] <file>",
		text: "Shows the first certificate of a PEM file: who it is for, which roles agents see in it, who signed it and when it expires." +
			"\n\nThe exit code is 1 for a file without a certificate. Whether it has expired is told, not judged.",
		examples: [][2]string{{"Show a certificate", "cairn tls cert info global-server-nomad.pem"}},
		min:      1, max: 1, groups: withData, args: anyFile,
	}
	if i.authority {
		a.synopsis = "show a CA's details"
		a.text = "Shows the first certificate of an authority's PEM file: its name, what it may vouch for and when it expires."
		a.examples = [][2]string{{"Show the authority", "cairn tls ca info nomad-agent-ca.pem"}}
	}
	return a
}

func (*tlsInfo) flags(*flags) {}

// certificate is what -json and -t show.
type certificate struct {
	SerialNumber, Name, Issuer string
	Authority                  bool
	DNSNames, IPs, Roles       []string
	PermittedDNSDomains        []string
	NotBefore, NotAfter        time.Time
	Expired                    bool
}

func (i *tlsInfo) run(s *session, args []string) error {
	text, err := s.readFile(args[0])
	if err != nil {
		return err
	}
	cert, err := firstCertificate(args[0], text)
	if err != nil {
		return err
	}
	if i.authority && !cert.IsCA {
		return hinted(fmt.Errorf("%s holds no authority's certificate", args[0]), "`cairn tls cert info` shows others")
	}
	c := describeCertificate(cert)
	return s.show(c, func() {
		expires := c.NotAfter.Format(time.RFC3339)
		if c.Expired {
			expires += " (expired)"
		}
		rows := [][2]string{{"Serial Number", c.SerialNumber}, {"Name", c.Name}, {"Issuer", c.Issuer},
			{"Authority", yesNo(c.Authority)}, {"Not Before", c.NotBefore.Format(time.RFC3339)}, {"Expires", expires}}
		for _, list := range []struct {
			name   string
			values []string
		}{{"Roles", c.Roles}, {"DNS Names", c.DNSNames}, {"Addresses", c.IPs}, {"Allowed Domains", c.PermittedDNSDomains}} {
			if len(list.values) > 0 {
				rows = append(rows, [2]string{list.name, strings.Join(list.values, ", ")})
			}
		}
		s.pairs(rows...)
	})
}

// firstCertificate reads the first certificate of a PEM file.
func firstCertificate(name string, text []byte) (*x509.Certificate, error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			return x509.ParseCertificate(block.Bytes)
		}
	}
	return nil, fmt.Errorf("%s holds no certificate in PEM", name)
}

func describeCertificate(c *x509.Certificate) *certificate {
	out := &certificate{
		SerialNumber: c.SerialNumber.String(), Name: c.Subject.CommonName, Issuer: c.Issuer.CommonName, Authority: c.IsCA,
		DNSNames: c.DNSNames, PermittedDNSDomains: c.PermittedDNSDomains,
		NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(), Expired: time.Now().After(c.NotAfter),
	}
	for _, ip := range c.IPAddresses {
		out.IPs = append(out.IPs, ip.String())
	}
	for _, name := range c.DNSNames {
		if m, ok := tlsconf.ParseName(name); ok {
			out.Roles = append(out.Roles, string(m.Role)+" of "+m.Region)
		}
	}
	return out
}
