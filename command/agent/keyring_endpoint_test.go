package agent

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-project/cairn/nomad/structs"
)

var testPublicKey = sync.OnceValue(func() *structs.KeyringPublicKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		panic(err)
	}
	return &structs.KeyringPublicKey{KeyID: "d1c2", PublicKey: der, Algorithm: "RS256", Use: "sig", CreateTime: time.Now().UnixNano()}
})

func TestJWKS(t *testing.T) {
	f := newFake().fill()
	h := testAPI(t, f)
	w := call(h, "GET", "/.well-known/jwks.json", "")
	set := decode[struct {
		Keys []struct{ Kid, Kty, Alg, Use, N string } `json:"keys"`
	}](t, w)
	if len(set.Keys) != 1 || set.Keys[0].Kid != "d1c2" || set.Keys[0].Kty != "RSA" || set.Keys[0].N == "" {
		t.Errorf("keys: %s", w.Body)
	}
	if !strings.HasPrefix(w.Header().Get("Cache-Control"), "max-age=") {
		t.Errorf("Cache-Control %q", w.Header().Get("Cache-Control"))
	}
	on(f, "Keyring.ListPublic", func(*structs.GenericRequest, *structs.KeyringListPublicResponse) error { return nil })
	if got := call(h, "GET", "/.well-known/jwks.json", "").Body.String(); got != `{"keys":[]}` {
		t.Errorf("no keys: %s", got)
	}
	if w := call(h, "GET", "/.well-known/openid-configuration", ""); w.Code != 404 {
		t.Errorf("discovery without an issuer: %d", w.Code)
	}
}
