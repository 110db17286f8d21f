package nomad

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/auth"
	"github.com/cairn-project/cairn/nomad/structs"
)

func identityRequest(change func(*structs.IdentitySignRequest)) *structs.IdentitySignRequest {
	r := &structs.IdentitySignRequest{Peer: structs.PeerIdentity{NodeID: "n-1", NodeName: "web", UID: 1000, GID: 27, PID: 4242}}
	if change != nil {
		change(r)
	}
	return r
}

func TestIdentityOfALocalProcess(t *testing.T) {
	s := startEnforced(t)
	secret := s.AgentSecret()
	sign := identityRequest(func(r *structs.IdentitySignRequest) { r.AuthToken = secret })
	var reply structs.IdentitySignResponse
	mustCall(t, s, "Identity.Sign", sign, &reply)
	var claims auth.PeerClaims
	if err := s.keyring.Verify(reply.JWT, &claims); err != nil {
		t.Fatal(err)
	}
	got := []any{claims.NodeID, claims.NodeName, claims.Region, claims.UID, claims.GID, claims.PID, claims.Subject, []string(claims.Audience),
		claims.Expiry.Time().Sub(claims.IssuedAt.Time()), claims.Expiry.Time().Unix() == reply.ExpiresAt, reply.KeyID != ""}
	want := []any{"n-1", "web", "global", 1000, 27, 4242, "peer:global:node:n-1:uid:1000:gid:27:pid:4242", []string{"cairn"},
		15 * time.Minute, true, true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// It is no token: a local process has no rights in the cluster.
	list := &structs.VariablesListRequest{}
	list.AuthToken = reply.JWT
	if err := s.RPC(t.Context(), "Variables.List", list, &structs.VariablesListResponse{}); !errors.Is(err, errs.PermissionDenied) {
		t.Errorf("with the identity of a process: %v", err)
	}
}

// TestSecretOfTheAgent: it is good for signatures, at its own server only.
func TestSecretOfTheAgent(t *testing.T) {
	s, other := startEnforced(t), startEnforced(t)
	waitForKeys(t, s)
	for name, g := range guards {
		want := name == "Identity.Sign"
		if got := attempt(t, s, name, g, s.AgentSecret()); got != want {
			t.Errorf("%s: allowed %v, want %v", name, got, want)
		}
	}
	if attempt(t, other, "Identity.Sign", guards["Identity.Sign"], s.AgentSecret()) {
		t.Error("another server took the secret")
	}
}

func TestIdentityIsRefused(t *testing.T) {
	s := startLone(t)
	for field, change := range map[string]func(*structs.IdentitySignRequest){
		"Peer.NodeID":                     func(r *structs.IdentitySignRequest) { r.Peer.NodeID = "" },
		"Peer the process":                func(r *structs.IdentitySignRequest) { r.Peer.UID = -1 },
		"TTL must":                        func(r *structs.IdentitySignRequest) { r.TTL = time.Second },
		"TTL must be between 1m0s and 1h": func(r *structs.IdentitySignRequest) { r.TTL = 2 * time.Hour },
		"Audience must not list":          func(r *structs.IdentitySignRequest) { r.Audience = strings.Split("a b c d e f g h i", " ") },
		"Audience must hold":              func(r *structs.IdentitySignRequest) { r.Audience = []string{""} },
		"is for workloads":                func(r *structs.IdentitySignRequest) { r.Audience = []string{"a", auth.DefaultAudience} },
	} {
		err := s.RPC(t.Context(), "Identity.Sign", identityRequest(change), &structs.IdentitySignResponse{})
		if !errors.Is(err, errs.Invalid) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}
