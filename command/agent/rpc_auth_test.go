package agent

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/jsonrpc"
)

// someRights returns the rights of rules.
func someRights(t *testing.T, rules string) *acl.ACL {
	t.Helper()
	p, err := acl.Parse(rules)
	if err != nil {
		t.Fatal(err)
	}
	a, err := acl.New(false, p)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestWhoMayCallWhat(t *testing.T) {
	reader, writer := someRights(t, `agent { policy = "read" }`), someRights(t, `agent { policy = "write" }`)
	local := func(uid, gid uint32, token string) jsonrpc.Caller {
		return jsonrpc.Caller{Transport: jsonrpc.TransportSocket, Peer: &jsonrpc.PeerCred{UID: uid, GID: gid}, Token: token}
	}
	remote := jsonrpc.Caller{Transport: jsonrpc.TransportHTTP, Remote: "10.0.0.1:2", Token: "x"}
	me := uint32(os.Geteuid())
	for _, tc := range []struct {
		name   string
		rights *acl.ACL // those of any token, and of policies
		caller jsonrpc.Caller
		method string
		want   errs.Code
	}{
		{"root sets", acl.DenyAll, local(0, 0, ""), "admin_set_log_level", ""},
		{"the agent's user sets", acl.DenyAll, local(me, 1, ""), "admin_set_log_level", ""},
		{"another user reads", acl.DenyAll, local(4000, 4000, ""), "get_server_status", ""},
		{"another user sets", acl.DenyAll, local(4000, 4000, ""), "admin_set_log_level", errs.PermissionDenied},
		{"another user with a token", writer, local(4000, 4000, "x"), "admin_set_log_level", ""},
		{"another user with a weak token", reader, local(4000, 4000, "x"), "admin_set_log_level", errs.PermissionDenied},
		{"a token while access control is off", acl.Disabled, local(4000, 4000, "x"), "admin_set_log_level", errs.PermissionDenied},
		{"a user of the map", acl.DenyAll, local(5000, 4000, ""), "admin_set_log_level", ""},
		{"a group of the map", writer, local(4000, 6000, ""), "admin_set_log_level", ""},
		{"a group of the map without the right", reader, local(4000, 6000, ""), "admin_config_reload", errs.PermissionDenied},
		{"a group of the map while access control is off", acl.Disabled, local(4000, 6000, ""), "admin_config_reload", errs.PermissionDenied},
		{"the number of a group is no user", writer, local(6000, 4000, ""), "admin_set_log_level", errs.PermissionDenied},
		{"credentials not known", acl.DenyAll, jsonrpc.Caller{Transport: jsonrpc.TransportSocket}, "admin_set_log_level", errs.Unauthenticated},
		{"remote, access control off", acl.Disabled, remote, "admin_set_log_level", ""},
		{"remote reader reads", reader, remote, "get_server_status", ""},
		{"remote reader sets", reader, remote, "admin_set_log_level", errs.PermissionDenied},
		{"remote writer sets", writer, remote, "admin_set_log_level", ""},
		{"remote stranger reads", acl.DenyAll, remote, "get_server_status", errs.PermissionDenied},
		{"remote stranger reads metrics", acl.DenyAll, remote, "get_metrics", ""},
		{"remote stranger asks for the methods", acl.DenyAll, remote, "show_registered_handlers", ""},
		{"another user removes a peer", acl.DenyAll, local(4000, 4000, ""), "operator_raft_remove_peer", errs.PermissionDenied},
		{"another user writes: the server decides", acl.DenyAll, local(4000, 4000, ""), "variable_apply", ""},
		{"remote: the server decides", acl.DenyAll, remote, "admin_raft_remove_peer", ""},
	} {
		f := newFake()
		f.rights = tc.rights
		h := testAPI(t, f, func(c *Config) {
			c.RPC.Socket.Users = map[string]string{"uid:5000": "management", "gid:6000": "policy:ops, role:oncall"}
		})
		n := h.rpc
		var m *jsonrpc.Method
		for _, have := range n.rpc.Methods() {
			if have.Name == tc.method {
				m = &have
			}
		}
		if m == nil {
			t.Fatalf("%s is not registered", tc.method)
		}
		err := n.Authorize(context.Background(), tc.caller, m)
		if (err == nil) != (tc.want == "") || (err != nil && errs.CodeOf(err) != tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}

// A method that a local program adds and that says no more is for those with all rights.
func TestPrivilegedMethodOfAProviderNeedsManagement(t *testing.T) {
	f := newFake()
	h := testAPI(t, f)
	m := &jsonrpc.Method{Name: "disk_format", Privileged: true, Provider: "disks"}
	remote := jsonrpc.Caller{Transport: jsonrpc.TransportHTTP, Token: "x"}
	f.rights = someRights(t, `agent { policy = "write" }`)
	if err := h.rpc.Authorize(context.Background(), remote, m); errs.CodeOf(err) != errs.PermissionDenied {
		t.Errorf("an agent writer: %v", err)
	}
	f.rights = acl.Management
	if err := h.rpc.Authorize(context.Background(), remote, m); err != nil {
		t.Errorf("management: %v", err)
	}
}

func TestPrivilegedCallsAreAuditedWithoutTheToken(t *testing.T) {
	f := newFake().fill()
	c := DefaultDevConfig()
	tel, err := newTelemetry(c.Telemetry, c.NodeName)
	if err != nil {
		t.Fatal(err)
	}
	defer tel.shutdown()
	var log bytes.Buffer
	h := newAPI(f, c, tel, hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Info}))
	if _, err := invoke(t, h, "admin_set_log_level", `{"level":"error"}`, "X-Nomad-Token", "the-secret"); err != nil {
		t.Fatal(err)
	}
	if _, err := invoke(t, h, "admin_set_log_level", `{"level":"off"}`); err == nil || err.Code != jsonrpc.CodeInvalidParams {
		t.Fatal("the log can be switched off: ", err)
	}
	f.rights = acl.DenyAll
	if _, err := invoke(t, h, "admin_set_log_level", `{"level":"info"}`, "X-Nomad-Token", "the-secret"); err == nil || err.Code != jsonrpc.CodeUnauthorized {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.SplitSeq(log.String(), "\n") {
		if strings.Contains(line, "cairn.audit: privileged call") {
			lines = append(lines, line)
		}
	}
	if len(lines) != 3 || strings.Contains(log.String(), "the-secret") {
		t.Fatalf("log:\n%s", log.String())
	}
	for i, want := range [][]string{{"code=0", "ran=true"}, {"code=-32602", "ran=true"}, {"code=10", "ran=false"}} {
		for _, part := range append(want, "method=admin_set_log_level", "params=sha256:", "accessor_id=", "caller=") {
			if !strings.Contains(lines[i], part) {
				t.Errorf("line %d has no %s: %s", i, part, lines[i])
			}
		}
	}
}
