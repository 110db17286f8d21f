package nomad

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/raft"
	"github.com/hashicorp/serf/serf"

	"github.com/cairn-project/cairn/internal/grpcport"
	"github.com/cairn-project/cairn/internal/limit"
	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/internal/pool"
	"github.com/cairn-project/cairn/internal/raftnet"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/auth"
	"github.com/cairn-project/cairn/nomad/keyring"
	"github.com/cairn-project/cairn/nomad/router"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/stream"
)

// Server is one member of a region: it holds a replica of the store and answers RPCs.
type Server struct {
	config *Config
	logger hclog.Logger
	nodeID string

	state     *state.StateStore
	broker    *stream.Broker
	keyring   *keyring.Keyring
	auth      *auth.Resolver
	fsm       *nomadFSM
	raft      *raft.Raft
	transport *raftnet.Transport
	stores    *raftStores
	proposer  *proposer
	watchdog  *watchdog
	onceGate  gate
	// replicationToken is what took the place of the configured one, nil for nothing.
	replicationToken atomic.Pointer[string]
	// regionIndexes are for writes that are passed on to other regions.
	regionIndexes regionIndexes
	locks         *lockTimers

	heartbeats *heartbeats
	nodeConns  *nodeConns
	links      nodeLinks

	registry *wire.Registry
	rpc      *wire.Server
	mux      *mux.Mux
	grpc     *grpcport.Server
	nodePort *nodePort
	pool     *pool.Pool
	router   *router.Router
	serf     *serf.Serf
	serfCh   chan serf.Event
	// gossipRing holds the gossip keys, nil for gossip in clear.
	gossipRing *memberlist.Keyring
	lastSaid   string // see sayOnce

	// leadership is the term in which this server leads, nil while it does not.
	leadership atomic.Pointer[term]
	leaders    *leaderWatch
	// replication copies from the authoritative region, nil while it does not.
	replication atomic.Pointer[puller]
	autopilot   autopilotDuty
	catchUp     *catchUp
	reconcile   chan struct{}
	gossiped    chan struct{}     // the router knows something new; capacity 1
	forgotten   sync.Map          // IDs of servers that gossip has forgotten, until the leader removed them
	twins       map[string]string // see tellTwins
	notify      chan bool         // raft says here whether this server leads
	metrics     *serverMetrics
	limits      *limits
	gate        *limit.Gate
	passing     *limit.Gate // the calls that wait for an answer of the leader
	logins      auth.Logins
	loginGate   *loginGate  // the logins that ask their providers
	usage       *auth.Usage // when tokens were last used
	usageOf     usagePeers
	drains      *drainWatch
	returns     *signal // raised when a node may become eligible at another time
	archives    *archives
	handingOver sync.Mutex // held while leadership is handed over
	auditLog    hclog.Logger
	// agentSecret is that of the agent in this process, a UUID.
	agentSecret string

	// draining ends when the server is about to stop.
	draining   context.Context
	startDrain context.CancelFunc

	ctx       context.Context
	cancel    context.CancelFunc
	wg        sync.WaitGroup
	stopOnce  sync.Once
	fatalOnce sync.Once
	fatal     chan struct{} // closed when the server cannot go on
	fatalErr  error         // written before fatal is closed
}

// endpoints binds every endpoint struct to its server. The keys are the part of
// a method's name before the dot.
func endpoints(s *Server) map[string]any {
	return map[string]any{
		"ACL":           &ACL{s},
		"Namespace":     &Namespace{s},
		"Node":          &Node{s},
		"NodeLink":      &NodeLink{s},
		"NodeMeta":      &NodeMeta{s},
		"NodeIdentity":  &NodeIdentity{s},
		"NodePool":      &NodePool{s},
		"Agent":         &Agent{s},
		"Alloc":         &Alloc{s},
		"ClientStats":   &ClientStats{s},
		"Search":        &Search{s},
		"Variables":     &Variables{s},
		"Keyring":       &Keyring{s},
		"Status":        &Status{s},
		"Operator":      &Operator{s},
		"Region":        &Region{s},
		"Identity":      &Identity{s},
		"WorkloadEvent": &WorkloadEvent{s},
		"Authority":     &Authority{s},
		"JoinToken":     &JoinToken{s},
		"Operation":     &Operation{s},
		"System":        &System{s},
	}
}

// NewServer starts a server. It takes part in the cluster at once; Ready says
// when it can serve reads.
func NewServer(cfg *Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	logger := cfg.Logger
	if logger == nil {
		logger = hclog.NewNullLogger()
	}
	s := &Server{
		config: cfg, logger: logger.Named("server"),
		leaders: newLeaderWatch(), catchUp: newCatchUp(),
		reconcile: make(chan struct{}, 1), gossiped: make(chan struct{}, 1), notify: make(chan bool, 8),
		serfCh: make(chan serf.Event, 512), fatal: make(chan struct{}),
		router: router.New(), metrics: newServerMetrics(), usage: auth.NewUsage(time.Now()),
		limits: newLimits(cfg.Limits), gate: limit.NewGate(cfg.Limits.inFlight()), passing: limit.NewGate(cfg.Limits.inFlight()), loginGate: newLoginGate(),
		agentSecret: uuid.NewString(), auditLog: logger.ResetNamed("cairn.audit"),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.draining, s.startDrain = context.WithCancel(context.Background())
	for _, step := range []func(hclog.Logger) error{
		s.setupNodeID, s.setupStore, s.setupRPC, s.setupRaft, s.setupGossip,
	} {
		if err := step(logger); err != nil {
			_ = s.Shutdown()
			return nil, err
		}
	}
	s.start()
	return s, nil
}

func (s *Server) setupStore(logger hclog.Logger) error {
	s.broker = stream.New(s.config.EventBufferSize)
	s.state = state.New(logger, s.publish)
	s.keyring = keyring.New(logger, s.config.KeyProviders...)
	s.auth = s.newResolver(s.config.ACL.Enabled)
	s.logins.Sign, s.logins.Seal, s.logins.Open = s.keyring.Sign, s.keyring.Seal, s.keyring.Open
	s.logins.Timeout = s.config.ACL.ProviderTimeout
	s.watchdog = newWatchdog(s.config.Raft.HangTimeout * time.Duration(s.config.Raft.Multiplier))
	s.fsm = newFSM(logger.Named("fsm"), s.state, s.keyring, s.ctx.Done())
	s.fsm.work, s.fsm.persisting, s.fsm.restoring = &s.watchdog.store, &s.watchdog.persist, &s.watchdog.restore
	s.fsm.restored = s.resetEvents
	s.archives = newArchives()
	s.fsm.replaced = s.archives.tell
	s.locks = newLockTimers(s)
	s.heartbeats = newHeartbeats(s)
	s.drains, s.returns = newDrainWatch(), newSignal()
	s.nodeConns = newNodeConns()
	s.setupLinks(logger)
	return nil
}

// start runs what lives as long as the server.
func (s *Server) start() {
	s.wg.Go(func() { s.leaders.run(s.ctx, s.raft, s.leaderNow) })
	s.wg.Go(func() { s.runLeadership(s.ctx) })
	s.wg.Go(func() { s.proposer.run(s.ctx) })
	s.wg.Go(func() { s.runWatchdog(s.ctx) })
	s.wg.Go(func() { s.runCatchUp(s.ctx) })
	s.wg.Go(func() { s.runGossip(s.ctx) })
	s.wg.Go(func() { s.runTags(s.ctx) })
	s.wg.Go(func() { s.runWarm(s.ctx) })
	s.wg.Go(func() { s.runIdentity(s.ctx) })
	s.wg.Go(func() { s.runGossipKeys(s.ctx) })
	s.wg.Go(func() { s.runTokenUsage(s.ctx) })
	s.wg.Go(func() { s.runJoin(s.ctx) })
	s.wg.Go(func() { s.runLinkSync(s.ctx) })
	s.wg.Go(func() { s.runArchives(s.ctx) })
	s.wg.Go(func() { s.watchFatal(s.ctx) })
	s.wg.Go(func() { s.watchLeaderProcess(s.ctx) })
}

func (s *Server) watchFatal(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-s.fsm.halted:
		s.fail(s.fsm.haltErr)
	}
}

// fail says that the server cannot go on; whoever runs it should stop it.
func (s *Server) fail(err error) {
	s.fatalOnce.Do(func() {
		s.fatalErr = err
		close(s.fatal)
	})
}

// Failed is closed when the server cannot go on; Err says why.
func (s *Server) Failed() <-chan struct{} { return s.fatal }

// Err returns why the server failed, nil while it has not.
func (s *Server) Err() error {
	select {
	case <-s.fatal:
		return s.fatalErr
	default:
		return nil
	}
}

// IsLeader reports whether this server leads its region and may serve writes.
func (s *Server) IsLeader() bool {
	t := s.leadership.Load()
	return t != nil && t.established()
}

// NodeID returns the ID of the server, a UUID.
func (s *Server) NodeID() string { return s.nodeID }

// Ready returns nil when the server has caught up, knows a leader and does not
// hang, else why not.
func (s *Server) Ready() error {
	if err := s.Err(); err != nil {
		return err
	}
	if err := s.hanging(); err != nil {
		return err
	}
	if s.draining.Err() != nil {
		return errStopping
	}
	if !s.catchUp.finished() {
		return errors.New("not caught up with the cluster since the start")
	}
	if s.leaders.current().addr == "" {
		return errNoLeader
	}
	return nil
}

// leaveTimeout bounds a graceful leave.
const leaveTimeout = 10 * time.Second

// leaveAgain is when a server that leaves tells gossip so once more.
const leaveAgain = 2 * time.Second

// Leave hands leadership over, takes the server out of the Raft peers where
// enough of them remain, and tells the gossip pool. Shutdown must follow.
func (s *Server) Leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	s.logger.Info("leaving the cluster")
	s.links.host.Leave()
	s.transferLeadership()
	peers := len(s.raft.GetConfiguration().Configuration().Servers)
	if err := s.serf.Leave(); err != nil {
		return fmt.Errorf("leave the gossip pool: %w", err)
	}
	if peers <= 1 {
		return nil
	}
	again := make(chan struct{}, 1) // holds a value while gossip is told
	for told := time.Now(); ctx.Err() == nil; {
		if !containsServer(s.raft.GetConfiguration().Configuration(), s.nodeID) {
			return nil
		}
		if time.Since(told) >= leaveAgain {
			// Who took over our state before the word arrived that we leave has it from
			// the same Lamport time, so that the word is no news and we count as failed.
			s.leaveOnceMore(again)
			told = time.Now()
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	s.logger.Warn("left without being removed from the raft peers")
	return nil
}

// leaveOnceMore does not wait for gossip, which waits for peers that may not answer. It
// does nothing while the one before goes on.
func (s *Server) leaveOnceMore(again chan struct{}) {
	select {
	case again <- struct{}{}:
		go func() {
			_ = s.serf.RemoveFailedNode(s.serf.LocalMember().Name)
			<-again
		}()
	default:
	}
}

// Shutdown stops the server: it hands over leadership, then ends everything it
// started. It is safe to call more than once.
func (s *Server) Shutdown() error {
	var err error
	s.stopOnce.Do(func() {
		if s.raft != nil {
			s.giveUpRoom()
			s.transferLeadership()
			s.awaitPeers()
		}
		if s.links.host != nil {
			s.links.host.Leave()
		}
		err = s.shutdown()
	})
	return err
}

// Abort stops the server without handing anything over, as a crash would.
func (s *Server) Abort() error {
	var err error
	s.stopOnce.Do(func() { err = s.shutdown() })
	return err
}

// stopTimeout bounds the wait for what the server started, once before raft stops
// and once after.
const stopTimeout = 3 * time.Second

// shutdown ends raft last of all that waits for its answers: what raft has queued
// and not begun when it stops is never answered.
func (s *Server) shutdown() error {
	var all []error
	if s.serf != nil {
		all = append(all, s.serf.Shutdown())
	}
	s.giveUpRoom()
	s.startDrain()
	s.cancel()
	if s.pool != nil {
		all = append(all, s.pool.Close())
	}
	if s.grpc != nil {
		s.grpc.Stop()
	}
	if err := s.config.RPCListener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		all = append(all, err)
	}
	ended := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(ended)
	}()
	stopped := s.waitForWork(ended, stopTimeout)
	raftEnded, err := s.shutdownRaft()
	all = append(all, err)
	if !stopped && raftEnded && !waitFor(ended, stopTimeout) {
		s.logger.Error("stopped although some of the server's work has not ended")
	}
	if s.stores != nil && raftEnded { // else raft is within them
		all = append(all, s.stores.Close())
	}
	return errors.Join(all...)
}

// giveUpRoom ends the wait of the log for room on its disk. Who stops does it first: a
// leader that waits there hears nothing, neither that it should hand over nor that it
// should end, and so does whoever waits for its answers.
func (s *Server) giveUpRoom() {
	if s.stores != nil && s.stores.giveUp != nil {
		s.stores.giveUp()
	}
}

// shutdownRaft closes the transport while raft stops, as raft waits for its calls
// to peers, which may hang. ended is false if raft is left to a disk that hangs: what
// it writes there was not acknowledged, and the end of the process is as good as a crash.
func (s *Server) shutdownRaft() (ended bool, _ error) {
	var stopping raft.Future
	if s.raft != nil {
		stopping = s.raft.Shutdown()
	}
	if s.transport != nil {
		_ = s.transport.Close() // always nil
	}
	if stopping == nil {
		return true, nil
	}
	var err error
	stopped := make(chan struct{})
	go func() {
		err = stopping.Error()
		close(stopped)
	}()
	if !s.waitForWork(stopped, 0) {
		s.logger.Error("stopped without the raft log, whose disk hangs", "for", s.watchdog.writing())
		return false, nil
	}
	return true, err
}

// waitForWork is waitFor that ends early once a write of raft to the disk has been under
// way for stopTimeout. A limit of 0 is none.
func (s *Server) waitForWork(done <-chan struct{}, limit time.Duration) bool {
	const look = 100 * time.Millisecond
	for end := time.Now().Add(limit); ; {
		if waitFor(done, look) {
			return true
		}
		if s.watchdog.writing() >= stopTimeout || limit > 0 && !time.Now().Before(end) {
			return false
		}
	}
}

// waitFor reports whether done is closed within limit.
func waitFor(done <-chan struct{}, limit time.Duration) bool {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}
