package keyring

import (
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
)

const (
	nonceSize = 12 // 96 bits, the size GCM is made for (NIST SP 800-38D, 5.2.1.1)
	tagSize   = 16

	// Overhead is how many bytes Seal adds to what it seals.
	Overhead = nonceSize + tagSize
)

// Random nonces of 96 bits may serve at most 2^32 seals of one key before the
// chance that two are equal passes 2^-32 (NIST SP 800-38D, 8.3). The count
// lives in memory and starts anew with the process, so the hint comes at half.
const (
	sealsHint  = 1 << 31
	sealsLimit = 1 << 32
)

// retryAfter is when a caller that lacks a key may look again.
const retryAfter = time.Second

var (
	errNoActiveKey = errs.New(errs.Busy, "keyring has no active key yet: retry shortly").WithRetryAfter(retryAfter)
	errUnreadable  = errs.New(errs.Internal, "sealed data cannot be opened: it is damaged or belongs to another key")
	errDamaged     = errors.New("damaged or of another key")
)

// Seal encrypts plaintext with the active key and appends nonce, ciphertext and
// tag to dst, which must not overlap plaintext. The ID of the key is bound to
// the result and must be kept with it. Without an active key the error is
// errs.Busy; callers that can wait do so on Ready.
func (k *Keyring) Seal(dst, plaintext []byte) (sealed []byte, keyID string, err error) {
	key := k.set.Load().active
	if key == nil {
		return nil, "", errNoActiveKey
	}
	switch key.secret.seals.Add(1) {
	case sealsHint, sealsLimit:
		k.logger.Warn("root key sealed many messages, rotate it", "key_id", key.meta.KeyID)
	}
	return sealWith(key.secret.aead, dst, plaintext, key.secret.keyID), key.meta.KeyID, nil
}

// RotationDue reports whether the active key sealed so much that it should be
// replaced before its time.
func (k *Keyring) RotationDue() bool {
	key := k.set.Load().active
	return key != nil && key.secret.seals.Load() >= sealsHint
}

// Open decrypts what Seal returned and appends the plaintext to dst, which must
// not overlap sealed. A key that is not here, perhaps not yet, is errs.Busy;
// data that the key did not seal is errs.Internal.
func (k *Keyring) Open(dst, sealed []byte, keyID string) ([]byte, error) {
	key := k.set.Load().byID[keyID]
	if key == nil {
		return nil, errs.Newf(errs.Busy, "root key %q is not in the keyring of this server: retry once it is replicated", keyID).WithRetryAfter(retryAfter)
	}
	out, err := openWith(key.secret.aead, dst, sealed, key.secret.keyID)
	if err != nil {
		return nil, errUnreadable
	}
	return out, nil
}

// Derive returns 32 bytes that follow from a root key, a purpose and a context, the
// same on every server, and that nobody else can guess. It is nil if the key is not here.
func (k *Keyring) Derive(keyID, purpose string, context []byte) []byte {
	key := k.set.Load().byID[keyID]
	if key == nil {
		return nil
	}
	mac := hmac.New(sha256.New, key.secret.derive)
	mac.Write(binary.AppendUvarint(nil, uint64(len(purpose))))
	mac.Write([]byte(purpose))
	mac.Write(context)
	return mac.Sum(nil)
}

// sealWith appends nonce, ciphertext and tag to dst.
func sealWith(aead cipher.AEAD, dst, plaintext, additional []byte) []byte {
	dst = slices.Grow(dst, Overhead+len(plaintext))
	n := len(dst)
	dst = dst[:n+nonceSize]
	nonce := dst[n:]
	rand.Read(nonce)
	return aead.Seal(dst, nonce, plaintext, additional)
}

// openWith undoes sealWith.
func openWith(aead cipher.AEAD, dst, sealed, additional []byte) ([]byte, error) {
	if len(sealed) < Overhead {
		return nil, errDamaged
	}
	dst = slices.Grow(dst, len(sealed)-Overhead)
	out, err := aead.Open(dst, sealed[:nonceSize], sealed[nonceSize:], additional)
	if err != nil {
		return nil, errDamaged
	}
	return out, nil
}
