// Package jointoken reads and writes the text of join tokens: what an operator
// hands to an agent that has no certificate yet. Beside the secret it says whom
// to ask and by which authorities to know them.
package jointoken

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net"
	"strings"

	"github.com/cairn-project/cairn/internal/errs"
)

// prefix begins every text; the digit is the version of what follows. It is frozen.
const prefix = "cairn-join-1-"

// maxText bounds a text, and with it what it can hold.
const maxText = 16 << 10

// checkSize is how many bytes of a hash end a text: those that were not copied
// whole are told from those that are not known.
const checkSize = 4

// Token is what the text says. The JSON names are frozen.
type Token struct {
	// ID names the token in public.
	ID string `json:"id"`
	// Secret proves that the holder was given the text.
	Secret string `json:"secret"`
	// Role is server or client.
	Role string `json:"role"`
	// Region is the one to join.
	Region string `json:"region"`
	// Servers are server ports, host:port.
	Servers []string `json:"servers"`
	// Authorities are the SHA-256 hashes, in hex, of the certificates that a
	// server may be known by.
	Authorities []string `json:"ca"`
}

// NewSecret returns a secret of 256 bits.
func NewSecret() string {
	var b [32]byte
	rand.Read(b[:])
	return SecretOf(b[:])
}

// SecretOf returns bytes that nobody can guess as a secret.
func SecretOf(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// Hash is what is kept of a secret.
func Hash(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// Encode returns the text.
func (t *Token) Encode() (string, error) {
	if err := t.check(); err != nil {
		return "", err
	}
	body, err := json.Marshal(t)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(body)
	text := prefix + base64.RawURLEncoding.EncodeToString(append(body, sum[:checkSize]...))
	if len(text) > maxText {
		return "", errs.New(errs.TooLarge, "the join token would be too long: there are too many servers")
	}
	return text, nil
}

// Parse reads a text. White space around it does not matter.
func Parse(text string) (*Token, error) {
	text = strings.TrimSpace(text)
	body, ok := strings.CutPrefix(text, prefix)
	switch {
	case text == "":
		return nil, errs.New(errs.Invalid, "the join token is empty: make one with `cairn operator join-token create`")
	case !ok:
		return nil, errs.Newf(errs.Invalid, "the join token must begin with %s: give the text that `cairn operator join-token create` printed", prefix)
	case len(text) > maxText:
		return nil, errs.Newf(errs.Invalid, "the join token is longer than %d bytes: copy it again", maxText)
	}
	raw, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil || len(raw) <= checkSize {
		return nil, errDamaged
	}
	raw, check := raw[:len(raw)-checkSize], raw[len(raw)-checkSize:]
	if sum := sha256.Sum256(raw); !bytes.Equal(sum[:checkSize], check) {
		return nil, errDamaged
	}
	t := &Token{}
	if err := json.Unmarshal(raw, t); err != nil {
		return nil, errs.Wrap(errs.Invalid, "the join token cannot be read: make a new one", err)
	}
	return t, t.check()
}

var errDamaged = errs.New(errs.Invalid, "the join token was not copied whole: copy it again")

// check refuses what no cluster made.
func (t *Token) check() error {
	wrong := func(what string) error {
		return errs.Newf(errs.Invalid, "the join token has no usable %s: make a new one", what)
	}
	switch {
	case t.ID == "" || t.Secret == "":
		return wrong("secret")
	case t.Role != "server" && t.Role != "client":
		return wrong("role")
	case t.Region == "":
		return wrong("region")
	case len(t.Servers) == 0:
		return wrong("servers")
	case len(t.Authorities) == 0:
		return wrong("authorities")
	}
	for _, s := range t.Servers {
		if _, _, err := net.SplitHostPort(s); err != nil {
			return wrong("servers")
		}
	}
	for _, a := range t.Authorities {
		if b, err := hex.DecodeString(a); err != nil || len(b) != sha256.Size {
			return wrong("authorities")
		}
	}
	return nil
}
