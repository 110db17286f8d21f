package agent

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/structs"
)

// stopTimeout is how long the agent waits for itself to end: longer than both parts that
// have partTimeout and a server take together on a disk that hangs.
const stopTimeout = 15 * time.Second

// echoWindow is how long after a signal to stop another one is its echo.
const echoWindow = 500 * time.Millisecond

// RunAgent runs the agent command: args are its flags. It returns the exit code
// when a signal or the closing of shutdown ended the agent.
func RunAgent(args []string, stdout, stderr io.Writer, shutdown <-chan struct{}) int {
	return run(args, stdout, stderr, shutdown, startServer)
}

func run(args []string, stdout, stderr io.Writer, shutdown <-chan struct{}, newServer startFunc) int {
	f := newFlags()
	if code, done := f.parse(args, stdout, stderr); done {
		return code
	}
	c, unused, err := f.config()
	if err != nil {
		fmt.Fprintf(stderr, "==> The configuration is not valid:\n%s\n", indent(err.Error()))
		return 1
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM)
	signal.Ignore(syscall.SIGPIPE) // the end of whoever reads the log is not ours
	defer signal.Stop(signals)
	gate := &gatedWriter{out: stdout}
	defer gate.open()
	logger, closeLog, err := newLogger(c, gate)
	if err != nil {
		fmt.Fprintf(stderr, "==> %s\n", err)
		return 1
	}
	defer func() { _ = closeLog() }()
	warnUnused(c, unused, logger)
	warnAlone(c, logger)
	tuneGC()
	fmt.Fprintln(stdout, "==> Starting Cairn agent...")
	a, early, err := startOrSignal(c, logger, newServer, signals)
	if err != nil {
		gate.open()
		fmt.Fprintf(stderr, "==> The agent could not start:\n%s\n", indent(err.Error()))
		return 1
	}
	if early != nil {
		gate.open()
		a.logger.Info("caught signal", "signal", early)
		return a.end(false, signals)
	}
	a.rpc.reload.Store(&reloader{steps: a.reloadSteps(), takenOver: a.takenOver, setLimits: a.reloadLimits, changing: &a.changing,
		read: func(inline string) (*Config, error) {
			c, _, err := f.configWith(inline)
			return c, err
		}})
	a.banner(stdout)
	gate.open()
	return a.wait(f, signals, shutdown)
}

// parse reads the command line. done says that the agent is not to run, and code
// is the exit code then.
func (f *flags) parse(args []string, stdout, stderr io.Writer) (code int, done bool) {
	f.set.SetOutput(io.Discard)
	switch err := f.set.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		f.set.SetOutput(stdout)
		f.set.Usage()
		return 0, true
	case err != nil:
		text := strings.ReplaceAll(err.Error(), "flag provided but not defined: ", "unknown option ")
		fmt.Fprintf(stderr, "error: %s\nrun `cairn agent -h` for help\n", text)
		return 1, true
	case f.version:
		fmt.Fprintln(stdout, "Cairn v"+nomad.Version)
		return 0, true
	}
	return 0, false
}

// warnUnused names what was asked for and is not there.
func warnUnused(c *Config, unused []problem, logger hclog.Logger) {
	for _, u := range unused {
		logger.Warn("configuration key has no effect in this build", "key", u.msg,
			"at", fmt.Sprintf("%s:%d", u.pos.file, u.pos.line))
	}
	c.logAlone(logger)
}

// warnAlone tells of a new server that would wait for ever without a word: it
// neither elects a leader nor looks for one.
func warnAlone(c *Config, logger hclog.Logger) {
	s := &c.Server
	if !s.Enabled || s.BootstrapExpect > 0 || c.TLSConfig.Auto ||
		len(s.StartJoin)+len(s.RetryJoin)+len(s.ServerJoin.StartJoin)+len(s.ServerJoin.RetryJoin) > 0 {
		return
	}
	if _, err := os.Stat(c.serverDataDir()); errors.Is(err, os.ErrNotExist) {
		logger.Warn("this new server waits until others take it in: for a first server set bootstrap_expect, " +
			"to join others set retry_join in server_join, or use `cairn server join`")
	}
}

// earlyGrace is how long a start may go on after a signal to stop.
const earlyGrace = 3 * time.Second

// startOrSignal starts the agent. After a signal to stop it lets the start come to
// its end, so that the agent can be stopped in order, and returns the signal. A
// second signal, or a start that takes long, ends in an error: the process is about
// to end and takes the rest with it.
func startOrSignal(c *Config, logger hclog.Logger, newServer startFunc, signals <-chan os.Signal) (*Agent, os.Signal, error) {
	type result struct {
		a   *Agent
		err error
	}
	started := make(chan result, 1)
	go func() {
		a, err := start(c, logger, newServer)
		started <- result{a, err}
	}()
	var early os.Signal
	var enough <-chan time.Time
	for {
		select {
		case r := <-started:
			return r.a, early, r.err
		case <-enough:
			return nil, nil, fmt.Errorf("caught signal %q", early)
		case s := <-signals:
			switch {
			case s == syscall.SIGHUP:
			case early != nil:
				return nil, nil, fmt.Errorf("caught signal %q", s)
			default:
				early, enough = s, time.After(earlyGrace)
			}
		}
	}
}

// wait returns the exit code once the agent has ended.
func (a *Agent) wait(f *flags, signals <-chan os.Signal, shutdown <-chan struct{}) int {
	for {
		select {
		case <-shutdown:
			return a.end(false, signals)
		case <-a.server.Failed():
			a.logger.Error("the server cannot go on", "error", a.server.Err())
			a.end(false, signals)
			return 1
		case s := <-signals:
			a.logger.Info("caught signal", "signal", s)
			switch s {
			case syscall.SIGHUP:
				a.reload(f)
			case syscall.SIGINT:
				return a.end(a.config.LeaveOnInt, signals)
			default:
				return a.end(a.config.LeaveOnTerm, signals)
			}
		}
	}
}

// end stops the agent; a second signal does not wait for it, unless it is the
// echo of the first: timeout and its like signal the process and then its group.
func (a *Agent) end(leave bool, signals <-chan os.Signal) int {
	began := time.Now()
	done := make(chan error, 1)
	go func() { done <- a.Stop(leave) }()
	timeout := time.After(stopTimeout)
	for {
		select {
		case err := <-done:
			if err != nil {
				a.logger.Error("stopped with an error", "error", err)
				return 1
			}
			a.logger.Info("stopped")
			return 0
		case s := <-signals:
			if s != syscall.SIGHUP && time.Since(began) > echoWindow {
				a.logger.Warn("caught a second signal, not waiting any longer", "signal", s)
				return 1
			}
		case <-timeout:
			a.logger.Error("did not stop in time")
			return 1
		}
	}
}

var onOff = map[bool]string{true: "on", false: "off: everybody may do everything"}

// banner shows the operator what runs, in one write.
func (a *Agent) banner(out io.Writer) {
	w := &strings.Builder{}
	defer func() { _, _ = io.WriteString(out, w.String()) }()
	c, e := a.config, a.endpoints
	fmt.Fprintf(w, "==> Cairn agent configuration:\n\n")
	rows := [][2]string{
		{"Version", nomad.Version},
		{"Node", c.NodeName + " (" + a.server.NodeID() + ")"},
		{"Region", c.Region + " (datacenter " + c.Datacenter + ")"},
		{"HTTP", e.http + " (advertised " + e.advHTTP + ")"},
	}
	if c.Server.Enabled {
		rows = append(rows, [][2]string{
			{"RPC", e.rpc + " (advertised " + e.advRPC + ")"},
			{"Gossip", fmt.Sprintf("%s port %d (advertised %s)", e.serfHost, e.serfPort, e.advSerf)},
			{"Data dir", cmp.Or(c.serverDataDir(), "in memory, gone when the agent stops")},
			{"Access control", onOff[c.ACL.Enabled]},
		}...)
	}
	rows = append(rows, [][2]string{
		{"Server", fmt.Sprintf("%t (bootstrap expect %d)", c.Server.Enabled, c.Server.BootstrapExpect)},
		{"Client", a.clientRow()},
		{"Agent socket", cmp.Or(a.sockets.path, "none")},
		{"RPC socket", cmp.Or(a.rpc.socketPath(), "none")},
		{"Log level", strings.ToUpper(c.LogLevel)},
	}...)
	for _, row := range rows {
		fmt.Fprintf(w, "%16s: %s\n", row[0], row[1])
	}
	fmt.Fprintf(w, "\n==> Cairn agent started! Log data will stream in below:\n\n")
	if c.DevMode {
		a.hint(w)
	}
}

// clientRow tells of the node agent.
func (a *Agent) clientRow() string {
	if a.client == nil {
		return "false"
	}
	return fmt.Sprintf("true (node %s, pool %s)", a.client.NodeID(), cmp.Or(a.config.Client.NodePool, structs.NodePoolDefault))
}

// hint tells a newcomer what to try.
func (a *Agent) hint(w io.Writer) {
	scheme := "http"
	if a.config.TLSConfig.EnableHTTP {
		scheme = "https"
	}
	token := ""
	if a.config.ACL.Enabled {
		token = "      export CAIRN_TOKEN=$(cairn acl bootstrap -t '{{.SecretID}}')   # works once\n"
	}
	fmt.Fprintf(w, `    Try, in another terminal:

      export CAIRN_ADDR=%[1]s://%[2]s   # NOMAD_ADDR does as well
%[3]s      cairn var put app/db user=web pass=s3cret
      cairn var get app/db
      cairn server members
      cairn node status

    "make cluster" starts three servers with data on disk.

`, scheme, a.HTTPAddr(), token)
}

func indent(s string) string { return "    " + strings.ReplaceAll(s, "\n", "\n    ") }

// maxGated bounds what a gatedWriter holds back, in bytes.
const maxGated = 1 << 20

// gatedWriter holds the log back until the banner is out.
type gatedWriter struct {
	mu     sync.Mutex
	out    io.Writer
	opened bool
	held   []byte
}

// Write writes b, at once if the gate is open.
func (g *gatedWriter) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opened {
		return g.out.Write(b)
	}
	if len(g.held)+len(b) <= maxGated {
		g.held = append(g.held, b...)
	}
	return len(b), nil
}

// open lets everything held back go.
func (g *gatedWriter) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.opened {
		g.opened = true
		_, _ = g.out.Write(g.held)
		g.held = nil
	}
}
