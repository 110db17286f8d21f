package auth

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"maps"
	"strings"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// loginTicket is what the end of an OIDC login must know of its beginning.
type loginTicket struct {
	expires time.Time
	// binding is of the method, the redirect URI and the client nonce.
	binding [sha256.Size]byte
	// verifier is that of PKCE (RFC 7636), "" without.
	verifier string
	// id is the sealed ticket.
	id string
}

// ticketMark begins a ticket, so that nothing else that is sealed is taken for one.
const ticketMark = "oidc login\x00"

// errNoLogin is the one answer to whatever was not sealed for this end.
var errNoLogin = errs.New(errs.Invalid, "no login of this state, nonce and redirect URI has begun, or it took too long or has ended: log in again")

// bindLogin returns what ties a ticket to one login at one version of a method.
func bindLogin(m *structs.ACLAuthMethod, redirectURI, clientNonce string) [sha256.Size]byte {
	var text []byte
	for _, part := range []string{m.Name, string(m.Hash), redirectURI, clientNonce} {
		text = binary.AppendUvarint(text, uint64(len(part)))
		text = append(text, part...)
	}
	return sha256.Sum256(text)
}

// sealTicket returns the state of a login: the ID of a root key, a point, and the
// sealed ticket. Every server can open it, the next leader too, and none keeps it, so
// logins that were only begun cost nothing.
func (l *Logins) sealTicket(t *loginTicket) (string, error) {
	plain := append([]byte(ticketMark), t.binding[:]...)
	plain = binary.BigEndian.AppendUint64(plain, uint64(t.expires.Unix()))
	plain = append(plain, t.verifier...)
	sealed, keyID, err := l.Seal(nil, plain)
	if err != nil {
		return "", err
	}
	return keyID + "." + base64.RawURLEncoding.EncodeToString(sealed), nil
}

// openTicket opens the state of a login that is to end as r says.
func (l *Logins) openTicket(m *structs.ACLAuthMethod, r *structs.ACLOIDCCompleteAuthRequest) (*loginTicket, error) {
	keyID, text, _ := strings.Cut(r.State, ".")
	sealed, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, errNoLogin
	}
	plain, err := l.Open(nil, sealed, keyID)
	if err != nil {
		return nil, errNoLogin
	}
	plain, marked := bytes.CutPrefix(plain, []byte(ticketMark))
	binding := bindLogin(m, r.RedirectURI, r.ClientNonce)
	plain, bound := bytes.CutPrefix(plain, binding[:])
	if !marked || !bound || len(plain) < 8 {
		return nil, errNoLogin
	}
	t := &loginTicket{binding: binding, expires: time.Unix(int64(binary.BigEndian.Uint64(plain)), 0), verifier: string(plain[8:]), id: string(sealed)}
	if !time.Now().Before(t.expires) || l.hasEnded(t.id) {
		return nil, errNoLogin
	}
	return t, nil
}

func (l *Logins) hasEnded(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ended := l.ended[id]
	return ended
}

// endTicket notes a login for which the provider gave a token, so that it ends once; a
// provider takes its code once, too. Logins that were only begun are not noted.
func (l *Logins) endTicket(t *loginTicket) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(l.ended, func(_ string, expires time.Time) bool { return !now.Before(expires) })
	if _, ended := l.ended[t.id]; ended {
		return errNoLogin
	}
	if l.ended == nil {
		l.ended = map[string]time.Time{}
	}
	l.ended[t.id] = t.expires
	return nil
}
