package nomad

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// tokenGCInterval is how often the leader looks for tokens that have expired.
	tokenGCInterval = 5 * time.Minute
	// tokenGCBatch is how many tokens one entry of the log deletes at most.
	tokenGCBatch = 4096
)

// startTokenGC deletes tokens and one-time tokens that have expired. They are of no
// use from the moment on, so that it does not matter when they go.
func (s *Server) startTokenGC(t *term) error {
	if !s.auth.Enabled() {
		return nil
	}
	t.wg.Go(func() {
		for {
			select {
			case <-t.ctx.Done():
				return
			case <-time.After(tokenGCInterval + rand.N(tokenGCInterval/jitterFraction)):
			}
			if err := s.deleteExpired(t.ctx, time.Now()); err != nil && t.ctx.Err() == nil {
				s.logger.Error("could not delete expired tokens, will try again", "error", err)
			}
		}
	})
	return nil
}

// deleteExpired deletes what has expired at now, local tokens and global ones apart.
func (s *Server) deleteExpired(ctx context.Context, now time.Time) error {
	for _, global := range []bool{false, true} {
		if global && s.copies() { // their own region deletes them
			continue
		}
		for {
			batch := s.expiredTokens(global, now)
			if len(batch) == 0 {
				break
			}
			if _, err := s.apply(ctx, structs.ACLTokenDeleteRequestType, &structs.ACLTokenDeleteRequest{AccessorIDs: batch}); err != nil {
				return err
			}
			s.logger.Debug("deleted expired tokens", "tokens", len(batch), "global", global)
		}
	}
	return s.deleteExpiredOneTime(ctx, now)
}

// deleteExpiredOneTime deletes the one-time tokens that have expired at now.
func (s *Server) deleteExpiredOneTime(ctx context.Context, now time.Time) error {
	for {
		batch := s.expiredOneTimeTokens(now)
		if len(batch.AccessorIDs) == 0 {
			return nil
		}
		_, err := s.apply(ctx, structs.OneTimeTokenDeleteRequestType, batch)
		if err != nil && !errors.Is(err, errs.NotFound) { // one may have gone or been replaced meanwhile
			return err
		}
		s.logger.Debug("deleted expired one-time tokens", "tokens", len(batch.AccessorIDs), "refused", err != nil)
	}
}

// expiredTokens returns the accessors of one batch of tokens that have expired.
func (s *Server) expiredTokens(global bool, now time.Time) []string {
	var batch []string
	for t := range s.state.Snapshot().ExpiredACLTokens(global, now) {
		if batch = append(batch, t.AccessorID); len(batch) == tokenGCBatch {
			break
		}
	}
	return batch
}

// expiredOneTimeTokens returns the request that deletes one batch of one-time tokens
// that have expired.
func (s *Server) expiredOneTimeTokens(now time.Time) *structs.OneTimeTokenDeleteRequest {
	batch := &structs.OneTimeTokenDeleteRequest{}
	for o := range s.state.Snapshot().ExpiredOneTimeTokens(now) {
		batch.AccessorIDs, batch.Seen = append(batch.AccessorIDs, o.AccessorID), append(batch.Seen, o.ModifyIndex)
		if len(batch.AccessorIDs) == tokenGCBatch {
			break
		}
	}
	return batch
}
