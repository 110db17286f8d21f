package state

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

func bootstrap(n int, reset uint64) *structs.ACLTokenBootstrapRequest {
	tok := global(token(n))
	tok.Type, tok.Policies = structs.ACLManagementToken, nil
	return &structs.ACLTokenBootstrapRequest{Token: tok, ResetIndex: reset}
}

func TestACLBootstrapIsOnce(t *testing.T) {
	s := newStore(t)
	if got := s.Snapshot().ACLBootstrapIndex(); got != 0 {
		t.Errorf("index %d before", got)
	}
	must(t, s.BootstrapACLTokens(s.NextIndex(), bootstrap(1, 0)))
	first := s.LatestIndex()
	if diff := cmp.Diff([]string{fmt.Sprintf("%d ACLToken ACLTokenUpserted /%s", first, id(1))}, describe(s.events)); diff != "" {
		t.Error(diff)
	}
	s = restored(t, s.persist())
	told := fmt.Sprintf("ACL bootstrap already done (reset index: %d)", first)
	for _, reset := range []uint64{0, first - 1, first + 1} {
		err := s.BootstrapACLTokens(s.NextIndex(), bootstrap(2, reset))
		if errs.CodeOf(err) != errs.Invalid || err.Error() != told {
			t.Errorf("with the index %d: %v", reset, err)
		}
	}
	s.dropTokens(id(1)) // does not allow another one either
	refused(t, s.BootstrapACLTokens(s.NextIndex(), bootstrap(2, 0)), errs.Invalid, told)
	must(t, s.BootstrapACLTokens(s.NextIndex(), bootstrap(2, first)))
	second := s.LatestIndex()
	if got := s.Snapshot().ACLBootstrapIndex(); got != second {
		t.Errorf("index %d after the reset, want %d", got, second)
	}
	refused(t, s.BootstrapACLTokens(s.NextIndex(), bootstrap(3, first)), errs.Invalid, fmt.Sprint(second))
	if tok := s.Snapshot().ACLTokenBySecret(nil, token(2).SecretID); !tok.IsManagement() || tok.CreateIndex != second {
		t.Errorf("made %+v", tok)
	}
}

func TestACLBootstrapRefused(t *testing.T) {
	s := newStore(t)
	s.tokens(token(1))
	client := bootstrap(2, 0)
	client.Token.Type = structs.ACLClientToken
	taken := bootstrap(2, 0)
	taken.Token.SecretID = token(1).SecretID
	for about, r := range map[string]*structs.ACLTokenBootstrapRequest{
		"a management token": client, "needs a management": {}, "exists": bootstrap(1, 0), "that of another": taken,
	} {
		err := s.BootstrapACLTokens(s.NextIndex(), r)
		refused(t, err, errs.CodeOf(err), about)
	}
	if s.Snapshot().ACLBootstrapIndex() != 0 {
		t.Error("a refused bootstrap counts")
	}
	must(t, s.BootstrapACLTokens(s.NextIndex(), bootstrap(2, 99))) // there is nothing to reset
}
