package nomad

import (
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

// TestExpiredTokensGoInBoundedBatches deletes more tokens than one entry of the log may
// hold, local and global ones, and leaves those that are valid.
func TestExpiredTokensGoInBoundedBatches(t *testing.T) {
	s := startLone(t)
	waitForKeys(t, s) // whose entry is not counted below
	now := time.Now()
	past, future := now.Add(-time.Hour), now.Add(time.Hour)
	store := func(n int, global bool, at *time.Time) (last string) {
		for n > 0 {
			var entry structs.ACLTokenUpsertRequest
			for range min(n, 1000) {
				last = uuid.NewString()
				entry.Tokens = append(entry.Tokens, &structs.ACLToken{
					AccessorID: last, SecretID: uuid.NewString(), Type: structs.ACLManagementToken, Global: global, ExpirationTime: at, CreateTime: past,
				})
			}
			n -= len(entry.Tokens)
			if _, err := s.apply(t.Context(), structs.ACLTokenUpsertRequestType, &entry); err != nil {
				t.Fatal(err)
			}
		}
		return last
	}
	store(tokenGCBatch+1, false, &past)
	store(2*tokenGCBatch, true, &past)
	valid := []string{store(1, false, &future), store(1, true, nil)}
	for i, accessor := range valid {
		o := &structs.OneTimeToken{OneTimeSecretID: uuid.NewString(), AccessorID: accessor, ExpiresAt: []time.Time{past, future}[i]}
		if _, err := s.apply(t.Context(), structs.OneTimeTokenUpsertRequestType, &structs.OneTimeTokenUpsertRequest{OneTimeToken: o}); err != nil {
			t.Fatal(err)
		}
	}
	mustSettle(t, s)
	before := s.fsm.seen.Load()
	if err := s.deleteExpired(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	if n := s.fsm.seen.Load() - before; n != 2+2+1 {
		t.Errorf("%d entries, want two batches of local tokens, two of global ones, and one of one-time tokens", n)
	}
	left := map[string]bool{}
	for token := range s.state.Snapshot().ACLTokens(nil, state.ACLTokenQuery{}) {
		left[token.AccessorID] = true
	}
	if len(left) != 2 || !left[valid[0]] || !left[valid[1]] {
		t.Errorf("%d tokens are left, want the two that are valid", len(left))
	}
	for range s.state.Snapshot().ExpiredOneTimeTokens(now) {
		t.Error("an expired one-time token is left")
	}
	n := 0
	for range s.state.Snapshot().ExpiredOneTimeTokens(future.Add(time.Second)) {
		n++
	}
	if n != 1 {
		t.Errorf("%d one-time tokens are left, want the one that is valid", n)
	}
}

// Whoever has expired one-time tokens deleted does it in bounded batches as well.
func TestOneTimeTokensExpireInBoundedBatches(t *testing.T) {
	s := startEnforced(t)
	root := bootstrapped(t, s)
	past := time.Now().Add(-time.Hour)
	entry := &structs.ACLTokenUpsertRequest{}
	for range tokenGCBatch + 1 {
		entry.Tokens = append(entry.Tokens, &structs.ACLToken{AccessorID: uuid.NewString(), SecretID: uuid.NewString(), Type: structs.ACLManagementToken, CreateTime: past})
	}
	if _, err := s.apply(t.Context(), structs.ACLTokenUpsertRequestType, entry); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	some := make(chan struct{}, 64) // as many at once
	for _, token := range entry.Tokens {
		some <- struct{}{}
		wg.Go(func() {
			defer func() { <-some }()
			o := &structs.OneTimeToken{OneTimeSecretID: uuid.NewString(), AccessorID: token.AccessorID, ExpiresAt: past}
			if _, err := s.apply(t.Context(), structs.OneTimeTokenUpsertRequestType, &structs.OneTimeTokenUpsertRequest{OneTimeToken: o}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	mustSettle(t, s)
	before := s.fsm.seen.Load()
	req := &structs.OneTimeTokenExpireRequest{WriteRequest: structs.WriteRequest{AuthToken: root}}
	mustCall(t, s, "ACL.ExpireOneTimeTokens", req, &structs.GenericResponse{})
	if n := s.fsm.seen.Load() - before; n != 2+1 {
		t.Errorf("%d entries, want two batches and the one that answers", n)
	}
	for range s.state.Snapshot().ExpiredOneTimeTokens(time.Now()) {
		t.Fatal("an expired one-time token is left")
	}
}

// mustSettle waits until a new leader has written what it writes by itself, so that the
// entries of others can be counted.
func mustSettle(t *testing.T, s *Server) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if sn := s.state.Snapshot(); sn.ActiveRootKey() != nil && sn.AutopilotConfig(nil) != nil {
			return
		}
	}
	t.Fatal("a new leader does not write what it should")
}
