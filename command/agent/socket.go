package agent

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/internal/drpc"
)

// Names of the sockets in the data directory.
const (
	agentSocketName = "agent.sock"
	adminSocketName = "admin.sock"
)

// agentSockets answers local processes on two sockets that share one table of
// modules: agent.sock for workloads, admin.sock for root and the agent's user.
type agentSockets struct {
	config  *Config
	server  server
	logger  hclog.Logger
	modules []socketModule
	metrics *socketMetrics
	started time.Time
	// httpURL is the agent's HTTP API.
	httpURL string
	// privileged decides who may call the methods for root and the agent's user.
	privileged func(drpc.Peer) bool
	// link says how the link of the node agent is, "" where there is none.
	link func() string
	// dataDir is where the data are, "" for none that stay.
	dataDir string
	// diskRoom looks at the disk of a directory.
	diskRoom func(dir string) (free, total uint64, err error)

	credentials *credentialCache
	attach      *attachCache
	keys        *keyCache
	eventLimits *userLimits
	workloads   *workloads
	locks       *lockKeeper
	providers   *providers
	// life ends with the sockets, by end.
	life context.Context
	end  context.CancelFunc

	registry *drpc.Registry
	// servers do not change once listen has returned.
	servers []*drpc.Server
	// path and admin are empty for sockets that are not there.
	path, admin string
	// temp is the directory that was made for them, "" for none.
	temp     string
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	stopping sync.Once
}

func newAgentSockets(a *Agent) (*agentSockets, error) {
	scheme := "http://"
	if a.config.TLSConfig.EnableHTTP {
		scheme = "https://"
	}
	s := &agentSockets{
		config: a.config, server: a.server, logger: a.logger.ResetNamed("cairn.socket"),
		started: time.Now(), httpURL: scheme + a.endpoints.advHTTP, dataDir: a.config.ownDataDir(), diskRoom: diskRoom, registry: drpc.NewRegistry(),
		privileged: drpc.RootOrSelf, link: func() string { return "" },
	}
	if a.client != nil {
		s.link = func() string { return a.client.Stats()["link"] }
	}
	s.credentials, s.attach, s.keys = newCredentialCache(s), newAttachCache(s), newKeyCache(s)
	s.eventLimits = newUserLimits(eventRate, eventBurst)
	s.workloads, s.locks, s.providers = newWorkloads(), newLockKeeper(s), newProviders()
	s.life, s.end = context.WithCancel(context.Background())
	s.modules = []socketModule{s.identityModule(), s.agentModule(a.logger), s.workloadModule(), s.securityModule(), s.providerModule()}
	s.metrics = newSocketMetrics(s.modules)
	var all []error
	for _, m := range s.modules {
		all = append(all, s.registry.Register(m.module()))
	}
	return s, errors.Join(all...)
}

// listen opens the sockets and serves them until stop. A socket at its default
// place that cannot be had is a warning; one that was asked for is an error.
func (s *agentSockets) listen() error {
	c := &s.config.RPC.Agent
	if !c.Enabled {
		return nil
	}
	mode, err := c.mode()
	if err == nil {
		s.path, err = s.open(c.Path, agentSocketName, mode)
	}
	if err == nil {
		s.admin, err = s.open(c.AdminPath, adminSocketName, 0o600)
	}
	if err != nil {
		s.stop()
		return err
	}
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(context.Background())
	for _, server := range s.servers {
		s.wg.Go(func() {
			if err := server.Serve(ctx); err != nil {
				s.logger.Error("an agent socket stopped with an error", "path", server.Path(), "error", err)
			}
		})
	}
	return nil
}

// open makes one socket and returns its path, "" where it can be done without.
func (s *agentSockets) open(path, name string, mode fs.FileMode) (string, error) {
	asked := path != ""
	if !asked {
		dir, err := s.dir()
		if err != nil || dir == "" {
			s.logger.Warn("no agent socket: set its path in rpc.agent", "name", name, "error", err)
			return "", nil
		}
		path = filepath.Join(dir, name)
	}
	cfg := drpc.DefaultConfig()
	cfg.Path, cfg.Mode, cfg.Logger, cfg.Grace = path, mode, s.logger, drainTimeout
	cfg.MaxSessionsPerUID = s.config.RPC.Agent.MaxSessionsPerUID
	cfg.Observe, cfg.Privileged, cfg.Charge = s.metrics.observe, s.privileged, s.charge
	server, err := drpc.Listen(cfg, s.registry)
	if err != nil {
		if asked {
			return "", err
		}
		s.logger.Warn("no agent socket: set its path in rpc.agent", "name", name, "error", err)
		return "", nil
	}
	s.servers = append(s.servers, server)
	s.logger.Info("agent socket open", "path", path, "mode", mode.String())
	return path, nil
}

// dir returns where sockets go by default, and makes the directory if it is a
// temporary one.
func (s *agentSockets) dir() (string, error) {
	switch {
	case s.config.DevMode:
		if s.temp == "" {
			var err error
			if s.temp, err = os.MkdirTemp("", "cairn-agent-"); err != nil {
				return "", err
			}
		}
		return s.temp, nil
	case s.config.DataDir != "":
		return filepath.Abs(s.config.DataDir)
	case s.config.Server.DataDir != "":
		return filepath.Abs(s.config.Server.DataDir)
	}
	return "", nil
}

// stop closes the sockets and what was made for them. It may be called twice.
func (s *agentSockets) stop() {
	if s != nil {
		s.stopping.Do(s.shut)
	}
}

func (s *agentSockets) shut() {
	s.locks.leave()
	s.workloads.mu.Lock() // nobody is told any more who was not told yet
	s.end()
	s.workloads.mu.Unlock()
	if s.cancel == nil { // opened, but never served
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		for _, server := range s.servers {
			_ = server.Serve(ctx)
		}
	} else {
		s.cancel()
	}
	s.wg.Wait()
	if s.temp != "" {
		if err := os.RemoveAll(s.temp); err != nil {
			s.logger.Warn("the directory of the agent sockets stays behind", "path", s.temp, "error", err)
		}
		s.temp = ""
	}
}

// rpcTimeout bounds a call to the servers for a local process that set no deadline.
const rpcTimeout = 10 * time.Second

// call makes an RPC.
func (s *agentSockets) call(ctx context.Context, method string, args, reply any) error {
	ctx, cancel := context.WithTimeout(ctx, rpcTimeout)
	defer cancel()
	return s.server.RPC(ctx, method, args, reply)
}
