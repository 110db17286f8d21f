package agent

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/internal/jsonrpc"
)

// rpcSocketName is the file of the socket in the data directory.
const rpcSocketName = "rpc.sock"

// rpcNode is the operator node: JSON-RPC 2.0 on a Unix socket and at /v1/rpc.
type rpcNode struct {
	server server
	config *Config
	// started is the configuration before addresses were resolved, to compare others with.
	started   *Config
	telemetry *telemetry
	// logger shares its level with all loggers of the agent.
	logger, audit hclog.Logger
	rpc           *jsonrpc.Server
	// rights are those that methods need, by name. It is filled before the first call.
	rights map[string]right
	// rpcs are those that methods make, by name; filled with rights.
	rpcs       map[string]string
	principals []principal
	operations *operations
	// setting is held while records are set, so that none is lost; see change.
	setting sync.Mutex
	// sockets are the agent's, nil until they are open.
	sockets atomic.Pointer[agentSockets]
	// reload reads the configuration again; nil until the agent can.
	reload atomic.Pointer[reloader]

	// mu guards what listen sets.
	mu     sync.Mutex
	socket *jsonrpc.Socket
	path   string
	// temp is the directory that was made for the socket, "" for none.
	temp   string
	cancel context.CancelFunc
	served chan struct{}
}

// newRPCNode returns a node that answers over HTTP. listen adds the socket.
func newRPCNode(srv server, c *Config, t *telemetry, logger hclog.Logger) (*rpcNode, error) {
	n := &rpcNode{server: srv, config: c, started: c, telemetry: t, logger: logger.ResetNamed("cairn.rpc"), audit: logger.ResetNamed("cairn.audit"),
		rights: map[string]right{}, rpcs: map[string]string{}}
	n.operations = newOperations(n.logger)
	n.principals, _ = c.RPC.Socket.principals() // problems were reported with the configuration
	conf := jsonrpc.DefaultConfig()
	conf.MaxMessage, conf.MaxDepth, conf.MaxBatch = c.RPC.MaxMessage, c.RPC.MaxDepth, c.RPC.MaxBatch
	conf.CallTimeout, conf.StrictIDs = c.RPC.CallTimeout, c.RPC.StrictIDs
	conf.Charge, conf.Authorizer, conf.Auditor, conf.Logger = n.charge, n, n, n.logger
	var err error
	if n.rpc, err = jsonrpc.New(conf); err != nil {
		return nil, err
	}
	return n, n.register()
}

// register adds all methods.
func (n *rpcNode) register() error {
	var all []error
	for _, m := range n.resourceMethods() {
		if m.Privileged {
			n.rights[m.Name] = byServer
		}
		m.Lazy = true // a test compiles them all
		all = append(all, n.rpc.Register(m))
	}
	for _, m := range slices.Concat(n.operatorMethods(), n.configMethods(), n.nodeMethods(), n.nodeCallMethods(), n.storageMethods(), n.snapshotMethods()) {
		n.rights[m.Name] = m.right
		m.Lazy = true
		all = append(all, n.rpc.Register(m.Method))
	}
	return errors.Join(all...)
}

// http answers POST /v1/rpc.
func (n *rpcNode) http(r *request) {
	n.rpc.HTTP(func(hr *http.Request) jsonrpc.Caller {
		return jsonrpc.Caller{Transport: jsonrpc.TransportHTTP, Remote: hr.RemoteAddr, Token: r.secret()}
	}).ServeHTTP(r.w, r.Request)
}

// listen opens the socket. A socket at the default place that cannot be had is a
// warning; one that was asked for is an error.
func (n *rpcNode) listen() error {
	c := &n.config.RPC.Socket
	if !c.Enabled {
		return nil
	}
	err := n.bind(c)
	if err != nil {
		n.removeTemp()
		if c.Path == "" {
			n.logger.Warn("the operator node has no socket, it answers at /v1/rpc only: set rpc.socket.path", "error", err)
			return nil
		}
	}
	return err
}

func (n *rpcNode) bind(c *RPCSocketConfig) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	conf := jsonrpc.DefaultSocketConfig()
	conf.Grace = drainTimeout
	var err error
	if conf.Path, err = n.socketPathLocked(c); err != nil {
		return err
	}
	if conf.Mode, err = c.mode(); err != nil {
		return err
	}
	if conf.GID, err = c.gid(); err != nil {
		return err
	}
	if n.socket, err = n.rpc.Listen(conf); err != nil {
		return err
	}
	n.path, n.served = conf.Path, make(chan struct{})
	var ctx context.Context
	ctx, n.cancel = context.WithCancel(context.Background())
	socket, served := n.socket, n.served
	go func() {
		defer close(served)
		if err := socket.Serve(ctx); err != nil {
			n.logger.Error("the socket of the operator node stopped", "error", err)
		}
	}()
	return nil
}

// socketPathLocked returns where the socket goes, and makes a directory for it
// where there is none; n.mu is held.
func (n *rpcNode) socketPathLocked(c *RPCSocketConfig) (string, error) {
	switch {
	case c.Path != "":
		return c.Path, nil
	case n.config.DevMode || n.config.DataDir == "":
		dir, err := os.MkdirTemp("", "cairn-")
		n.temp = dir
		return filepath.Join(dir, rpcSocketName), err
	}
	dir, err := filepath.Abs(n.config.DataDir)
	return filepath.Join(dir, rpcSocketName), err
}

// socketPath returns where the socket is, "" for none.
func (n *rpcNode) socketPath() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.path
}

// connections returns how many are open on the socket.
func (n *rpcNode) connections() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.socket == nil {
		return 0
	}
	return n.socket.Conns()
}

// stop refuses new calls, lets those that run finish for the time of grace, and removes the socket.
func (n *rpcNode) stop() {
	n.rpc.Suspend("server is stopping", 0)
	n.mu.Lock()
	cancel, served := n.cancel, n.served
	n.mu.Unlock()
	if cancel != nil {
		cancel()
		<-served
	}
	n.removeTemp()
	n.operations.stop()
}

func (n *rpcNode) removeTemp() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.temp != "" {
		_ = os.RemoveAll(n.temp)
		n.temp = ""
	}
}
