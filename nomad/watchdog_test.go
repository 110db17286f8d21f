package nomad_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

// stickyLog is a log on a disk that can hang.
type stickyLog struct {
	raft.LogStore
	mu   sync.Mutex
	free chan struct{} // guarded by mu, closed while the disk works
	err  error         // guarded by mu, what writes end with
}

func (l *stickyLog) StoreLog(log *raft.Log) error { return l.StoreLogs([]*raft.Log{log}) }

func (l *stickyLog) StoreLogs(logs []*raft.Log) error {
	l.mu.Lock()
	free := l.free
	l.mu.Unlock()
	<-free
	l.mu.Lock()
	err := l.err
	l.mu.Unlock()
	if err != nil {
		return err
	}
	return l.LogStore.StoreLogs(logs)
}

// giveUp fails what hangs, and all that comes later.
func (l *stickyLog) giveUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = syscall.ENOSPC
		close(l.free)
	}
}

func (l *stickyLog) hang() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free = make(chan struct{})
}

func (l *stickyLog) work() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.free)
}

// stickyLogs gives every server a log that can hang, by the server's name.
func stickyLogs(logs map[string]*stickyLog) nomadtest.Option {
	return func(conf *nomad.Config) {
		l := &stickyLog{LogStore: conf.Raft.Stores.Log, free: make(chan struct{})}
		close(l.free)
		stores := *conf.Raft.Stores
		stores.Log = l
		conf.Raft.Stores = &stores
		logs[conf.NodeName] = l
	}
}

// valve lets pass unless it is closed.
type valve struct {
	mu   sync.Mutex
	free chan struct{} // guarded by mu, nil or closed while it is open
}

func (v *valve) hang() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.free = make(chan struct{})
}

func (v *valve) work() {
	v.mu.Lock()
	defer v.mu.Unlock()
	close(v.free)
}

func (v *valve) wait() {
	v.mu.Lock()
	free := v.free
	v.mu.Unlock()
	if free != nil {
		<-free
	}
}

// sticky is a disk for votes and snapshots that can hang.
type sticky struct {
	raft.StableStore
	raft.SnapshotStore
	writes, reads valve
}

func (s *sticky) Set(key, value []byte) error {
	s.writes.wait()
	return s.StableStore.Set(key, value)
}

func (s *sticky) SetUint64(key []byte, value uint64) error {
	s.writes.wait()
	return s.StableStore.SetUint64(key, value)
}

func (s *sticky) Create(v raft.SnapshotVersion, index, term uint64, c raft.Configuration, at uint64, t raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.SnapshotStore.Create(v, index, term, c, at, t)
	return stickySink{sink, s}, err
}

func (s *sticky) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	meta, r, err := s.SnapshotStore.Open(id)
	return meta, stickyReader{r, s}, err
}

type stickySink struct {
	raft.SnapshotSink
	disk *sticky
}

func (s stickySink) Write(b []byte) (int, error) {
	s.disk.writes.wait()
	return s.SnapshotSink.Write(b)
}

type stickyReader struct {
	io.ReadCloser
	disk *sticky
}

func (s stickyReader) Read(b []byte) (int, error) {
	s.disk.reads.wait()
	return s.ReadCloser.Read(b)
}

// stickyDisks gives every server a disk for votes and snapshots that can hang, by name.
func stickyDisks(disks map[string]*sticky) nomadtest.Option {
	return func(conf *nomad.Config) {
		d := &sticky{StableStore: conf.Raft.Stores.Stable, SnapshotStore: conf.Raft.Stores.Snapshots}
		stores := *conf.Raft.Stores
		stores.Stable, stores.Snapshots = d, d
		conf.Raft.Stores = &stores
		disks[conf.NodeName] = d
	}
}

func TestServerThatCannotWriteItsVoteSaysSo(t *testing.T) {
	disks := map[string]*sticky{}
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		old, voter := c.WaitLeader(), c.Follower()
		disk := disks[nameOf(voter)]
		disk.writes.hang()
		c.Crash(old)
		within(t, "the server says what hangs", func() bool {
			err := voter.Ready()
			return err != nil && strings.Contains(err.Error(), "term and vote")
		})
		if metric(t, voter.Server, "cairn_raft_work_hangs", "vote") != 1 || metric(t, voter.Server, "cairn_raft_work_hangs", "log") != 0 {
			t.Error("the metrics do not tell that the vote hangs")
		}
		disk.writes.work()
		c.WaitLeader()
		within(t, "all is well again", func() bool { return voter.Ready() == nil })
		if metric(t, voter.Server, "cairn_raft_work_hangs", "vote") != 0 {
			t.Error("the vote hangs still")
		}
	}, stickyDisks(disks))
}

func TestSnapshotThatHangsIsToldOf(t *testing.T) {
	disks := map[string]*sticky{}
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		leader := c.WaitLeader()
		disk := disks[nameOf(leader)]
		mustPut(t, leader, "app/db", "old")
		disk.writes.hang()
		written := make(chan error, 1)
		go func() { written <- leader.Raft().Snapshot().Error() }()
		time.Sleep(35 * time.Second)
		if metric(t, leader.Server, "cairn_raft_work_hangs", "snapshot") != 1 {
			t.Error("the metrics do not tell that the snapshot hangs")
		}
		mustPut(t, leader, "app/db", "new")
		if c.WaitLeader() != leader || leader.Ready() != nil {
			t.Errorf("a snapshot that hangs cost the leader its term, or it is not well: %v", leader.Ready())
		}
		disk.writes.work()
		if err := <-written; err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if metric(t, leader.Server, "cairn_raft_work_hangs", "snapshot") != 0 || metric(t, leader.Server, "cairn_raft_work_total", "snapshot") != 1 {
			t.Error("the snapshot hangs still, or is not counted")
		}

		_, from, err := disk.SnapshotStore.Open(lastSnapshot(t, disk).ID)
		if err != nil {
			t.Fatal(err)
		}
		defer from.Close()
		restored := make(chan error, 1)
		disk.reads.hang()
		go func() { restored <- leader.Raft().Restore(lastSnapshot(t, disk), from, 10*time.Minute) }()
		time.Sleep(40 * time.Second)
		if metric(t, leader.Server, "cairn_raft_work_hangs", "restore") != 1 {
			t.Error("the metrics do not tell that the restore hangs")
		}
		if err := leader.Ready(); err == nil || !strings.Contains(err.Error(), "restoring a snapshot") {
			t.Errorf("its health is %v", err)
		}
		disk.reads.work()
		<-restored // another may lead, so that it may be refused
		within(t, "all is well again", func() bool { return leader.Ready() == nil })
	}, stickyDisks(disks))
}

func lastSnapshot(t *testing.T, s raft.SnapshotStore) *raft.SnapshotMeta {
	list, err := s.List()
	if err != nil || len(list) == 0 {
		t.Fatalf("%d snapshots: %v", len(list), err)
	}
	return list[0]
}

// metric returns the value of a metric whose labels, if it has any, include label.
func metric(t *testing.T, s *nomad.Server, name, label string) float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(s)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func TestLeaderWhoseDiskHangsIsReplaced(t *testing.T) {
	logs := map[string]*stickyLog{}
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		old := c.WaitLeader()
		mustPut(t, old, "app/db", "old")
		disk := logs["s"+old.Host[len(old.Host)-1:]]
		disk.hang()
		follower := c.Follower()
		ended := make(chan error, 1)
		go func() {
			_, err := follower.Put(context.Background(), "app/hung", structs.VariableItems{"v": "1"})
			ended <- err
		}()
		time.Sleep(6 * time.Second)
		leader := c.WaitLeader()
		if leader == old {
			t.Fatal("a server whose disk hangs still leads")
		}
		select {
		case <-ended:
		default:
			t.Error("a write hangs with the old leader although another leads")
		}
		if err := old.Ready(); err == nil || !strings.Contains(err.Error(), "disk") {
			t.Errorf("the health of the server that hangs is %v", err)
		}
		if metric(t, old.Server, "cairn_raft_work_hangs", "log") != 1 || metric(t, leader.Server, "cairn_raft_work_hangs", "log") != 0 {
			t.Error("the metrics do not tell which server hangs")
		}
		mustPut(t, leader, "app/db", "new")
		mustPut(t, old, "app/through", "it") // passed on by the server that hangs
		disk.work()
		time.Sleep(time.Second)
		if err := old.Ready(); err != nil {
			t.Errorf("after the disk works again: %v", err)
		}
		got, err := old.Get(context.Background(), "app/db", structs.QueryOptions{})
		if err != nil || got.Data.Items["v"] != "new" {
			t.Errorf("read %+v, %v", got.Data, err)
		}
	}, stickyLogs(logs))
}

// A server that waits for room on its disk stops as soon as any other: there is nothing
// for it to wait for. It may still take itself for the leader then.
func TestServerThatWaitsForRoomStopsAtOnce(t *testing.T) {
	for _, servers := range []int{1, 3} {
		for name, pause := range map[string]time.Duration{"before the watchdog noticed": time.Second, "after it": 6 * time.Second} {
			t.Run(fmt.Sprintf("%d servers, %s", servers, name), func(t *testing.T) {
				logs := map[string]*stickyLog{}
				nomadtest.Run(t, servers, func(t *testing.T, c *nomadtest.Cluster) {
					s := c.WaitLeader()
					mustPut(t, s, "app/db", "before")
					disk := logs["s"+s.Host[len(s.Host)-1:]]
					s.OnGiveUp(disk.giveUp)
					disk.hang()
					ended := make(chan error, 1)
					go func() {
						_, err := s.Put(context.Background(), "app/hung", structs.VariableItems{"v": "1"})
						ended <- err
					}()
					time.Sleep(pause)
					start := time.Now()
					s.Drain()
					if err := s.Shutdown(); err != nil {
						t.Error(err)
					}
					if took := time.Since(start); took > 2*time.Second {
						t.Errorf("it took %v to stop", took)
					}
					if err := <-ended; err == nil && servers == 1 {
						t.Error("a write was acknowledged that is not on the disk")
					}
				}, stickyLogs(logs))
			})
		}
	}
}

// A server whose disk hangs, which nothing can end, stops without what it waits for.
func TestServerWhoseDiskHangsStops(t *testing.T) {
	for name, pause := range map[string]time.Duration{"before the watchdog noticed": time.Second, "after it": 6 * time.Second} {
		for _, who := range []string{"the only one", "the leader", "a follower"} {
			t.Run(who+", "+name, func(t *testing.T) {
				logs, servers := map[string]*stickyLog{}, 3
				if who == "the only one" {
					servers = 1
				}
				nomadtest.Run(t, servers, func(t *testing.T, c *nomadtest.Cluster) {
					s := c.WaitLeader()
					c.WaitReady()
					if who == "a follower" {
						s = c.Follower()
					}
					mustPut(t, s, "app/db", "before")
					time.Sleep(time.Minute) // nothing is written any more
					stopWithout(t, s, logs["s"+s.Host[len(s.Host)-1:]], pause)
					if servers > 1 {
						mustPut(t, c.WaitLeader(), "app/db", "after")
					}
				}, stickyLogs(logs))
			})
		}
	}
}

// stopWithout stops a server whose disk has hung for pause.
func stopWithout(t *testing.T, s *nomadtest.Node, disk *stickyLog, pause time.Duration) {
	t.Helper()
	disk.hang()
	defer disk.work() // raft is not through with it
	ctx, cancel := context.WithTimeout(context.Background(), pause/2)
	defer cancel()
	leads := s.IsLeader()
	if _, err := s.Put(ctx, "app/hung", structs.VariableItems{"v": "1"}); leads && err == nil {
		t.Error("a write was acknowledged that is not on the disk of the leader")
	}
	time.Sleep(pause / 2)
	start := time.Now()
	s.Drain()
	if err := s.Shutdown(); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v to stop", took)
	}
}

func TestDiskThatIsSlowForAMomentCostsNoLeader(t *testing.T) {
	logs := map[string]*stickyLog{}
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		old := c.WaitLeader()
		disk := logs["s"+old.Host[len(old.Host)-1:]]
		disk.hang()
		time.AfterFunc(2*time.Second, disk.work)
		mustPut(t, c.Follower(), "app/db", "slow")
		if c.WaitLeader() != old {
			t.Error("a slow disk cost the leader its term")
		}
		if metric(t, old.Server, "cairn_raft_work_slow_total", "log") == 0 {
			t.Error("slow writes are not counted")
		}
	}, stickyLogs(logs))
}

func TestOnlyServerWhoseDiskHangsRecovers(t *testing.T) {
	logs := map[string]*stickyLog{}
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		s := c.WaitLeader()
		mustPut(t, s, "app/db", "before")
		logs["s1"].hang()
		if _, err := s.Put(context.Background(), "app/db", structs.VariableItems{"v": "hung"}); err == nil {
			t.Error("a write was acknowledged that is not on the disk")
		}
		if s.Ready() == nil {
			t.Error("a server that hangs is well")
		}
		logs["s1"].work()
		time.Sleep(time.Second)
		mustPut(t, s, "app/db", "after")
	}, stickyLogs(logs))
}

func TestLeaderWhoseStoreHangsIsReplaced(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		old := c.WaitLeader()
		end := old.PretendStoreHangs()
		time.Sleep(35 * time.Second)
		if c.WaitLeader() == old || old.Ready() == nil {
			t.Fatal("a server whose store hangs still leads, or is well")
		}
		end()
		time.Sleep(time.Second)
		mustPut(t, old, "app/db", "after")
	})
}
