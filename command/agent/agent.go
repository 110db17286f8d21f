package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairn-project/cairn/client"
	"github.com/cairn-project/cairn/internal/limit"
	"github.com/cairn-project/cairn/internal/tlsconf"
)

const (
	// drainTime is how long the agent goes on to answer after it has become
	// unhealthy, so that clients move to other servers before its port closes.
	drainTime = time.Second
	// drainTimeout is how long requests in flight may go on when the agent stops.
	drainTimeout = time.Second
	// partTimeout bounds the wait for what may be left to the end of the process. A
	// socket has calls that ignore their end for twice drainTimeout and a second.
	partTimeout = 2*drainTimeout + 2*time.Second
	// leaveTimeout bounds the graceful leave.
	leaveTimeout = 5 * time.Second
	// clientLeaveTimeout bounds how long the node tells servers that it goes away.
	clientLeaveTimeout = 2 * time.Second
)

// Agent is a running agent. Stop ends everything it started.
type Agent struct {
	config    *Config
	logger    hclog.Logger
	endpoints *endpoints
	telemetry *telemetry
	// tls holds the certificates of both ports, nil when neither speaks TLS.
	tls *tlsconf.Source
	// server answers the API: the one of this process, or those that the node agent
	// knows. client is nil without a node agent.
	server  server
	client  *client.Client
	http    *httpServer
	rpc     *rpcNode
	sockets *agentSockets
	// held bounds what requests hold, on all ports together.
	held *limit.Bytes
	// drained are the workloads at the sockets, for the node agent.
	drained drainedWorkloads
	// port is where http accepts, beneath limits and TLS.
	port net.Listener
	// proxies are those of the HTTP port.
	proxies proxies
	// limits are what was applied since the start, nil for nothing.
	limits atomic.Pointer[RequestLimitsConfig]
	// replicationToken is what was applied since the start, nil for nothing.
	replicationToken atomic.Pointer[string]
	// shown has what was taken over of configurations since the start, nil for nothing.
	shown atomic.Pointer[Config]
	// changing is held while something is taken over, so that two changes do not mix.
	changing sync.Mutex
	// cancel ends the contexts of all requests.
	cancel context.CancelFunc
	// endRenewal ends the renewal of a node agent's certificate, nil where there is none.
	endRenewal func()
}

// Start runs an agent with a checked configuration. It returns once the HTTP API
// answers, which may be before there is a leader.
func Start(c *Config, logger hclog.Logger) (*Agent, error) {
	return start(c, logger, startServer)
}

func start(c *Config, logger hclog.Logger, newServer startFunc) (_ *Agent, err error) {
	a := &Agent{config: c, logger: logger, held: limit.NewBytes(int64(c.Limits.MaxRequestBytes))}
	if a.endpoints, err = c.resolve(logger.Named("agent")); err != nil {
		return nil, err
	}
	if err = a.enroll(context.Background()); err != nil {
		return nil, err
	}
	if a.tls, err = c.TLSConfig.load(); err != nil {
		return nil, err
	}
	c.TLSConfig.warnExpiry(a.tls, logger.Named("tls"))
	if a.telemetry, err = newTelemetry(c.Telemetry, c.NodeName); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			a.telemetry.shutdown()
		}
	}()
	httpLn, rpcLn, err := a.listeners()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = httpLn.Close()
			if rpcLn != nil {
				_ = rpcLn.Close()
			}
		}
	}()
	if err := a.startHalves(rpcLn, newServer); err != nil {
		return nil, err
	}
	a.addMetrics()
	if err := a.openSockets(); err != nil {
		return nil, errors.Join(err, a.stopHalves())
	}
	if err := a.serve(httpLn); err != nil {
		a.sockets.stop()
		return nil, errors.Join(err, a.stopHalves())
	}
	return a, nil
}

// startHalves starts the server and the node agent, as far as they are wanted. rpc
// is nil without a server.
func (a *Agent) startHalves(rpc net.Listener, newServer startFunc) error {
	c := a.config
	if c.Server.Enabled {
		sc, err := c.serverConfig(a.endpoints, rpc, a.logger)
		if err != nil {
			return err
		}
		sc.TLS, sc.Held = c.TLSConfig.rpc(a.tls), a.held
		if err = a.joined(sc); err != nil {
			return err
		}
		if a.server, err = newServer(sc); err != nil {
			return fmt.Errorf("starting the server: %w", err)
		}
	} else if c.TLSConfig.EnableRPC {
		if err := a.tls.CheckRole(tlsconf.RoleClient, c.Region); err != nil {
			return err
		}
	}
	if err := a.startClient(rpc); err != nil {
		if a.server != nil {
			err = errors.Join(err, a.server.Shutdown())
		}
		return fmt.Errorf("starting the node agent: %w", err)
	}
	if a.server == nil {
		a.server = newRemote(c, a.client)
	}
	a.startRenewal()
	return nil
}

// stopHalves ends what startHalves started.
func (a *Agent) stopHalves() error {
	var err error
	if a.endRenewal != nil {
		a.endRenewal()
	}
	if a.client != nil {
		err = a.client.Shutdown()
	}
	return errors.Join(err, a.server.Shutdown())
}

// addMetrics shows what the agent's parts count themselves.
func (a *Agent) addMetrics() {
	if collector, ok := a.server.(prometheus.Collector); ok {
		if err := a.telemetry.add(collector); err != nil {
			a.logger.Warn("metrics of the server are not shown", "error", err)
		}
	}
	if err := a.telemetry.add(heldMetrics{a.held}); err != nil {
		a.logger.Warn("metrics of what requests hold are not shown", "error", err)
	}
	if a.tls != nil {
		if err := a.telemetry.add(expiryMetrics{a.tls}); err != nil {
			a.logger.Warn("metrics of certificates are not shown", "error", err)
		}
	}
}

// openSockets opens the agent sockets.
func (a *Agent) openSockets() (err error) {
	if a.sockets, err = newAgentSockets(a); err != nil {
		return err
	}
	if err := a.telemetry.add(a.sockets.metrics); err != nil {
		a.logger.Warn("metrics of the agent sockets are not shown", "error", err)
	}
	if err := a.sockets.listen(); err != nil {
		return err
	}
	a.drained.sockets.Store(a.sockets)
	return nil
}

// serve opens the socket of the operator node and starts the HTTP API on ln.
func (a *Agent) serve(ln net.Listener) error {
	var ctx context.Context
	ctx, a.cancel = context.WithCancel(context.Background())
	c := *a.config // agent/self shows what others are really told
	c.RPC.Agent.Path, c.RPC.Agent.AdminPath = a.sockets.path, a.sockets.admin
	c.AdvertiseAddrs.HTTP, c.AdvertiseAddrs.RPC, c.AdvertiseAddrs.Serf = a.endpoints.advHTTP, a.endpoints.advRPC, a.endpoints.advSerf
	handler := newAPI(a.server, &c, a.telemetry, a.logger.Named("http"))
	handler.client, handler.root, handler.held, handler.proxies = a.client, a.logger, a.held, &a.proxies
	a.rpc, handler.rpc.started = handler.rpc, a.config
	a.sockets.providers.node.Store(a.rpc.rpc)
	a.rpc.sockets.Store(a.sockets)
	if err := a.rpc.listen(); err != nil {
		return err
	}
	a.http = serveHTTP(ctx, ln, handler)
	return nil
}

// listeners opens the HTTP port and, for a server, the RPC port, and notes what the
// system chose. rpcLn is nil without a server.
func (a *Agent) listeners() (httpLn, rpcLn net.Listener, err error) {
	c, e, log := a.config, a.endpoints, a.logger.Named("agent")
	asked := c.BindAddr != DefaultConfig().BindAddr
	if httpLn, err = listen(e.http, asked || c.Addresses.HTTP != "", log); err != nil {
		return nil, nil, fmt.Errorf("http port: %w", err)
	}
	e.http, e.advHTTP = withPort(e.http, httpLn), withPort(e.advHTTP, httpLn)
	httpLn = gentle(httpLn)
	a.port = httpLn
	a.proxies.set(&c.HTTPProxies)
	httpLn = throughProxies(httpLn, &a.proxies, a.logger.Named("http"))
	httpLn = limitConns(httpLn, c.Limits.HTTPMaxConnsPerClient, &a.proxies)
	httpLn = c.wrapHTTP(httpLn, a.tls)
	if !c.Server.Enabled {
		return httpLn, nil, nil
	}
	if rpcLn, err = listen(e.rpc, asked || c.Addresses.RPC != "", log); err != nil {
		_ = httpLn.Close()
		return nil, nil, fmt.Errorf("rpc port: %w", err)
	}
	e.rpc, e.advRPC = withPort(e.rpc, rpcLn), withPort(e.advRPC, rpcLn)
	return httpLn, rpcLn, nil
}

// HTTPAddr returns the address of the HTTP API as others reach it, host:port.
func (a *Agent) HTTPAddr() string { return a.endpoints.advHTTP }

// Stop ends the agent. Where other servers carry on it first becomes unhealthy,
// hands over leadership, and answers for a while longer, on connections that it
// closes one after the other; then the HTTP API ends, then the node agent and then the
// server. With leave the node tells the servers that it is down, and the server leaves
// the cluster. It blocks for a few seconds at most.
func (a *Agent) Stop(leave bool) error {
	a.http.api.closing.Store(true)
	if a.server.Drain() {
		time.Sleep(drainTime)
		if p, ok := a.port.(*port); ok {
			p.stop()
		}
	}
	a.endPart("the agent sockets", a.sockets.stop)
	a.endPart("the operator node", a.rpc.stop)
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	a.http.stop(ctx, a.cancel)
	cancel()
	if a.endRenewal != nil {
		a.endRenewal()
	}
	var all []error
	if a.client != nil {
		if leave {
			ctx, cancel := context.WithTimeout(context.Background(), clientLeaveTimeout)
			if err := a.client.Leave(ctx); err != nil {
				a.logger.Warn("the servers could not be told that the node goes away", "error", err)
			}
			cancel()
		}
		all = append(all, a.client.Shutdown())
	}
	if leave {
		ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
		all = append(all, a.server.Leave(ctx))
		cancel()
	}
	all = append(all, a.server.Shutdown())
	a.telemetry.shutdown()
	return errors.Join(all...)
}

// endPart has a part of the agent end, but does not wait for a disk that hangs: a socket
// removes its file, and the next start does so if that stays behind.
func (a *Agent) endPart(name string, stop func()) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		stop()
	}()
	select {
	case <-ended:
	case <-time.After(partTimeout):
		a.logger.Error("goes on to stop although a part has not ended", "part", name)
	}
}
