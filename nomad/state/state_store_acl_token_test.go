package state

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// token is a client token of the accessor id(n), whose secret is "secret-" and that.
func token(n int) *structs.ACLToken {
	return &structs.ACLToken{AccessorID: id(n), SecretID: "secret-" + id(n), Type: structs.ACLClientToken, Policies: []string{"ops"},
		CreateTime: time.Unix(100, 0).UTC()}
}

func global(t *structs.ACLToken) *structs.ACLToken {
	t.Global = true
	return t
}

func expiring(t *structs.ACLToken, at time.Time) *structs.ACLToken {
	t.ExpirationTime = &at
	return t
}

func linked(t *structs.ACLToken, links ...structs.ACLTokenRoleLink) *structs.ACLToken {
	for _, l := range links {
		t.Roles = append(t.Roles, &l)
	}
	return t
}

func tokensOf(list ...*structs.ACLToken) *structs.ACLTokenUpsertRequest {
	return &structs.ACLTokenUpsertRequest{Tokens: list}
}

func (s *testStore) tokens(list ...*structs.ACLToken) {
	s.t.Helper()
	must(s.t, s.UpsertACLTokens(s.NextIndex(), tokensOf(list...)))
}

func (s *testStore) dropTokens(ids ...string) {
	s.t.Helper()
	must(s.t, s.DeleteACLTokens(s.NextIndex(), &structs.ACLTokenDeleteRequest{AccessorIDs: ids}))
}

func TestACLTokenUpsert(t *testing.T) {
	s := newStore(t)
	s.tokens(expiring(token(1), time.Unix(500, 0).UTC()))
	first := s.LatestIndex()
	ws := memdb.NewWatchSet()
	s.Snapshot().ACLTokenBySecret(ws, token(1).SecretID)
	change := token(1)
	change.SecretID, change.Name, change.CreateTime = "", "renamed", time.Unix(900, 0)
	s.tokens(change)
	got := s.Snapshot().ACLTokenBySecret(nil, token(1).SecretID)
	want := expiring(token(1), time.Unix(500, 0).UTC())
	want.Name, want.CreateIndex, want.ModifyIndex = "renamed", first, s.LatestIndex()
	want.SetHash()
	want.Roles = got.Roles
	if diff := cmp.Diff(want, got); diff != "" || !fired(ws) {
		t.Errorf("woken %v: %s", fired(ws), diff)
	}
	if s.Snapshot().ACLToken(nil, id(1)) != got {
		t.Error("the accessor has another row")
	}
	s.dropTokens(id(7), id(1))
	if s.Snapshot().ACLTokenBySecret(nil, token(1).SecretID) != nil {
		t.Error("the secret of a deleted token is known")
	}
	events := []string{
		"2 ACLToken ACLTokenUpserted /" + id(1), "3 ACLToken ACLTokenUpserted /" + id(1), "4 ACLToken ACLTokenDeleted /" + id(1),
	}
	if diff := cmp.Diff(events, describe(s.events)); diff != "" {
		t.Error(diff)
	}
	for _, e := range s.events {
		if p := e.Payload.(*structs.ACLToken); p.SecretID != "" || p.AccessorID != id(1) {
			t.Errorf("an event has the token %s with the secret %q", p.AccessorID, p.SecretID)
		}
	}
	checkVisible(t, ACLTokens, got, acl.ACLTokenRead)
}

func TestACLTokenRefused(t *testing.T) {
	s := newStore(t)
	s.tokens(token(1))
	before := s.persist()
	other, silent := token(1), token(2)
	other.SecretID, silent.SecretID = "another", ""
	thief := token(2)
	thief.SecretID = token(1).SecretID
	broken := token(2)
	broken.Roles = []*structs.ACLTokenRoleLink{nil}
	for name, tc := range map[string]struct {
		token *structs.ACLToken
		code  errs.Code
		about string
	}{
		"null":                {nil, errs.Invalid, "without an accessor"},
		"no accessor":         {&structs.ACLToken{SecretID: "x"}, errs.Invalid, "without an accessor"},
		"no secret":           {silent, errs.Invalid, "no secret"},
		"another secret":      {other, errs.Conflict, "cannot change"},
		"another's secret":    {thief, errs.Conflict, "that of another"},
		"made global":         {global(token(1)), errs.Conflict, "is local"},
		"a null role":         {broken, errs.Invalid, "an ID or a name"},
		"an unknown role":     {linked(token(2), structs.ACLTokenRoleLink{ID: id(9)}), errs.Invalid, id(9)},
		"an unknown name":     {linked(token(2), structs.ACLTokenRoleLink{Name: "nope"}), errs.Invalid, `"nope"`},
		"a role without both": {linked(token(2), structs.ACLTokenRoleLink{}), errs.Invalid, "an ID or a name"},
	} {
		t.Run(name, func(t *testing.T) {
			err := s.UpsertACLTokens(s.LatestIndex(), tokensOf(token(3), tc.token))
			refused(t, err, tc.code, tc.about)
			if strings.Contains(err.Error(), "secret-") {
				t.Errorf("the error tells a secret: %v", err)
			}
			if !slices.Equal(before, s.persist()) {
				t.Error("half of a refused request was stored")
			}
		})
	}
	if s.Snapshot().ACLTokenBySecret(nil, token(3).SecretID) != nil {
		t.Error("the index of secrets has a token that was refused")
	}
}

// TestACLTokenSecretsWithinABatch checks the index of secrets against tokens that
// come and go within one transaction.
func TestACLTokenSecretsWithinABatch(t *testing.T) {
	s := newStore(t)
	s.tokens(token(1))
	heir := token(2)
	heir.SecretID = token(1).SecretID
	s.Batch(func(b *StateStore) {
		refused(t, b.UpsertACLTokens(b.NextIndex(), tokensOf(heir)), errs.Conflict, "that of another")
		must(t, b.DeleteACLTokens(b.NextIndex(), &structs.ACLTokenDeleteRequest{AccessorIDs: []string{id(1)}}))
		must(t, b.UpsertACLTokens(b.NextIndex(), tokensOf(heir)))
		fresh := token(1)
		fresh.SecretID = "fresh"
		must(t, b.UpsertACLTokens(b.NextIndex(), tokensOf(fresh)))
		must(t, b.UpsertACLTokens(b.NextIndex(), tokensOf(token(3))))
		must(t, b.DeleteACLTokens(b.NextIndex(), &structs.ACLTokenDeleteRequest{AccessorIDs: []string{id(3)}}))
	})
	check := func(sn *Snapshot) {
		t.Helper()
		for secret, want := range map[string]string{token(1).SecretID: id(2), "fresh": id(1)} {
			if got := sn.ACLTokenBySecret(nil, secret); got == nil || got.AccessorID != want {
				t.Errorf("the secret %q is of %v, want %s", secret, got, want)
			}
		}
		if sn.ACLTokenBySecret(nil, token(3).SecretID) != nil || sn.ACLTokenBySecret(nil, "") != nil {
			t.Error("there are secrets of nobody")
		}
		if got := keysOf(ACLTokens, sn.ACLTokens(nil, ACLTokenQuery{})); !slices.Equal(got, []string{id(2), id(1)}) {
			t.Errorf("in order of age %v", got)
		}
	}
	check(s.Snapshot())
	check(restored(t, s.persist()).Snapshot())
}

func TestACLTokenRoles(t *testing.T) {
	s := newStore(t)
	s.policies(policy("ops", "x"))
	s.roles(role(id(11), "one", "ops"), role(id(12), "two", "ops"))
	s.tokens(linked(token(1), structs.ACLTokenRoleLink{Name: "two"}, structs.ACLTokenRoleLink{ID: id(11), Name: "whatever"},
		structs.ACLTokenRoleLink{ID: id(12)}))
	stored := s.Snapshot().ACLToken(nil, id(1))
	if diff := cmp.Diff([]*structs.ACLTokenRoleLink{{ID: id(12)}, {ID: id(11)}}, stored.Roles); diff != "" {
		t.Error(diff)
	}
	s.roles(role(id(12), "zwei", "ops"))
	must(t, s.dropRoles(id(11)))
	ws := memdb.NewWatchSet()
	named := s.Snapshot().NameACLRoles(ws, stored)
	if diff := cmp.Diff([]*structs.ACLTokenRoleLink{{ID: id(12), Name: "zwei"}}, named.Roles); diff != "" {
		t.Error(diff)
	}
	if stored.Roles[0].Name != "" || len(stored.Roles) != 2 {
		t.Error("reading a token changed the row")
	}
	s.roles(role(id(12), "deux", "ops"))
	if !fired(ws) {
		t.Error("nobody was woken for another name of a role")
	}
	s.tokens(linked(token(1), structs.ACLTokenRoleLink{ID: id(11)}, structs.ACLTokenRoleLink{ID: id(12)}))
	refused(t, s.UpsertACLTokens(s.NextIndex(), tokensOf(linked(token(2), structs.ACLTokenRoleLink{ID: id(11)}))), errs.Invalid, id(11))
	if sn := s.Snapshot(); sn.NameACLRoles(nil, nil) != nil || sn.NameACLRoles(nil, &structs.ACLToken{}).Roles != nil {
		t.Error("roles out of nothing")
	}
}

func TestACLTokenLists(t *testing.T) {
	s := newStore(t)
	for _, n := range []int{5, 3, 24, 1} {
		tok := token(n)
		tok.Global = n > 3
		s.tokens(tok)
	}
	s.tokens(token(22), token(21))
	list := func(q ACLTokenQuery) []string { return keysOf(ACLTokens, s.Snapshot().ACLTokens(nil, q)) }
	ids := func(n ...int) []string {
		out := []string{}
		for _, n := range n {
			out = append(out, id(n))
		}
		return out
	}
	yes, no := true, false
	tens := id(20)[:35]
	at := func(n int) Key { return ACLTokenPosition(s.Snapshot().ACLToken(nil, id(n)).CreateIndex, id(n)) }
	for name, tc := range map[string]struct {
		q    ACLTokenQuery
		want []string
	}{
		"all, by age":            {ACLTokenQuery{}, ids(5, 3, 24, 1, 21, 22)},
		"the youngest first":     {ACLTokenQuery{Reverse: true}, ids(22, 21, 1, 24, 3, 5)},
		"from one on":            {ACLTokenQuery{From: at(24)}, ids(24, 1, 21, 22)},
		"from one on, reversed":  {ACLTokenQuery{From: at(24), Reverse: true}, ids(24, 3, 5)},
		"from where nothing is":  {ACLTokenQuery{From: ACLTokenPosition(3, "x")}, ids(24, 1, 21, 22)},
		"after the end":          {ACLTokenQuery{From: ACLTokenPosition(1<<63, "")}, ids()},
		"global ones":            {ACLTokenQuery{Global: &yes}, ids(5, 24)},
		"local ones":             {ACLTokenQuery{Global: &no}, ids(3, 1, 21, 22)},
		"a prefix":               {ACLTokenQuery{Prefix: tens}, ids(21, 22, 24)},
		"a prefix, reversed":     {ACLTokenQuery{Prefix: tens, Reverse: true}, ids(24, 22, 21)},
		"a prefix from one on":   {ACLTokenQuery{Prefix: tens, From: Key{ID: id(22)}}, ids(22, 24)},
		"a prefix, global ones":  {ACLTokenQuery{Prefix: tens, Global: &yes}, ids(24)},
		"a prefix of nothing":    {ACLTokenQuery{Prefix: "f"}, ids()},
		"a prefix, from too far": {ACLTokenQuery{Prefix: tens, From: Key{ID: "f"}}, ids()},
	} {
		if diff := cmp.Diff(tc.want, list(tc.q)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	ws := memdb.NewWatchSet()
	s.Snapshot().ACLTokens(ws, ACLTokenQuery{Prefix: tens})
	s.dropTokens(id(5))
	quiet := !fired(ws)
	s.dropTokens(id(22))
	if !quiet || !fired(ws) {
		t.Errorf("the watch of a prefix: quiet %v, woken %v", quiet, fired(ws))
	}
	for range s.Snapshot().ACLTokens(nil, ACLTokenQuery{Global: &no}) {
		break
	}
}

func TestExpiredACLTokens(t *testing.T) {
	s := newStore(t)
	base := time.Unix(1000, 0).UTC()
	s.tokens(token(1), expiring(token(2), base.Add(2)), expiring(token(3), base), expiring(token(4), base.Add(time.Hour)),
		expiring(token(5), time.Date(-5, 1, 1, 0, 0, 0, 0, time.UTC)), expiring(token(6), time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC)),
		expiring(token(7), base.Add(1)))
	s.tokens(expiring(global(token(8)), base), global(token(9)))
	for _, s := range []*testStore{s, restored(t, s.persist())} {
		for name, tc := range map[string]struct {
			global bool
			now    time.Time
			want   []string
		}{
			"local":     {false, base.Add(1), []string{id(5), id(3), id(7)}},
			"global":    {true, base, []string{id(8)}},
			"too early": {true, base.Add(-1), []string{}},
			"far ahead": {false, base.AddDate(9000, 0, 0), []string{id(5), id(3), id(7), id(2), id(4), id(6)}},
		} {
			if got := keysOf(ACLTokens, s.Snapshot().ExpiredACLTokens(tc.global, tc.now)); !slices.Equal(got, tc.want) {
				t.Errorf("%s: %v, want %v", name, got, tc.want)
			}
		}
	}
	s.dropTokens(id(5), id(3))
	for tok := range s.Snapshot().ExpiredACLTokens(false, base.Add(time.Minute)) {
		if tok.AccessorID != id(7) {
			t.Errorf("the first to go is %s", tok.AccessorID)
		}
		break
	}
}
