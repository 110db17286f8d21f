package state

import (
	"slices"
	"testing"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

func (s *testStore) oneTime(n int, secret string, expires int64) error {
	return s.UpsertOneTimeToken(s.NextIndex(), &structs.OneTimeTokenUpsertRequest{OneTimeToken: &structs.OneTimeToken{
		OneTimeSecretID: secret, AccessorID: id(n), ExpiresAt: time.Unix(expires, 0).UTC()}})
}

func (s *testStore) useUp(ids ...string) error {
	return s.DeleteOneTimeTokens(s.NextIndex(), &structs.OneTimeTokenDeleteRequest{AccessorIDs: ids})
}

func TestOneTimeTokenIsUsedOnce(t *testing.T) {
	s := newStore(t)
	s.tokens(token(1), token(2))
	must(t, s.oneTime(1, "a", 50))
	must(t, s.oneTime(2, "b", 50))
	must(t, s.oneTime(1, "c", 60))
	s = restored(t, s.persist())
	sn := s.Snapshot()
	if sn.OneTimeToken(nil, "a") != nil || sn.OneTimeToken(nil, "") != nil {
		t.Error("a secret that was replaced is known")
	}
	if got := sn.OneTimeToken(nil, "c"); got == nil || got.AccessorID != id(1) || got.CreateIndex != s.LatestIndex() || got.ModifyIndex != s.LatestIndex() {
		t.Errorf("got %+v", got)
	}
	must(t, s.useUp(id(1)))
	refused(t, s.useUp(id(2), id(1)), errs.NotFound, id(1))
	if sn := s.Snapshot(); sn.OneTimeToken(nil, "c") != nil || sn.OneTimeToken(nil, "b") == nil {
		t.Error("the wrong one was used up")
	}
	s.dropTokens(id(2))
	if s.Snapshot().OneTimeToken(nil, "b") != nil {
		t.Error("a one-time token outlives its token")
	}
	for _, e := range s.events {
		if e.Topic != structs.TopicACLToken {
			t.Errorf("there is an event of the topic %q", e.Topic)
		}
	}
}

// Whoever decided to delete one does not delete another that took its place.
func TestOneTimeTokenThatWasReplacedMeanwhile(t *testing.T) {
	s := newStore(t)
	s.tokens(token(1), token(2))
	must(t, s.oneTime(2, "b", 50))
	must(t, s.oneTime(1, "a", 50))
	b, a := s.LatestIndex()-1, s.LatestIndex()
	must(t, s.oneTime(1, "c", 60))
	both := &structs.OneTimeTokenDeleteRequest{AccessorIDs: []string{id(2), id(1)}, Seen: []uint64{b, a}}
	refused(t, s.DeleteOneTimeTokens(s.NextIndex(), both), errs.NotFound, id(1))
	if sn := s.Snapshot(); sn.OneTimeToken(nil, "b") == nil || sn.OneTimeToken(nil, "c") == nil {
		t.Error("a part of the request was applied")
	}
	both.Seen[1] = s.Snapshot().OneTimeToken(nil, "c").ModifyIndex
	must(t, s.DeleteOneTimeTokens(s.NextIndex(), both))
	if sn := s.Snapshot(); sn.OneTimeToken(nil, "b") != nil || sn.OneTimeToken(nil, "c") != nil {
		t.Error("what was meant is there")
	}
}

func TestOneTimeTokenRefused(t *testing.T) {
	s := newStore(t)
	s.tokens(token(1), token(2))
	must(t, s.oneTime(1, "a", 50))
	refused(t, s.oneTime(2, "a", 50), errs.Conflict, "ask again")
	refused(t, s.oneTime(2, "", 50), errs.Invalid, "a secret")
	refused(t, s.oneTime(3, "z", 50), errs.NotFound, id(3))
	refused(t, s.UpsertOneTimeToken(s.NextIndex(), &structs.OneTimeTokenUpsertRequest{}), errs.Invalid, "a secret")
}

func TestOneTimeTokensExpire(t *testing.T) {
	s := newStore(t)
	s.tokens(token(1), token(2), token(3))
	must(t, s.oneTime(1, "a", 50))
	must(t, s.oneTime(2, "b", 51))
	must(t, s.oneTime(3, "c", 52))
	now := time.Unix(51, 0)
	if got := keysOf(OneTimeTokens, s.Snapshot().ExpiredOneTimeTokens(now)); !slices.Equal(got, []string{id(1), id(2)}) {
		t.Errorf("expired are %v", got)
	}
	must(t, s.ExpireOneTimeTokens(s.NextIndex(), &structs.OneTimeTokenExpireRequest{Timestamp: now}))
	for secret, want := range map[string]bool{"a": false, "b": false, "c": true} {
		if got := s.Snapshot().OneTimeToken(nil, secret) != nil; got != want {
			t.Errorf("%s is there: %v", secret, got)
		}
	}
}
