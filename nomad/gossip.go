package nomad

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-memdb"
	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/serf"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/router"
	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// reconnectTimeout is how long a failed server is kept and tried.
	reconnectTimeout = 3 * 24 * time.Hour
	// reclaimAfter is how long a server must have been failed before it may come
	// back under its name at another address.
	reclaimAfter = 10 * time.Second
	// syncInterval is how often a server compares all that it knows of the members
	// with one of them: how long chance may keep a return from it. Members are tens,
	// not thousands, so it costs little.
	syncInterval = 15 * time.Second
	// leavePropagateDelay is how long a leaving server waits for its farewell to spread.
	leavePropagateDelay = time.Second
	// bootstrapInterval is how often a server of a cluster that is still to be
	// looks whether enough of them have met.
	bootstrapInterval = 200 * time.Millisecond
	// raftProtocolVersion is the only one that raft 1.7 and later speak in full.
	raftProtocolVersion = "3"
	// clusterTag carries the cluster ID, so that strangers do not mix.
	clusterTag = "cluster"
)

func (s *Server) setupGossip(logger hclog.Logger) error {
	conf := serf.DefaultConfig()
	conf.Init()
	conf.NodeName = s.config.NodeName + "." + s.config.Region
	conf.Tags = s.gossipTags()
	conf.Logger = stdLogger(logger.Named("serf"))
	conf.EventCh = s.serfCh
	conf.ReconnectTimeout = reconnectTimeout
	conf.LeavePropagateDelay = leavePropagateDelay
	conf.RejoinAfterLeave = s.config.Gossip.RejoinAfterLeave
	conf.EnableNameConflictResolution = false
	conf.Merge = &clusterGuard{s}
	if s.config.DataDir != "" {
		dir := filepath.Join(s.config.DataDir, "serf")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return errs.Newf(errs.Invalid, "cannot create the gossip directory: %w", err)
		}
		conf.SnapshotPath = filepath.Join(dir, "local.snapshot")
	}
	if err := s.memberlistConfig(conf, logger); err != nil {
		return err
	}
	var err error
	if s.serf, err = serf.Create(conf); err != nil {
		return errs.Newf(errs.Invalid, "cannot listen for gossip on %s:%d: %w; choose another address or port for serf", conf.MemberlistConfig.BindAddr, conf.MemberlistConfig.BindPort, err)
	}
	return nil
}

func (s *Server) memberlistConfig(conf *serf.Config, logger hclog.Logger) error {
	g := s.config.Gossip
	m := memberlist.DefaultWANConfig()
	m.BindAddr, m.BindPort = g.BindAddr, g.BindPort
	m.AdvertiseAddr, m.AdvertisePort = g.AdvertiseAddr, g.AdvertisePort
	m.Transport = g.Transport
	m.DeadNodeReclaimTime, m.PushPullInterval = reclaimAfter, syncInterval
	m.Logger = stdLogger(logger.Named("memberlist"))
	conf.MemberlistConfig = m
	err := s.setupGossipKeys(conf, logger)
	s.gossipRing = m.Keyring
	return err
}

func stdLogger(l hclog.Logger) *log.Logger {
	return l.StandardLogger(&hclog.StandardLoggerOptions{InferLevels: true})
}

// gossipTags is what this server tells the others about itself.
func (s *Server) gossipTags() map[string]string {
	host, port, _ := net.SplitHostPort(s.config.RPCAdvertise)
	tags := map[string]string{
		"role": "nomad", "region": s.config.Region, "dc": s.config.Datacenter,
		"build": Version, "vsn": "1", "raft_vsn": raftProtocolVersion, "id": s.nodeID,
		"rpc_addr": host, "port": port,
	}
	if n := s.config.BootstrapExpect; n == 1 {
		tags["bootstrap"] = "1"
	} else if n > 1 {
		tags["expect"] = strconv.Itoa(n)
	}
	if s.config.NonVoter {
		tags["nonvoter"] = "1"
	}
	if s.config.TLS != nil {
		tags[router.TagTLS] = "1"
	}
	if id := s.clusterID(); id != "" {
		tags[clusterTag] = id
	}
	return tags
}

// clusterKey is where the ID of the cluster is kept beside the vote. It is frozen.
var clusterKey = []byte("cairn/cluster")

// clusterID returns the ID of the cluster whose state this server holds, "" before
// the first leader. A server that has started and applied nothing yet goes by
// what it knew before.
func (s *Server) clusterID() string {
	if meta := s.state.Snapshot().ClusterMetadata(nil); meta != nil {
		return meta.ClusterID
	}
	id, err := s.stores.Stable.Get(clusterKey)
	if err != nil {
		return "" // never kept; other faults of the store stop raft
	}
	return string(id)
}

// keepClusterID makes sure that the ID outlives a restart.
func (s *Server) keepClusterID(id string) {
	if kept, err := s.stores.Stable.Get(clusterKey); err == nil && string(kept) == id {
		return
	}
	if err := s.stores.Stable.Set(clusterKey, []byte(id)); err != nil {
		s.logger.Error("cannot keep the cluster ID", "error", err)
	}
}

// clusterGuard keeps servers of other clusters out of the gossip pool.
type clusterGuard struct{ srv *Server }

// NotifyMerge refuses a pool that holds a server of this region but of another cluster.
func (g *clusterGuard) NotifyMerge(members []*serf.Member) error {
	own := g.srv.clusterID()
	for _, m := range members {
		other := m.Tags[clusterTag]
		if own == "" || other == "" || other == own || m.Tags["region"] != g.srv.config.Region {
			continue
		}
		err := fmt.Errorf("server %q belongs to another cluster (%s, ours is %s): one of the two has the wrong data directory or the wrong address to join", m.Name, other, own)
		g.srv.logger.Error("refused to join", "error", err)
		return err
	}
	return nil
}

// runTags keeps, and tells the others, which cluster this server belongs to, once
// it knows.
func (s *Server) runTags(ctx context.Context) {
	for ctx.Err() == nil {
		abandoned := s.state.AbandonCh()
		ws := memdb.NewWatchSet()
		ws.Add(abandoned)
		if meta := s.state.Snapshot().ClusterMetadata(ws); meta != nil {
			s.keepClusterID(meta.ClusterID)
			s.spreadClusterID(ctx, meta.ClusterID)
		}
		_ = ws.WatchCtx(ctx)
		s.state.Unwatch(ws)
	}
}

func (s *Server) spreadClusterID(ctx context.Context, id string) {
	if s.serf.LocalMember().Tags[clusterTag] == id {
		return
	}
	tags := s.gossipTags()
	if err := untilDone(ctx, func() error { return s.serf.SetTags(tags) }); err != nil && ctx.Err() == nil {
		s.logger.Warn("could not spread the cluster ID by gossip", "error", err)
	}
}

// runGossip keeps the router and the Raft peers in step with gossip.
func (s *Server) runGossip(ctx context.Context) {
	tick := time.NewTicker(bootstrapInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.maybeBootstrap()
		case e := <-s.serfCh:
			if me, ok := e.(serf.MemberEvent); ok {
				s.memberEvent(me)
			}
		}
	}
}

func (s *Server) memberEvent(e serf.MemberEvent) {
	for _, m := range e.Members {
		srv, ok := router.ParseMember(m)
		if !ok {
			s.logger.Warn("gossip member is no server, left alone", "name", m.Name)
			continue
		}
		s.logger.Info("member "+eventVerb(e.Type), "name", m.Name, "address", srv.Addr)
		if e.Type == serf.EventMemberReap {
			s.router.Remove(srv.Name, srv.Region)
			if srv.Region == s.config.Region {
				s.forgotten.Store(srv.ID, true)
			}
		} else {
			s.router.Update(srv)
		}
	}
	s.reconcileSoon()
	select {
	case s.gossiped <- struct{}{}:
	default:
	}
}

func eventVerb(t serf.EventType) string {
	switch t {
	case serf.EventMemberJoin:
		return "joined"
	case serf.EventMemberLeave:
		return "left"
	case serf.EventMemberFailed:
		return "failed"
	case serf.EventMemberReap:
		return "forgotten"
	}
	return "updated"
}

// Join joins the gossip pool of the servers at addrs and returns how many answered.
func (s *Server) Join(addrs []string) (int, error) {
	n, err := s.serf.Join(addrs, true)
	if err != nil && n == 0 {
		return 0, joinFailed(err)
	}
	return n, nil
}

// joinFailed says why no server was joined.
func joinFailed(err error) error {
	text := errs.InOneLine(err)
	if strings.Contains(text, "no installed keys could decrypt") {
		text += "; the gossip key there is another one: give this server the encrypt of the others or, where the key was changed meanwhile, a copy of their file serf.keyring"
	}
	return errs.Wrap(errs.Unavailable, "no server could be joined: "+text, err)
}

// ForceLeave moves a failed member to the state left, and forgets it when prune is set.
func (s *Server) ForceLeave(node string, prune bool) error {
	full := node
	for _, m := range s.serf.Members() {
		if m.Name == node+"."+s.config.Region {
			full = m.Name
		}
	}
	remove := s.serf.RemoveFailedNode
	if prune {
		remove = s.serf.RemoveFailedNodePrune
	}
	if err := remove(full); err != nil {
		return errs.Newf(errs.NotFound, "cannot force %q to leave: %w", node, err)
	}
	return nil
}

// Members returns the gossip members as this server sees them.
func (s *Server) Members() []*structs.AgentMember {
	all := s.serf.Members()
	out := make([]*structs.AgentMember, len(all))
	for i := range all {
		out[i] = agentMember(all[i])
	}
	return out
}

// LocalMember returns this server as the gossip pool sees it.
func (s *Server) LocalMember() *structs.AgentMember { return agentMember(s.serf.LocalMember()) }

func agentMember(m serf.Member) *structs.AgentMember {
	return &structs.AgentMember{
		Name: m.Name, Addr: m.Addr, Port: m.Port, Tags: m.Tags, Status: m.Status.String(),
		ProtocolMin: m.ProtocolMin, ProtocolMax: m.ProtocolMax, ProtocolCur: m.ProtocolCur,
		DelegateMin: m.DelegateMin, DelegateMax: m.DelegateMax, DelegateCur: m.DelegateCur,
	}
}

// join is Join for as long as ctx lasts.
func (s *Server) join(ctx context.Context, addrs []string) (int, error) {
	reached := make(chan int, 1)
	err := untilDone(ctx, func() error {
		n, err := s.Join(addrs)
		reached <- n
		return err
	})
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	return <-reached, err
}

// untilDone runs f, a call of gossip that knows no context, and leaves it alone
// when ctx ends first. Gossip gives up what nobody answers after half a minute,
// also when it has been shut down.
func untilDone(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// runJoin joins the configured servers: once those that must answer, and again
// and again those that may come later.
func (s *Server) runJoin(ctx context.Context) {
	g := s.config.Gossip
	if len(g.StartJoin) > 0 {
		if n, err := s.join(ctx, g.StartJoin); ctx.Err() != nil {
			return
		} else if err != nil {
			s.fail(fmt.Errorf("start_join: %w", err))
			return
		} else if n < len(g.StartJoin) {
			s.logger.Warn("start_join reached some servers only", "reached", n, "of", len(g.StartJoin))
		}
	}
	for try := 1; len(g.RetryJoin) > 0; try++ {
		n, err := s.join(ctx, g.RetryJoin)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			s.logger.Info("joined", "servers", n)
			return
		}
		if g.RetryMax > 0 && try >= g.RetryMax {
			s.fail(fmt.Errorf("retry_join gave up after %d tries: %w", try, err))
			return
		}
		s.logger.Warn("join failed, will try again", "after", g.RetryInterval, "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(g.RetryInterval):
		}
	}
}

// grouped reports whether every server of the region understands log entries
// that hold several writes.
func (s *Server) grouped() bool {
	return s.router.MeetsMinimumVersion(s.config.Region, groupsSince, false)
}

// groupsSince is the first version that applies groups.
const groupsSince = "0.1.0"
