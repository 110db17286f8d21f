package nomad

import (
	"context"
	"errors"
	"net"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/msgp"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/structs"
)

// startLone runs one server in memory on the real clock until it leads, with a
// namespace called secret.
func startLone(t testing.TB) *Server {
	t.Helper()
	return startLoneWith(t, false)
}

// startEnforced is startLone with access control on.
func startEnforced(t testing.TB) *Server {
	t.Helper()
	return startLoneWith(t, true)
}

func startLoneWith(t testing.TB, enforced bool) *Server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conf := DefaultConfig()
	conf.NodeName, conf.BootstrapExpect, conf.ACL.Enabled = "lone", 1, enforced
	conf.RPCListener, conf.RPCAdvertise = listener, listener.Addr().String()
	conf.Raft.LogStore = LogStoreMemory
	conf.Raft.HeartbeatTimeout, conf.Raft.ElectionTimeout, conf.Raft.LeaderLease = 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
	conf.Gossip.Transport = new(memberlist.MockNetwork).NewTransport("lone")
	s, err := NewServer(conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Shutdown() })
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	req := &structs.NamespaceUpsertRequest{Namespaces: []*structs.Namespace{{Name: "secret"}}}
	for !s.IsLeader() && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	if _, err := s.apply(ctx, structs.NamespaceUpsertRequestType, req); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEveryMethodIsDeclaredAndBound(t *testing.T) {
	registry := wire.NewRegistry()
	for name, endpoint := range endpoints(nil) {
		if err := registry.Register(name, endpoint); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range registry.Names() {
		if methods[name] == nil {
			t.Errorf("%s is bound and not declared: use newRead, newWrite, newLeader or newLocal", name)
		}
	}
	for name := range methods {
		if _, ok := registry.Lookup(name); !ok {
			t.Errorf("%s is declared and no endpoint struct has it", name)
		}
	}
}

// openMethods answer anyone. A method enters this list on purpose only.
var openMethods = []string{
	"ACL.Bootstrap", "ACL.Explain", "ACL.ListAuthMethods", "ACL.ListPolicies", "ACL.ListRoles", "ACL.Login", "ACL.OIDCAuthURL", "ACL.OIDCCompleteAuth", "ACL.ResolveToken", "ACL.WhoAmI",
	"Keyring.ListPublic", "Namespace.ListNamespaces", "NodeLink.Update", "NodePool.List", "Region.LatestIndex", "Region.List",
	"Status.Cluster", "Status.HasNodeConn", "Status.Leader", "Status.Peers", "Status.Ping", "Status.RaftStats", "Status.ReadIndex",
}

// tellingMethods are open methods that are there to tell something to anyone.
var tellingMethods = []string{"ACL.Explain", "ACL.ResolveToken", "ACL.WhoAmI", "Keyring.ListPublic"}

func TestCallerWithoutRightsIsRefusedAndSeesNothing(t *testing.T) {
	s := startEnforced(t)
	for name, info := range methods {
		m, _ := s.registry.Lookup(name)
		reply := m.NewReply()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err := m.Invoke(ctx, m.NewArgs(), reply)
		cancel()
		if !slices.Contains(openMethods, name) {
			if !errors.Is(err, errs.PermissionDenied) {
				t.Errorf("%s: %v, want permission denied", name, err)
			}
			continue
		}
		if err != nil && !errors.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
		if len(info.tables) > 0 && !slices.Contains(tellingMethods, name) {
			mustBeEmpty(t, name, reply)
		}
	}
}

// mustBeEmpty fails if a list of the reply has an entry.
func mustBeEmpty(t *testing.T, name string, reply any) {
	t.Helper()
	v := reflect.ValueOf(reply).Elem()
	lists := 0
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.Slice, reflect.Map:
			lists++
			if f.Len() > 0 {
				t.Errorf("%s shows %s to a caller without rights", name, v.Type().Field(i).Name)
			}
		}
	}
	if lists == 0 {
		t.Errorf("%s: the reply holds no list, teach this test what to look at", name)
	}
}

func TestUnknownSecretIsRefusedOverTheWire(t *testing.T) {
	s := startEnforced(t)
	for name := range methods {
		body, err := msgp.Append(nil, &structs.GenericRequest{QueryOptions: structs.QueryOptions{AuthToken: "nonsense"}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.handleRPC(context.Background(), &wire.Call{Method: name, Body: body}); !errors.Is(err, errs.PermissionDenied) {
			t.Errorf("%s: %v, want permission denied", name, err)
		}
	}
}

// hostile are bodies that no client sends.
func hostile(t testing.TB) [][]byte {
	wrong, err := msgp.Append(nil, map[string]any{"Region": 7, "Var": "x", "Path": []int{1}, "Namespaces": 3, "ID": true})
	if err != nil {
		t.Fatal(err)
	}
	nested := make([]byte, 2000)
	for i := range nested {
		nested[i] = 0x91
	}
	return [][]byte{
		nil, {0xc0}, {0x80}, {0x81}, {0xff}, {0xc1}, []byte("garbage"), wrong, nested,
		{0xdf, 0xff, 0xff, 0xff, 0xff}, {0xdd, 0xff, 0xff, 0xff, 0xff}, {0x81, 0xdb, 0xff, 0xff, 0xff, 0xff},
		{0x81, 0xa3, 'V', 'a', 'r', 0x80}, {0x81, 0xa3, 'V', 'a', 'r', 0xc0}, {0x82, 0xa6, 'R', 'e', 'g', 'i', 'o', 'n', 0xa4, 'm', 'a', 'r', 's', 0xff, 0xff},
	}
}

func FuzzHandleRPC(f *testing.F) {
	s := startLone(f)
	names := s.registry.Names()
	for i := range names {
		for _, b := range hostile(f) {
			f.Add(uint8(i), b)
		}
		m, _ := s.registry.Lookup(names[i])
		b, err := msgp.Append(nil, m.NewArgs())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), b)
	}
	f.Fuzz(func(t *testing.T, method uint8, body []byte) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		name := names[int(method)%len(names)]
		reply, err := s.handleRPC(ctx, &wire.Call{Method: name, Body: body})
		if err != nil {
			if errs.CodeOf(err) == errs.Internal {
				t.Fatalf("%s: internal error %v", name, err)
			}
			return
		}
		if _, err := msgp.Append(nil, reply); err != nil {
			t.Fatalf("%s: the reply cannot be encoded: %v", name, err)
		}
	})
}

func FuzzScanRouting(f *testing.F) {
	for _, b := range hostile(f) {
		f.Add(b)
	}
	full, err := msgp.Append(nil, &structs.VariablesReadRequest{Path: "a", QueryOptions: structs.QueryOptions{
		Region: "mars", AllowStale: true, AuthToken: "t", MinQueryIndex: 3, MaxQueryTime: time.Minute,
		InternalRpcInfo: structs.InternalRpcInfo{Forwarded: true},
	}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(full)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := scanRouting(b)
		if err != nil {
			if !errors.Is(err, errs.Invalid) {
				t.Fatalf("got %v, want invalid", err)
			}
			return
		}
		var req structs.GenericRequest
		if msgp.Unmarshal(b, &req) == nil && r != queryRouting(&req.QueryOptions) {
			t.Fatalf("scanned %+v, decoded %+v", r, queryRouting(&req.QueryOptions))
		}
	})
}

func TestCallWithOtherTypesIsRefused(t *testing.T) {
	s := startLone(t)
	err := s.RPC(t.Context(), "Variables.Read", &structs.VariablesListRequest{}, &structs.VariablesReadResponse{})
	if !errors.Is(err, errs.Internal) {
		t.Errorf("got %v", err)
	}
	if err := s.RPC(t.Context(), "Variables.Nothing", nil, nil); err == nil {
		t.Error("a method that is not there was called")
	}
}
