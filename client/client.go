package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/structs"
)

// Client is a running node agent. All methods are safe for concurrent use.
type Client struct {
	config   *Config
	logger   hclog.Logger
	state    *stateDir
	identity *identity
	meta     *metadata
	servers  *serverList
	host     *host
	// operations are the changes that were asked for; instance is random, for links.
	operations *operations
	instance   string
	registry   *wire.Registry
	rpc        *wire.Server

	// current is the session in use, nil before the first. connecting holds a token
	// while somebody opens one.
	current    atomic.Pointer[serverConn]
	connecting chan struct{}
	// changed wakes the loop of registration and heartbeats.
	changed chan struct{}
	// redial ends the pause of what dials the link.
	redial chan struct{}

	mu   sync.Mutex
	life life           // guarded by mu
	link nodelink.State // guarded by mu

	ctx    context.Context
	cancel context.CancelFunc
	// looping is the life of the loop of heartbeats, which Leave ends first; looped is
	// closed at its end.
	looping  context.Context
	endLoop  context.CancelFunc
	looped   chan struct{}
	wg       sync.WaitGroup
	stopOnce sync.Once
}

// life is how the node stands with the servers.
type life struct {
	registered bool
	// beat is when a server took the last heartbeat, ttl what it granted, zero
	// before the first.
	beat time.Time
	ttl  time.Duration
	// eligibility is what the servers said last, problem why they cannot be told
	// anything, "" while they can.
	eligibility string
	problem     string
	// epoch fences links, seen is up to which logical index the agent knows what the
	// servers say of the node.
	epoch, seen uint64
}

// New starts a node agent. It returns at once; the servers are looked for as long
// as it takes.
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c := &Client{config: &cfg, logger: cfg.Logger, connecting: make(chan struct{}, 1), changed: make(chan struct{}, 1), redial: make(chan struct{}, 1)}
	if c.logger == nil {
		c.logger = hclog.NewNullLogger()
		c.config.Logger = c.logger
	}
	c.logger = c.logger.Named("client")
	if cfg.Dial == nil {
		cfg.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}
	}
	c.config.NodePool = cmp.Or(cfg.NodePool, structs.NodePoolDefault)
	var err error
	if c.state, err = openState(cfg.StateDir); err != nil {
		return nil, err
	}
	if err := c.load(); err != nil {
		return nil, errors.Join(err, c.state.close())
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.rpc = wire.NewServer(c.handle, wire.DefaultLimits(), c.logger)
	c.looping, c.endLoop = context.WithCancel(c.ctx)
	c.looped = make(chan struct{})
	if err := c.startLink(); err != nil {
		c.cancel()
		return nil, errors.Join(err, c.state.close())
	}
	c.wg.Go(c.run)
	c.wg.Go(func() {
		c.operations.run(c.ctx, func(err error) { c.logger.Warn("what became of an operation is not on disk", "error", err) })
	})
	c.logger.Info("started a node agent", "node_id", c.identity.nodeID, "state_dir", c.state.path, "servers", c.servers.candidates())
	return c, nil
}

// load reads the state directory and looks at the machine.
func (c *Client) load() (err error) {
	if c.identity, err = loadIdentity(c.state); err != nil {
		return err
	}
	if c.meta, err = loadMetadata(c.state, c.config.Meta); err != nil {
		return err
	}
	if c.operations, err = loadOperations(c.state); err != nil {
		return err
	}
	c.instance = uuid.NewString()
	if _, err := c.introduction(); err != nil {
		return err
	}
	seeds := make([]string, 0, len(c.config.Servers))
	for _, addr := range c.config.Servers {
		addr, _ = serverAddr(addr) // checked
		seeds = append(seeds, addr)
	}
	c.servers = newServerList(c.config, seeds)
	c.host = newHost(c.config, c.state.path, c.logger)
	c.registry = wire.NewRegistry()
	for name, endpoint := range endpoints(c) {
		if err := c.registry.Register(name, endpoint); err != nil {
			return err
		}
	}
	return nil
}

// handle answers a call of a server. The server has checked the rights of whoever
// caused it; over TLS it proved to be one when the agent dialled it.
func (c *Client) handle(ctx context.Context, call *wire.Call) (any, error) {
	m, ok := c.registry.Lookup(call.Method)
	if !ok {
		return nil, wire.UnknownMethod(call.Method)
	}
	args, reply := m.NewArgs(), m.NewReply()
	if err := call.Decode(args); err != nil {
		return nil, err
	}
	if err := m.Invoke(ctx, args, reply); err != nil {
		return nil, err
	}
	return reply, nil
}

// NodeID returns the ID of the node, a UUID.
func (c *Client) NodeID() string { return c.identity.nodeID }

// Token returns the secret with which the node calls servers.
func (c *Client) Token() string { return c.identity.token() }

// Servers returns the server ports that the agent knows, the best first.
func (c *Client) Servers() []string { return c.servers.candidates() }

// SetServers replaces the servers that the agent knows by those of addrs that
// answer; if none does, nothing changes.
func (c *Client) SetServers(ctx context.Context, addrs []string) error {
	var answer, failures []string
	for _, given := range addrs {
		addr, err := serverAddr(given)
		if err == nil {
			var s *serverConn
			if s, err = c.connect(ctx, addr); err == nil {
				s.close()
				answer = append(answer, addr)
				continue
			}
		}
		failures = append(failures, fmt.Sprintf("%s: %v", given, err))
	}
	if len(answer) == 0 {
		return errs.Newf(errs.Invalid, "none of the servers answers, the old ones stay: %s", strings.Join(failures, "; "))
	}
	c.servers.set(answer)
	if s := c.current.Load(); s != nil {
		s.close() // the loop connects to one of the new ones
	}
	c.wake()
	return nil
}

// Ready returns nil while servers take the node's heartbeats and do not refuse its
// link, else why not.
func (c *Client) Ready() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch l := &c.life; {
	case l.problem != "":
		return errors.New(l.problem)
	case l.beat.IsZero():
		return errors.New("not registered with the servers yet")
	case time.Since(l.beat) > l.ttl:
		return errors.New("no server took a heartbeat in time")
	}
	if r := refusalOf(c.link); r != nil {
		return errors.New("servers cannot call the node: " + r.Error())
	}
	return nil
}

// Stats returns figures about the agent.
func (c *Client) Stats() map[string]string {
	c.mu.Lock()
	l, link := c.life, c.link
	c.mu.Unlock()
	out := map[string]string{
		"node_id": c.identity.nodeID, "known_servers": strings.Join(c.servers.candidates(), ", "),
		"registered": strconv.FormatBool(l.registered), "heartbeat_ttl": l.ttl.String(), "server": "",
	}
	if s := c.current.Load(); s != nil && s.alive() {
		out["server"] = s.addr
	}
	switch {
	case link.Up:
		out["link"] = "up, to " + link.Welcome.ServerName
	case link.Err != nil:
		out["link"] = "down: " + link.Err.Error()
	}
	if !l.beat.IsZero() {
		out["last_heartbeat"] = time.Since(l.beat).Round(time.Millisecond).String()
	}
	return out
}

// describe returns the node as the servers are to know it.
func (c *Client) describe() *structs.Node {
	cfg := c.config
	n := &structs.Node{
		ID: c.identity.nodeID, SecretID: c.identity.secretID, Datacenter: cfg.Datacenter, Name: cfg.NodeName,
		NodeClass: cfg.NodeClass, NodePool: cfg.NodePool, HTTPAddr: cfg.HTTPAddr, TLSEnabled: cfg.HTTPTLS,
		Meta: c.meta.merged(), Links: map[string]string{}, Drivers: map[string]*structs.DriverInfo{},
		NodeMaxAllocs: cfg.MaxAllocs, LinkInstance: c.instance, Status: structs.NodeStatusInit, SchedulingEligibility: structs.NodeSchedulingEligible,
	}
	if cfg.Ineligible {
		n.SchedulingEligibility = structs.NodeSchedulingIneligible
	}
	reserved := cfg.Resources.Reserved
	n.ReservedResources = &reserved
	n.Attributes, n.NodeResources = c.host.describe()
	n.Attributes = maps.Clone(n.Attributes)
	n.Attributes["nomad.version"], n.Attributes["cairn.version"] = cfg.Version, cfg.Version
	n.Attributes["nomad.advertise.address"] = cfg.HTTPAddr
	return n
}

// Leave tells the servers that the node goes away, once work has moved off it where
// the configuration says so. Shutdown must follow.
func (c *Client) Leave(ctx context.Context) error {
	c.mu.Lock()
	registered := c.life.registered
	c.mu.Unlock()
	c.endLoop()
	<-c.looped
	if !registered {
		return nil
	}
	if err := c.drainToLeave(ctx); err != nil {
		c.logger.Warn("leaves without having drained the node", "error", err)
	}
	return c.tellStatus(ctx, structs.NodeStatusDown, &structs.NodeUpdateResponse{})
}

// Shutdown ends the agent and waits for what it started. The node stays known to
// the servers, which notice its silence. It is safe to call more than once.
func (c *Client) Shutdown() error {
	var err error
	c.stopOnce.Do(func() {
		c.cancel()
		if s := c.current.Load(); s != nil {
			s.close()
		}
		c.wg.Wait()
		if s := c.current.Load(); s != nil {
			s.close()
		}
		err = c.state.close()
	})
	return err
}
