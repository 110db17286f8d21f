package keyring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

var epoch = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// mustRootKey returns a fresh root key created age after epoch.
func mustRootKey(t testing.TB, age time.Duration) *structs.RootKey {
	t.Helper()
	rk, err := New(nil).NewRootKey(epoch.Add(age))
	if err != nil {
		t.Fatal(err)
	}
	return rk
}

// mustRing returns a keyring that holds keys, added in order.
func mustRing(t testing.TB, keys ...*structs.RootKey) *Keyring {
	t.Helper()
	k := New(nil)
	for _, rk := range keys {
		if err := k.Add(rk); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

func mustSeal(t testing.TB, k *Keyring, text string) ([]byte, string) {
	t.Helper()
	sealed, id, err := k.Seal(nil, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return sealed, id
}

func wantCode(t testing.TB, err error, want errs.Code) {
	t.Helper()
	var e *errs.Error
	if !errors.As(err, &e) || e.Code != want {
		t.Errorf("error %v has code %q, want %q", err, errs.CodeOf(err), want)
	}
}

func TestNewRootKeyIsActiveAndWrapped(t *testing.T) {
	rk := mustRootKey(t, 0)
	if rk.State != structs.RootKeyStateActive || rk.CreateTime != epoch.UnixNano() || len(rk.KeyID) != 36 {
		t.Errorf("meta data %+v", rk.RootKeyMeta)
	}
	w := rk.WrappedKeys[0]
	if w.Provider != "aead" || len(w.KeyEncryptionKey) != dataKeySize || len(w.DataEncryptionKey) != dataKeySize+Overhead {
		t.Errorf("wrapped key of provider %q: %d and %d bytes", w.Provider, len(w.KeyEncryptionKey), len(w.DataEncryptionKey))
	}
}

func TestSealOpen(t *testing.T) {
	k := mustRing(t, mustRootKey(t, 0))
	for _, text := range []string{"", "x", strings.Repeat("long", 50_000)} {
		sealed, id, err := k.Seal([]byte("head"), []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(sealed, []byte("head")) || len(sealed) != 4+len(text)+Overhead {
			t.Fatalf("sealed %d bytes into %d", len(text), len(sealed))
		}
		got, err := k.Open([]byte("tail"), sealed[4:], id)
		if err != nil || string(got) != "tail"+text {
			t.Fatalf("opened %d bytes, %v", len(got), err)
		}
	}
	a, _ := mustSeal(t, k, "same")
	b, _ := mustSeal(t, k, "same")
	if bytes.Equal(a, b) {
		t.Error("two seals of one text are equal")
	}
}

func TestOpenRefuses(t *testing.T) {
	first, second := mustRootKey(t, 0), mustRootKey(t, time.Hour)
	k := mustRing(t, first, second)
	sealed, id := mustSeal(t, k, "secret")

	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, err := k.Open(nil, bad, id); !errors.Is(err, errs.Internal) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
	for n := range len(sealed) {
		if _, err := k.Open(nil, sealed[:n], id); !errors.Is(err, errs.Internal) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
	_, err := k.Open(nil, sealed, first.KeyID)
	wantCode(t, err, errs.Internal)
	_, err = k.Open(nil, sealed, "nobody")
	wantCode(t, err, errs.Busy)
}

func TestNoActiveKeyIsBusy(t *testing.T) {
	rk := mustRootKey(t, 0)
	rk.State = structs.RootKeyStatePrepublished
	k := mustRing(t, rk)
	_, _, err := k.Seal(nil, []byte("x"))
	wantCode(t, err, errs.Busy)
	_, _, err = k.Sign(map[string]any{})
	wantCode(t, err, errs.Busy)
	select {
	case <-k.Ready():
		t.Error("ready without an active key")
	default:
	}
	rk.State = structs.RootKeyStateActive
	if err := k.Add(rk); err != nil {
		t.Fatal(err)
	}
	<-k.Ready()
}

func TestAddTakesOverStates(t *testing.T) {
	first, second := mustRootKey(t, 0), mustRootKey(t, time.Hour)
	k := mustRing(t, first)
	sealed, id := mustSeal(t, k, "old")
	if err := k.Add(second); err != nil {
		t.Fatal(err)
	}
	if k.ActiveID() != second.KeyID {
		t.Error("the key added last as active is not active")
	}
	if _, err := k.Open(nil, sealed, id); err != nil {
		t.Errorf("the key before cannot open any more: %v", err)
	}
	if err := k.Add(first); err != nil || k.ActiveID() != first.KeyID {
		t.Errorf("older key made active again: active %s, %v", k.ActiveID(), err)
	}
	first = first.Copy()
	first.State = structs.RootKeyStateInactive
	if err := k.Add(first); err != nil || k.ActiveID() != "" {
		t.Errorf("the active key made inactive leaves %q active, %v", k.ActiveID(), err)
	}
	k.Remove(first.KeyID)
	k.Remove(first.KeyID)
	if _, err := k.Open(nil, sealed, id); !errors.Is(err, errs.Busy) {
		t.Errorf("open with a key removed: %v", err)
	}
}

func TestAddAcceptsRewrapAndRefusesOtherMaterial(t *testing.T) {
	rk, other := mustRootKey(t, 0), mustRootKey(t, 0)
	k := mustRing(t, rk)
	sealed, id := mustSeal(t, k, "kept")

	m, err := unwrap(k.providers, rk)
	if err != nil {
		t.Fatal(err)
	}
	again := rk.Copy()
	if again.WrappedKeys[0], err = (aeadProvider{}).Wrap(context.Background(), m); err != nil {
		t.Fatal(err)
	}
	if err := k.Add(again); err != nil {
		t.Errorf("same key wrapped anew: %v", err)
	}

	if m, err = unwrap(k.providers, other); err != nil {
		t.Fatal(err)
	}
	m.KeyID = rk.KeyID
	forged := rk.Copy()
	if forged.WrappedKeys[0], err = (aeadProvider{}).Wrap(context.Background(), m); err != nil {
		t.Fatal(err)
	}
	wantCode(t, k.Add(forged), errs.Conflict)
	if got, err := k.Open(nil, sealed, id); err != nil || string(got) != "kept" {
		t.Errorf("after the conflict: %q, %v", got, err)
	}
}

func TestAddRefusesGarbage(t *testing.T) {
	good := mustRootKey(t, 0)
	change := func(f func(*structs.RootKey)) *structs.RootKey {
		c := good.Copy()
		f(c)
		return c
	}
	for name, c := range map[string]struct {
		key  *structs.RootKey
		code errs.Code
	}{
		"nil":          {nil, errs.Invalid},
		"no ID":        {change(func(k *structs.RootKey) { k.KeyID = "" }), errs.Invalid},
		"no material":  {change(func(k *structs.RootKey) { k.WrappedKeys = nil }), errs.Invalid},
		"algorithm":    {change(func(k *structs.RootKey) { k.Algorithm = "rot13" }), errs.Unsupported},
		"provider":     {change(func(k *structs.RootKey) { k.WrappedKeys[0].Provider = "awskms" }), errs.Unsupported},
		"nil wrapped":  {change(func(k *structs.RootKey) { k.WrappedKeys[0] = nil }), errs.Unsupported},
		"other ID":     {change(func(k *structs.RootKey) { k.KeyID = "5f0c" }), errs.Internal},
		"no KEK":       {change(func(k *structs.RootKey) { k.WrappedKeys[0].KeyEncryptionKey = nil }), errs.Internal},
		"data key cut": {change(func(k *structs.RootKey) { k.WrappedKeys[0].DataEncryptionKey = []byte{1} }), errs.Internal},
		"keys swapped": {change(func(k *structs.RootKey) {
			w := k.WrappedKeys[0]
			w.DataEncryptionKey, w.RSAKey = w.RSAKey, w.DataEncryptionKey
		}), errs.Internal},
		"signing broken": {change(func(k *structs.RootKey) { k.WrappedKeys[0].RSAKey[40] ^= 1 }), errs.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			k := New(nil)
			wantCode(t, k.Add(c.key), c.code)
			if k.ActiveID() != "" {
				t.Error("a refused key is active")
			}
		})
	}
}

func TestResetReplacesAllAndKeepsWhatItCan(t *testing.T) {
	gone, old, active := mustRootKey(t, 0), mustRootKey(t, time.Hour), mustRootKey(t, 2*time.Hour)
	k := mustRing(t, gone)
	bad := mustRootKey(t, 3*time.Hour)
	bad.WrappedKeys[0].Provider = "transit"

	err := k.Reset([]*structs.RootKey{active, bad, old})
	wantCode(t, err, errs.Unsupported)
	if !strings.Contains(err.Error(), bad.KeyID) {
		t.Errorf("error %q does not name the key", err)
	}
	if k.ActiveID() != active.KeyID {
		t.Error("of two active keys the newest did not win")
	}
	if k.Has(gone.KeyID) || !k.Has(old.KeyID) || k.Has(bad.KeyID) {
		t.Error("wrong set of keys after reset")
	}
	if err := k.Reset(nil); err != nil || k.ActiveID() != "" {
		t.Errorf("empty reset: %v", err)
	}
}

func TestRotationDueAfterManySeals(t *testing.T) {
	var log bytes.Buffer
	k := New(hclog.New(&hclog.LoggerOptions{Output: &log}))
	if err := k.Add(mustRootKey(t, 0)); err != nil {
		t.Fatal(err)
	}
	k.set.Load().active.secret.seals.Store(sealsHint - 2)
	mustSeal(t, k, "x")
	if k.RotationDue() || log.Len() > 0 {
		t.Error("due too early")
	}
	mustSeal(t, k, "x")
	if !k.RotationDue() || !strings.Contains(log.String(), "rotate") {
		t.Errorf("due %v, log %q", k.RotationDue(), &log)
	}
	if err := k.Add(mustRootKey(t, time.Hour)); err != nil || k.RotationDue() {
		t.Errorf("due after rotation, %v", err)
	}
}

func TestNothingPrintsKeys(t *testing.T) {
	rk := mustRootKey(t, 0)
	k := mustRing(t, rk)
	m, err := unwrap(k.providers, rk)
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if got := fmt.Sprintf(verb, m); got != "root key "+rk.KeyID {
			t.Errorf("%s prints material as %q", verb, got)
		}
		if got := fmt.Sprintf(verb, k); len(got) > 20 {
			t.Errorf("%s prints the ring as %q", verb, got)
		}
	}
}

// failing is a provider whose far end is away.
type failing struct{}

func (failing) Name() string { return "far" }
func (failing) Wrap(context.Context, Material) (*structs.WrappedKey, error) {
	return nil, errors.New("secret detail")
}
func (failing) Unwrap(context.Context, string, *structs.WrappedKey) (Material, error) {
	return Material{}, errors.New("secret detail")
}

func TestProviderErrorsStayLocal(t *testing.T) {
	k := New(nil, failing{})
	_, err := k.NewRootKey(epoch)
	wantCode(t, err, errs.Busy)
	rk := mustRootKey(t, 0)
	rk.WrappedKeys[0].Provider = "far"
	addErr := k.Add(rk)
	wantCode(t, addErr, errs.Internal)
	for _, err := range []error{err, addErr} {
		if strings.Contains(err.Error(), "secret detail") {
			t.Errorf("error %q tells the cause", err)
		}
	}
	rk.WrappedKeys = append(rk.WrappedKeys, mustRootKey(t, 0).WrappedKeys...)
	wantCode(t, k.Add(rk), errs.Internal)
	good := mustRootKey(t, 0)
	good.WrappedKeys = append([]*structs.WrappedKey{{Provider: "far"}}, good.WrappedKeys...)
	if err := k.Add(good); err != nil {
		t.Errorf("second wrapped form not tried: %v", err)
	}
}

func TestConcurrentUseAndRotation(t *testing.T) {
	k := mustRing(t, mustRootKey(t, 0))
	keys := []*structs.RootKey{mustRootKey(t, time.Hour), mustRootKey(t, 2*time.Hour)}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				sealed, id, err := k.Seal(nil, []byte("text"))
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := k.Open(nil, sealed, id); err != nil || string(got) != "text" {
					t.Errorf("%q, %v", got, err)
					return
				}
			}
		})
	}
	for i := range 50 {
		if err := k.Add(keys[i%2]); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
}

func TestAddKeepsNothingOfItsArgument(t *testing.T) {
	rk := mustRootKey(t, 0)
	want := rk.Copy()
	k := mustRing(t, rk)
	if diff := cmp.Diff(want, rk); diff != "" {
		t.Error(diff)
	}
	sealed, id := mustSeal(t, k, "x")
	clear(rk.WrappedKeys[0].DataEncryptionKey)
	clear(rk.WrappedKeys[0].KeyEncryptionKey)
	if _, err := k.Open(nil, sealed, id); err != nil {
		t.Error(err)
	}
}

func FuzzOpen(f *testing.F) {
	k := mustRing(f, mustRootKey(f, 0))
	sealed, id := mustSeal(f, k, "seed")
	f.Add(sealed, id)
	f.Add([]byte{}, id)
	f.Add(sealed[:Overhead], id)
	f.Add(sealed, "")
	f.Fuzz(func(t *testing.T, b []byte, keyID string) {
		got, err := k.Open(nil, b, keyID)
		if err == nil && !(keyID == id && string(got) == "seed" && bytes.Equal(b, sealed)) {
			t.Errorf("opened %x with %q", b, keyID)
		}
		var e *errs.Error
		if err != nil && !errors.As(err, &e) {
			t.Errorf("error without a code: %v", err)
		}
	})
}

func FuzzAdd(f *testing.F) {
	rk := mustRootKey(f, 0)
	w := rk.WrappedKeys[0]
	f.Add(rk.KeyID, w.DataEncryptionKey, w.RSAKey, w.KeyEncryptionKey)
	f.Add(rk.KeyID, w.DataEncryptionKey, []byte(nil), w.KeyEncryptionKey)
	f.Add("", []byte{0}, []byte{1}, []byte{2})
	f.Add("id", make([]byte, Overhead), make([]byte, 11), make([]byte, 32))
	f.Fuzz(func(t *testing.T, id string, data, rsa, kek []byte) {
		k := New(nil)
		key := &structs.RootKey{RootKeyMeta: rk.RootKeyMeta}
		key.KeyID = id
		key.WrappedKeys = []*structs.WrappedKey{{Provider: "aead", DataEncryptionKey: data, RSAKey: rsa, KeyEncryptionKey: kek}}
		err := k.Add(key)
		var e *errs.Error
		if err != nil && !errors.As(err, &e) {
			t.Errorf("error without a code: %v", err)
		}
		if (err == nil) != (k.ActiveID() == id && id != "") {
			t.Errorf("added %q: %v, active %q", id, err, k.ActiveID())
		}
	})
}

func BenchmarkSeal300B(b *testing.B) {
	k := mustRing(b, mustRootKey(b, 0))
	text := make([]byte, 300)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := k.Seal(nil, text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen300B(b *testing.B) {
	k := mustRing(b, mustRootKey(b, 0))
	sealed, id := mustSeal(b, k, strings.Repeat("x", 300))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Open(nil, sealed, id); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSealParallel(b *testing.B) {
	k := mustRing(b, mustRootKey(b, 0))
	b.RunParallel(func(pb *testing.PB) {
		text, dst := make([]byte, 300), make([]byte, 0, 400)
		for pb.Next() {
			if _, _, err := k.Seal(dst, text); err != nil {
				b.Error(err)
			}
		}
	})
}

func TestDerive(t *testing.T) {
	key := mustRootKey(t, 0)
	a, b := mustRing(t, key), mustRing(t, key)
	got := a.Derive(key.KeyID, "purpose", []byte("context"))
	if len(got) != 32 || !bytes.Equal(got, b.Derive(key.KeyID, "purpose", []byte("context"))) {
		t.Fatalf("two servers derive %x and %x", got, b.Derive(key.KeyID, "purpose", []byte("context")))
	}
	for _, other := range [][]byte{
		a.Derive(key.KeyID, "purpose", []byte("contexts")), a.Derive(key.KeyID, "purposec", []byte("ontext")),
		mustRing(t, mustRootKey(t, 0)).Derive(key.KeyID, "purpose", []byte("context")),
	} {
		if bytes.Equal(got, other) {
			t.Error("something else gives the same bytes")
		}
	}
	if a.Derive("unknown", "purpose", nil) != nil {
		t.Error("a key that is not here derives")
	}
}
