package keyring

import (
	"crypto"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/go-jose/go-jose/v4"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	dataKeySize = 32   // AES-256
	rsaBits     = 2048 // the public API's identities are RS256 of this size
)

// rootKey is one key of a keySet, immutable.
type rootKey struct {
	meta   structs.RootKeyMeta
	secret *secret
}

// secret is the usable form of a key's material; keySets share it.
type secret struct {
	wrapped [sha256.Size]byte // digest of the wrapped form it came from
	digest  [sha256.Size]byte // digest of the material itself
	aead    cipher.AEAD
	derive  []byte // the key of derived secrets
	keyID   []byte // additional data of every seal
	seals   atomic.Uint64

	signer    crypto.Signer // nil when the key signs nothing
	algorithm jose.SignatureAlgorithm
	public    []byte // PKIX, DER
}

func (k *rootKey) withState(s structs.RootKeyState) *rootKey {
	c := *k
	c.meta.State = s
	return &c
}

// check refuses what no keyring could use.
func check(rk *structs.RootKey) error {
	switch {
	case rk == nil:
		return errs.New(errs.Invalid, "root key is missing")
	case rk.KeyID == "":
		return errs.New(errs.Invalid, "root key has no ID")
	case rk.Algorithm != structs.EncryptionAlgorithmAES256GCM:
		return errs.Newf(errs.Unsupported, "root key %s: unknown algorithm %q", rk.KeyID, rk.Algorithm)
	case len(rk.WrappedKeys) == 0:
		return errs.Newf(errs.Invalid, "root key %s has no key material", rk.KeyID)
	}
	return nil
}

// fingerprint tells whether two wrapped keys are the same bytes.
func fingerprint(rk *structs.RootKey) [sha256.Size]byte {
	h := sha256.New()
	field := func(b []byte) {
		h.Write(binary.AppendUvarint(nil, uint64(len(b))))
		h.Write(b)
	}
	for _, w := range rk.WrappedKeys {
		if w == nil {
			continue
		}
		field([]byte(w.Provider))
		field([]byte(w.ProviderID))
		field(w.DataEncryptionKey)
		field(w.RSAKey)
		field(w.KeyEncryptionKey)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

func newMaterial(id string) (Material, error) {
	m := Material{KeyID: id, DataKey: make([]byte, dataKeySize)}
	rand.Read(m.DataKey)
	key, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		return Material{}, err
	}
	m.SigningKey, err = x509.MarshalPKCS8PrivateKey(key)
	return m, err
}

func newSecret(m Material, wrapped [sha256.Size]byte) (*secret, error) {
	aead, err := newGCM(m.DataKey)
	if err != nil {
		return nil, err
	}
	derive, err := hkdf.Key(sha256.New, m.DataKey, nil, "cairn derived secrets", sha256.Size)
	if err != nil {
		return nil, err
	}
	s := &secret{
		derive:  derive,
		wrapped: wrapped,
		digest:  sha256.Sum256(append(append([]byte(nil), m.DataKey...), m.SigningKey...)),
		aead:    aead,
		keyID:   []byte(m.KeyID),
	}
	if len(m.SigningKey) > 0 {
		err = s.setSigner(m.SigningKey)
	}
	return s, err
}

// setSigner takes RSA keys, and Ed25519 keys as older clusters have them.
func (s *secret) setSigner(der []byte) error {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return errors.New("signing key is no PKCS #8 key") // the parser's text could quote the key
	}
	switch key := parsed.(type) {
	case *rsa.PrivateKey:
		if key.N.BitLen() < rsaBits {
			return fmt.Errorf("RSA key of %d bits, want at least %d", key.N.BitLen(), rsaBits)
		}
		s.signer, s.algorithm = key, jose.RS256
	case ed25519.PrivateKey:
		s.signer, s.algorithm = key, jose.EdDSA
	default:
		return fmt.Errorf("signing key is a %T, want RSA or Ed25519", parsed)
	}
	s.public, err = x509.MarshalPKIXPublicKey(s.signer.Public())
	return err
}
