package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/cairn-project/cairn/nomad"
)

// syncBuffer is a bytes.Buffer for several goroutines that signals writes.
type syncBuffer struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	wrote chan struct{}
}

func newSyncBuffer() *syncBuffer { return &syncBuffer{wrote: make(chan struct{}, 1)} }

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case b.wrote <- struct{}{}:
	default:
	}
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// await blocks until b holds text.
func (b *syncBuffer) await(t *testing.T, text string) {
	t.Helper()
	for !strings.Contains(b.String(), text) {
		select {
		case <-b.wrote:
		case <-t.Context().Done():
			t.Fatal("the test ended")
		}
	}
}

// freePorts returns flags that make a dev agent choose its own ports.
func freePorts(t *testing.T, more string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.json")
	text := `{"ports": {"http": 0, "rpc": 0, "serf": 0}` + more + `}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRunAgent(t *testing.T) {
	f := newFake().fill()
	var got *nomad.Config
	start := func(c *nomad.Config) (server, error) {
		got = c
		return f, nil
	}
	out, errOut := newSyncBuffer(), newSyncBuffer()
	shutdown, code := make(chan struct{}), make(chan int)
	path := freePorts(t, `, "name": "n7", "server": {"num_schedulers": 2}, "log_level": "WARN"`)
	go func() { code <- run([]string{"-dev", "-config", path}, out, errOut, shutdown, start) }()
	out.await(t, "==> Cairn agent started!")
	for _, want := range []string{"n7 (" + f.NodeID() + ")", "cairn var put app/db user=web pass=s3cret", "CAIRN_ADDR=http://127.0.0.1:"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	out.await(t, "server.num_schedulers") // the log follows the banner
	_, addr, _ := strings.Cut(out.String(), "CAIRN_ADDR=")
	addr, _, _ = strings.Cut(addr, " ")
	resp, err := http.Get(addr + "/v1/metrics")
	if err != nil || resp.StatusCode != 200 {
		t.Fatal(err, resp)
	}
	_ = resp.Body.Close()
	self, err := nomadapi.NewClient(&nomadapi.Config{Address: addr})
	if err != nil {
		t.Fatal(err)
	}
	info, err := self.Agent().Self()
	if err != nil || "http://"+fmt.Sprint(info.Config["AdvertiseAddrs"].(map[string]any)["HTTP"]) != addr {
		t.Errorf("agent/self does not say what is advertised: %v %v", info, err)
	}
	close(shutdown)
	if c := <-code; c != 0 || f.stopped != 1 || f.graceful {
		t.Errorf("code %d, stopped %d times, left %t: %s", c, f.stopped, f.graceful, errOut)
	}
	if got.NodeName != "n7" || got.BootstrapExpect != 1 || got.Raft.LogStore != nomad.LogStoreMemory || got.DataDir != "" {
		t.Errorf("server configuration %s", got)
	}
	if _, port, _ := net.SplitHostPort(got.RPCAdvertise); port == "0" || port == "" {
		t.Errorf("advertises port %q", port)
	}
}

func TestSignals(t *testing.T) {
	// keep the process alive whatever happens to the agent's own handlers
	guard := make(chan os.Signal, 8)
	signal.Notify(guard, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(guard)
	for _, tc := range []struct {
		signal   syscall.Signal
		more     string
		graceful bool
	}{
		{syscall.SIGINT, "", false},
		{syscall.SIGTERM, "", false},
		{syscall.SIGINT, `, "leave_on_interrupt": true`, true},
		{syscall.SIGTERM, `, "leave_on_terminate": true`, true},
	} {
		f := newFake()
		out, code := newSyncBuffer(), make(chan int)
		path := freePorts(t, tc.more)
		go func() {
			code <- run([]string{"-dev", "-config", path}, out, io.Discard, nil, func(*nomad.Config) (server, error) { return f, nil })
		}()
		out.await(t, "agent started!")
		if err := syscall.Kill(syscall.Getpid(), tc.signal); err != nil {
			t.Fatal(err)
		}
		if c := <-code; c != 0 || f.graceful != tc.graceful || f.stopped != 1 {
			t.Errorf("%v%s: code %d, left %t", tc.signal, tc.more, c, f.graceful)
		}
	}
}

func TestAnEchoedSignalDoesNotCutTheStopShort(t *testing.T) {
	guard := make(chan os.Signal, 8)
	signal.Notify(guard, syscall.SIGTERM)
	defer signal.Stop(guard)
	f := newFake()
	f.onShutdown = func() {
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		<-guard // the first
		<-guard // and its echo, which the agent has as well
		time.Sleep(50 * time.Millisecond)
	}
	out, code := newSyncBuffer(), make(chan int)
	go func() {
		code <- run([]string{"-dev", "-config", freePorts(t, "")}, out, io.Discard, nil, func(*nomad.Config) (server, error) { return f, nil })
	}()
	out.await(t, "agent started!")
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if c := <-code; c != 0 || f.stopped != 1 {
		t.Errorf("code %d, stopped %d times: %s", c, f.stopped, out)
	}
}

func TestANewServerAloneIsWarned(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct {
		args []string
		want bool
	}{
		{[]string{"-server", "-data-dir", filepath.Join(dir, "new")}, true},
		{[]string{"-server", "-data-dir", filepath.Join(dir, "new"), "-bootstrap-expect", "3"}, false},
		{[]string{"-server", "-data-dir", filepath.Join(dir, "new"), "-retry-join", "10.0.0.1"}, false},
		{[]string{"-dev"}, false},
	} {
		out := newSyncBuffer()
		refuse := func(*nomad.Config) (server, error) { return nil, errors.New("not today") }
		run(append(tc.args, "-bind", "127.0.0.1", "-config", freePorts(t, "")), out, io.Discard, nil, refuse)
		if got := strings.Contains(out.String(), "set bootstrap_expect"); got != tc.want {
			t.Errorf("%v: warned %t\n%s", tc.args, got, out)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "old", "server"), 0o700); err != nil {
		t.Fatal(err)
	}
	c := DefaultConfig()
	c.Server.Enabled, c.DataDir = true, filepath.Join(dir, "old")
	var log bytes.Buffer
	warnAlone(c, hclog.New(&hclog.LoggerOptions{Output: &log}))
	if log.Len() > 0 {
		t.Errorf("a server that has data is warned: %s", &log)
	}
}

func TestReloadChangesTheLogLevel(t *testing.T) {
	path := freePorts(t, `, "log_level": "ERROR"`)
	f := newFlags()
	if err := f.set.Parse([]string{"-dev", "-config", path}); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Error, Output: &out})
	sub := logger.Named("http")
	a := &Agent{config: DefaultDevConfig(), logger: logger}
	if err := os.WriteFile(path, []byte(`{"log_level": "DEBUG"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	a.reload(f)
	if !sub.IsDebug() {
		t.Error("the level did not change")
	}
	if err := os.WriteFile(path, []byte(`{"log_level": 3, "x": 1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	a.reload(f)
	if !sub.IsDebug() || !strings.Contains(out.String(), "not reloaded") {
		t.Errorf("a broken file: %s", out.String())
	}
}

// What is shown of the configuration is what is in force, not what the agent began with.
func TestReloadShowsWhatIsInForce(t *testing.T) {
	path := freePorts(t, "")
	f := newFlags()
	if err := f.set.Parse([]string{"-dev", "-config", path}); err != nil {
		t.Fatal(err)
	}
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: io.Discard})
	a := &Agent{config: DefaultDevConfig(), logger: logger, server: newFake()}
	h := testAPI(t, newFake())
	h.rpc.logger = logger
	h.rpc.reload.Store(&reloader{steps: a.reloadSteps(), takenOver: a.takenOver, setLimits: a.reloadLimits, changing: &a.changing,
		read: func(string) (*Config, error) { return a.config, nil }})
	shown := func() *Config {
		t.Helper()
		return decode[struct{ Config *Config }](t, call(h, "GET", "/v1/agent/self", "")).Config
	}
	if c := shown(); c.LogLevel != "INFO" || len(c.HTTPProxies.Trusted) > 0 {
		t.Errorf("before: %+v", c)
	}
	text := `{"log_level": "WARN", "region": "elsewhere", "http_proxies": {"trusted": ["10.0.0.0/8"]}, "client": {"meta": {"rack": "r1"}},
		"acl": {"replication_token": "hush"}, "limits": {"request_limits": {"mode": "permissive"}}, "tls": {"cert_file": "/other.pem"}}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a.reload(f)
	c := shown()
	if c.LogLevel != "WARN" || len(c.HTTPProxies.Trusted) != 1 || c.Client.Meta["rack"] != "r1" || c.ACL.ReplicationToken != redacted ||
		c.Limits.RequestLimits.Mode != "permissive" || c.TLSConfig.CertFile != "/other.pem" {
		t.Errorf("after a reload: %s", c)
	}
	if c.Region != a.config.Region || c.NodeName != h.config.NodeName {
		t.Errorf("what takes a restart is shown as changed: %s", c)
	}
	logger.SetLevel(hclog.Debug)
	if c := shown(); c.LogLevel != "DEBUG" {
		t.Errorf("after a change by a call: %s", c.LogLevel)
	}
}

// oneAtATime is a server that sees whether its limits are set by two at once.
type oneAtATime struct {
	*fakeServer
	inside atomic.Int32
	mixed  atomic.Bool
}

func (s *oneAtATime) SetLimits(c nomad.LimitConfig) {
	if s.inside.Add(1) > 1 {
		s.mixed.Store(true)
	}
	for range 100 {
		runtime.Gosched()
	}
	s.limits = c
	s.inside.Add(-1)
}

// A reload and a call that sets records come one after the other: what is shown in
// the end is what the server has.
func TestReloadsAndSetsDoNotMix(t *testing.T) {
	srv := &oneAtATime{fakeServer: newFake()}
	a := &Agent{config: DefaultDevConfig(), logger: hclog.NewNullLogger(), server: srv}
	h := testAPI(t, newFake())
	h.rpc.reload.Store(&reloader{steps: a.reloadSteps(), takenOver: a.takenOver, setLimits: a.reloadLimits, changing: &a.changing})
	limits := func(c *Config) error {
		for _, step := range a.reloadSteps() {
			if step.name == "apply the limits of requests" {
				return step.apply(c)
			}
		}
		return errors.New("no step for the limits")
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 25 {
				c := DefaultDevConfig()
				c.Limits.RequestLimits.InFlight.Read = i + 1
				if err := limits(c); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for n := range 25 {
				_, err := h.rpc.setRecords(context.Background(), setParams{Records: []recordChange{{"limits.request_limits.in_flight.read", 100*i + n + 10}}})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if srv.mixed.Load() || srv.limits.InFlight.Read != a.requestLimits().InFlight.Read {
		t.Errorf("mixed: %t, the server has %+v, shown is %+v", srv.mixed.Load(), srv.limits.InFlight, a.requestLimits().InFlight)
	}
}

// Every key that a step keeps is one that reload messages do not put off to the next start.
func TestKeysThatAReloadTakesOver(t *testing.T) {
	next := DefaultDevConfig()
	for _, r := range records(next) {
		if r.Runtime && !r.Reload {
			t.Errorf("%s can be set, but a reload leaves it", r.Name)
		}
	}
	next.HTTPProxies.Trusted, next.Client.Meta, next.ACL.ReplicationToken = []string{"10.0.0.0/8"}, map[string]string{"a": "b"}, "hush"
	next.TLSConfig.CAFile, next.TLSConfig.TLSMinVersion, next.LogLevel = "/ca.pem", "tls13", "ERROR"
	if waiting := changedRecords(DefaultDevConfig(), next); len(waiting) > 0 {
		t.Errorf("put off: %v", waiting)
	}
	next.Server.Encrypt, next.TLSConfig.EnableHTTP = "a secret", true
	was := DefaultDevConfig()
	was.Server.Encrypt = "another secret"
	if waiting := changedRecords(was, next); !slices.Equal(waiting, []string{"server.encrypt", "tls.http"}) {
		t.Errorf("put off: %v", waiting)
	}
}

func TestAgentEndsWhenTheServerFails(t *testing.T) {
	f := newFake()
	close(f.failed)
	out := newSyncBuffer()
	code := run([]string{"-dev", "-config", freePorts(t, "")}, out, io.Discard, nil,
		func(*nomad.Config) (server, error) { return f, nil })
	if code != 1 || f.stopped != 1 || !strings.Contains(out.String(), "cannot go on") {
		t.Errorf("code %d: %s", code, out)
	}
}

func TestStartProblems(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := strconv.Itoa(taken.Addr().(*net.TCPAddr).Port)
	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "c.hcl")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	refuse := func(*nomad.Config) (server, error) { return nil, errors.New("log is corrupt") }
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"nothing to run", nil, "nothing to run"},
		{"unknown flag", []string{"-x"}, "error: unknown option -x\nrun `cairn agent -h` for help\n"},
		{"bad flag", []string{"-bootstrap-expect", "many"}, `error: invalid value "many" for flag -bootstrap-expect: must be a number`},
		{"stray argument", []string{"-dev", "x"}, `unexpected argument "x"`},
		{"stray secret", []string{"-dev", "5Jkqh3sCcKhfYc5cXqkqrA=="}, "unexpected argument of 24 characters (not shown"},
		{"missing file", []string{"-dev", "-config", "/nope"}, "no such file"},
		{"unknown key", []string{"-dev", "-config", write("\nx = 1")}, `c.hcl:2: unknown key "x"`},
		{"access control", []string{"-dev", "-config", write("acl { protect_metrics = true }")}, "needs acl.enabled"},
		{"client alone", []string{"-client"}, "the node agent keeps its identity there"},
		{"port in use", []string{"-dev", "-config", write("ports { http = " + port + " }")}, "is in use"},
		{"foreign address", []string{"-dev", "-bind", "192.0.2.1"}, "192.0.2.1"},
		{"bad template", []string{"-dev", "-bind", "{{ Nope }}"}, "no valid address template"},
		{"server", []string{"-dev", "-config", freePorts(t, "")}, "log is corrupt"},
	} {
		var errOut bytes.Buffer
		if code := run(tc.args, io.Discard, &errOut, nil, refuse); code != 1 || !strings.Contains(errOut.String(), tc.want) {
			t.Errorf("%s: code %d, %q lacks %q", tc.name, code, errOut.String(), tc.want)
		}
	}
	var broken bytes.Buffer
	run([]string{"-config", write("server {\n enabld = true\n}\nports { http = 70000 }")}, io.Discard, &broken, nil, refuse)
	if s := broken.String(); strings.Contains(s, "nothing to run") || !strings.Contains(s, "enabld") || !strings.Contains(s, "70000") {
		t.Errorf("a broken file: %s", s)
	}
	var out bytes.Buffer
	if code := run([]string{"-version"}, &out, io.Discard, nil, refuse); code != 0 || out.String() != "Cairn v"+nomad.Version+"\n" {
		t.Errorf("version: %d %q", code, out.String())
	}
	if code := run([]string{"-h"}, io.Discard, io.Discard, nil, refuse); code != 0 {
		t.Errorf("help: %d", code)
	}
}

func TestRequestsInFlightEndWithTheAgent(t *testing.T) {
	f := newFake()
	waiting := make(chan struct{})
	blocked := &blockingServer{fakeServer: f, waiting: waiting}
	c := DefaultDevConfig()
	c.NodeName, c.Ports = "n", PortsConfig{}
	a, err := start(c, hclog.NewNullLogger(), func(*nomad.Config) (server, error) { return blocked, nil })
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if resp, err := http.Get("http://" + a.HTTPAddr() + "/v1/vars?index=5"); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == 200 {
				t.Error("a query that was cut off looks answered")
			}
		}
	}()
	<-waiting
	if err := a.Stop(false); err != nil {
		t.Fatal(err)
	}
	<-ended
}

// blockingServer keeps every call until its context ends.
type blockingServer struct {
	*fakeServer
	waiting chan struct{}
}

func (b *blockingServer) RPC(ctx context.Context, method string, args, reply any) error {
	close(b.waiting)
	<-ctx.Done()
	return b.fakeServer.RPC(ctx, method, args, reply)
}

func TestLogFileRotates(t *testing.T) {
	dir := t.TempDir()
	c := DefaultConfig()
	c.LogFile, c.LogRotateBytes, c.LogRotateMaxFiles = dir+"/", 200, 2
	var out bytes.Buffer
	logger, closeLog, err := newLogger(c, &out)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		logger.Info("a line of the log that is not short")
	}
	logger.Debug("hidden")
	if err := closeLog(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 3 {
		t.Errorf("%v %v", files, err)
	}
	if strings.Count(out.String(), "\n") != 20 {
		t.Errorf("standard output: %s", out.String())
	}
}

func TestAddresses(t *testing.T) {
	for _, tc := range []struct {
		name                 string
		change               func(*Config)
		http, advRPC, errHas string
	}{
		{"loopback", func(c *Config) { c.BindAddr = "127.0.0.1" }, "127.0.0.1:4646", "127.0.0.1:4647", ""},
		{"template", func(c *Config) {
			c.BindAddr = `{{ GetAllInterfaces | include "address" "^127[.]0[.]0[.]1(/|$)" | attr "address" }}`
		}, "127.0.0.1:4646", "127.0.0.1:4647", ""},
		{"address by use", func(c *Config) { c.BindAddr, c.Addresses.HTTP = "127.0.0.1", "127.0.0.2" }, "127.0.0.2:4646", "127.0.0.1:4647", ""},
		{"ipv6", func(c *Config) { c.BindAddr = "::1" }, "[::1]:4646", "[::1]:4647", ""},
		{"advertise", func(c *Config) { c.AdvertiseAddrs.RPC = "10.1.2.3" }, "0.0.0.0:4646", "10.1.2.3:4647", ""},
		{"advertise port", func(c *Config) { c.AdvertiseAddrs.RPC = "h.example:99" }, "0.0.0.0:4646", "h.example:99", ""},
		{"advertise template", func(c *Config) {
			c.AdvertiseAddrs.RPC = `{{ GetAllInterfaces | include "address" "^127[.]0[.]0[.]1(/|$)" | attr "address" }}:99`
		}, "0.0.0.0:4646", "127.0.0.1:99", ""},
		{"bad port", func(c *Config) { c.AdvertiseAddrs.RPC = "h:x" }, "", "", "advertise.rpc"},
		{"empty template with a port", func(c *Config) { c.AdvertiseAddrs.RPC = `{{ GetInterfaceIP "nope0" }}:99` }, "", "", "no host"},
		{"several", func(c *Config) { c.BindAddr = "127.0.0.1 127.0.0.2" }, "", "", "exactly one"},
		{"none", func(c *Config) { c.Addresses.Serf = `{{ GetInterfaceIP "nope0" }}` }, "", "", "addresses.serf"},
	} {
		c := DefaultConfig()
		tc.change(c)
		e, err := c.resolve(hclog.NewNullLogger())
		if tc.errHas != "" {
			if err == nil || !strings.Contains(err.Error(), tc.errHas) {
				t.Errorf("%s: %v", tc.name, err)
			}
			continue
		}
		if err != nil || e.http != tc.http || e.advRPC != tc.advRPC {
			t.Errorf("%s: %+v %v", tc.name, e, err)
		}
	}
}

func TestListenFallsBackOnlyFromDefaults(t *testing.T) {
	addr := foreignAddress(t)
	ln, err := listen(addr, false, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if !ln.Addr().(*net.TCPAddr).IP.IsLoopback() {
		t.Errorf("listens on %s", ln.Addr())
	}
	if _, err := listen(addr, true, hclog.NewNullLogger()); err == nil {
		t.Error("an address that was asked for was replaced")
	}
}

// foreignAddress returns an address that is not of this machine. There are networks in
// which those of documents are in use.
func foreignAddress(t *testing.T) string {
	t.Helper()
	for _, addr := range []string{"192.0.2.1:0", "198.51.100.1:0", "203.0.113.1:0", "[2001:db8::1]:0"} {
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			return addr
		}
		ln.Close()
	}
	t.Fatal("every address belongs to this machine")
	return ""
}

func TestSignalEndsASlowStart(t *testing.T) {
	guard := make(chan os.Signal, 8)
	signal.Notify(guard, syscall.SIGINT)
	defer signal.Stop(guard)
	release := make(chan struct{})
	defer close(release)
	var errOut bytes.Buffer
	code := run([]string{"-dev", "-config", freePorts(t, "")}, io.Discard, &errOut, nil, func(*nomad.Config) (server, error) {
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGINT); err != nil {
			t.Error(err)
		}
		<-release
		return nil, errors.New("released")
	})
	if code != 1 || !strings.Contains(errOut.String(), "interrupt") {
		t.Errorf("code %d: %s", code, errOut.String())
	}
}

// A start that is about to succeed is let through, so that it can be stopped in order.
func TestSignalDuringTheStart(t *testing.T) {
	guard := make(chan os.Signal, 8)
	signal.Notify(guard, syscall.SIGINT)
	defer signal.Stop(guard)
	var errOut bytes.Buffer
	code := run([]string{"-dev", "-config", freePorts(t, "")}, io.Discard, &errOut, nil, func(*nomad.Config) (server, error) {
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGINT); err != nil {
			t.Error(err)
		}
		<-guard // the agent has it too
		return newFake().fill(), nil
	})
	if code != 0 || errOut.Len() > 0 {
		t.Errorf("code %d: %s", code, errOut.String())
	}
}
