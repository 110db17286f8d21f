package enroll

import (
	"net"
	"slices"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/msgp"
	"github.com/cairn-project/cairn/internal/tlsconf"
	"github.com/cairn-project/cairn/nomad/keyring"
	"github.com/cairn-project/cairn/nomad/structs"
)

// DefaultLifetime is how long a certificate is good for.
const DefaultLifetime = 72 * time.Hour

// authorityLifetime is how long an authority is good for.
const authorityLifetime = 10 * 365 * 24 * time.Hour

// NewAuthority makes an authority for a region; its certificate and key are PEM.
func NewAuthority(region string) (certPEM, keyPEM []byte, err error) {
	return tlsconf.NewAuthority(tlsconf.AuthoritySpec{Name: "Cairn authority of region " + region, Lifetime: authorityLifetime})
}

// Seal returns an authority as it is stored, its key sealed by the active root key.
func Seal(keys *keyring.Keyring, certPEM, keyPEM []byte) (*structs.Authority, error) {
	id, err := tlsconf.Fingerprint(certPEM)
	if err != nil {
		return nil, errs.Wrap(errs.Internal, "the certificate of the authority is damaged", err)
	}
	sealed, keyID, err := keys.Seal(nil, keyPEM)
	if err != nil {
		return nil, err
	}
	return &structs.Authority{ID: id, Certificate: certPEM, SealedKey: sealed, KeyID: keyID}, nil
}

// A new authority is made when renewBefore is left of the one that signs, and
// signs after trustedFor, when every agent has renewed its certificate and knows it.
const (
	renewBefore = authorityLifetime / 5
	trustedFor  = 7 * 24 * time.Hour
)

// Decision says what is to be done about the authorities of a region.
type Decision struct {
	// Create wants a new authority, Active one that signs at once.
	Create, Active bool
	// Activate is the one that shall sign from now on, nil for no change.
	Activate *structs.Authority
	// Drop is one that has signed before and whose last certificate has expired, nil
	// for none.
	Drop *structs.Authority
}

// Decide looks at all authorities; lifetime is that of the certificates they sign.
func Decide(all []*structs.Authority, now time.Time, lifetime time.Duration) Decision {
	active, next := Current(all)
	if active == nil {
		return Decision{Create: true, Active: true}
	}
	if next != nil {
		if !now.Before(SignsFrom(next, lifetime)) {
			return Decision{Activate: next}
		}
		return Decision{}
	}
	for _, a := range all {
		if end := TrustedUntil(a, active, lifetime); !end.IsZero() && !now.Before(end) {
			return Decision{Drop: a}
		}
	}
	return Decision{Create: now.Sub(active.CreateTime) >= authorityLifetime-renewBefore}
}

// Current returns the authority that signs and the one that will, nil for none.
func Current(all []*structs.Authority) (active, next *structs.Authority) {
	for _, a := range all {
		if a.Active {
			active = a
		}
	}
	for _, a := range all {
		if active != nil && a.CreateTime.After(active.CreateTime) && (next == nil || a.CreateTime.After(next.CreateTime)) {
			next = a
		}
	}
	return active, next
}

// SignsFrom returns when the next authority signs: every agent has renewed its
// certificate by then, and so knows it.
func SignsFrom(next *structs.Authority, lifetime time.Duration) time.Time {
	if next.Requested {
		return next.CreateTime.Add(lifetime)
	}
	return next.CreateTime.Add(max(trustedFor, lifetime))
}

// TrustedUntil returns when the last certificate of an authority that signed before has
// expired, zero for one that signs or will sign, or where that is not known.
func TrustedUntil(a, active *structs.Authority, lifetime time.Duration) time.Time {
	if active == nil || a.Active || active.ActivateTime.IsZero() || !a.CreateTime.Before(active.CreateTime) {
		return time.Time{}
	}
	return active.ActivateTime.Add(lifetime)
}

// Holder is whom a certificate is for.
type Holder struct {
	Role     tlsconf.Role
	Region   string
	Lifetime time.Duration
}

// spec describes a certificate. The request decides on the addresses of a server
// only: a node agent has no port of its own.
func (h Holder) spec(r *tlsconf.Request) tlsconf.CertSpec {
	spec := tlsconf.RoleCert(h.Role, h.Region, h.Lifetime)
	for _, ip := range r.IPs {
		if h.Role == tlsconf.RoleServer && !ip.IsLoopback() {
			spec.IPs = append(spec.IPs, ip)
		}
	}
	return spec
}

// Issue signs a request of a holder.
func Issue(keys *keyring.Keyring, a *structs.Authority, r *tlsconf.Request, h Holder) ([]byte, error) {
	key, err := keys.Open(nil, a.SealedKey, a.KeyID)
	if err != nil {
		return nil, err
	}
	cert, err := tlsconf.Sign(a.Certificate, key, r, h.spec(r))
	clear(key)
	if err != nil {
		return nil, errs.Wrap(errs.Internal, "the authority cannot sign a certificate: "+err.Error(), err)
	}
	return cert, nil
}

// Bundle returns the certificates of authorities as one PEM text.
func Bundle(authorities []*structs.Authority) []byte {
	texts := make([][]byte, len(authorities))
	for i, a := range authorities {
		texts[i] = a.Certificate
	}
	return tlsconf.Bundle(texts...)
}

// Recovery is what a server keeps beside the state to make itself a certificate
// when none is left that is valid, as after a long stop of the whole cluster: then
// no server could ask another for the state. Its keys are sealed as in the state.
type Recovery struct {
	Authorities []*structs.Authority
	RootKeys    []*structs.RootKey
}

// SaveRecovery keeps r.
func (d Dir) SaveRecovery(r *Recovery) error {
	b, err := msgp.Marshal(r)
	if err != nil {
		return err
	}
	return d.write(recoveryFile, b)
}

// IssuedBy reports whether the certificate is of one of the authorities.
func (d Dir) IssuedBy(all []*structs.Authority) bool {
	b, err := d.read(identityFile)
	if err != nil {
		return false
	}
	issuer, err := tlsconf.IssuerFingerprint(b)
	return err == nil && slices.ContainsFunc(all, func(a *structs.Authority) bool { return a.ID == issuer })
}

// SelfIssue gives the agent itself a certificate for addresses beside the loopback.
func (d Dir) SelfIssue(keys *keyring.Keyring, all []*structs.Authority, h Holder, ips []net.IP) error {
	key, err := tlsconf.NewKey()
	if err != nil {
		return err
	}
	der, err := tlsconf.NewRequest(key, ips)
	if err != nil {
		return err
	}
	r, err := tlsconf.ParseRequest(der)
	if err != nil {
		return err
	}
	for _, a := range all {
		if !a.Active {
			continue
		}
		cert, err := Issue(keys, a, r, h)
		if err != nil {
			return err
		}
		return d.SaveIdentity(cert, key, Bundle(all))
	}
	return errs.New(errs.PreconditionFailed, "the region has no certificate authority yet")
}

// recover makes a new certificate out of what SaveRecovery kept.
func (d Dir) recover(h Holder, ips []net.IP) error {
	b, err := d.read(recoveryFile)
	if err != nil {
		return err
	}
	if b == nil {
		return errs.New(errs.NotFound, "there is no recovery file")
	}
	r := &Recovery{}
	if err := msgp.Unmarshal(b, r); err != nil {
		return errs.Wrap(errs.Invalid, "the recovery file is damaged", err)
	}
	keys := keyring.New(nil)
	if err := keys.Reset(r.RootKeys); err != nil {
		return err
	}
	return d.SelfIssue(keys, r.Authorities, h, ips)
}
