package e2e

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"
	"github.com/hashicorp/nomad/api"
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

// newGuardedCluster runs three servers whose first management token is declared.
func newGuardedCluster(t *testing.T) (*cluster, string) {
	t.Helper()
	root := uuid.NewString()
	file := write(t, t.TempDir(), "management-token", root+"\n")
	c := prepareCluster(t, nil, settings{"acl": settings{"enabled": true, "initial_management_token_file": file}})
	c.startAll()
	eventually(t, "the declared token works", func() bool {
		_, _, err := c.servers[0].as(root).ACLTokens().List(nil)
		return err == nil
	})
	return c, root
}

// as returns a client with a token.
func (a *agent) as(secret string) *api.Client {
	client := a.client(callLimit)
	client.SetSecretID(secret)
	return client
}

func forbidden(err error) bool {
	var status api.UnexpectedResponseError
	return errors.As(err, &status) && status.StatusCode() == 403
}

// mustMake makes a token although a leader may be missing for a while.
func (a *agent) mustMake(root string) *api.ACLToken {
	a.t.Helper()
	var made *api.ACLToken
	eventually(a.t, a.name+" makes a token", func() (ok bool) {
		var err error
		made, _, err = a.as(root).ACLTokens().Create(&api.ACLToken{Type: "management", Name: "e2e"}, nil)
		return err == nil
	})
	return made
}

// mustServe wants the token to work, now, for every kind of call.
func (a *agent) mustServe(secret string) {
	a.t.Helper()
	client := a.as(secret)
	_, _, list := client.ACLTokens().List(nil)
	_, _, stale := client.ACLTokens().List(&api.QueryOptions{AllowStale: true})
	_, local := client.Agent().Self()
	_, members := client.Agent().Members()
	if err := errors.Join(list, stale, local, members); err != nil {
		a.t.Errorf("%s: a token that was made: %v", a.name, err)
	}
}

func TestATokenWorksOnEveryServerAtOnce(t *testing.T) {
	c, root := newGuardedCluster(t)
	if _, _, err := c.servers[0].api.ACLTokens().Bootstrap(nil); err == nil {
		t.Error("a stranger made a management token")
	}
	for i := range 30 {
		made := c.servers[i%3].mustMake(root)
		c.servers[(i+1)%3].mustServe(made.SecretID)
		c.servers[(i+2)%3].mustServe(made.SecretID)
		if _, err := c.servers[i%3].as(root).ACLTokens().Delete(made.AccessorID, nil); err != nil {
			t.Error(err)
		}
		for _, a := range c.servers {
			if _, _, err := a.as(made.SecretID).Namespaces().List(nil); !forbidden(err) {
				t.Errorf("%s: a token that was deleted: %v", a.name, err)
			}
		}
	}
}

// A leader that was replaced while it stood still knows none of what was made since.
func TestATokenWorksOnALeaderThatWasReplaced(t *testing.T) {
	c, root := newGuardedCluster(t)
	for range 3 {
		old := c.leader()
		old.freeze()
		made := c.leader(old).mustMake(root)
		old.resume()
		old.mustServe(made.SecretID)
	}
	old := c.leader()
	made := old.mustMake(root)
	old.kill()
	for _, a := range c.others(old) {
		a.mustServe(made.SecretID)
	}
	c.leader(old).mustMake(root)
	old.start()
	old.ready()
	old.mustServe(made.SecretID)
}
