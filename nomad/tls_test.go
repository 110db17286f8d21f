package nomad_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/internal/tlsconf"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

// issuer makes certificates of one authority, in the time of whoever asks first.
type issuer struct {
	t       *testing.T
	dir     string
	once    sync.Once
	ca, key []byte
}

func (i *issuer) source(role tlsconf.Role, region string) *tlsconf.Source {
	i.t.Helper()
	i.once.Do(func() {
		var err error
		if i.ca, i.key, err = tlsconf.NewAuthority(tlsconf.AuthoritySpec{Lifetime: 24 * time.Hour}); err != nil {
			i.t.Fatal(err)
		}
		i.write("ca.pem", i.ca)
	})
	cert, key, err := tlsconf.Issue(i.ca, i.key, tlsconf.RoleCert(role, region, time.Hour))
	if err != nil {
		i.t.Fatal(err)
	}
	source, err := tlsconf.Load(tlsconf.Settings{CAFile: filepath.Join(i.dir, "ca.pem"), CertFile: i.write("cert.pem", cert), KeyFile: i.write("key.pem", key)})
	if err != nil {
		i.t.Fatal(err)
	}
	return source
}

func (i *issuer) write(name string, data []byte) string {
	i.t.Helper()
	path := filepath.Join(i.dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		i.t.Fatal(err)
	}
	return path
}

func newIssuer(t *testing.T) *issuer { return &issuer{t: t, dir: t.TempDir()} }

// secured gives every server a certificate of its own.
func (i *issuer) secured(c *nomad.Config) {
	c.TLS = &nomad.TLSConfig{Source: i.source(tlsconf.RoleServer, c.Region), VerifyServerHostname: true}
}

// dialAs connects to the RPC protocol of a node with a certificate, nil for none.
func dialAs(c *nomadtest.Cluster, n *nomadtest.Node, source *tlsconf.Source) (*wire.Client, error) {
	addr := n.Host + ":4647"
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := c.Fabric.Dial(ctx, "10.9.9.9:1", addr)
	if err != nil {
		return nil, err
	}
	if source == nil {
		conn, err = mux.Select(ctx, conn, mux.ProtoRPC, nil)
	} else {
		conn, err = mux.Select(ctx, conn, mux.ProtoRPC, source.Client("global"))
	}
	if err != nil {
		return nil, err
	}
	return wire.NewClient(conn, wire.DefaultLimits()), nil
}

// callAs makes one call over a connection of its own.
func callAs(t *testing.T, c *nomadtest.Cluster, source *tlsconf.Source, method string, args, reply any) error {
	t.Helper()
	client, err := dialAs(c, c.WaitLeader(), source)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return client.Call(ctx, method, args, reply, wire.CallOptions{})
}

// Who may call what, by certificate. "lost" is a connection that was refused.
func TestCallsWantTheirRole(t *testing.T) {
	i := newIssuer(t)
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		for _, row := range []struct {
			role        tlsconf.Role
			region      string
			ping, index string
		}{
			{tlsconf.RoleServer, "global", "", ""},
			{tlsconf.RoleServer, "eu", "", "server.global.nomad"},
			{tlsconf.RoleClient, "global", "", "server.global.nomad"},
			{tlsconf.RoleClient, "eu", "lost", "lost"},
			{tlsconf.RoleCLI, "global", "lost", "lost"},
			{"other", "global", "lost", "lost"},
			{"", "", "lost", "lost"},
		} {
			var source *tlsconf.Source
			if row.role != "" {
				source = i.source(row.role, row.region)
			}
			for method, want := range map[string]string{"Status.Ping": row.ping, "Status.ReadIndex": row.index} {
				err := callAs(t, c, source, method, &structs.ReadIndexRequest{}, nil)
				switch want {
				case "":
					if err != nil {
						t.Errorf("%s as %s of %q: %v", method, row.role, row.region, err)
					}
				case "lost":
					if errs.CodeOf(err) != errs.Unavailable {
						t.Errorf("%s as %s of %q: %v, want a connection that is refused", method, row.role, row.region, err)
					}
				default:
					if !errors.Is(err, errs.PermissionDenied) || !strings.Contains(err.Error(), want) {
						t.Errorf("%s as %s of %q: %v, want to hear of %s", method, row.role, row.region, err, want)
					}
				}
			}
		}
	}, i.secured)
}

// While access control is off, a node's certificate passes on what users of its agent
// ask for, but for what decides who belongs to the cluster. With access control on the
// token decides.
func TestNodesAreNoOperators(t *testing.T) {
	const own = "n1"
	i := newIssuer(t)
	create := &structs.JoinTokenCreateRequest{Role: structs.JoinRoleServer}
	calls := map[string]struct{ args, reply any }{
		"JoinToken.Create":                   {create, &structs.JoinTokenCreateResponse{}},
		"JoinToken.Delete":                   {&structs.JoinTokenDeleteRequest{}, &structs.GenericResponse{}},
		"Operator.RaftRemovePeerByID":        {&structs.RaftPeerByIDRequest{ID: "absent"}, &structs.GenericResponse{}},
		"Operator.TransferLeadershipToPeer":  {&structs.RaftPeerRequest{ID: "absent"}, &structs.LeadershipTransferResponse{}},
		"Operator.AutopilotSetConfiguration": {&structs.AutopilotRequest{}, &structs.AutopilotSetConfigResponse{}},
		"Identity.Sign":                      {&structs.IdentitySignRequest{Peer: structs.PeerIdentity{NodeID: own}}, &structs.IdentitySignResponse{}},
	}
	refused := func(t *testing.T, c *nomadtest.Cluster, role tlsconf.Role, region, token string, want bool) {
		t.Helper()
		for method, call := range calls {
			switch r := call.args.(type) {
			case structs.Write:
				r.WriteOpts().AuthToken = token
			case structs.Query:
				r.QueryOpts().AuthToken = token
			}
			err := callAs(t, c, i.source(role, region), method, call.args, call.reply)
			if got := errors.Is(err, errs.PermissionDenied); got != want {
				t.Errorf("%s as %s of %s: %v", method, role, region, err)
			}
			if want && method != "Identity.Sign" && !strings.Contains(err.Error(), "ask the HTTP address of a server") {
				t.Errorf("%s: %v", method, err)
			}
		}
	}
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		refused(t, c, tlsconf.RoleServer, "global", "", false)
		refused(t, c, tlsconf.RoleServer, "eu", "", false)
		refused(t, c, tlsconf.RoleClient, "global", "", true)
		ns := &structs.NamespaceUpsertRequest{Namespaces: []*structs.Namespace{{Name: "n"}}}
		if err := callAs(t, c, i.source(tlsconf.RoleClient, "global"), "Namespace.UpsertNamespaces", ns, &structs.GenericResponse{}); err != nil {
			t.Errorf("what a user asked for: %v", err)
		}
		n := newNode("")
		if _, err := register(c.Nodes[0], n, n.SecretID); err != nil {
			t.Fatal(err)
		}
		for node, want := range map[string]errs.Code{n.ID: "", own: errs.PermissionDenied} {
			sign := &structs.IdentitySignRequest{Peer: structs.PeerIdentity{NodeID: node}, QueryOptions: structs.QueryOptions{AuthToken: n.SecretID}}
			if err := callAs(t, c, i.source(tlsconf.RoleClient, "global"), "Identity.Sign", sign, &structs.IdentitySignResponse{}); errs.CodeOf(err) != want {
				t.Errorf("a node signs for %s: %v", node, err)
			}
		}
	}, i.secured)
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		refused(t, c, tlsconf.RoleClient, "global", admin(t, c.Nodes[0]).secret, false)
	}, i.secured, withACL)
}

// In clear nobody proves anything, and nothing is asked for.
func TestCallsInClearNeedNoRole(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		if err := callAs(t, c, nil, "Status.ReadIndex", &structs.ReadIndexRequest{}, nil); err != nil {
			t.Error(err)
		}
	})
}

// A cluster within TLS replicates, forwards and elects.
func TestClusterWithinTLS(t *testing.T) {
	i := newIssuer(t)
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		put := func(name string) {
			t.Helper()
			ns := &structs.NamespaceUpsertRequest{Namespaces: []*structs.Namespace{{Name: name}}}
			if err := c.Follower().RPC(t.Context(), "Namespace.UpsertNamespaces", ns, &structs.GenericResponse{}); err != nil {
				t.Fatal(err)
			}
		}
		put("before")
		c.Crash(c.WaitLeader())
		c.WaitLeader()
		put("after")
	}, i.secured)
}

// Servers in clear and servers in upgrade mode work together, whichever leads.
func TestUpgradeModeMeetsClearText(t *testing.T) {
	i, n := newIssuer(t), 0
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		for round := range 3 {
			ns := &structs.NamespaceUpsertRequest{Namespaces: []*structs.Namespace{{Name: "n"}}}
			if err := c.Follower().RPC(t.Context(), "Namespace.UpsertNamespaces", ns, &structs.GenericResponse{}); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			old := c.WaitLeader()
			c.Crash(old)
			c.WaitLeader()
			c.Restart(old)
			c.WaitReady()
		}
	}, func(conf *nomad.Config) {
		if n++; n%3 != 1 { // the first server stays as it was
			i.secured(conf)
			conf.TLS.UpgradeMode = true
		}
	})
}

func TestServerWantsItsOwnRole(t *testing.T) {
	i := newIssuer(t)
	conf := nomad.DefaultConfig()
	conf.NodeName, conf.RPCAdvertise, conf.Raft.LogStore = "s1", "127.0.0.1:1", nomad.LogStoreMemory
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conf.RPCListener = l
	for _, s := range []*tlsconf.Source{nil, i.source(tlsconf.RoleClient, "global"), i.source(tlsconf.RoleServer, "eu")} {
		conf.TLS = &nomad.TLSConfig{Source: s}
		if _, err := nomad.NewServer(conf); !errors.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "TLS") {
			t.Errorf("started, or failed for another reason: %v", err)
		}
	}
}
