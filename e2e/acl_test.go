package e2e

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/rogpeppe/go-internal/testscript"
)

// identity returns a JWT for the group shop, and the public key of who signed it.
func identity(t *testing.T) (token, key []byte) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: private}, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	text, err := jwt.Signed(signer).Claims(map[string]any{"aud": "cairn", "sub": "pipeline", "groups": []string{"shop"},
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return []byte(text), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// TestAccessControlStories runs the scripts that need an agent with access control.
func TestAccessControlStories(t *testing.T) {
	bin := t.TempDir()
	if err := os.Symlink(binary, filepath.Join(bin, "cairn")); err != nil {
		t.Fatal(err)
	}
	scripts, err := filepath.Glob("../command/testdata/script/acl/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	token, key := identity(t)
	for _, script := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(script), ".txt"), func(t *testing.T) {
			a := newAgent(t, "guarded", nil, "-dev", "-acl-enabled")
			a.start()
			a.ready()
			testscript.Run(t, testscript.Params{
				Files: []string{script},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"stdout-to-env": func(ts *testscript.TestScript, _ bool, args []string) {
						ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
					},
				},
				Setup: func(env *testscript.Env) error {
					env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
					env.Setenv("CAIRN_ADDR", a.url(""))
					if err := os.WriteFile(filepath.Join(env.WorkDir, "id-token"), token, 0o600); err != nil {
						return err
					}
					return os.WriteFile(filepath.Join(env.WorkDir, "id-key.pem"), key, 0o600)
				},
			})
		})
	}
}
