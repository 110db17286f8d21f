package e2e

import (
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/hashicorp/nomad/api"
)

// newRegion prepares a region of one server that shares what "earth" owns.
func newRegion(t *testing.T, name, key string, acl settings, join ...string) *agent {
	t.Helper()
	acl["enabled"] = true
	server := settings{"enabled": true, "bootstrap_expect": 1, "authoritative_region": "earth", "encrypt": key,
		"server_join": settings{"retry_join": join, "retry_interval": "1s"}}
	a := newAgent(t, name, settings{"region": name, "server": server, "acl": acl})
	a.args = append(a.args, "-data-dir", a.dataDir())
	return a
}

// command runs the command line against the agent and returns what it printed.
func (a *agent) command(secret string, args ...string) (string, error) {
	cmd := exec.Command(binary, args...)
	cmd.Env = append(cleanEnv(), "CAIRN_ADDR="+a.url(""), "CAIRN_TOKEN="+secret)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestTwoRegions(t *testing.T) {
	root := uuid.NewString()
	oldKey, newKey := base64.StdEncoding.EncodeToString([]byte("0123456789abcdef")), base64.StdEncoding.EncodeToString([]byte("fedcba9876543210"))
	file := write(t, t.TempDir(), "management-token", root+"\n")
	earth := newRegion(t, "earth", oldKey, settings{"initial_management_token_file": file})
	mars := newRegion(t, "mars", oldKey, settings{"replication_token": root}, fmt.Sprintf("127.0.0.1:%d", earth.serf))
	earth.start()
	mars.start()
	here, there := earth.as(root), mars.as(root)

	policy := func(name string) func() bool {
		return func() bool {
			p, _, err := there.ACLPolicies().Info(name, &api.QueryOptions{Region: "mars"})
			return err == nil && p.Rules != ""
		}
	}
	write := func(name string) error {
		_, err := there.ACLPolicies().Upsert(&api.ACLPolicy{Name: name, Rules: `namespace "*" { policy = "read" }`}, nil)
		return err
	}
	eventually(t, "a policy is written through mars", func() bool { return write("reader") == nil })
	eventually(t, "the policy in mars", policy("reader"))
	if regions, err := there.Regions().List(); err != nil || strings.Join(regions, " ") != "earth mars" {
		t.Errorf("regions %v, %v", regions, err)
	}
	v := &api.Variable{Path: "app/db", Items: api.VariableItems{"a": "b"}}
	if _, _, err := here.Variables().Create(v, &api.WriteOptions{Region: "mars"}); err != nil {
		t.Errorf("a write to the other region: %v", err)
	}
	if _, _, err := here.Variables().Read("app/db", &api.QueryOptions{Region: "earth"}); err == nil {
		t.Error("a variable of mars is in earth, too")
	}

	for _, step := range [][]string{{"install", newKey}, {"use", newKey}, {"remove", oldKey}} {
		if out, err := mars.command(root, append([]string{"operator", "gossip", "keyring"}, step...)...); err != nil || !strings.Contains(out, "on 2 members") {
			t.Fatalf("%s: %v, %s", step[0], err, out)
		}
	}
	if kept, err := os.ReadFile(filepath.Join(mars.dataDir(), "server", "serf.keyring")); err != nil || strings.Contains(string(kept), oldKey) || !strings.Contains(string(kept), newKey) {
		t.Errorf("the keyring of mars: %v", err)
	}

	earth.kill()
	if !policy("reader")() {
		t.Error("mars lost the policy with earth")
	}
	eventually(t, "mars knows that earth is away", func() bool {
		out, err := mars.command(root, "operator", "replication", "status")
		return err != nil && strings.Contains(out, "acl_policy")
	})
	earth.start() // with the old key in its configuration and the new one in its file
	eventually(t, "writes of what is shared work again", func() bool { return write("later") == nil })
	eventually(t, "the later policy in mars", policy("later"))
	if _, err := here.ACLPolicies().Delete("reader", nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the deletion in mars", func() bool { return !policy("reader")() && policy("later")() })
	eventually(t, "mars is in step", func() bool {
		_, err := mars.command(root, "operator", "replication", "status")
		return err == nil
	})
	for _, a := range []*agent{earth, mars} {
		for _, secret := range []string{root, oldKey, newKey} {
			if strings.Contains(a.out.String(), secret) {
				t.Errorf("the log of %s shows a secret", a.name)
			}
		}
		if code := a.interrupt(); code != 0 {
			t.Errorf("%s ended with %d", a.name, code)
		}
	}
}
