package state

import (
	"testing"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// at is a second of the tests.
func at(second int64) time.Time { return time.Unix(second, 0).UTC() }

func (s *testStore) joinToken(n int, uses int, made, expires int64) error {
	return s.UpsertJoinToken(s.NextIndex(), &structs.JoinTokenUpsertRequest{JoinToken: &structs.JoinToken{
		ID: id(n), Role: structs.JoinRoleServer, SecretHash: []byte{1}, MaxUses: uses, CreateTime: at(made), ExpirationTime: at(expires)}})
}

func (s *testStore) joinWith(n int, key string, when int64) error {
	return s.UseJoinToken(s.NextIndex(), &structs.JoinTokenUseRequest{ID: id(n), Use: &structs.JoinTokenUse{KeyHash: []byte(key), Node: key, Time: at(when)}})
}

func TestJoinTokenUses(t *testing.T) {
	s := newStore(t)
	must(t, s.joinToken(1, 2, 100, 200))
	refused(t, s.joinToken(1, 2, 100, 200), errs.Conflict, id(1))
	must(t, s.joinWith(1, "a", 150))
	must(t, s.joinWith(1, "a", 151)) // its answer was lost
	s = restored(t, s.persist())
	must(t, s.joinWith(1, "b", 160))
	refused(t, s.joinWith(1, "c", 170), errs.PreconditionFailed, "2 of 2")
	must(t, s.joinWith(1, "b", 180))
	refused(t, s.joinWith(1, "b", 200), errs.PreconditionFailed, "expired")
	refused(t, s.joinWith(2, "a", 150), errs.PermissionDenied, "unknown")
	got := s.Snapshot().JoinToken(nil, id(1))
	if len(got.Joined) != 2 || got.Joined[1].Node != "b" || !got.Joined[1].Time.Equal(at(160)) {
		t.Errorf("joined are %+v", got.Joined)
	}
	must(t, s.DeleteJoinTokens(s.NextIndex(), &structs.JoinTokenDeleteRequest{IDs: []string{id(1)}}))
	refused(t, s.DeleteJoinTokens(s.NextIndex(), &structs.JoinTokenDeleteRequest{IDs: []string{id(1)}}), errs.NotFound, id(1))
	refused(t, s.joinWith(1, "a", 150), errs.PermissionDenied, "revoked")
}

func TestOldJoinTokensAreForgotten(t *testing.T) {
	s := newStore(t)
	week := int64(expiredJoinTokenKept / time.Second)
	must(t, s.joinToken(1, 1, 0, 100))
	must(t, s.joinToken(2, 1, 0, 101))
	must(t, s.joinToken(3, 1, 101+week, 200+week))
	sn := s.Snapshot()
	if sn.JoinToken(nil, id(1)) != nil || sn.JoinToken(nil, id(2)) == nil || sn.JoinToken(nil, id(3)) == nil {
		t.Error("the wrong ones are forgotten")
	}
}

func TestOneAuthorityIsActive(t *testing.T) {
	s := newStore(t)
	s.rootKey("k1", structs.RootKeyStateActive)
	put := func(name, key string, active bool) error {
		return s.UpsertAuthority(s.NextIndex(), &structs.AuthorityUpsertRequest{Authority: &structs.Authority{
			ID: name, Certificate: []byte("c"), SealedKey: []byte("s"), KeyID: key, Active: active}})
	}
	must(t, put("a", "k1", true))
	must(t, put("b", "k1", false))
	if got := s.Snapshot().ActiveAuthority(); got == nil || got.ID != "a" {
		t.Errorf("active is %+v", got)
	}
	must(t, put("b", "k1", true))
	s = restored(t, s.persist())
	var active, all int
	for a := range s.Snapshot().Authorities(nil) {
		all++
		if a.Active {
			active++
		}
	}
	if got := s.Snapshot().ActiveAuthority(); active != 1 || all != 2 || got.ID != "b" {
		t.Errorf("%d of %d are active, the last is %+v", active, all, got)
	}
	refused(t, put("c", "absent", false), errs.NotFound, "absent")

	s.rootKey("k2", structs.RootKeyStateActive)
	drop := &structs.WrappedRootKeysDeleteRequest{KeyID: "K1"}
	refused(t, s.DeleteRootKey(s.NextIndex(), drop), errs.PreconditionFailed, "authority")
	must(t, put("a", "k2", false))
	must(t, put("b", "k2", true))
	must(t, s.DeleteRootKey(s.NextIndex(), drop))
}
