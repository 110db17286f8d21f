package auth

import (
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/keyring"
	"github.com/cairn-project/cairn/nomad/structs"
)

// FuzzSecrets feeds what no honest caller sends to both ways of proving oneself.
func FuzzSecrets(f *testing.F) {
	ring := keyring.New(hclog.NewNullLogger())
	key, err := ring.NewRootKey(time.Now())
	if err != nil {
		f.Fatal(err)
	}
	if err := ring.Add(key); err != nil {
		f.Fatal(err)
	}
	good, _, err := ring.Sign(map[string]any{"nomad_namespace": "default", "nomad_job_id": "web", "aud": DefaultAudience, "exp": 1 << 40})
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"", "x", "..", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", good, good[:len(good)-4] + "AAAA", "{}.{}.{}", "\x00.\xff.\x00"} {
		f.Add(s)
	}
	r, _ := newFake()
	r.config.Verify = ring.Verify
	var l Logins
	f.Fuzz(func(t *testing.T, secret string) {
		id, err := r.Resolve(t.Context(), secret, nil)
		if (err == nil) == (id == nil) || err != nil && !errors.Is(err, errs.PermissionDenied) {
			t.Fatalf("resolved %+v, %v", id, err)
		}
		if id != nil && secret != "" && secret != good && id.Workload == nil {
			t.Fatalf("%q is somebody: %+v", secret, id)
		}
		m := &structs.ACLAuthMethod{Name: "ci", Config: &structs.ACLAuthMethodConfig{JWTValidationPubKeys: []string{publicPEM(t, loginKey.Public())}}}
		if claims, err := l.VerifyJWT(t.Context(), m, secret); !errors.Is(err, errs.Unauthenticated) {
			t.Fatalf("logged in with %q: %v, %v", secret, claims, err)
		}
	})
}
