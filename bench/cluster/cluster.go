// Package cluster starts the systems that are measured as processes of their
// own on loopback, each server with a temporary data directory.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

// callTimeout bounds one request.
const callTimeout = 30 * time.Second

// startTimeout bounds the wait for a leader.
const startTimeout = 60 * time.Second

// Options say how the servers run.
type Options struct {
	// Dir is where data directories and logs go.
	Dir string
	// Env is added to the environment of each server, as NAME=value.
	Env []string
	// SnapshotSoon makes the servers snapshot every few seconds, where they can be told to.
	SnapshotSoon bool
}

// System is one kind of server.
type System interface {
	// Name is short, for the table.
	Name() string
	// Version asks the binary.
	Version() (string, error)
	// Start runs n servers and returns once they take writes.
	Start(ctx context.Context, n int, opts Options) (*Cluster, error)
}

// KV is one client's way to one server, for one worker.
type KV interface {
	Put(key string, value []byte) error
	// Get reads key; stale lets the server answer from its own state.
	Get(key string, stale bool) error
	Close() error
}

// dialect is what a system tells its cluster.
type dialect interface {
	// command returns the command line of server i.
	command(c *Cluster, i int) ([]string, error)
	// open returns a client of server i.
	open(c *Cluster, i int) (KV, error)
	// leader returns the server that leads, as server i sees it; -1 for none.
	leader(c *Cluster, i int) int
}

// Cluster is a set of running servers.
type Cluster struct {
	// HTTP holds the client address of each server, host:port.
	HTTP []string
	// Servers are the processes; a server that was killed is nil until it runs again.
	Servers []*Process

	dialect dialect
	opts    Options
	dir     string
	peer    []string // address for the other servers
	gossip  []string
}

// start runs n servers that speak d.
func start(ctx context.Context, d dialect, name string, n int, opts Options) (*Cluster, error) {
	dir, err := os.MkdirTemp(opts.Dir, name+"-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{dialect: d, opts: opts, dir: dir, Servers: make([]*Process, n)}
	ports, err := freePorts(3 * n)
	if err != nil {
		return nil, err
	}
	c.HTTP, c.peer, c.gossip = ports[:n], ports[n:2*n], ports[2*n:]
	for i := range n {
		if err := c.Run(i); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	if err := c.Await(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Dir returns the data directory of server i.
func (c *Cluster) Dir(i int) string { return filepath.Join(c.dir, fmt.Sprint("server", i)) }

// Run starts server i, for the first time or after Kill.
func (c *Cluster) Run(i int) error {
	if err := os.MkdirAll(c.Dir(i), 0o700); err != nil {
		return err
	}
	argv, err := c.dialect.command(c, i)
	if err != nil {
		return err
	}
	c.Servers[i], err = startProcess(argv, c.opts.Env, c.Dir(i)+".log")
	return err
}

// Kill ends server i at once, as kill -9 does, and returns when it is gone.
func (c *Cluster) Kill(i int) {
	if p := c.Servers[i]; p != nil {
		p.Kill()
		c.Servers[i] = nil
	}
}

// CPU returns the processor time that all servers that run have used.
func (c *Cluster) CPU() (time.Duration, error) {
	var sum time.Duration
	for _, p := range c.Servers {
		if p == nil {
			continue
		}
		used, err := p.CPU()
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// Open returns a client of server i.
func (c *Cluster) Open(i int) (KV, error) { return c.dialect.open(c, i) }

// Leader returns the server that leads, -1 when the servers name none.
func (c *Cluster) Leader() int {
	for i, p := range c.Servers {
		if p == nil {
			continue
		}
		if l := c.dialect.leader(c, i); l >= 0 && c.Servers[l] != nil {
			return l
		}
	}
	return -1
}

// Await returns once every server names a leader and takes a write.
func (c *Cluster) Await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var last error
	for i := range c.Servers {
		for {
			if c.Servers[i] == nil || c.Servers[i].Exited() {
				return fmt.Errorf("server %d is gone, see its log:\n%s", i, tail(c.Dir(i)+".log"))
			}
			if c.dialect.leader(c, i) >= 0 {
				if last = c.tryWrite(i); last == nil {
					break
				}
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("server %d takes no writes after %s: %v\n%s", i, startTimeout, last, tail(c.Dir(i)+".log"))
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return nil
}

func (c *Cluster) tryWrite(i int) error {
	kv, err := c.Open(i)
	if err != nil {
		return err
	}
	defer kv.Close()
	return kv.Put("bench/ready", fmt.Appendf(nil, "%d at %d", i, time.Now().UnixNano()))
}

// Close kills the servers and removes what they left.
func (c *Cluster) Close() error {
	for i := range c.Servers {
		c.Kill(i)
	}
	return os.RemoveAll(c.dir)
}

// freePorts returns n addresses on loopback that nobody listens at now.
func freePorts(n int) ([]string, error) {
	out := make([]string, n)
	for i := range out {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer ln.Close()
		out[i] = ln.Addr().String()
	}
	return out, nil
}
