package nomad

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"
	"github.com/hashicorp/serf/serf"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/router"
	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// reconcileInterval is how often the leader compares gossip and Raft peers
	// even if nothing happened.
	reconcileInterval = 60 * time.Second
	// reconcileRetry is the pause after a server could not be brought in step.
	reconcileRetry = 5 * time.Second
	// membershipTimeout bounds one change of the Raft peers.
	membershipTimeout = 10 * time.Second
)

// startReconcile keeps the Raft peers in step with the gossip members.
func (s *Server) startReconcile(t *term) error {
	t.wg.Go(func() {
		tick := time.NewTicker(reconcileInterval)
		defer tick.Stop()
		for {
			var again <-chan time.Time
			if !s.reconcileMembers(t) {
				again = time.After(reconcileRetry)
			}
			select {
			case <-t.ctx.Done():
				return
			case <-s.reconcile:
			case <-again:
			case <-tick.C:
			}
		}
	})
	return nil
}

// reconcileSoon has the leader compare gossip and Raft peers. It does not block.
func (s *Server) reconcileSoon() {
	select {
	case s.reconcile <- struct{}{}:
	default:
	}
}

// reconcileMembers reports whether every member is in step.
func (s *Server) reconcileMembers(t *term) bool {
	members := s.serf.Members()
	inStep := s.removeForgotten(t, members)
	known := membersByID(members)
	s.tellTwins(members)
	for _, m := range members {
		srv, ok := router.ParseMember(m)
		if !ok || srv.Region != s.config.Region || t.ctx.Err() != nil || s.twins[srv.ID] != "" {
			continue
		}
		if now := known[srv.ID]; now.Status == serf.StatusAlive && now.Name != srv.Name {
			continue // it is back under another name
		}
		if err := s.reconcileMember(t, srv); err != nil && t.ctx.Err() == nil {
			s.logger.Error("cannot bring a raft peer in step with gossip", "server", srv.Name, "error", err)
			inStep = false
		}
	}
	return inStep
}

// tellTwins finds live servers that have one ID, as after a data directory was copied, and
// tells of them once. Which of them is the peer is left as it is: to follow one would
// mean to follow the other the next time. Only who reconciles calls it.
func (s *Server) tellTwins(members []serf.Member) {
	addrs := map[string][]string{}
	for _, m := range members {
		srv, ok := router.ParseMember(m)
		if ok && srv.Region == s.config.Region && srv.Status == serf.StatusAlive && !slices.Contains(addrs[srv.ID], srv.Addr) {
			addrs[srv.ID] = append(addrs[srv.ID], srv.Addr) // the same one twice is back under another name
		}
	}
	twins := map[string]string{}
	for id, at := range addrs {
		if len(at) < 2 {
			continue
		}
		slices.Sort(at)
		if twins[id] = strings.Join(at, ", "); twins[id] != s.twins[id] {
			s.logger.Error("live servers have the same ID and are not brought in step: stop all but one of them, and clear the data directory of the others before they start again", "id", id, "addresses", twins[id])
		}
	}
	s.twins = twins
}

// removeForgotten takes servers out of the Raft peers that gossip has forgotten,
// after days or by request, and that are not back under another name.
func (s *Server) removeForgotten(t *term, members []serf.Member) bool {
	inStep := true
	s.forgotten.Range(func(key, _ any) bool {
		id := key.(string)
		back := slices.ContainsFunc(members, func(m serf.Member) bool { return m.Tags[router.TagID] == id })
		if !back {
			if err := s.removePeer(router.Server{ID: id}); err != nil {
				if t.ctx.Err() == nil {
					s.logger.Error("cannot remove a raft peer that gossip has forgotten", "id", id, "error", err)
				}
				inStep = false
				return t.ctx.Err() == nil
			}
		}
		s.forgotten.Delete(id)
		return true
	})
	return inStep
}

func (s *Server) reconcileMember(t *term, srv router.Server) error {
	switch srv.Status {
	case serf.StatusAlive:
		return s.addPeer(t, srv)
	case serf.StatusLeft:
		return s.removePeer(srv)
	}
	return nil
}

// addPeer makes a live member a Raft peer, and follows its address and whether it
// has a vote.
func (s *Server) addPeer(t *term, srv router.Server) error {
	conf := s.raft.GetConfiguration().Configuration()
	for _, p := range conf.Servers {
		if string(p.ID) == srv.ID && string(p.Address) == srv.Addr && (p.Suffrage != raft.Voter) == srv.NonVoter {
			return nil
		}
	}
	if err := s.checkCluster(t, srv); err != nil {
		return err
	}
	if err := s.removePredecessor(conf, srv); err != nil {
		return err
	}
	s.logger.Info("adding raft peer", "server", srv.Name, "address", srv.Addr, "voter", !srv.NonVoter)
	id, addr := raft.ServerID(srv.ID), raft.ServerAddress(srv.Addr)
	if !srv.NonVoter {
		return s.raft.AddVoter(id, addr, 0, membershipTimeout).Error()
	}
	if isVoter(conf, srv.ID) {
		if err := s.raft.DemoteVoter(id, 0, membershipTimeout).Error(); err != nil {
			return err
		}
	}
	return s.raft.AddNonvoter(id, addr, 0, membershipTimeout).Error()
}

// removePredecessor takes a peer out whose address belongs to another server now.
func (s *Server) removePredecessor(conf raft.Configuration, srv router.Server) error {
	for _, p := range conf.Servers {
		if string(p.ID) == srv.ID || string(p.Address) != srv.Addr {
			continue
		}
		if string(p.ID) == s.nodeID {
			return errs.Newf(errs.PreconditionFailed, "it claims the address of this server, %s: correct the address that it advertises", srv.Addr)
		}
		s.logger.Info("a new server took the address of an old peer, removing the old one", "address", srv.Addr, "old_id", p.ID)
		if err := s.raft.RemoveServer(p.ID, 0, membershipTimeout).Error(); err != nil {
			return err
		}
	}
	return nil
}

func isVoter(c raft.Configuration, id string) bool {
	return slices.ContainsFunc(voters(c), func(p raft.Server) bool { return string(p.ID) == id })
}

// checkCluster refuses a server that holds the state of another cluster: as a
// peer it would lose that state, or take ours.
func (s *Server) checkCluster(t *term, srv router.Server) error {
	if srv.ID == s.nodeID {
		return nil
	}
	ctx, cancel := context.WithTimeout(t.ctx, peersTimeout)
	defer cancel()
	var theirs structs.ClusterResponse
	req := &structs.GenericRequest{QueryOptions: structs.QueryOptions{AllowStale: true}}
	if err := s.pool.Call(ctx, srv.Addr, "Status.Cluster", req, &theirs, wire.CallOptions{}); err != nil {
		return fmt.Errorf("ask for its cluster: %w", err)
	}
	if own := s.clusterID(); theirs.ClusterID != "" && theirs.ClusterID != own {
		return errs.Newf(errs.PreconditionFailed, "it belongs to another cluster (%s, ours is %s): clear its data directory to let it join", theirs.ClusterID, own)
	}
	return nil
}

// removePeer takes a member that left out of the Raft peers.
func (s *Server) removePeer(srv router.Server) error {
	if srv.ID == s.nodeID || !containsServer(s.raft.GetConfiguration().Configuration(), srv.ID) {
		return nil
	}
	s.logger.Info("removing raft peer that left", "server", srv.Name)
	return s.raft.RemoveServer(raft.ServerID(srv.ID), 0, membershipTimeout).Error()
}
