package nomad

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/router"
	"github.com/cairn-project/cairn/nomad/structs"
)

// peersTimeout bounds the question whether a server has Raft peers already.
const peersTimeout = 2 * time.Second

// maybeBootstrap elects the first leader of a new cluster once as many servers
// as expected have met. It asks each of them for its Raft peers first: one that
// has any belongs to a running cluster, which will take this server in.
func (s *Server) maybeBootstrap() {
	expect := s.config.BootstrapExpect
	if expect <= 1 || s.raft.LastIndex() != 0 || len(s.raft.GetConfiguration().Configuration().Servers) > 0 {
		return
	}
	servers := s.expectedServers(expect)
	if len(servers) < expect {
		if servers != nil {
			s.sayOnce(hclog.Info, "waiting for more servers before the first election", "have", len(servers), "expect", expect)
		}
		return
	}
	for _, srv := range servers {
		if srv.ID == s.nodeID {
			continue
		}
		peers, err := s.askPeers(srv)
		if err != nil {
			s.sayOnce(hclog.Warn, "cannot ask a server for its raft peers, will try again", "server", srv.Name, "error", err)
			return
		}
		if len(peers) > 0 {
			s.sayOnce(hclog.Info, "a running cluster was found, waiting to be taken in", "server", srv.Name)
			return
		}
	}
	var conf raft.Configuration
	for _, srv := range servers {
		conf.Servers = append(conf.Servers, raft.Server{
			ID: raft.ServerID(srv.ID), Address: raft.ServerAddress(srv.Addr), Suffrage: raft.Voter,
		})
	}
	s.logger.Info("electing the first leader", "servers", len(conf.Servers))
	if err := s.raft.BootstrapCluster(conf).Error(); err != nil && err != raft.ErrCantBootstrap {
		s.logger.Error("cannot bootstrap the cluster", "error", err)
	}
}

// sayOnce logs what keeps the server from electing a first leader, when that
// changes. Only the gossip goroutine calls it.
func (s *Server) sayOnce(level hclog.Level, msg string, args ...any) {
	if now := fmt.Sprint(append([]any{msg}, args...)...); now != s.lastSaid {
		s.lastSaid = now
		s.logger.Log(level, msg, args...)
	}
}

// expectedServers returns the voters of the region if all of them expect the
// same number, in the same order on every server.
func (s *Server) expectedServers(expect int) []router.Server {
	var out []router.Server
	for _, srv := range s.router.InRegion(s.config.Region) {
		switch {
		case srv.NonVoter:
		case srv.Bootstrap:
			s.sayOnce(hclog.Error, "a server has bootstrap_expect 1 and elects itself, give all the same number", "server", srv.Name)
			return nil
		case srv.Expect != 0 && srv.Expect != expect:
			s.sayOnce(hclog.Error, "servers disagree on bootstrap_expect", "server", srv.Name, "theirs", srv.Expect, "ours", expect)
			return nil
		default:
			out = append(out, srv)
		}
	}
	return out
}

func (s *Server) askPeers(srv router.Server) ([]string, error) {
	ctx, cancel := context.WithTimeout(s.ctx, peersTimeout)
	defer cancel()
	var peers []string
	req := &structs.GenericRequest{QueryOptions: structs.QueryOptions{AllowStale: true, Region: s.config.Region}}
	err := s.pool.Call(ctx, srv.Addr, "Status.Peers", req, &peers, wire.CallOptions{})
	return peers, err
}
