package keyring

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// unwrapTimeout bounds one call of a provider, which may go over a network.
const unwrapTimeout = 10 * time.Second

// Provider wraps key material with a key that it looks after. It must be safe
// for concurrent use, and must bind what it wraps to Material.KeyID.
type Provider interface {
	// Name is the kind of the provider, as in structs.WrappedKey.
	Name() string
	// Wrap encrypts m. It may block until ctx ends.
	Wrap(ctx context.Context, m Material) (*structs.WrappedKey, error)
	// Unwrap decrypts w, which wraps the root key keyID. It may block until ctx
	// ends and must neither change nor keep w.
	Unwrap(ctx context.Context, keyID string, w *structs.WrappedKey) (Material, error)
}

// Material is a root key in clear. It prints as its ID only.
type Material struct {
	KeyID string
	// DataKey is the AES-256 key, 32 bytes.
	DataKey []byte
	// SigningKey is a PKCS #8 private key in DER (RFC 5208), empty for a key that signs nothing.
	SigningKey []byte
}

// Format prints the ID for every verb.
func (m Material) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "root key %s", m.KeyID) }

func wrap(p Provider, m Material) (*structs.WrappedKey, error) {
	ctx, cancel := context.WithTimeout(context.Background(), unwrapTimeout)
	defer cancel()
	return p.Wrap(ctx, m)
}

// unwrap tries every wrapped form for which there is a provider. The causes
// stay local, as they may name the inner workings of a provider.
func unwrap(providers []Provider, rk *structs.RootKey) (Material, error) {
	var causes []error
	for _, w := range rk.WrappedKeys {
		for _, p := range providers {
			if w == nil || p.Name() != w.Provider {
				continue
			}
			m, err := unwrapOne(p, rk.KeyID, w)
			if err == nil {
				return m, nil
			}
			causes = append(causes, err)
		}
	}
	if causes == nil {
		return Material{}, errs.Newf(errs.Unsupported, "root key %s is wrapped by no provider of this server, but by %s: configure the keyring block", rk.KeyID, wrappers(rk))
	}
	return Material{}, errs.Wrap(errs.Internal, "root key "+rk.KeyID+" cannot be unwrapped: check its keyring provider", errors.Join(causes...))
}

// wrappers names the providers that wrapped a key.
func wrappers(rk *structs.RootKey) string {
	var names []string
	for _, w := range rk.WrappedKeys {
		if w != nil {
			names = append(names, strconv.Quote(w.Provider))
		}
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, ", ")
}

func unwrapOne(p Provider, keyID string, w *structs.WrappedKey) (Material, error) {
	ctx, cancel := context.WithTimeout(context.Background(), unwrapTimeout)
	defer cancel()
	return p.Unwrap(ctx, keyID, w)
}

// aeadProvider wraps with a fresh AES-256-GCM key that is stored beside what it
// wraps. It protects against nothing but mistakes: whoever has the store has
// the key. Use an external provider where that matters.
type aeadProvider struct{}

// The purposes under which material is bound to its key ID; part of the stored format.
const (
	purposeData    = "data:"
	purposeSigning = "signing:"
)

func (aeadProvider) Name() string { return "aead" }

func (aeadProvider) Wrap(_ context.Context, m Material) (*structs.WrappedKey, error) {
	w := &structs.WrappedKey{Provider: "aead", KeyEncryptionKey: make([]byte, dataKeySize)}
	rand.Read(w.KeyEncryptionKey)
	kek, err := newGCM(w.KeyEncryptionKey)
	if err != nil {
		return nil, err
	}
	w.DataEncryptionKey = sealWith(kek, nil, m.DataKey, []byte(purposeData+m.KeyID))
	if len(m.SigningKey) > 0 {
		w.RSAKey = sealWith(kek, nil, m.SigningKey, []byte(purposeSigning+m.KeyID))
	}
	return w, nil
}

func (aeadProvider) Unwrap(_ context.Context, keyID string, w *structs.WrappedKey) (Material, error) {
	kek, err := newGCM(w.KeyEncryptionKey)
	if err != nil {
		return Material{}, err
	}
	m := Material{KeyID: keyID}
	if m.DataKey, err = openWith(kek, nil, w.DataEncryptionKey, []byte(purposeData+keyID)); err != nil {
		return Material{}, fmt.Errorf("data key: %w", err)
	}
	if len(w.RSAKey) > 0 {
		if m.SigningKey, err = openWith(kek, nil, w.RSAKey, []byte(purposeSigning+keyID)); err != nil {
			return Material{}, fmt.Errorf("signing key: %w", err)
		}
	}
	return m, nil
}

// newGCM takes keys of 256 bits only.
func newGCM(key []byte) (cipher.AEAD, error) {
	if len(key) != dataKeySize {
		return nil, fmt.Errorf("key of %d bytes, want %d", len(key), dataKeySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
