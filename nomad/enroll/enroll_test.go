package enroll

import (
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/tlsconf"
	"github.com/cairn-project/cairn/nomad/keyring"
	"github.com/cairn-project/cairn/nomad/structs"
)

func newDir(t *testing.T) Dir { return Dir(filepath.Join(t.TempDir(), "tls")) }

func founder(d Dir) Config {
	return Config{Dir: d, Role: tlsconf.RoleServer, Region: "eu", First: true, Fresh: true, Lifetime: time.Hour, IPs: []net.IP{net.IPv4(10, 0, 0, 1)}}
}

func mustPrepare(t *testing.T, c Config) {
	t.Helper()
	if err := Prepare(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

func mustLoad(t *testing.T, d Dir) *tlsconf.Source {
	t.Helper()
	s, err := tlsconf.Load(d.Settings())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTheFirstServerFoundsTheCluster(t *testing.T) {
	d := newDir(t)
	mustPrepare(t, founder(d))
	if err := mustLoad(t, d).CheckRole(tlsconf.RoleServer, "eu"); err != nil {
		t.Error(err)
	}
	key, err := d.GossipKey()
	if err != nil || len(key) != gossipKeySize {
		t.Errorf("gossip key of %d bytes: %v", len(key), err)
	}
	before, err := os.ReadFile(d.path(identityFile))
	if err != nil {
		t.Fatal(err)
	}
	mustPrepare(t, founder(d)) // a restart changes nothing
	if after, _ := os.ReadFile(d.path(identityFile)); !bytes.Equal(before, after) {
		t.Error("a restart made another certificate")
	}
	ca, caKey, err := d.Seed()
	if err != nil || ca == nil || caKey == nil {
		t.Fatalf("no authority to put into the state: %v", err)
	}
	if err := d.DropSeed(); err != nil {
		t.Fatal(err)
	}
	if ca, caKey, err = d.Seed(); err != nil || ca != nil || caKey != nil {
		t.Errorf("the key is still there: %v", err)
	}
}

// A crash while the first server founds leaves it to begin where it was.
func TestFoundingIsTakenUpAgain(t *testing.T) {
	d := newDir(t)
	mustPrepare(t, founder(d))
	ca, _, err := d.Seed()
	if err != nil {
		t.Fatal(err)
	}
	gossip, err := d.GossipKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(d.path(identityFile)); err != nil {
		t.Fatal(err)
	}
	mustPrepare(t, founder(d))
	again, _, err := d.Seed()
	if err != nil || !bytes.Equal(ca, again) {
		t.Errorf("there is another authority: %v", err)
	}
	if key, err := d.GossipKey(); err != nil || !bytes.Equal(key, gossip) {
		t.Errorf("there is another gossip key: %v", err)
	}
}

func TestTheConfiguredGossipKeyCounts(t *testing.T) {
	d := newDir(t)
	c := founder(d)
	c.GossipKey = bytes.Repeat([]byte{7}, 16)
	mustPrepare(t, c)
	if key, err := d.GossipKey(); err != nil || !bytes.Equal(key, c.GossipKey) {
		t.Errorf("%x: %v", key, err)
	}
}

// known is what a server has of the state of a cluster that d founded.
func known(t *testing.T, d Dir) (*keyring.Keyring, *Recovery) {
	t.Helper()
	keys := keyring.New(nil)
	root, err := keys.NewRootKey(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := keys.Add(root); err != nil {
		t.Fatal(err)
	}
	ca, caKey, err := d.Seed()
	if err != nil {
		t.Fatal(err)
	}
	a, err := Seal(keys, ca, caKey)
	if err != nil {
		t.Fatal(err)
	}
	a.Active = true
	if bytes.Contains(a.SealedKey, []byte("PRIVATE KEY")) {
		t.Error("the key of the authority is stored in clear")
	}
	return keys, &Recovery{Authorities: []*structs.Authority{a}, RootKeys: []*structs.RootKey{root}}
}

func TestExpiredCertificates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDir(t)
		c := founder(d)
		mustPrepare(t, c)
		_, r := known(t, d)
		time.Sleep(2 * time.Hour)
		err := Prepare(t.Context(), c)
		if !errors.Is(err, errs.PreconditionFailed) || !strings.Contains(err.Error(), "new join token") {
			t.Fatalf("without a way to renew: %v", err)
		}
		if err := d.SaveRecovery(r); err != nil {
			t.Fatal(err)
		}
		mustPrepare(t, c)
		if err := mustLoad(t, d).CheckRole(tlsconf.RoleServer, "eu"); err != nil {
			t.Error(err)
		}
	})
}

func TestServersTrustEveryAuthority(t *testing.T) {
	d := newDir(t)
	mustPrepare(t, founder(d))
	keys, r := known(t, d)
	cert, key, err := NewAuthority("eu")
	if err != nil {
		t.Fatal(err)
	}
	next, err := Seal(keys, cert, key)
	if err != nil {
		t.Fatal(err)
	}
	both := append(r.Authorities, next)
	h := Holder{Role: tlsconf.RoleServer, Region: "eu", Lifetime: time.Hour}
	old, fresh := newDir(t), newDir(t)
	if err := old.SelfIssue(keys, both, h, nil); err != nil {
		t.Fatal(err)
	}
	both[0].Active, both[1].Active = false, true
	if err := fresh.SelfIssue(keys, both, h, nil); err != nil {
		t.Fatal(err)
	}
	for _, d := range []Dir{old, fresh} {
		source := mustLoad(t, d)
		if err := source.CheckRole(tlsconf.RoleServer, "eu"); err != nil {
			t.Error(err)
		}
		if n := len(source.Expiries()); n != 3 {
			t.Errorf("%d certificates in use, want our own and two authorities", n)
		}
	}
	if err := fresh.SelfIssue(keys, nil, h, nil); !errors.Is(err, errs.PreconditionFailed) {
		t.Errorf("without an authority: %v", err)
	}
}

func TestDamagedFiles(t *testing.T) {
	for name, want := range map[string]string{identityFile: "cannot be read", gossipFile: "is damaged"} {
		d := newDir(t)
		mustPrepare(t, founder(d))
		if err := os.WriteFile(d.path(name), []byte("!"), 0o600); err != nil {
			t.Fatal(err)
		}
		err := Prepare(t.Context(), founder(d))
		if _, gerr := d.GossipKey(); err == nil {
			err = gerr
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	d := newDir(t)
	if err := d.write(clusterFile, []byte("{")); err != nil {
		t.Fatal(err)
	}
	if c, err := d.Cluster(); err != nil || c.Region != "" {
		t.Errorf("%+v: %v", c, err)
	}
}

// An authority follows the other in time, and signs once everybody knows it.
func TestAuthoritiesFollowEachOther(t *testing.T) {
	at := func(days int) time.Time { return time.Unix(0, 0).Add(time.Duration(days) * 24 * time.Hour) }
	authority := func(id string, made int, active bool) *structs.Authority {
		return &structs.Authority{ID: id, CreateTime: at(made), Active: active}
	}
	requested, since := authority("b", 100, false), authority("b", 100, true)
	requested.Requested, since.ActivateTime = true, at(103)
	for _, row := range []struct {
		what     string
		all      []*structs.Authority
		now      int
		lifetime time.Duration
		want     Decision
	}{
		{what: "none", now: 1, want: Decision{Create: true, Active: true}},
		{what: "a young one", all: []*structs.Authority{authority("a", 0, true)}, now: 365 * 7},
		{what: "an old one", all: []*structs.Authority{authority("a", 0, true)}, now: 365 * 8, want: Decision{Create: true}},
		{what: "a new one", all: []*structs.Authority{authority("a", 0, true), authority("b", 365*8, false)}, now: 365*8 + 6},
		{what: "one that all know", all: []*structs.Authority{authority("a", 0, true), authority("b", 365*8, false)}, now: 365*8 + 7,
			want: Decision{Activate: authority("b", 365*8, false)}},
		{what: "certificates that live longer", all: []*structs.Authority{authority("a", 0, true), authority("b", 365*8, false)}, now: 365*8 + 7, lifetime: 30 * 24 * time.Hour},
		{what: "one that was asked for", all: []*structs.Authority{authority("a", 0, true), requested}, now: 102, lifetime: 72 * time.Hour},
		{what: "one that was asked for and all know", all: []*structs.Authority{authority("a", 0, true), requested}, now: 103, lifetime: 72 * time.Hour, want: Decision{Activate: requested}},
		{what: "certificates of the one before", all: []*structs.Authority{authority("a", 0, false), since}, now: 105, lifetime: 72 * time.Hour},
		{what: "no certificate of the one before", all: []*structs.Authority{authority("a", 0, false), since}, now: 106, lifetime: 72 * time.Hour, want: Decision{Drop: authority("a", 0, false)}},
		{what: "one that was before", all: []*structs.Authority{authority("a", 0, false), authority("b", 365*8, true)}, now: 365 * 9},
	} {
		if diff := cmp.Diff(row.want, Decide(row.all, at(row.now), row.lifetime)); diff != "" {
			t.Errorf("%s: %s", row.what, diff)
		}
	}
}

func TestWhoIssued(t *testing.T) {
	d := newDir(t)
	mustPrepare(t, founder(d))
	_, r := known(t, d)
	if !d.IssuedBy(r.Authorities) {
		t.Error("the certificate is not of the authority that was founded")
	}
	if r.Authorities[0].ID = "other"; d.IssuedBy(r.Authorities) || newDir(t).IssuedBy(r.Authorities) {
		t.Error("the certificate is of an authority that it is not of")
	}
}

// Where others gossip in clear, the first server with TLS does too.
func TestNoGossipKeyBesideAState(t *testing.T) {
	d := newDir(t)
	c := founder(d)
	c.Fresh = false
	mustPrepare(t, c)
	if key, err := d.GossipKey(); err != nil || key != nil {
		t.Errorf("%x: %v", key, err)
	}
}
