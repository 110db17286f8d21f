package nomad

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/internal/raftnet"
)

// Settings of consensus that measured best; docs/architecture.md says why.
const (
	maxAppendEntries = 256 // most of them groups; raft makes room for as many, however few there are
	maxRPCsInFlight  = 16
	commitTimeout    = 5 * time.Millisecond
)

// setupNodeID finds the ID of this server: the configured one, the one kept in
// the data directory, or a new one that is kept there.
func (s *Server) setupNodeID(hclog.Logger) error {
	if s.nodeID = s.config.NodeID; s.nodeID != "" {
		return nil
	}
	s.nodeID = uuid.NewString()
	if s.config.DataDir == "" {
		return nil
	}
	path := filepath.Join(s.config.DataDir, "node-id")
	if b, err := os.ReadFile(path); err == nil {
		id := strings.TrimSpace(string(b))
		if _, err := uuid.Parse(id); err != nil {
			return errs.Newf(errs.Invalid, "the node ID in %s is damaged: restore it from the Raft peers of another server, or clear the data directory to join as a new server", path)
		}
		s.nodeID = id
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return errs.Newf(errs.Invalid, "cannot read the node ID, check its owner: %w", err)
	}
	if err := os.MkdirAll(s.config.DataDir, 0o700); err != nil {
		return errs.Newf(errs.Invalid, "cannot create the data directory: %w", err)
	}
	if err := writeFileSync(path, []byte(s.nodeID+"\n")); err != nil {
		return errs.Newf(errs.Invalid, "cannot keep the node ID in the data directory: %w", err)
	}
	return nil
}

// writeFileSync writes a file so that it is whole or absent after a crash.
func writeFileSync(path string, data []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if serr := f.Sync(); err == nil {
		err = serr
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	return err
}

func (s *Server) setupRaft(logger hclog.Logger) (err error) {
	if st := s.config.Raft.Stores; st != nil {
		s.stores = &raftStores{Log: st.Log, Stable: st.Stable, Snapshots: st.Snapshots}
	} else if s.stores, err = openRaftStores(s.config, logger.Named("raft")); err != nil {
		return err
	}
	s.transport = raftnet.New(raftnet.Config{
		Logger: logger, LocalID: raft.ServerID(s.nodeID),
		LocalAddr: raft.ServerAddress(s.config.RPCAdvertise),
		Dial:      s.dialPeer(mux.ProtoRaft), DialSnapshot: s.dialPeer(mux.ProtoSnapshot), Timeout: dialTimeout, MaxInFlight: maxRPCsInFlight,
		Term: func() uint64 { return s.raft.CurrentTerm() },
	})
	for _, p := range []mux.Protocol{mux.ProtoRaft, mux.ProtoSnapshot} {
		s.mux.Handle(p, func(ctx context.Context, conn net.Conn, _ mux.Info) { s.transport.HandleConn(ctx, conn) })
	}
	conf := s.raftConfig(logger)
	if err := s.bootstrapSingle(conf); err != nil {
		return err
	}
	appended := make(chan struct{}, 1)
	s.fsm.entry = s.stores.Log.GetLog
	s.raft, err = raft.NewRaft(conf, s.fsm, &appendSignal{s.stores.Log, appended, &s.watchdog.log}, &voteStore{s.stores.Stable, &s.watchdog.vote}, s.stores.Snapshots, s.transport)
	if err != nil {
		return errs.Newf(errs.Internal, "cannot start raft from the data directory: %w; %s", err, s.stores.remedy())
	}
	propose := func(entry []byte, timeout time.Duration) raft.ApplyFuture { return s.raft.Apply(entry, timeout) }
	s.proposer = newProposer(propose, s.grouped, appended, s.ctx.Done())
	s.proposer.hangs, s.proposer.index = s.watchdog.hangs, s.state.LatestIndex
	s.proposer.epoch = func() uint64 { return s.state.Snapshot().Restored() }
	s.wg.Go(func() {
		if err := s.mux.Serve(s.ctx, s.config.RPCListener); err != nil && s.ctx.Err() == nil {
			s.fail(fmt.Errorf("the server port cannot be served: %w", err))
		}
	})
	return nil
}

func (s *Server) raftConfig(logger hclog.Logger) *raft.Config {
	c, m := s.config.Raft, time.Duration(s.config.Raft.Multiplier)
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(s.nodeID)
	conf.Logger = newRaftLog(logger.Named("raft"))
	conf.HeartbeatTimeout = c.HeartbeatTimeout * m
	conf.ElectionTimeout = c.ElectionTimeout * m
	conf.LeaderLeaseTimeout = c.LeaderLease * m
	conf.CommitTimeout = commitTimeout
	conf.MaxAppendEntries = maxAppendEntries
	conf.BatchApplyCh = true
	conf.SnapshotThreshold = c.SnapshotThreshold
	conf.SnapshotInterval = c.SnapshotInterval
	conf.TrailingLogs = c.TrailingLogs
	conf.NotifyCh = s.notify
	conf.ShutdownOnRemove = false
	return conf
}

// bootstrapSingle makes a fresh server with bootstrap_expect 1 a cluster of its own.
func (s *Server) bootstrapSingle(conf *raft.Config) error {
	if s.config.BootstrapExpect != 1 {
		return nil
	}
	exists, err := raft.HasExistingState(s.stores.Log, s.stores.Stable, s.stores.Snapshots)
	if err != nil || exists {
		return err
	}
	self := raft.Server{ID: conf.LocalID, Address: s.transport.LocalAddr(), Suffrage: raft.Voter}
	return raft.BootstrapCluster(conf, s.stores.Log, s.stores.Stable, s.stores.Snapshots, s.transport,
		raft.Configuration{Servers: []raft.Server{self}})
}

// containsServer reports whether id is one of the Raft peers.
func containsServer(c raft.Configuration, id string) bool {
	for _, srv := range c.Servers {
		if string(srv.ID) == id {
			return true
		}
	}
	return false
}

// electionStagger spreads the servers that stand for election when the leader's
// process is gone, so that they do not split the vote.
const electionStagger = 40 * time.Millisecond

// watchLeaderProcess notices within milliseconds when the leader's process dies. The
// only voter does not wait for a leader that nobody else can be.
func (s *Server) watchLeaderProcess(ctx context.Context) {
	if s.votesAlone() && s.raft.State() == raft.Follower {
		s.transport.StandAlone(ctx)
	}
	changed := make(chan struct{}, 1)
	s.wg.Go(func() {
		for ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-s.leaders.changed():
				select {
				case changed <- struct{}{}:
				default:
				}
			}
		}
	})
	s.transport.WatchLeader(ctx, raftnet.Watch{
		Leader:   s.raft.LeaderWithID,
		Changed:  changed,
		Stagger:  func() time.Duration { return s.stagger(electionStagger) },
		Eligible: func() bool { return isVoter(s.raft.GetConfiguration().Configuration(), s.nodeID) },
	})
}

// votesAlone reports whether this server is the only voter.
func (s *Server) votesAlone() bool {
	c := s.raft.GetConfiguration().Configuration()
	return len(voters(c)) == 1 && isVoter(c, s.nodeID)
}

// stagger returns the place of this server among the voters times step.
func (s *Server) stagger(step time.Duration) time.Duration {
	leader, _ := s.raft.LeaderWithID()
	place := time.Duration(0)
	for _, v := range voters(s.raft.GetConfiguration().Configuration()) {
		if v.Address != leader && string(v.ID) < s.nodeID {
			place++
		}
	}
	return place * step
}

// appendSignal tells when the log has written something, and how long that took.
type appendSignal struct {
	raft.LogStore
	done chan<- struct{} // capacity 1
	work *work
}

// StoreLog writes one entry.
func (a *appendSignal) StoreLog(log *raft.Log) error { return a.StoreLogs([]*raft.Log{log}) }

// StoreLogs writes entries and then signals, also after a failure.
func (a *appendSignal) StoreLogs(logs []*raft.Log) error {
	began := a.work.begin()
	err := a.LogStore.StoreLogs(logs)
	a.work.end(began)
	select {
	case a.done <- struct{}{}:
	default:
	}
	return err
}

// IsMonotonic is what the log below says of itself; part of raft.MonotonicLogStore.
func (a *appendSignal) IsMonotonic() bool {
	return isMonotonic(a.LogStore)
}

// voteStore tells how long it takes to write term and vote, without which a server can
// neither vote nor stand for election.
type voteStore struct {
	raft.StableStore
	work *work
}

// Set writes a value.
func (v *voteStore) Set(key, value []byte) error {
	defer v.work.end(v.work.begin())
	return v.StableStore.Set(key, value)
}

// SetUint64 writes a number.
func (v *voteStore) SetUint64(key []byte, value uint64) error {
	defer v.work.end(v.work.begin())
	return v.StableStore.SetUint64(key, value)
}
