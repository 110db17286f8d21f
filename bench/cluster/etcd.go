package cluster

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cairn-project/cairn/bench/grpcc"
)

// Etcd runs the binary at Binary with its own defaults; every write is synced
// to disk before it is answered.
type Etcd struct {
	Binary string
	// Conns is how many connections the clients of one server share.
	Conns int

	mu    sync.Mutex
	conns map[string][]*grpcc.Conn // by address
	next  int
}

// Name returns "etcd".
func (*Etcd) Name() string { return "etcd" }

// Version asks the binary.
func (e *Etcd) Version() (string, error) { return firstLine(exec.Command(e.Binary, "--version")) }

// Start runs n servers.
func (e *Etcd) Start(ctx context.Context, n int, opts Options) (*Cluster, error) {
	return start(ctx, e, e.Name(), n, opts)
}

func (e *Etcd) command(c *Cluster, i int) ([]string, error) {
	members := make([]string, len(c.peer))
	for n, addr := range c.peer {
		members[n] = fmt.Sprintf("s%d=http://%s", n, addr)
	}
	client, peer := "http://"+c.HTTP[i], "http://"+c.peer[i]
	return []string{e.Binary, "--name", fmt.Sprint("s", i), "--data-dir", filepath.Join(c.Dir(i), "data"),
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
		"--initial-cluster", strings.Join(members, ","), "--initial-cluster-state", "new",
		"--log-level", "error"}, nil
}

func (e *Etcd) leader(c *Cluster, i int) int {
	for n := range c.HTTP {
		if c.Servers[n] == nil {
			continue
		}
		conn, err := grpcc.Dial(c.HTTP[n], time.Second)
		if err != nil {
			continue
		}
		leads, err := grpcc.Etcd{Conn: conn, Timeout: 2 * time.Second}.IsLeader()
		conn.Close()
		if err == nil && leads {
			return n
		}
	}
	return -1
}

// open shares the connections, as etcd's own client does.
func (e *Etcd) open(c *Cluster, i int) (KV, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conns == nil {
		e.conns = map[string][]*grpcc.Conn{}
	}
	addr := c.HTTP[i]
	live := e.conns[addr][:0]
	for _, conn := range e.conns[addr] {
		if conn.Err() == nil {
			live = append(live, conn)
		}
	}
	if len(live) < e.Conns {
		conn, err := grpcc.Dial(addr, 5*time.Second)
		if err != nil {
			return nil, err
		}
		live = append(live, conn)
	}
	e.conns[addr] = live
	e.next++
	return etcdKV{grpcc.Etcd{Conn: live[e.next%len(live)], Timeout: callTimeout}}, nil
}

// etcdKV is one worker's view of a shared connection.
type etcdKV struct{ etcd grpcc.Etcd }

func (k etcdKV) Put(key string, value []byte) error { return k.etcd.Put(key, value) }

func (k etcdKV) Get(key string, stale bool) error {
	_, err := k.etcd.Get(key, stale)
	return err
}

// Close leaves the connection to the others; it ends with its server.
func (etcdKV) Close() error { return nil }
