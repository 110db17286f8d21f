// Package keyring keeps the root keys of the cluster in clear, in memory only.
// It seals and opens the secrets that the store keeps, signs the identities
// that the cluster hands out, and says which public keys verify them.
//
// What is replicated and stored is structs.RootKey, whose material is wrapped
// by a Provider. Nothing in this package logs or prints key material.
package keyring

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// Keyring holds the unwrapped root keys of one server. It is safe for
// concurrent use; Seal and Open take no lock.
type Keyring struct {
	logger    hclog.Logger
	providers []Provider // the first wraps new keys

	mu    sync.Mutex // serialises writers of set
	set   atomic.Pointer[keySet]
	ready chan struct{}
}

// keySet is immutable once published.
type keySet struct {
	byID   map[string]*rootKey
	active *rootKey // nil while there is none
}

// New returns an empty keyring. The first provider given wraps new keys, the
// others only unwrap; the provider "aead" is always there, last. A nil logger
// logs nothing.
func New(logger hclog.Logger, providers ...Provider) *Keyring {
	if logger == nil {
		logger = hclog.NewNullLogger()
	}
	k := &Keyring{
		logger:    logger.Named("keyring"),
		providers: append(slices.Clone(providers), aeadProvider{}),
		ready:     make(chan struct{}),
	}
	k.set.Store(&keySet{byID: map[string]*rootKey{}})
	return k
}

// NewRootKey makes an active root key, wrapped and ready to be replicated. It
// does not enter the keyring before Add. It takes a good part of a second on a
// slow machine, as it searches for RSA primes.
func (k *Keyring) NewRootKey(now time.Time) (*structs.RootKey, error) {
	id := uuid.NewString()
	m, err := newMaterial(id)
	if err != nil {
		return nil, errs.Wrap(errs.Internal, "cannot make a root key", err)
	}
	wrapped, err := wrap(k.providers[0], m)
	if err != nil {
		return nil, errs.Wrap(errs.Busy, "cannot wrap a new root key: check the keyring provider "+k.providers[0].Name(), err).WithRetryAfter(retryAfter)
	}
	return &structs.RootKey{
		RootKeyMeta: structs.RootKeyMeta{
			KeyID:      id,
			Algorithm:  structs.EncryptionAlgorithmAES256GCM,
			CreateTime: now.UnixNano(),
			State:      structs.RootKeyStateActive,
		},
		WrappedKeys: []*structs.WrappedKey{wrapped},
	}, nil
}

// Add unwraps rk and keeps it. Adding a key again only takes over its state
// and indexes; adding an active key makes the one that was active inactive.
// Other material under a known ID is a conflict, as it would make what the
// known key sealed unreadable. rk is not kept. Add waits for the provider, ten
// seconds at most for each wrapped form.
func (k *Keyring) Add(rk *structs.RootKey) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	old := k.set.Load()
	key, err := k.unwrapLocked(old, rk)
	if err != nil {
		return err
	}
	if known := old.byID[key.meta.KeyID]; known != nil && known.secret != key.secret && known.secret.digest != key.secret.digest {
		return errs.Newf(errs.Conflict, "root key %s is known with other key material", key.meta.KeyID)
	}
	next := &keySet{byID: maps.Clone(old.byID)}
	if key.meta.State == structs.RootKeyStateActive {
		for id, other := range next.byID {
			if other.meta.State == structs.RootKeyStateActive {
				next.byID[id] = other.withState(structs.RootKeyStateInactive)
			}
		}
	}
	next.byID[key.meta.KeyID] = key
	k.publishLocked(next)
	return nil
}

// Remove forgets the key; an unknown ID is none of its business.
func (k *Keyring) Remove(keyID string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	old := k.set.Load()
	if old.byID[keyID] == nil {
		return
	}
	next := &keySet{byID: maps.Clone(old.byID)}
	delete(next.byID, keyID)
	k.publishLocked(next)
}

// Reset replaces all keys, as after the restore of a snapshot. Keys that
// cannot be unwrapped are left out and named in the error; the others are in
// place all the same. If several are active, the newest wins.
func (k *Keyring) Reset(keys []*structs.RootKey) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	old := k.set.Load()
	next := &keySet{byID: make(map[string]*rootKey, len(keys))}
	var failed []errs.Erratum
	var causes []error
	for _, rk := range keys {
		key, err := k.unwrapLocked(old, rk)
		if err != nil {
			failed = append(failed, errs.Erratum{Msg: err.Error()})
			causes = append(causes, err)
			continue
		}
		next.byID[key.meta.KeyID] = key
	}
	k.publishLocked(next)
	if len(failed) > 0 {
		msg := fmt.Sprintf("%d of %d root keys cannot be used: %s", len(failed), len(keys), failed[0].Msg)
		return errs.Wrap(errs.CodeOf(causes[0]), msg, errors.Join(causes...)).WithErrata(failed...)
	}
	return nil
}

// Check fails, as Reset would, unless every key can be used here. It changes nothing.
func (k *Keyring) Check(keys []*structs.RootKey) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, rk := range keys {
		if _, err := k.unwrapLocked(k.set.Load(), rk); err != nil {
			return err
		}
	}
	return nil
}

// unwrapLocked returns rk in clear, with the secret of old where the wrapped
// bytes are the same, so that nothing is unwrapped twice. Locked by mu.
func (k *Keyring) unwrapLocked(old *keySet, rk *structs.RootKey) (*rootKey, error) {
	if err := check(rk); err != nil {
		return nil, err
	}
	print := fingerprint(rk)
	if known := old.byID[rk.KeyID]; known != nil && known.secret.wrapped == print {
		return &rootKey{meta: rk.RootKeyMeta, secret: known.secret}, nil
	}
	m, err := unwrap(k.providers, rk)
	if err != nil {
		return nil, err
	}
	s, err := newSecret(m, print)
	if err != nil {
		return nil, errs.Wrap(errs.Internal, "root key "+rk.KeyID+" holds unusable key material", err)
	}
	return &rootKey{meta: rk.RootKeyMeta, secret: s}, nil
}

// publishLocked makes next the keyring. Locked by mu.
func (k *Keyring) publishLocked(next *keySet) {
	for _, key := range next.byID {
		if key.meta.State == structs.RootKeyStateActive && (next.active == nil || newer(key, next.active)) {
			next.active = key
		}
	}
	k.set.Store(next)
	if next.active == nil {
		return
	}
	select {
	case <-k.ready:
	default:
		close(k.ready)
	}
}

func newer(a, b *rootKey) bool {
	if a.meta.CreateTime != b.meta.CreateTime {
		return a.meta.CreateTime > b.meta.CreateTime
	}
	return strings.Compare(a.meta.KeyID, b.meta.KeyID) > 0
}

// ActiveID returns the ID of the active key, "" while there is none.
func (k *Keyring) ActiveID() string {
	if a := k.set.Load().active; a != nil {
		return a.meta.KeyID
	}
	return ""
}

// Has reports whether the key is here in clear.
func (k *Keyring) Has(keyID string) bool { return k.set.Load().byID[keyID] != nil }

// Ready returns a channel that is closed once the keyring has had an active key.
func (k *Keyring) Ready() <-chan struct{} { return k.ready }

// String says nothing about the keys.
func (k *Keyring) String() string { return "keyring" }

// GoString says nothing about the keys.
func (k *Keyring) GoString() string { return "keyring" }
