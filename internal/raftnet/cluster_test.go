package raftnet

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// sumFSM counts and sums what it applies.
type sumFSM struct {
	mu    sync.Mutex
	count uint64
	bytes uint64
}

func (f *sumFSM) Apply(l *raft.Log) any {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count++
	for _, b := range l.Data {
		f.bytes += uint64(b)
	}
	return nil
}

func (f *sumFSM) state() (uint64, uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count, f.bytes
}

type sumSnapshot [16]byte

func (f *sumFSM) Snapshot() (raft.FSMSnapshot, error) {
	var s sumSnapshot
	count, bytes := f.state()
	binary.BigEndian.PutUint64(s[:8], count)
	binary.BigEndian.PutUint64(s[8:], bytes)
	return s, nil
}

// Persist pads the snapshot so that it takes several chunks.
func (s sumSnapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := sink.Write(s[:]); err != nil {
		return sink.Cancel()
	}
	if _, err := sink.Write(make([]byte, 3*chunkSize+17)); err != nil {
		return sink.Cancel()
	}
	return sink.Close()
}

func (sumSnapshot) Release() {}

func (f *sumFSM) Restore(r io.ReadCloser) error {
	var s sumSnapshot
	if _, err := io.ReadFull(r, s[:]); err != nil {
		return err
	}
	pad, err := io.Copy(io.Discard, r)
	if err == nil && pad != 3*chunkSize+17 {
		err = fmt.Errorf("%d bytes of padding", pad)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count, f.bytes = binary.BigEndian.Uint64(s[:8]), binary.BigEndian.Uint64(s[8:])
	return err
}

// peer is one server: raft, transport and a listener over real TCP.
type peer struct {
	id    raft.ServerID
	ln    net.Listener
	trans *Transport
	raft  *raft.Raft
	fsm   *sumFSM
	wg    sync.WaitGroup
	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

func (p *peer) addr() raft.ServerAddress { return raft.ServerAddress(p.ln.Addr().String()) }

// listen serves a transport on a port of its own. The tests' protocol byte is
// left out on both sides.
func listen(tb testing.TB, id string, change func(*Config)) *peer {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &peer{id: raft.ServerID(id), ln: ln, fsm: &sumFSM{}, conns: map[net.Conn]struct{}{}}
	cfg := Config{
		LocalID: p.id, LocalAddr: p.addr(), Timeout: 3 * time.Second,
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr)
		},
	}
	if change != nil {
		change(&cfg)
	}
	p.trans = New(cfg)
	p.wg.Go(p.accept)
	tb.Cleanup(func() {
		p.kill()
		p.trans.Close()
		p.wg.Wait()
	})
	return p
}

// accepted returns how many connections the peer has taken.
func (p *peer) accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}

func (p *peer) accept() {
	for {
		conn, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.conns[conn] = struct{}{}
		p.mu.Unlock()
		p.wg.Go(func() { p.trans.HandleConn(context.Background(), conn) })
	}
}

// kill closes the port and all connections like the end of the process does.
func (p *peer) kill() {
	p.ln.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

// patience is longer than a busy machine keeps a server from running. Leaders are
// not made by waiting for it but by elect.
const patience = 10 * time.Second

func raftConfig(id raft.ServerID) *raft.Config {
	cfg := raft.DefaultConfig()
	cfg.LocalID = id
	cfg.HeartbeatTimeout, cfg.ElectionTimeout = patience, patience
	cfg.LeaderLeaseTimeout, cfg.CommitTimeout = patience, 5*time.Millisecond
	cfg.MaxAppendEntries, cfg.BatchApplyCh = 1024, true
	cfg.Logger = hclog.NewNullLogger()
	return cfg
}

func (p *peer) start(tb testing.TB, trans raft.Transport, servers []raft.Server, change func(*raft.Config)) {
	tb.Helper()
	cfg := raftConfig(p.id)
	if change != nil {
		change(cfg)
	}
	store, snaps := raft.NewInmemStore(), raft.NewInmemSnapshotStore()
	if servers != nil {
		if err := raft.BootstrapCluster(cfg, store, store, snaps, trans, raft.Configuration{Servers: servers}); err != nil {
			tb.Fatal(err)
		}
	}
	r, err := raft.NewRaft(cfg, p.fsm, store, store, snaps, trans)
	if err != nil {
		tb.Fatal(err)
	}
	p.raft = r
	tb.Cleanup(func() {
		if err := r.Shutdown().Error(); err != nil {
			tb.Errorf("shutdown: %v", err)
		}
	})
}

func cluster(tb testing.TB, n int, change func(*Config)) ([]*peer, []raft.Server) {
	tb.Helper()
	var peers []*peer
	var servers []raft.Server
	for i := range n {
		p := listen(tb, fmt.Sprintf("server-%d", i), change)
		peers = append(peers, p)
		servers = append(servers, raft.Server{ID: p.id, Address: p.addr()})
	}
	for _, p := range peers {
		p.start(tb, p.trans, servers, nil)
	}
	elect(tb, peers[0], peers[0].trans)
	return peers, servers
}

// elect makes p the leader as if the present one handed over.
func elect(tb testing.TB, p *peer, trans raft.Transport) {
	tb.Helper()
	if err := trans.TimeoutNow(p.id, trans.LocalAddr(), &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: 3}}, new(raft.TimeoutNowResponse)); err != nil {
		tb.Fatal(err)
	}
	eventually(tb, "the candidate wins", func() bool { return p.raft.State() == raft.Leader })
}

// eventually waits for cond; it fails the test when that takes absurdly long.
func eventually(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	for range 20_000 {
		if cond() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	tb.Fatalf("never happened: %s", what)
}

func leaderOf(tb testing.TB, peers []*peer) *peer {
	tb.Helper()
	var leader *peer
	eventually(tb, "a leader", func() bool {
		for _, p := range peers {
			if p.raft.State() == raft.Leader && p.raft.VerifyLeader().Error() == nil {
				leader = p
				return true
			}
		}
		return false
	})
	return leader
}

func replicate(tb testing.TB, leader *peer, n, size int) {
	tb.Helper()
	futures := make([]raft.ApplyFuture, n)
	for i := range n {
		data := make([]byte, size)
		binary.BigEndian.PutUint32(data, uint32(i))
		futures[i] = leader.raft.Apply(data, 0)
	}
	for i, f := range futures {
		if err := f.Error(); err != nil {
			tb.Fatalf("entry %d: %v", i, err)
		}
	}
}

func sameState(a, b *peer) bool {
	ac, ab := a.fsm.state()
	bc, bb := b.fsm.state()
	return ac == bc && ab == bb
}

func TestClusterReplicatesAndInstallsSnapshot(t *testing.T) {
	peers, _ := cluster(t, 3, nil)
	leader := leaderOf(t, peers)
	replicate(t, leader, 5000, 200)
	for _, p := range peers {
		eventually(t, "all followers apply", func() bool { c, _ := p.fsm.state(); return c == 5000 && sameState(p, leader) })
	}
	if err := leader.raft.ReloadConfig(raft.ReloadableConfig{
		TrailingLogs: 10, SnapshotInterval: time.Hour, SnapshotThreshold: 1 << 30,
		HeartbeatTimeout: patience, ElectionTimeout: patience,
	}); err != nil {
		t.Fatal(err)
	}
	if err := leader.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	fresh := listen(t, "server-fresh", nil)
	fresh.start(t, fresh.trans, nil, nil)
	if err := leader.raft.AddVoter(fresh.id, fresh.addr(), 0, 10*time.Second).Error(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new server has the state", func() bool { return sameState(fresh, leader) })
	if got := leader.trans.Stats().Snapshots; got == 0 {
		t.Errorf("the new server caught up without a snapshot")
	}
	if fresh.trans.Stats().Rejected+leader.trans.Stats().Rejected != 0 {
		t.Errorf("connections between good servers were rejected")
	}
	if leader.trans.LastSeen(fresh.id).IsZero() {
		t.Errorf("the leader has not seen %s", fresh.id)
	}
}

func TestClusterCutsLargeAppends(t *testing.T) {
	peers, _ := cluster(t, 3, func(c *Config) { c.MaxMessage = 4000 })
	leader := leaderOf(t, peers)
	replicate(t, leader, 300, 1500)
	for _, p := range peers {
		eventually(t, "all followers apply", func() bool { c, _ := p.fsm.state(); return c == 300 && sameState(p, leader) })
	}
}

func TestClusterTransfersLeadership(t *testing.T) {
	peers, _ := cluster(t, 3, nil)
	old := leaderOf(t, peers)
	replicate(t, old, 10, 10)
	if err := old.raft.LeadershipTransfer().Error(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another leader", func() bool {
		for _, p := range peers {
			if p != old && p.raft.State() == raft.Leader {
				return true
			}
		}
		return false
	})
}

func TestClusterAsksForPreVotes(t *testing.T) {
	peers, servers := cluster(t, 2, nil)
	leader := peers[0]
	cut := listen(t, "server-cut", nil)
	cut.start(t, cut.trans, nil, func(c *raft.Config) {
		c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = 300*time.Millisecond, 300*time.Millisecond, 300*time.Millisecond
	})
	if err := leader.raft.AddVoter(cut.id, cut.addr(), 0, 0).Error(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the third server knows all servers", func() bool {
		return len(cut.raft.GetConfiguration().Configuration().Servers) == len(servers)+1
	})
	term := leader.raft.CurrentTerm()
	before := cut.trans.Stats()
	cut.kill() // it hears nothing, and asks in vain because the others hear the leader
	eventually(t, "the cut server asks for votes several times", func() bool {
		return cut.raft.State() == raft.Candidate && cut.trans.Stats().BytesSent > before.BytesSent+400
	})
	replicate(t, leader, 5, 10)
	if got := leader.raft.CurrentTerm(); got != term || cut.raft.CurrentTerm() != term {
		t.Errorf("term went from %d to %d although the majority kept its leader", term, got)
	}
}

func TestClusterFailsOverWhenTheLeaderProcessEnds(t *testing.T) {
	peers, _ := cluster(t, 3, nil)
	leader := peers[0]
	replicate(t, leader, 10, 10)
	before := leader.accepted()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for i, p := range peers[1:] {
		changed := make(chan struct{}, 1)
		obs := make(chan raft.Observation, 16)
		o := raft.NewObserver(obs, false, func(o *raft.Observation) bool { _, ok := o.Data.(raft.LeaderObservation); return ok })
		p.raft.RegisterObserver(o)
		defer p.raft.DeregisterObserver(o)
		wg.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-obs:
					select {
					case changed <- struct{}{}:
					default:
					}
				}
			}
		})
		wg.Go(func() {
			p.trans.WatchLeader(ctx, Watch{
				Leader: p.raft.LeaderWithID, Changed: changed,
				Stagger: func() time.Duration { return time.Duration(i) * time.Second }, // nobody splits the vote
			})
		})
	}
	eventually(t, "the followers watch", func() bool { return leader.accepted() >= before+2 })
	leader.kill()
	leader.trans.Close()
	next := leaderOf(t, peers[1:])
	if next.trans.Stats().Hints != 1 {
		t.Errorf("%s leads without a hint", next.id)
	}
}
