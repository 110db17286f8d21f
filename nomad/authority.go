package nomad

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/internal/tlsconf"
	"github.com/cairn-project/cairn/nomad/enroll"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// authorityCheck is how often the leader looks after the authority, and every
	// server after its certificate.
	authorityCheck = time.Minute
	// identityRetry is the pause after a renewal that failed.
	identityRetry = 5 * time.Second
)

// startAuthority puts the authority into the state, and seals its key anew when
// the root key was replaced.
func (s *Server) startAuthority(t *term) error {
	if s.config.TLS.auto() == nil {
		return nil
	}
	s.lookAfter(t, "the certificate authority", authorityCheck, s.ensureAuthority)
	return nil
}

func (s *Server) ensureAuthority(ctx context.Context) error {
	select {
	case <-s.keyring.Ready():
	case <-ctx.Done():
		return ctx.Err()
	}
	sn := s.state.Snapshot()
	for a := range sn.Authorities(nil) {
		if a.KeyID != s.keyring.ActiveID() {
			if err := s.resealAuthority(ctx, a); err != nil {
				return err
			}
		}
	}
	if err := s.rotateAuthority(ctx, slices.Collect(sn.Authorities(nil))); err != nil {
		return err
	}
	return s.config.TLS.Auto.Dir.DropSeed()
}

// rotateAuthority makes the first authority, or the next one in time, or lets the
// next one sign.
func (s *Server) rotateAuthority(ctx context.Context, all []*structs.Authority) error {
	d := enroll.Decide(all, time.Now(), s.config.TLS.Auto.Lifetime)
	switch {
	case d.Create:
		row, err := s.newAuthority(d.Active)
		if err != nil {
			return err
		}
		_, err = s.apply(ctx, structs.AuthorityUpsertRequestType, &structs.AuthorityUpsertRequest{Authority: row})
		if err == nil {
			s.logger.Info("created the certificate authority", "fingerprint", row.ID, "signs", row.Active)
		}
		return err
	case d.Drop != nil:
		_, err := s.apply(ctx, structs.AuthorityDeleteRequestType, &structs.AuthorityDeleteRequest{ID: d.Drop.ID})
		if err == nil {
			s.logger.Info("a certificate authority is trusted no more", "fingerprint", d.Drop.ID)
		}
		return err
	case d.Activate != nil:
		row := d.Activate.Copy()
		row.Active, row.ActivateTime = true, time.Now().UTC()
		_, err := s.apply(ctx, structs.AuthorityUpsertRequestType, &structs.AuthorityUpsertRequest{Authority: row})
		if err == nil {
			s.logger.Info("the next certificate authority signs from now on", "fingerprint", row.ID)
		}
		return err
	}
	return nil
}

// newAuthority returns the authority that this server's certificate is of, if the state
// has none yet, or a new one.
func (s *Server) newAuthority(active bool) (row *structs.Authority, err error) {
	var cert, key []byte
	if active {
		if cert, key, err = s.config.TLS.Auto.Dir.Seed(); err != nil {
			return nil, err
		}
	}
	if cert == nil || key == nil {
		if cert, key, err = enroll.NewAuthority(s.config.Region); err != nil {
			return nil, err
		}
	}
	if row, err = enroll.Seal(s.keyring, cert, key); err != nil {
		return nil, err
	}
	row.Active, row.CreateTime = active, time.Now().UTC()
	if active {
		row.ActivateTime = row.CreateTime
	}
	return row, nil
}

func (s *Server) resealAuthority(ctx context.Context, a *structs.Authority) error {
	key, err := s.keyring.Open(nil, a.SealedKey, a.KeyID)
	if err != nil {
		return err
	}
	row, err := enroll.Seal(s.keyring, a.Certificate, key)
	clear(key)
	if err != nil {
		return err
	}
	row.Active, row.CreateTime, row.Requested, row.ActivateTime = a.Active, a.CreateTime, a.Requested, a.ActivateTime
	_, err = s.apply(ctx, structs.AuthorityUpsertRequestType, &structs.AuthorityUpsertRequest{Authority: row})
	return err
}

// runIdentity keeps the certificate of this server fresh, and what it trusts in
// step with the state. A server needs nobody for it: it holds the authority.
func (s *Server) runIdentity(ctx context.Context) {
	if s.config.TLS.auto() == nil {
		return
	}
	for ctx.Err() == nil {
		ws := memdb.NewWatchSet()
		ws.Add(s.state.AbandonCh())
		pause, err := s.refreshIdentity(s.state.Snapshot(), ws)
		if err != nil {
			s.logger.Error("could not renew the certificate, will try again", "error", err)
		}
		until, cancel := context.WithTimeout(ctx, pause)
		_ = ws.WatchCtx(until)
		cancel()
		s.state.Unwatch(ws)
	}
}

// refreshIdentity does what is due and returns when to look again.
func (s *Server) refreshIdentity(sn *state.Snapshot, ws memdb.WatchSet) (time.Duration, error) {
	auto := s.config.TLS.Auto
	known := &enroll.Recovery{}
	for k := range sn.RootKeys(ws) {
		known.RootKeys = append(known.RootKeys, k)
	}
	for a := range sn.Authorities(ws) {
		known.Authorities = append(known.Authorities, a)
	}
	if len(known.Authorities) == 0 {
		return authorityCheck, nil
	}
	if err := s.keepKnown(known); err != nil {
		return identityRetry, err
	}
	due, _, err := auto.Dir.RenewAt()
	if err != nil {
		return identityRetry, err
	}
	if left := time.Until(due); left > 0 && auto.Dir.IssuedBy(known.Authorities) {
		return min(left, authorityCheck), s.trust(known.Authorities)
	}
	h := enroll.Holder{Role: tlsconf.RoleServer, Region: s.config.Region, Lifetime: auto.Lifetime}
	if err := auto.Dir.SelfIssue(s.keyring, known.Authorities, h, auto.IPs); err != nil {
		return identityRetry, err
	}
	if err := s.reloadIdentity(); err != nil {
		return identityRetry, err
	}
	_, until, err := auto.Dir.RenewAt()
	s.logger.Info("renewed the certificate", "until", until)
	return time.Second, err
}

// keepKnown writes down what the state says of authorities and gossip of servers.
func (s *Server) keepKnown(known *enroll.Recovery) error {
	dir := s.config.TLS.Auto.Dir
	if err := dir.SaveRecovery(known); err != nil {
		return err
	}
	if s.gossipRing != nil {
		if err := dir.SaveGossipKey(s.gossipRing.GetPrimaryKey()); err != nil {
			return err
		}
	}
	gossip, servers := s.addressesToJoin(false)
	if len(gossip) == 0 {
		return nil
	}
	return dir.SaveCluster(enroll.Cluster{Region: s.config.Region, GossipServers: gossip, Servers: servers})
}

// trust takes over what authorities there are.
func (s *Server) trust(authorities []*structs.Authority) error {
	dir, bundle := s.config.TLS.Auto.Dir, enroll.Bundle(authorities)
	if before, err := dir.Bundle(); err == nil && bytes.Equal(before, bundle) {
		return nil
	}
	if err := dir.SaveBundle(bundle); err != nil {
		return err
	}
	return s.reloadIdentity()
}

func (s *Server) reloadIdentity() error {
	source := s.config.TLS.Source
	return source.Reload(source.Settings(), func(next *tlsconf.Source) error {
		return next.CheckRole(tlsconf.RoleServer, s.config.Region)
	})
}
