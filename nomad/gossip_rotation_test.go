package nomad_test

import (
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

var (
	oldKey = base64.StdEncoding.EncodeToString([]byte("0123456789abcdef"))
	newKey = base64.StdEncoding.EncodeToString([]byte("fedcba98765432100123456789abcdef"))
)

// encrypted gives every server the old key, and a data directory of its own.
func encrypted(dir string) nomadtest.Option {
	return func(conf *nomad.Config) {
		conf.DataDir = filepath.Join(dir, conf.NodeName)
		conf.Gossip.EncryptKey, _ = base64.StdEncoding.DecodeString(oldKey)
	}
}

func keyringOp(t *testing.T, n *nomadtest.Node, op structs.GossipKeyOp, key string) *structs.GossipKeyResponse {
	t.Helper()
	reply, err := n.GossipKeys(context.Background(), op, key)
	if err != nil {
		t.Fatalf("%s: %v", op, err)
	}
	return reply
}

func TestGossipKeyRotation(t *testing.T) {
	dir := t.TempDir()
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		n := c.Nodes[1]
		within(t, "three members", func() bool { return len(n.Members()) == 3 })
		keyringOp(t, n, structs.GossipKeyInstall, newKey)
		if got := keyringOp(t, n, structs.GossipKeyList, ""); got.NumNodes != 3 || got.Keys[oldKey] != 3 || got.Keys[newKey] != 3 || got.PrimaryKeys[oldKey] != 3 {
			t.Fatalf("after install: %+v", got)
		}
		if _, err := n.GossipKeys(context.Background(), structs.GossipKeyRemove, oldKey); !errors.Is(err, errs.Invalid) {
			t.Fatalf("the key in use was removed: %v", err)
		}
		keyringOp(t, n, structs.GossipKeyUse, newKey)
		keyringOp(t, c.Nodes[0], structs.GossipKeyRemove, oldKey)
		if got := keyringOp(t, n, structs.GossipKeyList, ""); got.Keys[oldKey] != 0 || got.PrimaryKeys[newKey] != 3 {
			t.Fatalf("after remove: %+v", got)
		}

		// A server comes back with the keys of its file, not with the configured one.
		back := c.Nodes[2]
		c.Crash(back)
		within(t, "a failed member", func() bool {
			return keyringOp(t, n, structs.GossipKeyList, "").Messages["s3.global"] != ""
		})
		c.Restart(back)
		within(t, "all members again", func() bool {
			got := keyringOp(t, n, structs.GossipKeyList, "")
			return got.PrimaryKeys[newKey] == 3 && len(got.Messages) == 0
		})
	}, encrypted(dir))
}

func TestGossipKeyOperationNamesTheMemberThatFailed(t *testing.T) {
	dir := t.TempDir()
	nomadtest.Run(t, 2, func(t *testing.T, c *nomadtest.Cluster) {
		n := c.Nodes[0]
		within(t, "two members", func() bool { return len(n.Members()) == 2 })
		file := filepath.Join(dir, "s2", "serf.keyring")
		if err := errors.Join(os.Remove(file), os.Mkdir(file, 0o700)); err != nil { // nothing can be written there
			t.Fatal(err)
		}
		_, err := n.GossipKeys(context.Background(), structs.GossipKeyInstall, newKey)
		if !errors.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "1 of 2 members") || !strings.Contains(err.Error(), "s2.global: ") {
			t.Fatalf("got %v", err)
		}
		for _, key := range []string{"", "secret key!", newKey[:8]} {
			if _, err := n.GossipKeys(context.Background(), structs.GossipKeyInstall, key); !errors.Is(err, errs.Invalid) || key != "" && strings.Contains(err.Error(), key) {
				t.Errorf("the key %q gives %v", key, err)
			}
		}
		other := base64.StdEncoding.EncodeToString([]byte("ffffffffffffffff"))
		if _, err := n.GossipKeys(context.Background(), structs.GossipKeyUse, other); !errors.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "install it first") {
			t.Errorf("use of an unknown key gives %v", err)
		}
	}, encrypted(dir))
}

func TestGossipKeysNeedEncryption(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		_, err := c.Nodes[0].GossipKeys(context.Background(), structs.GossipKeyList, "")
		if !errors.Is(err, errs.PreconditionFailed) || !strings.Contains(err.Error(), "encrypt") {
			t.Fatalf("got %v", err)
		}
	})
}
