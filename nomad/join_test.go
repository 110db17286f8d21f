package nomad_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/jointoken"
	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/internal/tlsconf"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/enroll"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

// ownAuthority makes the first server of a cluster that has its own authority.
func ownAuthority(t *testing.T, lifetime time.Duration) nomadtest.Option {
	dir := enroll.Dir(filepath.Join(t.TempDir(), "tls"))
	return func(c *nomad.Config) {
		if err := enroll.Prepare(context.Background(), enroll.Config{Dir: dir, Role: tlsconf.RoleServer, Region: c.Region, First: true, Fresh: true, Lifetime: lifetime}); err != nil {
			t.Fatal(err)
		}
		source, err := tlsconf.Load(dir.Settings())
		if err != nil {
			t.Fatal(err)
		}
		if c.Gossip.EncryptKey, err = dir.GossipKey(); err != nil {
			t.Fatal(err)
		}
		c.TLS = &nomad.TLSConfig{Source: source, VerifyServerHostname: true, Auto: &nomad.AutoTLS{Dir: dir, Lifetime: lifetime}}
	}
}

// joining is a cluster of one server that agents join.
type joining struct {
	t *testing.T
	*nomadtest.Cluster
}

func (j *joining) token(role structs.JoinRole, uses int, ttl time.Duration) *structs.JoinTokenCreateResponse {
	j.t.Helper()
	var reply structs.JoinTokenCreateResponse
	req := &structs.JoinTokenCreateRequest{Name: "test", Role: role, MaxUses: uses, TTL: ttl}
	if err := j.WaitLeader().RPC(j.t.Context(), "JoinToken.Create", req, &reply); err != nil { // the leader may yet have to make the authority
		j.t.Fatal(err)
	}
	return &reply
}

// agent is an agent with a directory of its own.
func (j *joining) agent(role tlsconf.Role, text string) enroll.Config {
	return enroll.Config{
		Dir: enroll.Dir(filepath.Join(j.t.TempDir(), "tls")), Role: role, Region: "global", Node: "n1", Token: text,
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			return j.Fabric.Dial(ctx, "10.9.9.9:1", addr)
		},
	}
}

func (j *joining) mustJoin(c enroll.Config) *tlsconf.Source {
	j.t.Helper()
	if err := enroll.Prepare(j.t.Context(), c); err != nil {
		j.t.Fatal(err)
	}
	source, err := tlsconf.Load(c.Dir.Settings())
	if err != nil {
		j.t.Fatal(err)
	}
	if err := source.CheckRole(c.Role, "global"); err != nil {
		j.t.Fatal(err)
	}
	return source
}

func (j *joining) refused(c enroll.Config, code errs.Code, about string) {
	j.t.Helper()
	err := enroll.Prepare(j.t.Context(), c)
	if !errors.Is(err, code) || !strings.Contains(err.Error(), about) {
		j.t.Errorf("joining: %v, want %s about %q", err, code, about)
	}
	if c.Dir.Exists() {
		j.t.Error("there is a certificate all the same")
	}
}

func runJoining(t *testing.T, lifetime time.Duration, fn func(t *testing.T, j *joining)) {
	option := ownAuthority(t, lifetime)
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) { fn(t, &joining{t, c}) }, option)
}

func TestAgentsJoinByToken(t *testing.T) {
	runJoining(t, time.Hour, func(t *testing.T, j *joining) {
		made := j.token(structs.JoinRoleServer, 1, 0)
		c := j.agent(tlsconf.RoleServer, made.Text)
		source := j.mustJoin(c)
		if key, err := c.Dir.GossipKey(); err != nil || len(key) != 32 {
			t.Errorf("gossip key of %d bytes: %v", len(key), err)
		}
		where, err := c.Dir.Cluster()
		if err != nil || len(where.GossipServers) != 1 || where.GossipServers[0] != "10.0.0.1:4648" || where.Servers[0] != "10.0.0.1:4647" {
			t.Errorf("the cluster is at %+v: %v", where, err)
		}
		if err := callAs(t, j.Cluster, source, "Status.ReadIndex", &structs.ReadIndexRequest{}, nil); err != nil {
			t.Errorf("as a server: %v", err)
		}
		j.refused(j.agent(tlsconf.RoleServer, made.Text), errs.PreconditionFailed, "1 of 1 agents")

		client := j.agent(tlsconf.RoleClient, j.token(structs.JoinRoleClient, 2, 0).Text)
		source = j.mustJoin(client)
		if err := callAs(t, j.Cluster, source, "Status.Ping", &structs.GenericRequest{}, nil); err != nil {
			t.Errorf("as a client: %v", err)
		}
		if err := callAs(t, j.Cluster, source, "Status.ReadIndex", &structs.ReadIndexRequest{}, nil); !errors.Is(err, errs.PermissionDenied) {
			t.Errorf("a client as a server: %v", err)
		}
		if key, _ := client.Dir.GossipKey(); key != nil {
			t.Error("a node agent has the gossip key")
		}

		var list structs.JoinTokenListResponse
		if err := j.WaitLeader().RPC(t.Context(), "JoinToken.List", &structs.JoinTokenListRequest{}, &list); err != nil {
			t.Fatal(err)
		}
		for _, tok := range list.JoinTokens {
			if tok.Uses != 1 || tok.Joined[0].Node != "n1" || !strings.HasPrefix(tok.Joined[0].Address, "10.9.9.9:") {
				t.Errorf("%+v, joined %+v", tok, tok.Joined)
			}
		}
	})
}

func TestJoinersThatAreRefused(t *testing.T) {
	runJoining(t, time.Hour, func(t *testing.T, j *joining) {
		made := j.token(structs.JoinRoleServer, 1, time.Minute)
		token, err := jointoken.Parse(made.Text)
		if err != nil {
			t.Fatal(err)
		}
		changed := func(change func(*jointoken.Token)) string {
			t.Helper()
			other := *token
			change(&other)
			text, err := other.Encode()
			if err != nil {
				t.Fatal(err)
			}
			return text
		}
		server := func(text string) enroll.Config { return j.agent(tlsconf.RoleServer, text) }
		j.refused(server(changed(func(k *jointoken.Token) { k.Secret = "guessed" })), errs.PermissionDenied, "unknown or was revoked")
		j.refused(server(changed(func(k *jointoken.Token) { k.ID = "guessed" })), errs.PermissionDenied, "unknown or was revoked")
		j.refused(server(changed(func(k *jointoken.Token) { k.Authorities = []string{strings.Repeat("ab", 32)} })), errs.PermissionDenied, "not of the cluster")
		j.refused(server(changed(func(k *jointoken.Token) { k.Region = "eu" })), errs.Invalid, `for region "eu"`)
		j.refused(j.agent(tlsconf.RoleClient, made.Text), errs.Invalid, "is for a server")
		j.refused(j.agent(tlsconf.RoleClient, changed(func(k *jointoken.Token) { k.Role = "client" })), errs.PermissionDenied, "for a server")
		j.refused(server("nonsense"), errs.Invalid, "must begin with")

		revoked := j.token(structs.JoinRoleServer, 1, 0)
		if err := j.WaitLeader().RPC(t.Context(), "JoinToken.Delete", &structs.JoinTokenDeleteRequest{IDs: []string{revoked.JoinToken.ID}}, &structs.GenericResponse{}); err != nil {
			t.Fatal(err)
		}
		j.refused(server(revoked.Text), errs.PermissionDenied, "revoked")
		time.Sleep(time.Minute)
		j.refused(server(made.Text), errs.PreconditionFailed, "expired at")
	})
}

// joiner connects without a certificate.
func (j *joining) joiner() (*wire.Client, error) {
	conn, err := j.Fabric.Dial(j.t.Context(), "10.9.9.9:1", "10.0.0.1:4647")
	if err != nil {
		return nil, err
	}
	token, err := jointoken.Parse(j.token(structs.JoinRoleServer, 1, 0).Text)
	if err != nil {
		return nil, err
	}
	if conn, err = mux.Select(j.t.Context(), conn, mux.ProtoJoin, tlsconf.Pinned(token.Authorities, "global")); err != nil {
		return nil, err
	}
	return wire.NewClient(conn, wire.DefaultLimits()), nil
}

// joinCall makes a call without a certificate.
func (j *joining) joinCall(method string, args, reply any) error {
	client, err := j.joiner()
	if err != nil {
		return err
	}
	defer client.Close()
	return client.Call(j.t.Context(), method, args, reply, wire.CallOptions{})
}

// An address that tries one token after another is put off, and heard again later.
func TestJoinersAreHeldToARate(t *testing.T) {
	runJoining(t, time.Hour, func(t *testing.T, j *joining) {
		client, err := j.joiner()
		if err != nil {
			t.Fatal(err)
		}
		guess := func() error {
			req := &structs.AuthorityJoinRequest{TokenID: "guessed", Secret: "guessed", Role: structs.JoinRoleServer, WriteRequest: structs.WriteRequest{Region: "global"}}
			return client.Call(t.Context(), "Authority.Join", req, &structs.AuthorityJoinResponse{}, wire.CallOptions{})
		}
		heard := 0
		for err = guess(); errors.Is(err, errs.PermissionDenied) && heard < 1000; err = guess() {
			heard++
		}
		if e := errs.From(err, ""); e.Code != errs.RateLimited || e.RetryAfter <= 0 || heard < 100 {
			t.Errorf("after %d tries: %v, want to be put off after some hundred", heard, err)
		}
		client.Close()
		time.Sleep(time.Minute)
		if client, err = j.joiner(); err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if err := guess(); !errors.Is(err, errs.PermissionDenied) {
			t.Errorf("a minute later: %v", err)
		}
	})
}

// Without a certificate there is one call, and what it takes is checked.
func TestNothingButJoiningWithoutACertificate(t *testing.T) {
	runJoining(t, time.Hour, func(t *testing.T, j *joining) {
		for _, method := range []string{"Status.Ping", "Authority.Renew", "JoinToken.Create"} {
			if err := j.joinCall(method, &structs.GenericRequest{}, nil); !errors.Is(err, errs.PermissionDenied) {
				t.Errorf("%s: %v", method, err)
			}
		}
		err := j.joinCall("Authority.Join", &structs.AuthorityJoinRequest{WriteRequest: structs.WriteRequest{Region: "eu"}}, nil)
		if !errors.Is(err, errs.Invalid) || !strings.Contains(err.Error(), `"eu"`) {
			t.Errorf("another region: %v", err)
		}
		made := j.token(structs.JoinRoleServer, 1, 0)
		token, err := jointoken.Parse(made.Text)
		if err != nil {
			t.Fatal(err)
		}
		req := &structs.AuthorityJoinRequest{TokenID: token.ID, Secret: token.Secret, Role: structs.JoinRoleServer,
			Time: time.Now().Add(-time.Hour), WriteRequest: structs.WriteRequest{Region: "global"}}
		if err := j.joinCall("Authority.Join", req, nil); !errors.Is(err, errs.PreconditionFailed) || !strings.Contains(err.Error(), "clock is off by -1h") {
			t.Errorf("a slow clock: %v", err)
		}
		req.Time, req.CSR = time.Now(), []byte("no request")
		if err := j.joinCall("Authority.Join", req, nil); !errors.Is(err, errs.Invalid) {
			t.Errorf("no request: %v", err)
		}
	})
}

// nodeCaller calls the leader as a node agent does that shows its certificate.
type nodeCaller struct {
	*joining
	source *tlsconf.Source
}

func (n *nodeCaller) RPC(ctx context.Context, method string, args, reply any) error {
	client, err := dialAs(n.Cluster, n.Nodes[0], n.source)
	if err != nil {
		return err
	}
	defer client.Close()
	return client.Call(ctx, method, args, reply, wire.CallOptions{})
}

// A node agent renews with what it has, and joins again when it comes too late; a
// server needs nobody.
func TestCertificatesAreRenewed(t *testing.T) {
	runJoining(t, time.Hour, func(t *testing.T, j *joining) {
		c := j.agent(tlsconf.RoleClient, j.token(structs.JoinRoleClient, 1, 0).Text)
		source := j.mustJoin(c)
		mode := func(name string) os.FileMode {
			info, err := os.Stat(filepath.Join(string(c.Dir), name))
			if err != nil {
				t.Fatal(err)
			}
			return info.Mode().Perm()
		}
		if mode("identity.pem") != 0o600 || mode(".") != 0o700 {
			t.Errorf("others may read the key: %v in %v", mode("identity.pem"), mode("."))
		}
		c.Token = "expired long since and no token any more"
		var uses, again atomic.Int32
		r := &enroll.Renewer{Dir: c.Dir, Region: "global", Server: &nodeCaller{j, source}, Logger: hclog.NewNullLogger(),
			Use: func() error {
				uses.Add(1)
				return source.Reload(source.Settings(), nil)
			},
			Again: func(ctx context.Context) error {
				again.Add(1)
				return enroll.Prepare(ctx, c)
			}}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { r.Run(ctx) })
		defer wg.Wait()
		defer cancel()
		time.Sleep(4 * time.Hour) // beyond the life of four certificates
		if n := uses.Load(); n < 4 || n > 6 || again.Load() != 0 {
			t.Errorf("renewed %d times, joined again %d times", n, again.Load())
		}
		if err := callAs(t, j.Cluster, source, "Status.Ping", &structs.GenericRequest{}, nil); err != nil {
			t.Error(err)
		}
		before := uses.Load()
		j.Fabric.Isolate(j.Nodes[0].Host)
		time.Sleep(2 * time.Hour)
		if uses.Load() != before || again.Load() == 0 {
			t.Errorf("renewed %d times by nobody, tried to join %d times", uses.Load()-before, again.Load())
		}
		j.Fabric.HealAll()
		cancel()
		wg.Wait()
		if err := enroll.Prepare(t.Context(), c); err == nil || !strings.Contains(err.Error(), "join token") {
			t.Errorf("after its certificate expired, without a token: %v", err)
		}
		c.Token = j.token(structs.JoinRoleClient, 1, 0).Text
		ctx, cancel = context.WithCancel(t.Context())
		defer cancel()
		wg.Go(func() { r.Run(ctx) })
		time.Sleep(time.Hour)
		if err := callAs(t, j.Cluster, source, "Status.Ping", &structs.GenericRequest{}, nil); err != nil {
			t.Errorf("with a new token: %v", err)
		}
	})
}

// An authority that was replaced signs no more, and is dropped when nobody needs it;
// meanwhile a node agent and the server go on.
func TestAuthorityIsReplacedOnRequest(t *testing.T) {
	runJoining(t, time.Hour, func(t *testing.T, j *joining) {
		c := j.agent(tlsconf.RoleClient, j.token(structs.JoinRoleClient, 1, 0).Text)
		source := j.mustJoin(c)
		r := &enroll.Renewer{Dir: c.Dir, Region: "global", Server: &nodeCaller{j, source}, Logger: hclog.NewNullLogger(),
			Use: func() error { return source.Reload(source.Settings(), nil) }, Again: func(context.Context) error { return errs.New(errs.Invalid, "too late") }}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { r.Run(ctx) })
		defer wg.Wait()
		defer cancel()
		phases := func() (out string) {
			var list structs.AuthorityListResponse
			if err := j.WaitLeader().RPC(t.Context(), "Authority.List", &structs.AuthorityListRequest{}, &list); err != nil {
				t.Fatal(err)
			}
			for _, a := range list.Authorities {
				out += string(a.Phase) + " "
			}
			return out
		}
		if got := phases(); got != "signs " {
			t.Fatalf("at first: %s", got)
		}
		var made structs.AuthorityRotateResponse
		if err := j.WaitLeader().RPC(t.Context(), "Authority.Rotate", &structs.AuthorityRotateRequest{}, &made); err != nil {
			t.Fatal(err)
		}
		if left := time.Until(made.Authority.Until); made.Authority.Phase != structs.AuthorityNext || left < 59*time.Minute || left > time.Hour {
			t.Errorf("made %+v", made.Authority)
		}
		if err := j.WaitLeader().RPC(t.Context(), "Authority.Rotate", &structs.AuthorityRotateRequest{}, &made); !errors.Is(err, errs.Conflict) {
			t.Errorf("a second one: %v", err)
		}
		for _, want := range []string{"signs next ", "trusted signs ", "signs "} {
			if got := phases(); got != want {
				t.Fatalf("%s, want %s", got, want)
			}
			for end := time.Now().Add(65 * time.Minute); time.Now().Before(end); time.Sleep(5 * time.Minute) {
				if err := callAs(t, j.Cluster, source, "Status.Ping", &structs.GenericRequest{}, nil); err != nil {
					t.Fatalf("while it is %s: %v", want, err)
				}
			}
		}
		b, err := os.ReadFile(filepath.Join(string(c.Dir), "ca.pem"))
		if err != nil || strings.Count(string(b), "BEGIN CERTIFICATE") != 1 {
			t.Errorf("the node agent trusts %d authorities: %v", strings.Count(string(b), "BEGIN CERTIFICATE"), err)
		}
		j.mustJoin(j.agent(tlsconf.RoleServer, j.token(structs.JoinRoleServer, 1, 0).Text))
	})
}

// Nobody gets a certificate for what others prove.
func TestRenewalWantsOnesOwnCertificate(t *testing.T) {
	runJoining(t, time.Hour, func(t *testing.T, j *joining) {
		source := j.mustJoin(j.agent(tlsconf.RoleServer, j.token(structs.JoinRoleServer, 1, 0).Text))
		client, err := dialAs(j.Cluster, j.WaitLeader(), source)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		err = client.Call(t.Context(), "Authority.Renew", &structs.AuthorityRenewRequest{}, nil, wire.CallOptions{Hops: 1})
		if !errors.Is(err, errs.PermissionDenied) {
			t.Errorf("a call that was passed on: %v", err)
		}
		err = j.WaitLeader().RPC(t.Context(), "Authority.Renew", &structs.AuthorityRenewRequest{}, &structs.AuthorityRenewResponse{})
		if !errors.Is(err, errs.PermissionDenied) {
			t.Errorf("a call without a connection: %v", err)
		}
	})
}

// Where there is no authority of its own, nobody joins.
func TestNoJoinTokensWithoutAuthority(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		req := &structs.JoinTokenCreateRequest{Role: structs.JoinRoleServer}
		err := c.WaitLeader().RPC(t.Context(), "JoinToken.Create", req, &structs.JoinTokenCreateResponse{})
		if !errors.Is(err, errs.PreconditionFailed) || !strings.Contains(err.Error(), "auto = true") {
			t.Error(err)
		}
	})
}

// With access control on, the token is all that a joiner needs, and what the
// token is good for decides who may make it.
func TestJoiningUnderAccessControl(t *testing.T) {
	authority := ownAuthority(t, time.Hour)
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		j := &joining{t, c}
		var boot structs.ACLTokenUpsertResponse
		if err := c.WaitLeader().RPC(t.Context(), "ACL.Bootstrap", &structs.ACLTokenBootstrapRequest{}, &boot); err != nil {
			t.Fatal(err)
		}
		admin := structs.WriteRequest{AuthToken: boot.Tokens[0].SecretID}
		policy := &structs.ACLPolicy{Name: "enroller", Rules: `operator { capabilities = ["join-token-write"] }`}
		if err := c.WaitLeader().RPC(t.Context(), "ACL.UpsertPolicies", &structs.ACLPolicyUpsertRequest{Policies: []*structs.ACLPolicy{policy}, WriteRequest: admin}, &structs.GenericResponse{}); err != nil {
			t.Fatal(err)
		}
		var made structs.ACLTokenUpsertResponse
		token := &structs.ACLToken{Type: structs.ACLClientToken, Policies: []string{"enroller"}}
		if err := c.WaitLeader().RPC(t.Context(), "ACL.UpsertTokens", &structs.ACLTokenUpsertRequest{Tokens: []*structs.ACLToken{token}, WriteRequest: admin}, &made); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second) // there is an authority
		create := func(secret string, role structs.JoinRole) (string, error) {
			var reply structs.JoinTokenCreateResponse
			err := c.WaitLeader().RPC(t.Context(), "JoinToken.Create", &structs.JoinTokenCreateRequest{Role: role, WriteRequest: structs.WriteRequest{AuthToken: secret}}, &reply)
			return reply.Text, err
		}
		for _, role := range []structs.JoinRole{structs.JoinRoleServer, structs.JoinRoleClient} {
			if _, err := create("", role); !errors.Is(err, errs.PermissionDenied) {
				t.Errorf("a token for a %s, by nobody: %v", role, err)
			}
		}
		if _, err := create(made.Tokens[0].SecretID, structs.JoinRoleServer); !errors.Is(err, errs.PermissionDenied) || !strings.Contains(err.Error(), "management token") {
			t.Errorf("a token for a server, by a delegate: %v", err)
		}
		text, err := create(made.Tokens[0].SecretID, structs.JoinRoleClient)
		if err != nil {
			t.Fatal(err)
		}
		policy = &structs.ACLPolicy{Name: "enroller", Rules: `operator { capabilities = ["join-token-server"] }`}
		if err := c.WaitLeader().RPC(t.Context(), "ACL.UpsertPolicies", &structs.ACLPolicyUpsertRequest{Policies: []*structs.ACLPolicy{policy}, WriteRequest: admin}, &structs.GenericResponse{}); err != nil {
			t.Fatal(err)
		}
		if _, err := create(made.Tokens[0].SecretID, structs.JoinRoleServer); err != nil {
			t.Errorf("a token for a server, by a delegate with the capability for it: %v", err)
		}
		j.mustJoin(j.agent(tlsconf.RoleClient, text))
		if text, err = create(admin.AuthToken, structs.JoinRoleServer); err != nil {
			t.Fatal(err)
		}
		j.mustJoin(j.agent(tlsconf.RoleServer, text))
	}, authority, func(c *nomad.Config) { c.ACL.Enabled = true })
}

// An answer that is lost costs no use of the token.
func TestJoiningAgainWithTheSameKey(t *testing.T) {
	runJoining(t, time.Hour, func(t *testing.T, j *joining) {
		made := j.token(structs.JoinRoleServer, 1, 0)
		c := j.agent(tlsconf.RoleServer, made.Text)
		lost := c
		lost.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			conn, err := j.Fabric.Dial(ctx, "10.9.9.9:1", addr)
			return &slowReader{conn, j, made.JoinToken.ID}, err
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := enroll.Prepare(ctx, lost); err == nil {
			t.Fatal("joined although no answer came")
		}
		j.mustJoin(c)
	})
}

// used reports whether somebody joined with the token.
func (j *joining) used(id string) bool {
	var list structs.JoinTokenListResponse
	if err := j.WaitLeader().RPC(j.t.Context(), "JoinToken.List", &structs.JoinTokenListRequest{QueryOptions: structs.QueryOptions{AllowStale: true}}, &list); err != nil {
		return false
	}
	for _, tok := range list.JoinTokens {
		if tok.ID == id {
			return tok.Uses > 0
		}
	}
	return false
}

// slowReader withholds what comes once the token is used.
type slowReader struct {
	net.Conn
	j  *joining
	id string
}

// Read fails once the token is used.
func (s *slowReader) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if s.j.used(s.id) {
		return 0, net.ErrClosed
	}
	return n, err
}
