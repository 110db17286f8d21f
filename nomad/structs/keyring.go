package structs

import (
	"slices"
	"time"
)

// EncryptionAlgorithm names the cipher of a root key.
type EncryptionAlgorithm string

// EncryptionAlgorithmAES256GCM is AES in Galois/Counter Mode with a 256-bit key (NIST SP 800-38D).
const EncryptionAlgorithmAES256GCM EncryptionAlgorithm = "aes256-gcm"

// RootKeyState is where a root key is in its life.
type RootKeyState string

// The states. Exactly one key is active.
const (
	RootKeyStateInactive     RootKeyState = "inactive"
	RootKeyStateActive       RootKeyState = "active"
	RootKeyStateRekeying     RootKeyState = "rekeying"
	RootKeyStatePrepublished RootKeyState = "prepublished"
	RootKeyStateDeprecated   RootKeyState = "deprecated"
)

// RootKeyMeta is what may be told about a root key.
type RootKeyMeta struct {
	// KeyID is a UUID.
	KeyID     string
	Algorithm EncryptionAlgorithm
	// CreateTime and PublishTime are Unix nanoseconds; PublishTime is 0 when not planned.
	CreateTime  int64
	CreateIndex uint64
	ModifyIndex uint64
	State       RootKeyState
	PublishTime int64
}

// RootKey is a root key as it is stored and replicated: never in clear.
type RootKey struct {
	RootKeyMeta
	// WrappedKeys holds the key material once per wrapping provider.
	WrappedKeys []*WrappedKey
}

// WrappedKey is the material of a root key, encrypted by one provider.
type WrappedKey struct {
	// Provider is the kind of the wrapper, "aead" by default; ProviderID tells
	// several of one kind apart.
	Provider   string
	ProviderID string
	// DataEncryptionKey is the sealed AES key, nonce first.
	DataEncryptionKey []byte
	// RSAKey is the sealed PKCS #8 signing key, nonce first.
	RSAKey []byte
	// KeyEncryptionKey is the wrapper's own key for the provider "aead", nil for external ones.
	KeyEncryptionKey []byte
}

// Copy returns a deep copy; nil gives nil.
func (k *RootKey) Copy() *RootKey {
	if k == nil {
		return nil
	}
	c := *k
	c.WrappedKeys = nil
	for _, w := range k.WrappedKeys {
		wc := *w
		wc.DataEncryptionKey = slices.Clone(w.DataEncryptionKey)
		wc.RSAKey = slices.Clone(w.RSAKey)
		wc.KeyEncryptionKey = slices.Clone(w.KeyEncryptionKey)
		c.WrappedKeys = append(c.WrappedKeys, &wc)
	}
	return &c
}

// KeyringListRootKeyMetaRequest lists root keys.
type KeyringListRootKeyMetaRequest struct {
	QueryOptions
}

// KeyringListRootKeyMetaResponse answers KeyringListRootKeyMetaRequest.
type KeyringListRootKeyMetaResponse struct {
	Keys []*RootKeyMeta
	QueryMeta
}

// KeyringListPublicResponse holds the keys that verify what the cluster signs.
type KeyringListPublicResponse struct {
	PublicKeys []*KeyringPublicKey
	// RotationThreshold is the age at which a key is replaced.
	RotationThreshold time.Duration
	QueryMeta
}

// KeyringPublicKey verifies signatures of one root key.
type KeyringPublicKey struct {
	KeyID string
	// PublicKey is a PKIX public key in DER (RFC 5280).
	PublicKey []byte
	// Algorithm is a JOSE algorithm name, RS256 or EdDSA (RFC 7518, RFC 8037).
	Algorithm string
	// Use is "sig" (RFC 7517).
	Use string
	// CreateTime is in Unix nanoseconds.
	CreateTime int64
}
