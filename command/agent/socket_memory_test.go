package agent

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cairn-project/cairn/drpc/agentpb"
	"github.com/cairn-project/cairn/internal/drpc"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// took returns how long f runs by the clock of the bubble.
func took(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}

// TestSilentServersKeepNobodyFromACredential: one that is due but good is answered in
// time, also to a caller in a hurry, and the servers are not waited for at each call.
func TestSilentServersKeepNobodyFromACredential(t *testing.T) {
	f := newFake()
	var away atomic.Bool
	signer(f, &away)
	synctest.Test(t, func(t *testing.T) {
		a := agentWithSockets(t, f)
		peer := drpc.Peer{Known: true, UID: 1000, GID: 27, PID: 4242}
		get := func(ctx context.Context, want string, within time.Duration) {
			t.Helper()
			var c *agentpb.Credentials
			var err error
			have := took(func() { c, err = a.sockets.credentials.get(ctx, peer, &agentpb.CredentialsRequest{}, false) })
			if err != nil || c.Jwt != want || have != within {
				t.Errorf("after %s %v, %v, want %s after %s", have, c, err, want, within)
			}
		}
		get(t.Context(), "a", 0)
		time.Sleep(11 * time.Minute)
		f.silent.Store(true)
		get(t.Context(), "a", briefWait)
		get(t.Context(), "a", 0) // they were silent a moment ago
		time.Sleep(silentPause)
		hurry, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		get(hurry, "a", 50*time.Millisecond)
		f.silent.Store(false)
		get(t.Context(), "a", 0)
		time.Sleep(silentPause)
		get(t.Context(), "b", 0)
		f.silent.Store(true)
		time.Sleep(structs.DefaultIdentityTTL)
		late, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if _, err := a.sockets.credentials.get(late, peer, &agentpb.CredentialsRequest{}, false); !errors.Is(err, errs.Deadline) {
			t.Errorf("one that has expired: %v", err)
		}
	})
}

// TestSilentServersAreAskedOnceForAll: who waits is answered from memory, and the
// question goes on without those who gave up.
func TestSilentServersAreAskedOnceForAll(t *testing.T) {
	f := newFake()
	var asked atomic.Int32
	on(f, "Status.Peers", func(_ *structs.GenericRequest, r *[]string) error {
		asked.Add(1)
		*r = []string{"10.0.0.1:4647"}
		return nil
	})
	on(f, "Status.Leader", func(*structs.GenericRequest, *string) error { return nil })
	synctest.Test(t, func(t *testing.T) {
		a := agentWithSockets(t, f)
		f.silent.Store(true)
		hurry, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, err := a.sockets.attach.get(hurry); !errors.Is(err, errs.Deadline) {
			t.Errorf("never heard of a server: %v", err)
		}
		if have := took(func() { _, _ = a.sockets.attach.get(t.Context()) }); have != attachTimeout-10*time.Millisecond {
			t.Errorf("the question under way was not waited for: %s", have)
		}
		f.silent.Store(false)
		for range 2 { // the second from memory
			if got, err := a.sockets.attach.get(t.Context()); err != nil || len(got.Servers) != 1 || asked.Load() != 1 {
				t.Fatalf("%v, %v, asked %d times", got, err, asked.Load())
			}
		}
		time.Sleep(time.Minute)
		f.silent.Store(true)
		for _, patience := range []time.Duration{time.Hour, 100 * time.Millisecond} {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			got, err := a.sockets.attach.get(ctx)
			if err != nil || len(got.Servers) != 1 || got.AgeMs < 60000 || ctx.Err() != nil {
				t.Errorf("from memory within %s: %v, %v, %v", patience, got, err, ctx.Err())
			}
			cancel()
		}
		a.sockets.stop()
	})
}

// TestKeysInMemoryWillDo while the servers are silent, and no key is unknown because of that.
func TestKeysInMemoryWillDo(t *testing.T) {
	f := newFake()
	public, err := x509.MarshalPKIXPublicKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)).Public())
	if err != nil {
		t.Fatal(err)
	}
	on(f, "Keyring.ListPublic", func(_ *structs.GenericRequest, r *structs.KeyringListPublicResponse) error {
		r.PublicKeys = []*structs.KeyringPublicKey{{KeyID: "k", PublicKey: public, Algorithm: string(jose.EdDSA), Use: "sig"}}
		r.RotationThreshold = time.Hour
		return nil
	})
	synctest.Test(t, func(t *testing.T) {
		a := agentWithSockets(t, f)
		if key, _, err := a.sockets.keys.find(t.Context(), "k"); key == nil || err != nil {
			t.Fatal(key, err)
		}
		time.Sleep(240 * time.Hour)
		f.silent.Store(true)
		have := took(func() {
			if key, age, err := a.sockets.keys.find(t.Context(), "k"); key == nil || age < 240*time.Hour || err != nil {
				t.Error(key, age, err)
			}
		})
		if have != briefWait {
			t.Errorf("answered after %s", have)
		}
		if key, _, err := a.sockets.keys.find(t.Context(), "other"); key != nil || err != nil {
			t.Error(key, err)
		}
		a.sockets.stop()
	})
}

// TestHealthOfANodeLooksAtItsOwnDisk: an agent without a server has no directory of one.
func TestHealthOfANodeLooksAtItsOwnDisk(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "client"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"state_dir": func(c *Config) { c.Client.StateDir = dir },
		"data_dir":  func(c *Config) { c.DataDir = dir },
	} {
		node := agentWithSockets(t, newFake(), func(c *Config) { c.DevMode, c.Server.Enabled, c.Client.Enabled = false, false, true }, change)
		out := &agentpb.Health{State: stateHealthy}
		node.sockets.addDisk(out)
		for _, reason := range out.Reasons {
			if strings.Contains(reason, "cannot be looked at") {
				t.Errorf("%s: %v", name, out)
			}
		}
		if !strings.HasPrefix(node.sockets.dataDir, dir) || out.DiskTotalBytes == 0 {
			t.Errorf("%s: looks at %s: %v", name, node.sockets.dataDir, out)
		}
	}
}

// TestHealthWorriesOfAFullDisk below a twentieth of it and 10 GiB.
func TestHealthWorriesOfAFullDisk(t *testing.T) {
	a := agentWithSockets(t, newFake(), func(c *Config) { c.DevMode, c.Server.DataDir = false, "/data" })
	const gib = 1 << 30
	for _, c := range []struct {
		free, total uint64
		worried     bool
	}{
		{0, 1000, true}, {49, 1000, true}, {50, 1000, false}, {1000, 1000, false},
		{0, 10_000 * gib, true}, {10*gib - 1, 10_000 * gib, true}, {10 * gib, 10_000 * gib, false}, {499 * gib, 10_000 * gib, false},
		{4 * gib, 100 * gib, true}, {5 * gib, 100 * gib, false}, {0, 0, false},
	} {
		a.sockets.diskRoom = func(string) (uint64, uint64, error) { return c.free, c.total, nil }
		out := &agentpb.Health{State: stateHealthy}
		a.sockets.addDisk(out)
		if out.DiskFreeBytes != c.free || out.DiskTotalBytes != c.total || (out.State == stateDegraded) != c.worried || len(out.Reasons) > 0 != c.worried {
			t.Errorf("%d of %d left: %v", c.free, c.total, out)
		}
	}
}
