package command

import (
	"time"
)

// authority is a certificate authority as the API has it.
type authority struct {
	ID, Phase           string
	Requested           bool
	NotBefore, NotAfter time.Time
	CreateTime, Until   time.Time

	CreateIndex, ModifyIndex uint64
}

// authorityStatus shows the authorities.
type authorityStatus struct{}

func (*authorityStatus) about() about {
	return about{
		synopsis: "show the certificate authorities",
		usage:    "[options]",
		text: "Lists the certificate authorities of the cluster, the oldest first. One signs; a next one is trusted already and will sign; those that signed before are trusted until their last certificate has expired. " +
			"How long the certificate of an agent lasts is its metric cairn_tls_certificate_expires_in_seconds.",
		examples: [][2]string{{"Show them", "cairn operator authority status"}},
		groups:   withAgent | withData,
	}
}

func (*authorityStatus) flags(*flags) {}

func (*authorityStatus) run(s *session, _ []string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	list := []*authority{}
	if _, err := client.Raw().Query("/v1/operator/authorities", &list, s.query()); err != nil {
		return failed("listing authorities", err)
	}
	return s.show(list, func() {
		t := newTable("Fingerprint", "Phase", "Phase Ends", "Created", "Expires")
		for _, a := range list {
			t.add(a.ID, a.Phase, wallTime(a.Until), wallTime(a.CreateTime), wallTime(a.NotAfter))
		}
		s.print(t, "the cluster has no authority of its own; auto = true in the tls block of its servers makes one")
	})
}

// authorityRotate replaces the authority.
type authorityRotate struct{}

func (*authorityRotate) about() about {
	return about{
		synopsis: "replace the certificate authority",
		usage:    "[options]",
		text: "Makes a new certificate authority. From now on all trust it; it signs when every agent has renewed its certificate, which takes auto_cert_ttl (72 h by default); and the one before is dropped when as much time has passed again. " +
			"Nothing restarts. Join tokens that were made before are of no use once the new one signs: make new ones.",
		examples: [][2]string{{"Replace it", "cairn operator authority rotate"}, {"How far is it?", "cairn operator authority status"}},
		groups:   withAgent | withData,
	}
}

func (*authorityRotate) flags(*flags) {}

func (*authorityRotate) run(s *session, _ []string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	var made authority
	if _, err := client.Raw().Write("/v1/operator/authority/rotate", nil, &made, s.write()); err != nil {
		return failed("replacing the authority", err)
	}
	return s.show(made, func() {
		s.pairs([2]string{"Fingerprint", made.ID}, [2]string{"Signs From", wallTime(made.Until)}, [2]string{"Expires", wallTime(made.NotAfter)})
	})
}
