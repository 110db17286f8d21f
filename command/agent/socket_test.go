package agent

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	client "github.com/cairn-project/cairn/drpc"
	"github.com/cairn-project/cairn/drpc/agentpb"
	"github.com/cairn-project/cairn/internal/drpc"
	"github.com/cairn-project/cairn/internal/errs"
	_ "github.com/cairn-project/cairn/internal/testenv"
	"github.com/cairn-project/cairn/nomad/auth"
	"github.com/cairn-project/cairn/nomad/structs"
)

// agentWithSockets returns an agent over f whose sockets are not open yet.
func agentWithSockets(t testing.TB, f *fakeServer, change ...func(*Config)) *Agent {
	t.Helper()
	c := DefaultDevConfig()
	c.NodeName = "n1"
	for _, ch := range change {
		ch(c)
	}
	a := &Agent{config: c, logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: io.Discard}), server: f,
		endpoints: &endpoints{advHTTP: "127.0.0.1:4646"}}
	var err error
	if a.sockets, err = newAgentSockets(a); err != nil {
		t.Fatal(err)
	}
	return a
}

// openSockets opens the sockets of an agent and connects to the one for workloads.
func openSockets(t testing.TB, a *Agent) *client.Client {
	t.Helper()
	if err := a.sockets.listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.sockets.stop)
	return connect(t, a.sockets.path)
}

func connect(t testing.TB, path string) *client.Client {
	t.Helper()
	c := client.NewClient(path, client.Options{})
	if err := c.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// ask makes a call of the module that the method's number names.
func ask[Out any, O payload[Out]](t testing.TB, c *client.Client, method int32, in proto.Message) (O, error) {
	t.Helper()
	body, err := proto.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	out := O(new(Out))
	b, err := c.Do(t.Context(), method/100, method, body)
	if err == nil {
		err = proto.Unmarshal(b, out)
	}
	return out, err
}

func mustAsk[Out any, O payload[Out]](t testing.TB, c *client.Client, method int32, in proto.Message) O {
	t.Helper()
	out, err := ask[Out, O](t, c, method, in)
	if err != nil {
		t.Fatalf("method %d: %v", method, err)
	}
	return out
}

func TestSocketTellsWhoOneIs(t *testing.T) {
	a := agentWithSockets(t, newFake())
	c := openSockets(t, a)
	me := mustAsk[agentpb.WhoAmI](t, c, 102, &agentpb.WhoAmIRequest{})
	if me.Uid != uint32(os.Getuid()) || me.Gid != uint32(os.Getgid()) || me.Pid != int32(os.Getpid()) || !me.Known || !me.Privileged {
		t.Errorf("who am I: %v", me)
	}
	if !strings.Contains(me.Subject, a.server.NodeID()) || me.Socket != a.sockets.path || me.NodeName != "n1" {
		t.Errorf("who am I: %v", me)
	}
	if p := mustAsk[agentpb.PingReply](t, c, 201, &agentpb.PingRequest{}); p.NodeName != "n1" || p.Version == "" {
		t.Errorf("ping: %v", p)
	}
	list := mustAsk[agentpb.Sessions](t, connect(t, a.sockets.admin), 207, &agentpb.SessionsRequest{})
	if len(list.Sessions) != 2 || list.Sessions[0].Socket != a.sockets.path || list.Sessions[1].Socket != a.sockets.admin || list.Sessions[0].Pid != me.Pid {
		t.Errorf("sessions: %v", list)
	}
}

// TestSocketModes: the folder of dev mode goes with the agent, and the modes are the ones asked for.
func TestSocketModes(t *testing.T) {
	a := agentWithSockets(t, newFake(), func(c *Config) { c.RPC.Agent.Mode = "0666" })
	openSockets(t, a)
	for path, want := range map[string]os.FileMode{a.sockets.path: 0o666, a.sockets.admin: 0o600} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want || info.Mode().Type() != os.ModeSocket {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	a.sockets.stop()
	if _, err := os.Stat(filepath.Dir(a.sockets.path)); !os.IsNotExist(err) {
		t.Errorf("the folder stays behind: %v", err)
	}
}

func TestSocketPlaces(t *testing.T) {
	dir := t.TempDir()
	inDir := func(c *Config) { c.DevMode, c.DataDir = false, dir }
	a := agentWithSockets(t, newFake(), inDir)
	openSockets(t, a)
	if a.sockets.path != filepath.Join(dir, "agent.sock") || a.sockets.admin != filepath.Join(dir, "admin.sock") {
		t.Errorf("%q, %q", a.sockets.path, a.sockets.admin)
	}
	second := agentWithSockets(t, newFake(), inDir)
	if err := second.sockets.listen(); err != nil || second.sockets.path != "" {
		t.Errorf("a default place that is taken: %v, %q", err, second.sockets.path)
	}
	second.sockets.stop()
	for name, change := range map[string]func(*Config){
		"taken":    func(c *Config) { c.RPC.Agent.Path = filepath.Join(dir, "agent.sock") },
		"admin":    func(c *Config) { c.RPC.Agent.AdminPath = filepath.Join(dir, "admin.sock") },
		"too long": func(c *Config) { c.RPC.Agent.Path = filepath.Join(dir, strings.Repeat("x", 120)) },
	} {
		third := agentWithSockets(t, newFake(), change)
		if err := third.sockets.listen(); err == nil {
			t.Errorf("%s: no error", name)
		}
		third.sockets.stop()
		if third.sockets.temp != "" {
			t.Errorf("%s: a folder stays behind", name)
		}
	}
	long := agentWithSockets(t, newFake(), func(c *Config) { c.DevMode, c.DataDir = false, filepath.Join(dir, strings.Repeat("x", 120)) })
	if err := long.sockets.listen(); err != nil || long.sockets.path != "" {
		t.Errorf("a data directory with a long name: %v, %q", err, long.sockets.path)
	}
	long.sockets.stop()
	off := agentWithSockets(t, newFake(), func(c *Config) { c.RPC.Agent.Enabled = false })
	if err := off.sockets.listen(); err != nil || off.sockets.path != "" {
		t.Errorf("off: %v, %q", err, off.sockets.path)
	}
}

func TestSocketConfigProblems(t *testing.T) {
	c := defaultAgentSocketConfig()
	c.Path, c.AdminPath, c.Mode, c.MaxSessionsPerUID = "a.sock", "./a.sock", "0444", 0
	var all []string
	for _, p := range c.problems() {
		all = append(all, p.msg)
	}
	text := strings.Join(all, "\n")
	for _, want := range []string{"rpc.agent.mode", "rpc.agent.path", `admin_path "./a.sock": must be absolute`, "must differ", "max_sessions_per_uid"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if c.Enabled = false; len(c.problems()) > 0 {
		t.Error("problems of what is off")
	}
}

func TestSocketRefusesStrangers(t *testing.T) {
	a := agentWithSockets(t, newFake())
	a.sockets.privileged = func(drpc.Peer) bool { return false }
	c := openSockets(t, a)
	if _, err := ask[agentpb.LogLevelReply](t, c, 205, &agentpb.LogLevelRequest{Level: "debug"}); !errors.Is(err, errs.PermissionDenied) || a.logger.GetLevel() != hclog.Warn {
		t.Errorf("set log level: %v, level %s", err, a.logger.GetLevel())
	}
	d := mustAsk[agentpb.Description](t, c, 206, &agentpb.DescribeRequest{})
	for _, m := range d.Modules {
		for _, method := range m.Methods {
			if method.Allowed == (method.Privileged || m.Peers == "privileged") {
				t.Errorf("%s %s: allowed %t", m.Name, method.Name, method.Allowed)
			}
		}
	}
	a.sockets.stop() // counts come after answers
	if got := countOf(a.sockets.metrics, socketStat{2, 205, drpc.Status_PERMISSION_DENIED}); got != 1 {
		t.Errorf("counted %d refusals", got)
	}
}

func countOf(m *socketMetrics, key socketStat) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.counts[key].calls
}

// TestSocketCountsUnknown: strangers cannot make metrics without end.
func TestSocketCountsUnknown(t *testing.T) {
	a := agentWithSockets(t, newFake())
	c := openSockets(t, a)
	for i := range int32(20) {
		_, err := c.Do(t.Context(), 1000+i, i, nil)
		_, err2 := c.Do(t.Context(), 2, 1000+i, nil)
		if !errors.Is(err, errs.Unsupported) || !errors.Is(err2, errs.Unsupported) {
			t.Fatal(err, err2)
		}
	}
	a.sockets.stop() // counts come after answers
	if n := len(a.sockets.metrics.counts); n != 2 {
		t.Errorf("%d counters", n)
	}
	if got := countOf(a.sockets.metrics, socketStat{-1, -1, drpc.Status_UNKNOWN_METHOD}); got != 20 {
		t.Errorf("counted %d unknown methods", got)
	}
}

// TestSocketCountsLittleAtTheEnd: calls that are refused before anybody looks what they
// ask for make no metrics of their own.
func TestSocketCountsLittleAtTheEnd(t *testing.T) {
	m := agentWithSockets(t, newFake()).sockets.metrics
	for i := range int32(20) {
		m.observe(drpc.Stat{Module: 1000 + i, Method: i, Status: drpc.Status_UNAVAILABLE})
	}
	m.observe(drpc.Stat{Module: 2, Method: 201, Status: drpc.Status_UNAVAILABLE})
	m.observe(drpc.Stat{Status: drpc.Status_UNAVAILABLE})
	if len(m.counts) != 3 || countOf(m, socketStat{-1, -1, drpc.Status_UNAVAILABLE}) != 20 {
		t.Errorf("%v", m.counts)
	}
}

func TestSocketSetsLogLevel(t *testing.T) {
	a := agentWithSockets(t, newFake())
	c := openSockets(t, a)
	if r := mustAsk[agentpb.LogLevelReply](t, c, 205, &agentpb.LogLevelRequest{Level: "error"}); r.Before != "warn" || a.logger.GetLevel() != hclog.Error {
		t.Errorf("%v, level %s", r, a.logger.GetLevel())
	}
	if _, err := ask[agentpb.LogLevelReply](t, c, 205, &agentpb.LogLevelRequest{Level: "loud"}); !errors.Is(err, errs.Invalid) {
		t.Errorf("a level that there is not: %v", err)
	}
}

// TestSocketDescribesItself: every method's payloads can be built from the schema alone.
func TestSocketDescribesItself(t *testing.T) {
	a := agentWithSockets(t, newFake())
	d := mustAsk[agentpb.Description](t, openSockets(t, a), 206, &agentpb.DescribeRequest{})
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(d.Schema, &set); err != nil {
		t.Fatal(err)
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		t.Fatal(err)
	}
	described := map[int32]string{}
	for _, m := range d.Modules {
		described[m.Id] = m.Name
		for _, method := range m.Methods {
			if method.Summary == "" || method.Id/100 != m.Id {
				t.Errorf("module %d: %v", m.Id, method)
			}
			for _, name := range []string{method.Request, method.Reply} {
				if _, err := files.FindDescriptorByName(protoreflect.FullName(name)); err != nil {
					t.Errorf("%s: %v", method.Name, err)
				}
			}
		}
	}
	registered := map[int32]string{}
	for _, m := range a.sockets.registry.Modules() {
		registered[m.ID] = m.Name
	}
	if diff := cmp.Diff(registered, described); diff != "" {
		t.Errorf("registered (-), described (+):\n%s", diff)
	}
}

func TestSocketHealth(t *testing.T) {
	f := newFake()
	dir := t.TempDir()
	a := agentWithSockets(t, newFake(), func(c *Config) { c.DevMode, c.DataDir, c.Server.DataDir = false, dir, dir })
	c := openSockets(t, a)
	h := mustAsk[agentpb.Health](t, c, 203, &agentpb.HealthRequest{})
	if h.State == "unhealthy" || h.RaftState != "Leader" || h.DiskTotalBytes == 0 || h.Sessions != 1 || h.Calls != 1 {
		t.Errorf("%v", h)
	}
	f.ready = errors.New("no leader")
	h = mustAsk[agentpb.Health](t, openSockets(t, agentWithSockets(t, f)), 203, &agentpb.HealthRequest{})
	if h.State != "unhealthy" || !slices.Contains(h.Reasons, "no leader") {
		t.Errorf("%v", h)
	}
	cut := agentWithSockets(t, newFake())
	cut.sockets.link = func() string { return "down: nobody answers" }
	if h, err := cut.sockets.health(t.Context(), nil, nil); err != nil || h.State != stateDegraded || h.Link != "down: nobody answers" || !slices.Contains(h.Reasons, "the link to the servers is down: nobody answers") {
		t.Errorf("%v %v", h, err)
	}
	out := &agentpb.Health{State: stateHealthy}
	gone := agentWithSockets(t, newFake(), func(c *Config) { c.DevMode, c.Server.DataDir = false, filepath.Join(dir, "gone") })
	if gone.sockets.addDisk(out); out.State != stateDegraded || len(out.Reasons) != 1 {
		t.Errorf("a disk that cannot be looked at: %v", out)
	}
}

func TestSocketAttachInfo(t *testing.T) {
	f := newFake()
	var away, busy, many atomic.Bool
	on(f, "Status.Peers", func(_ *structs.GenericRequest, r *[]string) error {
		if away.Load() {
			return errs.New(errs.Unavailable, "away")
		}
		*r = []string{"10.0.0.1:4647", "10.0.0.2:4647"}
		return nil
	})
	on(f, "Status.Leader", func(_ *structs.GenericRequest, r *string) error {
		*r = "10.0.0.2:4647"
		return nil
	})
	on(f, "Namespace.ListNamespaces", func(a *structs.NamespaceListRequest, r *structs.NamespaceListResponse) error {
		if a.AuthToken != "" {
			t.Errorf("namespaces are asked for with the token %q", a.AuthToken)
		}
		if busy.Load() {
			return errs.New(errs.Busy, "busy")
		}
		r.Namespaces = []*structs.Namespace{{Name: "default"}}
		for i := 0; many.Load() && i < maxOpenNamespaces; i++ {
			r.Namespaces = append(r.Namespaces, &structs.Namespace{Name: "n"})
		}
		return nil
	})
	synctest.Test(t, func(t *testing.T) {
		a := agentWithSockets(t, f)
		away.Store(true)
		if _, err := a.sockets.attach.get(t.Context()); !errors.Is(err, errs.Unavailable) {
			t.Errorf("never heard of a server: %v", err)
		}
		away.Store(false)
		a.sockets.link = func() string { return "up, to s1" }
		got, err := a.sockets.attach.get(t.Context())
		if err == nil && (len(got.Namespaces) != 1 || got.Namespaces[0] != "default" || got.Link != "up, to s1") {
			t.Errorf("%v", got)
		}
		if err != nil || len(got.Servers) != 2 || got.Leader != "10.0.0.2:4647" || !got.LeaderKnown || got.AgeMs != 0 || got.HttpAddress != "http://127.0.0.1:4646" {
			t.Errorf("%v %v", got, err)
		}
		busy.Store(true)
		time.Sleep(time.Minute)
		if got, err = a.sockets.attach.get(t.Context()); err != nil || got.AgeMs != 0 || len(got.Namespaces) != 1 {
			t.Errorf("the namespaces are not told: %v %v", got, err)
		}
		busy.Store(false)
		many.Store(true)
		time.Sleep(time.Minute)
		if got, err = a.sockets.attach.get(t.Context()); err != nil || len(got.Namespaces) != maxOpenNamespaces {
			t.Errorf("of more namespaces than are told: %d, %v", len(got.GetNamespaces()), err)
		}
		away.Store(true)
		time.Sleep(time.Minute)
		if got, err = a.sockets.attach.get(t.Context()); err != nil || got.AgeMs != 60000 || len(got.Servers) != 2 {
			t.Errorf("from memory: %v %v", got, err)
		}
	})
}

// signer answers Identity.Sign.
func signer(f *fakeServer, away *atomic.Bool) {
	var made atomic.Int64
	on(f, "Identity.Sign", func(r *structs.IdentitySignRequest, reply *structs.IdentitySignResponse) error {
		if away.Load() {
			return errs.New(errs.Unavailable, "away")
		}
		if r.AuthToken != f.AgentSecret() || r.Peer.NodeID != f.NodeID() {
			return errs.New(errs.PermissionDenied, "Permission denied")
		}
		reply.JWT = string(rune('a' + made.Add(1) - 1))
		reply.ExpiresAt = time.Now().Add(r.TTL).Unix()
		return nil
	})
}

func TestCredentialsAreCached(t *testing.T) {
	f := newFake()
	var away atomic.Bool
	signer(f, &away)
	synctest.Test(t, func(t *testing.T) {
		a := agentWithSockets(t, f)
		peer := drpc.Peer{Known: true, UID: 1000, GID: 27, PID: 4242}
		get := func(p drpc.Peer, rotate bool, audience ...string) string {
			t.Helper()
			c, err := a.sockets.credentials.get(t.Context(), p, &agentpb.CredentialsRequest{Audience: audience}, rotate)
			if err != nil {
				return string(errs.CodeOf(err))
			}
			return c.Jwt
		}
		other := peer
		other.PID++
		step := func(what, got, want string) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %s, want %s", what, got, want)
			}
		}
		step("first", get(peer, false), "a")
		step("again", get(peer, false), "a")
		step("another process", get(other, false), "b")
		step("another audience", get(peer, false, "db"), "c")
		step("two audiences", get(peer, false, "x", "db"), "d")
		step("in another order", get(peer, false, "db", "x", "db"), "d")
		time.Sleep(9 * time.Minute)
		step("before two thirds", get(peer, false), "a")
		time.Sleep(2 * time.Minute)
		away.Store(true)
		step("due while the servers are away", get(peer, false), "a")
		step("rotated while they are away", get(peer, true), "unavailable")
		away.Store(false)
		step("due", get(peer, false), "e")
		step("rotated", get(peer, true), "f")
		step("after it", get(peer, false), "f")
		away.Store(true)
		time.Sleep(15*time.Minute + time.Second)
		step("expired while they are away", get(peer, false), "unavailable")
		step("refused", get(peer, false, auth.DefaultAudience), "invalid")
		away.Store(false)
		got := ""
		for range signBurst + 1 {
			got = get(peer, true)
		}
		step("too many", got, "rate_limited")
		stranger := peer
		stranger.UID++
		if got := get(stranger, true); got == "rate_limited" {
			t.Error("one user's limit is another's")
		}
	})
}

func TestValidateCredentials(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	f := newFake()
	var asked atomic.Int64
	on(f, "Keyring.ListPublic", func(_ *structs.GenericRequest, r *structs.KeyringListPublicResponse) error {
		if asked.Add(1) > 1 {
			return errs.New(errs.Unavailable, "away")
		}
		r.PublicKeys = []*structs.KeyringPublicKey{{KeyID: "k1", PublicKey: public, Algorithm: "RS256", Use: "sig", CreateTime: time.Now().UnixNano()}}
		r.RotationThreshold = time.Hour
		return nil
	})
	sign := func(k *rsa.PrivateKey, kid, audience string, left time.Duration) string {
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: k}, (&jose.SignerOptions{}).WithHeader("kid", kid))
		if err != nil {
			t.Fatal(err)
		}
		token, err := jwt.Signed(s).Claims(&auth.PeerClaims{UID: 1000, PID: 7, NodeID: "n", Claims: jwt.Claims{Subject: "me", Audience: jwt.Audience{audience},
			Expiry: jwt.NewNumericDate(time.Now().Add(left))}}).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	c := openSockets(t, agentWithSockets(t, f))
	good := sign(key, "k1", "cairn", time.Hour)
	for name, tc := range map[string]struct{ token, audience, reason string }{
		"good":             {good, "", ""},
		"named audience":   {sign(key, "k1", "db", time.Hour), "db", ""},
		"another audience": {good, "db", "another audience than db"},
		"expired":          {sign(key, "k1", "cairn", -time.Hour), "", "expired"},
		"unknown key":      {sign(key, "k2", "cairn", time.Hour), "", "does not have"},
		"a stranger's key": {sign(stranger, "k1", "cairn", time.Hour), "", "signature is wrong"},
		"no JWT":           {"abc", "", "no JWT"},
		"changed":          {good[:len(good)-4] + "AAAA", "", "signature is wrong"},
	} {
		v, err := ask[agentpb.Validation](t, c, 401, &agentpb.ValidateRequest{Jwt: tc.token, Audience: tc.audience})
		if err != nil || v.Valid != (tc.reason == "") || !strings.Contains(v.Reason, tc.reason) {
			t.Errorf("%s: %v, %v", name, v, err)
		}
		if v.Valid && (v.Uid != 1000 || v.Pid != 7 || v.NodeId != "n" || v.Subject != "me" || !strings.Contains(v.ClaimsJson, `"cairn_uid":1000`)) {
			t.Errorf("%s: %v", name, v)
		}
	}
	if asked.Load() == 0 || asked.Load() > 2 {
		t.Errorf("asked %d times for keys", asked.Load())
	}
	for code, token := range map[errs.Code]string{errs.Invalid: "", errs.TooLarge: strings.Repeat("a", maxJWT+1)} {
		if _, err := ask[agentpb.Validation](t, c, 401, &agentpb.ValidateRequest{Jwt: token}); !errors.Is(err, code) {
			t.Errorf("%d bytes: %v", len(token), err)
		}
	}
	g := newFake()
	on(g, "Keyring.ListPublic", func(*structs.GenericRequest, *structs.KeyringListPublicResponse) error {
		return errs.New(errs.Unavailable, "away")
	})
	if _, err := ask[agentpb.Validation](t, openSockets(t, agentWithSockets(t, g)), 401, &agentpb.ValidateRequest{Jwt: good}); !errors.Is(err, errs.Unavailable) {
		t.Errorf("without keys: %v", err)
	}
}

func TestSocketRefusesBadPayload(t *testing.T) {
	c := openSockets(t, agentWithSockets(t, newFake()))
	resp, err := c.SendMsg(context.Background(), &client.Call{Module: 2, Method: 205, Body: []byte{0xff}})
	if err != nil || resp.Status != client.StatusFailedUnmarshalPayload {
		t.Errorf("%v %v", resp, err)
	}
}
