package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
)

// callLimit ends a call that hangs. It is longer than any wait a server makes
// on its own account.
const callLimit = 15 * time.Second

// agent is one server and the processes it ran as.
type agent struct {
	t    *testing.T
	name string
	// dir holds the configuration and the data.
	dir             string
	http, rpc, serf int
	args            []string
	out             *output
	*process
	api *api.Client

	mu      sync.Mutex
	limited map[time.Duration]*api.Client // guarded by mu: by how long their calls may take
	since   time.Time                     // guarded by mu: of the freeze that lasts
	stood   time.Duration                 // guarded by mu: how long freezes took
}

// settings is the configuration file of an agent.
type settings map[string]any

// newAgent prepares an agent that runs with the given configuration and flags.
func newAgent(t *testing.T, name string, conf settings, args ...string) *agent {
	t.Helper()
	a := &agent{t: t, name: name, dir: t.TempDir(), out: &output{},
		http: freePort(t), rpc: freePort(t), serf: freePort(t)}
	a.args = append([]string{"agent", "-config", a.configure(conf)}, args...)
	a.api = a.client(callLimit)
	t.Cleanup(func() {
		noPanic(t, a.out.String())
		if t.Failed() {
			t.Logf("the end of the log of %s:\n%s", name, tail(a.out.String()))
		}
	})
	return a
}

// newServer prepares a server that keeps its data in a directory.
func newServer(t *testing.T, name string, expect int, more settings) *agent {
	t.Helper()
	server := settings{"enabled": true, "bootstrap_expect": expect}
	maps.Copy(server, more)
	a := newAgent(t, name, settings{"server": server})
	a.args = append(a.args, "-data-dir", a.dataDir())
	return a
}

// newDev runs a dev agent and waits until it has a leader.
func newDev(t *testing.T, args ...string) *agent {
	t.Helper()
	a := newAgent(t, "dev", nil, append([]string{"-dev"}, args...)...)
	a.start()
	a.ready()
	return a
}

func (a *agent) dataDir() string { return a.dir + "/data" }

// configure writes the configuration file: name, ports and addresses, and conf
// on top of them.
func (a *agent) configure(conf settings) string {
	a.t.Helper()
	full := settings{
		"name": a.name, "bind_addr": "127.0.0.1", "log_level": "DEBUG",
		"ports":     settings{"http": a.http, "rpc": a.rpc, "serf": a.serf},
		"advertise": settings{"http": "127.0.0.1", "rpc": "127.0.0.1", "serf": "127.0.0.1"},
	}
	maps.Copy(full, conf)
	text, err := json.MarshalIndent(full, "", "  ")
	if err != nil {
		a.t.Fatal(err)
	}
	return write(a.t, a.dir, "agent.json", string(text))
}

// start runs the agent, for the first time or again.
func (a *agent) start() {
	a.t.Helper()
	a.process = spawn(a.t, a.dir, a.out, a.args...)
}

// kill ends the agent without a chance to clean up.
func (a *agent) kill() { a.signal(syscall.SIGKILL); a.wait() }

// freeze stops the agent in its tracks; resume lets it go on.
func (a *agent) freeze() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.since = time.Now()
	a.signal(syscall.SIGSTOP)
}

func (a *agent) resume() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.signal(syscall.SIGCONT)
	a.stood += time.Since(a.since)
	a.since = time.Time{}
}

// frozen returns how long the agent was frozen so far.
func (a *agent) frozen() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.since.IsZero() {
		return a.stood
	}
	return a.stood + time.Since(a.since)
}

// timed returns how long a call to the agent took, without the time for which a
// test froze it meanwhile.
func (a *agent) timed(call func()) time.Duration {
	began, frozen := time.Now(), a.frozen()
	call()
	return time.Since(began) - (a.frozen() - frozen)
}

// interrupt stops the agent the way Ctrl-C does and returns its exit code.
func (a *agent) interrupt() int { a.signal(syscall.SIGINT); return a.wait() }

func (a *agent) url(path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", a.http, path) }

// client returns an SDK client whose calls end after limit.
func (a *agent) client(limit time.Duration) *api.Client {
	a.t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 32}
	a.t.Cleanup(transport.CloseIdleConnections)
	c, err := api.NewClient(&api.Config{Address: a.url(""), Namespace: "default",
		HttpClient: &http.Client{Timeout: limit, Transport: transport}})
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

// get returns status and body of a plain GET, 0 when the agent does not answer.
func (a *agent) get(path string) (int, string) {
	client := http.Client{Timeout: callLimit}
	defer client.CloseIdleConnections()
	resp, err := client.Get(a.url(path))
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(body)
}

// ready waits until the agent answers with a key that verifies what the
// cluster signs: then there is a leader and a keyring.
func (a *agent) ready() {
	a.t.Helper()
	eventually(a.t, a.name+" is ready", func() bool {
		if a.ended() {
			a.t.Fatalf("%s ended:\n%s", a.name, tail(a.out.String()))
		}
		code, body := a.get("/.well-known/jwks.json")
		return code == 200 && strings.Contains(body, `"kid"`)
	})
}

// run runs one command of the CLI against the agent; it must succeed.
func (a *agent) run(args ...string) string {
	a.t.Helper()
	out, code := a.try(args...)
	if code != 0 {
		a.t.Fatalf("cairn %s: exit code %d:\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// try runs one command of the CLI against the agent.
func (a *agent) try(args ...string) (string, int) {
	a.t.Helper()
	out := &output{}
	p := spawnEnv(a.t, a.dir, out, []string{"CAIRN_ADDR=" + a.url("")}, args...)
	code := p.wait()
	noPanic(a.t, out.String())
	return out.String(), code
}

// put writes one item under path and returns the index of the write.
func (a *agent) put(path, value string) (uint64, error) { return putBy(a.api, path, value) }

func putBy(client *api.Client, path, value string) (uint64, error) {
	v := api.NewVariable(path)
	v.Items = api.VariableItems{"v": value}
	out, _, err := client.Variables().Update(v, nil)
	if err != nil {
		return 0, err
	}
	return out.ModifyIndex, nil
}

// read returns the item under path, "" when there is none.
func (a *agent) read(path string, stale bool) (string, error) { return readBy(a.api, path, stale) }

func readBy(client *api.Client, path string, stale bool) (string, error) {
	v, _, err := client.Variables().Peek(path, &api.QueryOptions{AllowStale: stale})
	if err != nil || v == nil {
		return "", err
	}
	return v.Items["v"], nil
}

// mustPut writes although a leader may be missing for a while.
func (a *agent) mustPut(path, value string) {
	a.t.Helper()
	eventually(a.t, a.name+" takes a write", func() bool {
		_, err := a.put(path, value)
		return err == nil
	})
}

// mustRead wants value under path, now, by a default read.
func (a *agent) mustRead(path, value string) {
	a.t.Helper()
	if have, err := a.read(path, false); err != nil || have != value {
		a.t.Errorf("%s: %s is %q, %v; want %q", a.name, path, have, err, value)
	}
}

// cluster is three servers that know of each other.
type cluster struct {
	t       *testing.T
	servers []*agent
	// server is the server block of all.
	server settings
}

// newCluster runs three servers and waits until they have a leader.
func newCluster(t *testing.T, more settings) *cluster {
	t.Helper()
	c := prepareCluster(t, more, nil)
	c.startAll()
	return c
}

// prepareCluster is newCluster without running anything; top are settings
// outside of the server block.
func prepareCluster(t *testing.T, more, top settings) *cluster {
	t.Helper()
	c := &cluster{t: t, server: settings{"enabled": true, "bootstrap_expect": 3}}
	for _, name := range []string{"one", "two", "three"} {
		c.servers = append(c.servers, newServer(t, name, 3, nil))
	}
	var join []string
	for _, a := range c.servers {
		join = append(join, fmt.Sprintf("127.0.0.1:%d", a.serf))
	}
	c.server["server_join"] = settings{"retry_join": join, "retry_interval": "1s"}
	maps.Copy(c.server, more)
	for _, a := range c.servers {
		c.configure(a, top)
	}
	return c
}

// configure writes the configuration of one server; it counts from its next start on.
func (c *cluster) configure(a *agent, top settings) {
	c.t.Helper()
	conf := settings{"server": c.server}
	maps.Copy(conf, top)
	a.configure(conf)
}

// startAll runs every server and waits until each serves.
func (c *cluster) startAll() {
	c.t.Helper()
	for _, a := range c.servers {
		a.start()
	}
	for _, a := range c.servers {
		a.ready()
	}
}

// leader returns the server that the others follow, as asked at any of them
// but the given ones, which may be dead or frozen.
func (c *cluster) leader(not ...*agent) *agent {
	c.t.Helper()
	var found *agent
	eventually(c.t, "there is a leader", func() bool {
		for _, asked := range c.others(not...) {
			addr, err := asked.api.Status().Leader()
			if err != nil {
				continue
			}
			for _, a := range c.others(not...) {
				if strings.HasSuffix(addr, fmt.Sprintf(":%d", a.rpc)) {
					found = a
					return true
				}
			}
		}
		return false
	})
	return found
}

// others returns the servers but the given ones.
func (c *cluster) others(not ...*agent) []*agent {
	var out []*agent
next:
	for _, a := range c.servers {
		for _, n := range not {
			if a == n {
				continue next
			}
		}
		out = append(out, a)
	}
	return out
}

// quick returns a client for callers that turn to another server soon.
func (a *agent) quick() *api.Client { return a.limitedTo(time.Second) }

// patient returns a client for callers that find out themselves what hangs.
func (a *agent) patient() *api.Client { return a.limitedTo(hang) }

// limitedTo returns the one client whose calls end after limit.
func (a *agent) limitedTo(limit time.Duration) *api.Client {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.limited == nil {
		a.limited = map[time.Duration]*api.Client{}
	}
	if a.limited[limit] == nil {
		a.limited[limit] = a.client(limit)
	}
	return a.limited[limit]
}
