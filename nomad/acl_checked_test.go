package nomad

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

// meddling is a write that says what happens between its checks and its entry.
func meddling(meddle func(try int)) (*writeMethod[structs.ACLPolicyUpsertRequest, structs.GenericResponse], *int) {
	tries := 0
	m := &writeMethod[structs.ACLPolicyUpsertRequest, structs.GenericResponse]{
		methodInfo: &methodInfo{name: "ACL.UpsertPolicies", checked: true},
		allow:      delegated[structs.ACLPolicyUpsertRequest](acl.ACLPolicyWrite),
		opts:       func(r *structs.ACLPolicyUpsertRequest) *structs.WriteRequest { return &r.WriteRequest },
		run: func(ctx context.Context, c *leaderCall, r *structs.ACLPolicyUpsertRequest, reply *structs.GenericResponse) (err error) {
			tries++
			meddle(tries)
			reply.Index, err = c.commit(ctx, structs.ACLPolicyUpsertRequestType, &structs.ACLPolicyUpsertRequest{Policies: r.Policies})
			return err
		},
	}
	return m, &tries
}

// What a delegate's write was checked against has to stand when it is applied.
func TestDelegatedWritesAreCheckedAgain(t *testing.T) {
	s := startEnforced(t)
	root := bootstrapped(t, s)
	right := `operator { capabilities = ["acl-policy-write"] }`
	for _, tc := range []struct {
		name   string
		meddle func(try int, d *structs.ACLToken)
		tries  int
		code   errs.Code
	}{
		{"nothing happens", func(int, *structs.ACLToken) {}, 1, ""},
		{"a policy changes once", func(try int, _ *structs.ACLToken) {
			if try == 1 {
				writePolicy(t, s, root, "other", `node { policy = "read" }`)
			}
		}, 2, ""},
		{"tokens come all the time", func(int, *structs.ACLToken) { tokenWith(t, s, root, structs.ACLClientToken, unrelated) }, maxCheckedTries, errs.Conflict},
		{"the right is taken away", func(_ int, d *structs.ACLToken) { writePolicy(t, s, root, d.Policies[0], unrelated) }, 1, errs.PermissionDenied},
		{"the token is deleted", func(_ int, d *structs.ACLToken) {
			req := &structs.ACLTokenDeleteRequest{AccessorIDs: []string{d.AccessorID}, WriteRequest: structs.WriteRequest{AuthToken: root}}
			mustCall(t, s, "ACL.DeleteTokens", req, &structs.GenericResponse{})
		}, 1, errs.PermissionDenied},
	} {
		d := tokenWith(t, s, root, structs.ACLClientToken, right)
		m, tries := meddling(func(try int) { tc.meddle(try, d) })
		id, err := s.authenticate(t.Context(), d.SecretID)
		if err != nil {
			t.Fatal(err)
		}
		name := "made-" + d.AccessorID
		req := policyOf(name, "")
		req.AuthToken = d.SecretID
		err = m.runChecked(t.Context(), &leaderCall{srv: s, acl: id.ACL, id: id}, req, &structs.GenericResponse{})
		if tc.code == "" && err != nil || tc.code != "" && !errors.Is(err, tc.code) || *tries != tc.tries {
			t.Errorf("%s: %v after %d tries", tc.name, err, *tries)
		}
		if made := s.state.Snapshot().ACLPolicy(nil, name) != nil; made != (err == nil) {
			t.Errorf("%s: the policy is there: %v", tc.name, made)
		}
	}
}

// A login is bound by the rules as they are when its token is stored.
func TestLoginsAreBoundAgain(t *testing.T) {
	s := startEnforced(t)
	root := bootstrapped(t, s)
	gone := errs.New(errs.Invalid, "no rule is left")
	for _, tc := range []struct {
		name   string
		meddle func(try int)
		tries  int
		want   error
	}{
		{"nothing happens", func(int) {}, 1, nil},
		{"others log in", func(int) { tokenWith(t, s, root, structs.ACLManagementToken, "") }, 1, nil},
		{"a policy changes once", func(try int) {
			if try == 1 {
				writePolicy(t, s, root, "other", `node { policy = "read" }`)
			}
		}, 2, nil},
		{"rules change all the time", func(try int) { writePolicy(t, s, root, fmt.Sprint("p-", try), unrelated) }, maxCheckedTries, errs.Conflict},
		{"the rule goes", func(int) { deletePolicy(t, s, root, "other") }, 2, gone},
	} {
		tries, secret := 0, uuid.NewString()
		_, err := (&leaderCall{srv: s}).storeLogin(t.Context(), func(sn *state.Snapshot) (*structs.ACLToken, error) {
			tries++
			if tc.want == gone && sn.ACLPolicy(nil, "other") == nil {
				return nil, gone
			}
			tc.meddle(tries)
			return &structs.ACLToken{AccessorID: uuid.NewString(), SecretID: secret, Type: structs.ACLManagementToken}, nil
		})
		if !errors.Is(err, tc.want) || tries != tc.tries {
			t.Errorf("%s: %v after %d tries", tc.name, err, tries)
		}
		if made := s.state.Snapshot().ACLTokenBySecret(nil, secret) != nil; made != (err == nil) {
			t.Errorf("%s: the token is there: %v", tc.name, made)
		}
	}
}

func policyOf(name, rules string) *structs.ACLPolicyUpsertRequest {
	return &structs.ACLPolicyUpsertRequest{Policies: []*structs.ACLPolicy{{Name: name, Rules: rules}}}
}

// Every method by which a delegate may give rights away is checked again.
func TestEveryGrantIsCheckedAgain(t *testing.T) {
	for name, m := range methods {
		want := m.kind == writeKind && operatorWrites[guards[name].rules]
		if m.checked != want {
			t.Errorf("%s: checked again %v, want %v", name, m.checked, want)
		}
	}
}

// operatorWrites are the rights to write what decides on rights.
var operatorWrites = map[string]bool{
	operator("acl-policy-write").rules: true, operator("acl-token-write").rules: true, operator("acl-role-write").rules: true,
	operator("acl-auth-method-write").rules: true, operator("acl-binding-rule-write").rules: true,
}
