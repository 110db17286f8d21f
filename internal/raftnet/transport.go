package raftnet

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/internal/errs"
)

// Defaults of Config.
const (
	DefaultTimeout     = 10 * time.Second
	DefaultMaxInFlight = 16
	DefaultMaxMessage  = 32 << 20
	DefaultIdleConns   = 3
	// DefaultIdleTimeout outlives every pause of a healthy cluster.
	DefaultIdleTimeout = 10 * time.Minute
)

// Dialer connects to a server.
type Dialer func(ctx context.Context, addr string) (net.Conn, error)

// Config is what a Transport needs. Zero numbers mean the defaults.
type Config struct {
	// Logger is the parent, nil logs nothing.
	Logger hclog.Logger
	// LocalID and LocalAddr are what other servers know this one by.
	LocalID   raft.ServerID
	LocalAddr raft.ServerAddress
	// Dial returns a connection that has been asked for Raft already, and
	// DialSnapshot one for a snapshot; nil means Dial. They must end with their
	// context.
	Dial         Dialer
	DialSnapshot Dialer
	// Term returns the local raft's current term. Confirm asks it after the
	// round; nil leaves that to the caller of Confirm, who must not skip it.
	Term func() uint64
	// Timeout bounds one RPC, and the pause between two pieces of a frame. A
	// snapshot gets one more per snapshotScale bytes for its answer.
	Timeout time.Duration
	// IdleTimeout ends an inbound connection without a request for so long.
	IdleTimeout time.Duration
	// MaxInFlight is how many appends a pipeline sends ahead of their answers.
	MaxInFlight int
	// MaxMessage caps a frame, in bytes, in both directions. Appends are cut to
	// fit; a single entry must be smaller. All servers need the same value.
	MaxMessage int
	// IdleConns is how many idle connections are kept per server and class.
	IdleConns int
}

func (c *Config) setDefaults() {
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.DialSnapshot == nil {
		c.DialSnapshot = c.Dial
	}
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	if c.IdleTimeout <= 0 {
		c.IdleTimeout = DefaultIdleTimeout
	}
	if c.MaxInFlight <= 0 {
		c.MaxInFlight = DefaultMaxInFlight
	}
	if c.MaxMessage <= 0 {
		c.MaxMessage = DefaultMaxMessage
	}
	if c.IdleConns <= 0 {
		c.IdleConns = DefaultIdleConns
	}
}

var errClosed = errs.New(errs.Unavailable, "raft transport is closed")

var (
	_ raft.Transport   = (*Transport)(nil)
	_ raft.WithPreVote = (*Transport)(nil)
	_ raft.WithClose   = (*Transport)(nil)
)

// Transport moves raft's messages. It is safe for concurrent use. Close it; raft
// does so when it shuts down.
type Transport struct {
	cfg       Config
	logger    hclog.Logger
	consumer  chan raft.RPC
	heartbeat atomic.Pointer[func(raft.RPC)]
	// settled is the newest term in which raft's main loop has answered an append.
	settled  atomic.Uint64
	silent   atomic.Bool
	heard    atomic.Pointer[heard]
	ctx      context.Context
	cancel   context.CancelFunc
	conns    connPool
	confirm  confirmer
	stats    counters
	lastSeen sync.Map // raft.ServerID to *atomic.Int64, Unix nanoseconds
}

// New returns a Transport that has no connection yet.
func New(cfg Config) *Transport {
	cfg.setDefaults()
	t := &Transport{cfg: cfg, logger: cfg.Logger.Named("raftnet"), consumer: make(chan raft.RPC)}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.conns.init(t)
	t.confirm.init(t)
	return t
}

// Close ends all connections and fails all calls, now and later. It waits for
// the transport's own goroutines, not for HandleConn and WatchLeader.
func (t *Transport) Close() error {
	t.cancel()
	t.conns.close()
	t.confirm.close()
	return nil
}

// Consumer returns the requests that the caller, raft, has to answer.
func (t *Transport) Consumer() <-chan raft.RPC { return t.consumer }

// LocalAddr returns the advertised address.
func (t *Transport) LocalAddr() raft.ServerAddress { return t.cfg.LocalAddr }

// EncodePeer returns the address as the bytes that requests carry.
func (t *Transport) EncodePeer(_ raft.ServerID, addr raft.ServerAddress) []byte { return []byte(addr) }

// DecodePeer is the inverse of EncodePeer.
func (t *Transport) DecodePeer(b []byte) raft.ServerAddress { return raft.ServerAddress(b) }

// SetHeartbeatHandler sets where heartbeats go instead of Consumer, so that they
// do not wait for the disk. The first ones of a term go to Consumer all the same:
// only raft's main loop may move to a new term, see serveConn.fastPath.
func (t *Transport) SetHeartbeatHandler(cb func(rpc raft.RPC)) {
	if cb == nil {
		t.heartbeat.Store(nil)
		return
	}
	t.heartbeat.Store(&cb)
}

// isHeartbeat recognises what raft's heartbeat loop and Confirm send.
func isHeartbeat(r *raft.AppendEntriesRequest) bool {
	return len(r.Entries) == 0 && r.PrevLogEntry == 0 && r.PrevLogTerm == 0 && r.LeaderCommitIndex == 0
}

// AppendEntries sends one request and waits for the answer, heartbeats on
// connections of their own.
func (t *Transport) AppendEntries(id raft.ServerID, addr raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if t.silent.Load() {
		return errSilent
	}
	if isHeartbeat(args) {
		t.stats.heartbeats.Add(1)
		return t.call(classHeartbeat, id, addr, args, resp)
	}
	t.stats.appends.Add(1)
	for from := 0; ; {
		part, next, err := nextPart(args, from, t.cfg.MaxMessage)
		if err != nil {
			return err
		}
		if err := t.call(classRPC, id, addr, &part, resp); err != nil {
			return err
		}
		if from = next; from >= len(args.Entries) || !resp.Success {
			return nil
		}
	}
}

// RequestVote asks for a vote.
func (t *Transport) RequestVote(id raft.ServerID, addr raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	return t.call(classRPC, id, addr, args, resp)
}

// RequestPreVote asks whether a vote would be granted.
func (t *Transport) RequestPreVote(id raft.ServerID, addr raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	return t.call(classRPC, id, addr, args, resp)
}

// TimeoutNow hands leadership over to the server.
func (t *Transport) TimeoutNow(id raft.ServerID, addr raft.ServerAddress, args *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	return t.call(classRPC, id, addr, args, resp)
}
