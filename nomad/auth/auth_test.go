package auth

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/keyring"
	"github.com/cairn-project/cairn/nomad/structs"
)

// fakeStore holds rows by what they are asked for.
type fakeStore struct {
	tokens   map[string]*structs.ACLToken
	policies map[string]*structs.ACLPolicy
	roles    map[string]*structs.ACLRole
	nodes    []*structs.Node
}

func (f *fakeStore) Node(_ memdb.WatchSet, id string) *structs.Node {
	return f.node(func(n *structs.Node) bool { return n.ID == id })
}

func (f *fakeStore) NodeBySecret(_ memdb.WatchSet, secret string) *structs.Node {
	return f.node(func(n *structs.Node) bool { return n.SecretID == secret })
}

func (f *fakeStore) node(is func(*structs.Node) bool) *structs.Node {
	if i := slices.IndexFunc(f.nodes, is); i >= 0 {
		return f.nodes[i]
	}
	return nil
}

func (f *fakeStore) ACLTokenBySecret(_ memdb.WatchSet, s string) *structs.ACLToken {
	return f.tokens[s]
}
func (f *fakeStore) ACLPolicy(_ memdb.WatchSet, n string) *structs.ACLPolicy { return f.policies[n] }
func (f *fakeStore) ACLRole(_ memdb.WatchSet, id string) *structs.ACLRole    { return f.roles[id] }
func (f *fakeStore) WorkloadACLPolicies(memdb.WatchSet) iter.Seq[*structs.ACLPolicy] {
	return func(yield func(*structs.ACLPolicy) bool) {
		for _, p := range f.policies {
			if !yield(p) {
				return
			}
		}
	}
}

func (f *fakeStore) policy(name, rules string) *structs.ACLPolicy {
	p := &structs.ACLPolicy{Name: name, Rules: rules, ModifyIndex: 1}
	p.SetHash()
	f.policies[name] = p
	return p
}

func newFake() (*Resolver, *fakeStore) {
	f := &fakeStore{tokens: map[string]*structs.ACLToken{}, policies: map[string]*structs.ACLPolicy{}, roles: map[string]*structs.ACLRole{}}
	refuse := func(string, any) error { return errs.New(errs.Unauthenticated, "no") }
	return New(Config{Enabled: true, Store: func() Store { return f }, Verify: refuse}), f
}

func TestOffAllowsEveryone(t *testing.T) {
	for _, peer := range []*Peer{nil, {}, {Server: true, TLSNames: []string{"server.global.nomad"}}} {
		for _, secret := range []string{"", "nonsense", "a.b.c"} {
			got, err := New(Config{}).Resolve(context.Background(), secret, peer)
			if err != nil || !got.ACL.IsManagement() || !got.ACL.AllowServerOp() || got.Token.AccessorID != DisabledAccessor {
				t.Errorf("peer %+v, secret %q: %+v, %v", peer, secret, got, err)
			}
		}
	}
}

func TestOnFailsClosed(t *testing.T) {
	r, _ := newFake()
	got, err := r.Resolve(context.Background(), "", &Peer{Server: true})
	if err != nil || got.ACL.IsManagement() || got.ACL.AllowNamespace("default") || got.ACL.AllowServerOp() {
		t.Errorf("without a secret: %+v, %v", got, err)
	}
	for _, secret := range []string{"nonsense", "a.b.c", "..", strings.Repeat("x", 1<<20)} {
		if got, err = r.Resolve(context.Background(), secret, nil); !errors.Is(err, errs.PermissionDenied) || got != nil {
			t.Errorf("unknown secret: %+v, %v", got, err)
		}
	}
}

func TestRightsAreTheSumOfPoliciesAndRoles(t *testing.T) {
	r, f := newFake()
	f.policy("one", `namespace "one" { policy = "read" }`)
	f.policy("two", `namespace "two" { policy = "read" }`)
	f.policy("anonymous", `namespace "open" { policy = "read" }`)
	f.roles["r"] = &structs.ACLRole{ID: "r", Policies: []*structs.ACLRolePolicyLink{{Name: "two"}, {Name: "missing"}}}
	f.tokens["s"] = &structs.ACLToken{Type: structs.ACLClientToken, Policies: []string{"one"}, Roles: []*structs.ACLTokenRoleLink{{ID: "r"}, {ID: "gone"}}}
	got, err := r.Resolve(context.Background(), "s", nil)
	if err != nil {
		t.Fatal(err)
	}
	for ns, want := range map[string]bool{"one": true, "two": true, "open": false, "default": false} {
		if got.ACL.AllowNamespace(ns) != want {
			t.Errorf("namespace %s: %v, want %v", ns, !want, want)
		}
	}
	if want := []string{"missing", "one", "two"}; !slices.Equal(got.Policies, want) || !got.Holds("missing") || got.Holds("other") || !got.HoldsRole("r") {
		t.Errorf("holds %v, want %v", got.Policies, want)
	}
	if got, _ = r.Resolve(context.Background(), "", nil); !got.ACL.AllowNamespace("open") || got.Token.AccessorID != AnonymousAccessor {
		t.Errorf("a caller without a secret is %+v", got)
	}
}

func TestChangedPolicyCountsAtOnce(t *testing.T) {
	r, f := newFake()
	f.tokens["s"] = &structs.ACLToken{Type: structs.ACLClientToken, Policies: []string{"p"}}
	for i, ns := range []string{"one", "two"} {
		f.policy("p", `namespace "`+ns+`" { policy = "read" }`).ModifyIndex = uint64(i)
		got, err := r.Resolve(context.Background(), "s", nil)
		if err != nil || !got.ACL.AllowNamespace(ns) || got.ACL.AllowNamespace("one") != (ns == "one") {
			t.Errorf("after the write of %s: %+v, %v", ns, got, err)
		}
	}
}

func TestExpiredTokenIsRefused(t *testing.T) {
	r, f := newFake()
	past, future := time.Now().Add(-time.Second), time.Now().Add(time.Hour)
	f.tokens["old"] = &structs.ACLToken{Type: structs.ACLManagementToken, ExpirationTime: &past}
	f.tokens["new"] = &structs.ACLToken{Type: structs.ACLManagementToken, ExpirationTime: &future}
	if _, err := r.Resolve(context.Background(), "old", nil); err != ErrTokenExpired {
		t.Errorf("expired: %v", err)
	}
	if got, err := r.Resolve(context.Background(), "new", nil); err != nil || got.ACL != acl.Management {
		t.Errorf("in force: %+v, %v", got, err)
	}
}

func TestUnreadablePolicyRefusesItsHolders(t *testing.T) {
	r, f := newFake()
	f.policy("good", `namespace "one" { policy = "read" }`)
	f.policy("bad", `namespace "one" {`)
	f.tokens["s"] = &structs.ACLToken{Type: structs.ACLClientToken, Policies: []string{"good", "bad"}}
	if got, err := r.Resolve(context.Background(), "s", nil); err == nil {
		t.Errorf("got %+v", got)
	}
}

func TestWorkloadIdentity(t *testing.T) {
	ring := keyring.New(hclog.NewNullLogger())
	key, err := ring.NewRootKey(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := ring.Add(key); err != nil {
		t.Fatal(err)
	}
	r, f := newFake()
	r.config.Verify = ring.Verify
	f.policy("job", `namespace "other" { policy = "read" }`).JobACL = &structs.JobACL{Namespace: "default", JobID: "web", Group: "front"}
	f.policy("elsewhere", `namespace "wrong" { policy = "read" }`).JobACL = &structs.JobACL{Namespace: "default", JobID: "db"}
	claims := map[string]any{
		"nomad_namespace": "default", "nomad_job_id": "web", "nomad_task": "server", "nomad_allocation_id": "a",
		"sub": "global:default:web:front:server:default", "aud": DefaultAudience, "exp": time.Now().Add(time.Hour).Unix(),
	}
	got, err := r.Resolve(context.Background(), mustSign(t, ring, claims), nil)
	if err != nil {
		t.Fatal(err)
	}
	a := got.ACL
	if got.Token != nil || !a.AllowNamespace("other") || a.AllowNamespace("wrong") ||
		!a.AllowVariable("default", "nomad/jobs/web/front/server", acl.VariablesRead) || a.AllowVariable("default", "nomad/jobs/db", acl.VariablesRead) {
		t.Errorf("the workload is %+v", got)
	}
	for name, change := range map[string]func(map[string]any){
		"other audience": func(c map[string]any) { c["aud"] = "vault.io" },
		"no audience":    func(c map[string]any) { delete(c, "aud") },
		"expired":        func(c map[string]any) { c["exp"] = time.Now().Add(-time.Hour).Unix() },
		"no job":         func(c map[string]any) { delete(c, "nomad_job_id") },
		"wrong type":     func(c map[string]any) { c["nomad_job_id"] = 7 },
	} {
		bad := map[string]any{}
		for k, v := range claims {
			bad[k] = v
		}
		change(bad)
		if _, err := r.Resolve(context.Background(), mustSign(t, ring, bad), nil); err != ErrBadIdentity {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func mustSign(t *testing.T, ring *keyring.Keyring, claims any) string {
	t.Helper()
	token, _, err := ring.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestGroupCannotBeTakenForAnother(t *testing.T) {
	for _, c := range []struct{ task, rest, want string }{
		{"server", "front:server:default", "front"},
		{"server", "front:server:x:server:default", "front:server:x"},
		{"server", "front:other:default", ""},
		{"", "front:service:default", "front"},
		{"", "front:x:service:default", ""},
		{"", "front", ""},
	} {
		claims := &WorkloadClaims{Namespace: "ns", JobID: "job", Task: c.task, Subject: "global:ns:job:" + c.rest}
		if got := claims.group(); got != c.want {
			t.Errorf("task %q, %s: group %q, want %q", c.task, c.rest, got, c.want)
		}
	}
}
