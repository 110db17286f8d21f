package keyring

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

type claims struct {
	jwt.Claims
	Job string `json:"nomad_job_id"`
}

func mustSign(t *testing.T, k *Keyring, c any) (token, keyID string) {
	t.Helper()
	token, keyID, err := k.Sign(c)
	if err != nil {
		t.Fatal(err)
	}
	return token, keyID
}

func TestSignVerifyAcrossRotation(t *testing.T) {
	first := mustRootKey(t, 0)
	k := mustRing(t, first)
	want := claims{Claims: jwt.Claims{Subject: "global:default:web"}, Job: "web"}
	token, id := mustSign(t, k, want)
	if id != first.KeyID {
		t.Errorf("signed by %s, active is %s", id, first.KeyID)
	}
	if err := k.Add(mustRootKey(t, time.Hour)); err != nil {
		t.Fatal(err)
	}
	var got claims
	if err := k.Verify(token, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	k.Remove(first.KeyID)
	wantCode(t, k.Verify(token, &got), errs.Unauthenticated)
}

func TestSignedHeader(t *testing.T) {
	k := mustRing(t, mustRootKey(t, 0))
	token, id := mustSign(t, k, claims{})
	raw, err := base64.RawURLEncoding.DecodeString(token[:strings.Index(token, ".")])
	if err != nil {
		t.Fatal(err)
	}
	var header map[string]string
	if err := json.Unmarshal(raw, &header); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"alg": "RS256", "typ": "JWT", "kid": id}, header); diff != "" {
		t.Error(diff)
	}
}

func TestVerifyRefuses(t *testing.T) {
	rk := mustRootKey(t, 0)
	k := mustRing(t, rk)
	token, _ := mustSign(t, k, claims{Job: "web"})
	stranger, _ := mustSign(t, mustRing(t, mustRootKey(t, 0)), claims{Job: "web"})
	parts := strings.Split(token, ".")

	public := k.PublicKeys()[0]
	hmac, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: public.PublicKey},
		(&jose.SignerOptions{}).WithHeader("kid", rk.KeyID))
	if err != nil {
		t.Fatal(err)
	}
	confused, err := jwt.Signed(hmac).Claims(claims{Job: "root"}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	eddsa, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: ed}, (&jose.SignerOptions{}).WithHeader("kid", rk.KeyID))
	if err != nil {
		t.Fatal(err)
	}
	otherAlg, err := jwt.Signed(eddsa).Claims(claims{Job: "root"}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"` + rk.KeyID + `"}`))

	for name, bad := range map[string]string{
		"empty":              "",
		"garbage":            "a.b.c",
		"other key":          stranger,
		"signature cut":      token[:len(token)-6],
		"claims replaced":    parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"nomad_job_id":"root"}`)) + "." + parts[2],
		"alg none":           none + "." + parts[1] + ".",
		"public key as HMAC": confused,
		"alg of another key": otherAlg,
	} {
		t.Run(name, func(t *testing.T) {
			var got claims
			wantCode(t, k.Verify(bad, &got), errs.Unauthenticated)
			if got.Job != "" {
				t.Errorf("claims of a refused token decoded: %+v", got)
			}
		})
	}
}

func TestVerifyHonoursTimes(t *testing.T) {
	rk := mustRootKey(t, 0)
	synctest.Test(t, func(t *testing.T) {
		k := mustRing(t, rk)
		now := time.Now()
		token, _ := mustSign(t, k, claims{Claims: jwt.Claims{
			NotBefore: jwt.NewNumericDate(now.Add(time.Minute)),
			Expiry:    jwt.NewNumericDate(now.Add(time.Hour)),
		}})
		var got claims
		wantCode(t, k.Verify(token, &got), errs.Unauthenticated)
		if got.Expiry != nil {
			t.Error("claims of a token that is not valid yet decoded")
		}
		time.Sleep(time.Minute)
		if err := k.Verify(token, &got); err != nil {
			t.Errorf("within its time: %v", err)
		}
		time.Sleep(time.Hour - time.Minute + clockLeeway + time.Second)
		wantCode(t, k.Verify(token, &got), errs.Unauthenticated)
	})
}

func TestSignRefusesWhatIsNoObject(t *testing.T) {
	k := mustRing(t, mustRootKey(t, 0))
	_, _, err := k.Sign(make(chan int))
	wantCode(t, err, errs.Invalid)
}

// mustWrapSigner returns a root key that signs with key.
func mustWrapSigner(t *testing.T, key any) *structs.RootKey {
	t.Helper()
	rk := mustRootKey(t, 0)
	m, err := unwrap(New(nil).providers, rk)
	if err != nil {
		t.Fatal(err)
	}
	m.SigningKey = nil
	if key != nil {
		if m.SigningKey, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
			t.Fatal(err)
		}
	}
	if rk.WrappedKeys[0], err = wrap(aeadProvider{}, m); err != nil {
		t.Fatal(err)
	}
	return rk
}

func TestKindsOfSigningKey(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k := mustRing(t, mustWrapSigner(t, ed))
	token, _ := mustSign(t, k, claims{Job: "web"})
	var got claims
	if err := k.Verify(token, &got); err != nil || k.PublicKeys()[0].Algorithm != "EdDSA" {
		t.Errorf("Ed25519: %v, %s", err, k.PublicKeys()[0].Algorithm)
	}

	k = mustRing(t, mustWrapSigner(t, nil))
	_, _, err = k.Sign(claims{})
	wantCode(t, err, errs.PreconditionFailed)
	if n := len(k.PublicKeys()); n != 0 {
		t.Errorf("%d public keys of a key that signs nothing", n)
	}

	t.Setenv("GODEBUG", "rsa1024min=0")
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, New(nil).Add(mustWrapSigner(t, weak)), errs.Internal)
}

func TestJWKSHoldsThePublicKeysNewestFirst(t *testing.T) {
	first, second, ahead := mustRootKey(t, 0), mustRootKey(t, time.Hour), mustRootKey(t, 2*time.Hour)
	ahead.State = structs.RootKeyStatePrepublished
	k := mustRing(t, second, first, ahead)
	token, id := mustSign(t, k, claims{Job: "web"})

	set, err := JWKS(k.PublicKeys())
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, key := range set.Keys {
		ids = append(ids, key.KeyID)
		if !key.IsPublic() || key.Use != "sig" || key.Algorithm != "RS256" {
			t.Errorf("key %s: public %v, use %q, alg %q", key.KeyID, key.IsPublic(), key.Use, key.Algorithm)
		}
	}
	if diff := cmp.Diff([]string{ahead.KeyID, second.KeyID, first.KeyID}, ids); diff != "" {
		t.Error(diff)
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	var got claims
	if err := parsed.Claims(set.Key(id)[0].Key, &got); err != nil || got.Job != "web" {
		t.Errorf("token does not verify with the set: %v", err)
	}
	text, err := json.Marshal(set)
	if err != nil || strings.Contains(string(text), `"d":`) {
		t.Errorf("set encodes as %s, %v", text, err)
	}
}

func TestJWKSOfNoneAndOfGarbage(t *testing.T) {
	set, err := JWKS(nil)
	if err != nil {
		t.Fatal(err)
	}
	if text, _ := json.Marshal(set); string(text) != `{"keys":[]}` {
		t.Errorf("empty set is %s", text)
	}
	_, err = JWKS([]*structs.KeyringPublicKey{{KeyID: "k", PublicKey: []byte{1, 2}}})
	wantCode(t, err, errs.Internal)
}

func TestMaxAge(t *testing.T) {
	const threshold = 720 * time.Hour
	at := func(ages ...time.Duration) []*structs.KeyringPublicKey {
		var out []*structs.KeyringPublicKey
		for _, a := range ages {
			out = append(out, &structs.KeyringPublicKey{CreateTime: epoch.Add(-a).UnixNano()})
		}
		return out
	}
	for name, c := range map[string]struct {
		keys []*structs.KeyringPublicKey
		want time.Duration
	}{
		"none":              {nil, 15 * time.Minute},
		"fresh":             {at(0), 360 * time.Hour},
		"from the future":   {at(-time.Hour), 360 * time.Hour},
		"newest counts":     {at(500*time.Hour, 100*time.Hour), 260 * time.Hour},
		"next one is near":  {at(360*time.Hour - time.Minute), 15 * time.Minute},
		"next one is late":  {at(1000 * time.Hour), 15 * time.Minute},
		"in whole seconds":  {at(time.Hour + time.Millisecond), 359*time.Hour - time.Second},
		"threshold is zero": {at(0), 360 * time.Hour},
	} {
		limit := threshold
		if name == "threshold is zero" {
			limit, c.want = 0, 15*time.Minute
		}
		if got := MaxAge(c.keys, limit, epoch); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func FuzzVerify(f *testing.F) {
	k := mustRing(f, mustRootKey(f, 0))
	token, _, err := k.Sign(claims{Job: "web"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token)
	f.Add("..")
	f.Add(`{"payload":"","signatures":[]}`)
	f.Fuzz(func(t *testing.T, s string) {
		var got claims
		if err := k.Verify(s, &got); err != nil {
			wantCode(t, err, errs.Unauthenticated)
		}
	})
}
