package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cairn-project/cairn/internal/jointoken"
	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/internal/tlsconf"
	"github.com/cairn-project/cairn/nomad/enroll"
)

// certTTL is short for the tests to see certificates end.
const certTTL = 15 * time.Second

// first is a server with an authority of its own, beginner one that has nothing
// but a data directory; flags do the rest.
func first(t *testing.T, name string) *agent {
	t.Helper()
	a := beginner(t, name)
	a.args = append(a.args, "-bootstrap-expect", "1", "-tls-auto")
	return a
}

func beginner(t *testing.T, name string) *agent {
	t.Helper()
	a := newAgent(t, name, settings{"tls": settings{"auto_cert_ttl": certTTL.String()}}, "-server")
	a.args = append(a.args, "-data-dir", a.dataDir())
	return a
}

// certDir is where the server keeps its certificate.
func (a *agent) certDir() enroll.Dir { return enroll.Dir(filepath.Join(a.dataDir(), "server", "tls")) }

// joinToken makes a join token and returns its ID and its text.
func (a *agent) joinToken(args ...string) (id, text string) {
	a.t.Helper()
	var out string
	eventually(a.t, "there is an authority", func() (ok bool) {
		var code int
		out, code = a.try(append([]string{"operator", "join-token", "create", "-t", "{{.JoinToken.ID}} {{.Text}}"}, args...)...)
		return code == 0
	})
	id, text, _ = strings.Cut(strings.TrimSpace(out), " ")
	return id, text
}

// sealedGossip reports whether the packets of gossip to a port are unreadable:
// a plain packet of a member is refused, and the log says so.
func sealedGossip(t *testing.T, a *agent) bool {
	t.Helper()
	conn, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", a.serf))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	refused := false
	eventually(t, a.name+" refuses plain gossip", func() bool {
		if _, err := conn.Write([]byte("plain gossip of nobody")); err != nil { // a packet may get lost
			t.Fatal(err)
		}
		refused = strings.Contains(a.out.String(), "Decrypt packet failed")
		return refused
	})
	return refused
}

// Three servers out of one command line and a token: TLS, sealed gossip,
// certificates that renew themselves, and a stop that outlasts all of them.
func TestClusterFromTokens(t *testing.T) {
	t.Parallel() // it waits for certificates to end
	one := first(t, "one")
	one.start()
	one.ready()
	_, text := one.joinToken("-role", "server", "-uses", "2")
	two, three := beginner(t, "two"), beginner(t, "three")
	two.args = append(two.args, "-join-token", text)
	file := write(t, three.dir, "token", text+"\n")
	three.args = append(three.args, "-join-token-file", file)
	servers := []*agent{one, two, three}
	for _, a := range servers[1:] {
		a.start()
	}
	eventually(t, "three servers have a vote", func() bool {
		return strings.Count(one.run("operator", "raft", "list-peers"), " yes ") == 3
	})
	for _, a := range servers {
		a.ready()
		if admitted(t, a, mux.ProtoRPC, nil) || admitted(t, a, mux.ProtoRaft, nil) {
			t.Errorf("%s speaks clear text", a.name)
		}
		if !sealedGossip(t, a) {
			t.Errorf("%s gossips in clear", a.name)
		}
	}
	two.mustPut("app/db", "1")
	three.mustRead("app/db", "1")
	checkJoined(t, one, servers)
	renewedAll(t, servers)

	two.mustPut("app/db", "2")
	joinByFollower(t, one, servers)
	for _, a := range servers {
		a.kill()
	}
	os.Remove(file)
	time.Sleep(certTTL) // no certificate outlasts this
	for i, a := range servers {
		if i > 0 {
			a.args = a.args[:len(a.args)-2] // without the token, which is used up
		}
		a.start()
	}
	for _, a := range servers {
		a.ready()
	}
	one.mustRead("app/db", "2")
	one.mustPut("app/db", "3")
	three.mustRead("app/db", "3")
}

// checkJoined wants the same gossip key everywhere, files that nobody else can
// read, and no secret in a log.
func checkJoined(t *testing.T, one *agent, servers []*agent) {
	t.Helper()
	want, err := one.certDir().GossipKey()
	if err != nil || len(want) != 32 {
		t.Fatalf("gossip key of %d bytes: %v", len(want), err)
	}
	for _, a := range servers {
		if key, err := a.certDir().GossipKey(); err != nil || !bytes.Equal(key, want) {
			t.Errorf("%s has another gossip key: %v", a.name, err)
		}
		files, err := os.ReadDir(string(a.certDir()))
		if err != nil || len(files) == 0 {
			t.Errorf("%s: %d files: %v", a.name, len(files), err)
		}
		for _, f := range files {
			info, err := f.Info()
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %s is %v: %v", a.name, f.Name(), info.Mode(), err)
			}
			if strings.HasPrefix(f.Name(), "authority-key") || strings.HasPrefix(f.Name(), "pending") {
				t.Errorf("%s keeps %s", a.name, f.Name())
			}
		}
	}
	if out := one.run("operator", "join-token", "list"); !strings.Contains(out, "2 of 2") || !strings.Contains(out, "two") || !strings.Contains(out, "three") {
		t.Errorf("the list says:\n%s", out)
	}
}

// renewedAll waits until every server shows a certificate that it did not have.
func renewedAll(t *testing.T, servers []*agent) {
	t.Helper()
	before := map[*agent]string{}
	for _, a := range servers {
		before[a] = serial(t, a)
	}
	for _, a := range servers {
		eventually(t, a.name+" renews its certificate", func() bool { return serial(t, a) != before[a] })
	}
	for _, a := range servers {
		a.mustPut("app/"+a.name, "renewed")
	}
}

// joinByFollower joins a node agent by a server that has to ask the leader.
func joinByFollower(t *testing.T, one *agent, servers []*agent) {
	t.Helper()
	c := &cluster{t: t, servers: servers}
	follower := c.others(c.leader())[0]
	_, text := one.joinToken("-role", "client")
	token, err := jointoken.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	token.Servers = []string{fmt.Sprintf("127.0.0.1:%d", follower.rpc)}
	if text, err = token.Encode(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	conf := enroll.Config{Dir: enroll.Dir(t.TempDir()), Role: tlsconf.RoleClient, Region: "global", Node: "worker", Token: text}
	if err := enroll.Prepare(ctx, conf); err != nil {
		t.Fatal(err)
	}
	source, err := tlsconf.Load(conf.Dir.Settings())
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range map[mux.Protocol]bool{mux.ProtoRPC: true, mux.ProtoRaft: false, mux.ProtoSnapshot: false} {
		if got := admitted(t, follower, p, source.Client("global")); got != want {
			t.Errorf("%s with a client certificate: admitted %v, want %v", p, got, want)
		}
	}
}

// Where nobody asked for an authority, there are no tokens.
func TestTokensWantAnAuthority(t *testing.T) {
	dev := newDev(t)
	if out, code := dev.try("operator", "join-token", "create", "-role", "server"); code == 0 || !strings.Contains(out, "has no certificate authority: set auto = true") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	if out := dev.run("operator", "join-token", "list"); !strings.Contains(out, "no join tokens found") {
		t.Error(out)
	}
	if out, code := dev.try("operator", "join-token", "revoke", "absent"); code == 0 || !strings.Contains(out, "join-token list") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
}

// Who has no good token does not get in, and hears why.
func TestTokensThatAreRefused(t *testing.T) {
	one := first(t, "one")
	one.start()
	one.ready()
	id, revoked := one.joinToken("-role", "server")
	one.run("operator", "join-token", "revoke", id)
	_, short := one.joinToken("-role", "server", "-ttl", "1s")
	_, forClient := one.joinToken("-role", "client")
	_, good := one.joinToken("-role", "server")
	time.Sleep(time.Second) // the short one is over
	for want, args := range map[string][]string{
		"the join token is unknown or was revoked": {"-join-token", revoked},
		"the join token expired at":                {"-join-token", short},
		"the join token is for a client":           {"-join-token", forClient},
		`the join token is for region "global"`:    {"-join-token", good, "-region", "eu"},
		"the join token was not copied whole":      {"-join-token", good[:len(good)-5]},
		"this agent has no certificate":            {"-tls-auto"},
		"bootstrap_expect: must not be set":        {"-join-token", good, "-bootstrap-expect", "3"},
	} {
		a := beginner(t, "other")
		a.args = append(a.args, args...)
		a.start()
		if code := a.wait(); code != 1 || !strings.Contains(a.out.String(), want) {
			t.Errorf("%q: exit code %d:\n%s", want, code, tail(a.out.String()))
		}
		if a.certDir().Exists() {
			t.Errorf("%q: there is a certificate", want)
		}
	}
	if out := one.run("server", "members"); strings.Contains(out, "other") {
		t.Errorf("members:\n%s", out)
	}
}

// A node agent joins with a token alone, renews its certificate, and comes back when
// the token is used up.
func TestNodeAgentJoinsByToken(t *testing.T) {
	t.Parallel() // it waits for a certificate to end
	one := first(t, "one")
	one.start()
	one.ready()
	_, text := one.joinToken("-role", "client")
	node := newAgent(t, "node", settings{"client": settings{"enabled": true, "join_token": text}})
	node.args = append(node.args, "-data-dir", node.dataDir())
	dir := enroll.Dir(filepath.Join(node.dataDir(), "client", "tls"))
	node.start()
	healthy := func() bool {
		health, err := node.api.Agent().Health()
		return err == nil && health.Client != nil && health.Client.Ok && readyNode(one) != nil
	}
	eventually(t, "the node is ready", healthy)
	id := one.node().ID
	_, until, err := dir.RenewAt()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node agent renews its certificate", func() bool {
		_, next, err := dir.RenewAt()
		return err == nil && next.After(until)
	})
	node.kill()
	node.start()
	eventually(t, "the node is back", healthy)
	if n := one.node(); n.ID != id {
		t.Errorf("it came back as %s, not as %s", n.ID, id)
	}
	files, err := os.ReadDir(string(dir))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s is %v: %v", f.Name(), info.Mode(), err)
		}
	}
}
