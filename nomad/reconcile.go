package nomad

import (
	"time"

	"github.com/hashicorp/raft"
	"github.com/hashicorp/serf/serf"

	"github.com/cairn-project/cairn/nomad/router"
)

const (
	// reconcileInterval is how often the leader compares gossip and Raft peers
	// even if nothing happened.
	reconcileInterval = 60 * time.Second
	// membershipTimeout bounds one change of the Raft peers.
	membershipTimeout = 10 * time.Second
)

// startReconcile keeps the Raft peers in step with the gossip members.
func (s *Server) startReconcile(t *term) error {
	t.wg.Go(func() {
		tick := time.NewTicker(reconcileInterval)
		defer tick.Stop()
		for {
			s.reconcileMembers(t)
			select {
			case <-t.ctx.Done():
				return
			case <-s.reconcile:
			case <-tick.C:
			}
		}
	})
	return nil
}

func (s *Server) reconcileMembers(t *term) {
	for _, m := range s.serf.Members() {
		srv, ok := router.ParseMember(m)
		if !ok || srv.Region != s.config.Region || t.ctx.Err() != nil {
			continue
		}
		if err := s.reconcileMember(srv); err != nil && t.ctx.Err() == nil {
			s.logger.Error("cannot bring a raft peer in step with gossip", "server", srv.Name, "error", err)
		}
	}
}

func (s *Server) reconcileMember(srv router.Server) error {
	switch srv.Status {
	case serf.StatusAlive:
		return s.addPeer(srv)
	case serf.StatusLeft:
		return s.removePeer(srv)
	}
	return nil
}

// addPeer makes a live member a Raft peer, and follows its address.
func (s *Server) addPeer(srv router.Server) error {
	conf := s.raft.GetConfiguration().Configuration()
	for _, p := range conf.Servers {
		if string(p.ID) == srv.ID && string(p.Address) == srv.Addr {
			return nil
		}
		if string(p.ID) != srv.ID && string(p.Address) == srv.Addr {
			s.logger.Info("a new server took the address of an old peer, removing the old one", "address", srv.Addr, "old_id", p.ID)
			if err := s.raft.RemoveServer(p.ID, 0, membershipTimeout).Error(); err != nil {
				return err
			}
		}
	}
	s.logger.Info("adding raft peer", "server", srv.Name, "address", srv.Addr, "voter", !srv.NonVoter)
	id, addr := raft.ServerID(srv.ID), raft.ServerAddress(srv.Addr)
	if srv.NonVoter {
		return s.raft.AddNonvoter(id, addr, 0, membershipTimeout).Error()
	}
	return s.raft.AddVoter(id, addr, 0, membershipTimeout).Error()
}

// removePeer takes a member that left out of the Raft peers.
func (s *Server) removePeer(srv router.Server) error {
	if srv.ID == s.nodeID || !containsServer(s.raft.GetConfiguration().Configuration(), srv.ID) {
		return nil
	}
	s.logger.Info("removing raft peer that left", "server", srv.Name)
	return s.raft.RemoveServer(raft.ServerID(srv.ID), 0, membershipTimeout).Error()
}
