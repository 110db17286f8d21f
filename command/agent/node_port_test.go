package agent

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/client"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/structs"
)

// startAlone starts a server without a node agent.
func startAlone(t *testing.T) *Agent {
	t.Helper()
	c := DefaultDevConfig()
	c.Client.Enabled = false
	c.NodeName, c.Ports = "n1", PortsConfig{}
	a, err := Start(c, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Stop(false) })
	return a
}

// soon waits for what must come to be.
func soon(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: ", what)
		}
	}
}

// A node agent that cannot reach the port, or may not try, does everything over the
// HTTP API: it registers, calls, serves the link and the calls in reverse.
func TestNodeAgentOverHTTP(t *testing.T) {
	a := startAlone(t)
	for transport, servers := range map[client.Transport][]string{client.TransportWebSocket: nil, client.TransportAuto: {"127.0.0.1:1"}} {
		t.Run(string(transport), func(t *testing.T) {
			c, err := client.New(client.Config{Region: "global", Datacenter: "dc1", NodeName: "far", StateDir: t.TempDir(), Servers: servers,
				Transport: transport, HTTPServers: []string{"http://" + a.HTTPAddr()}, HTTPAddr: "127.0.0.1:4646", Version: "1.0.0"})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := c.Shutdown(); err != nil {
					t.Error(err)
				}
			}()
			soon(t, "the node is ready", func() bool { return c.Ready() == nil })
			ping := &structs.NodeCallRequest{NodeID: c.NodeID(), Method: "Node.Ping", Body: json.RawMessage(`{}`), Wait: 20 * time.Second}
			var pong structs.NodeCallResponse
			if err := a.server.RPC(t.Context(), "NodeLink.Call", ping, &pong); err != nil || pong.Failure != nil {
				t.Errorf("over the link: %+v, %v", pong.Failure, err)
			}
			var list structs.NodeLinkListResponse
			if err := a.server.RPC(t.Context(), "NodeLink.List", &structs.NodeLinkListRequest{NodeID: c.NodeID()}, &list); err != nil || len(list.Links) != 1 || list.Links[0].Transport != "websocket" {
				t.Errorf("links: %+v, %v", list.Links, err)
			}
			var meta structs.NodeMetaResponse
			if err := a.server.RPC(t.Context(), "NodeMeta.Read", &structs.NodeSpecificRequest{NodeID: c.NodeID()}, &meta); err != nil {
				t.Error("in reverse over the session:", err)
			}
			var nodes structs.NodeListResponse
			if err := c.RPC(t.Context(), "Node.List", &structs.NodeListRequest{}, &nodes); err != nil || len(nodes.Nodes) == 0 {
				t.Errorf("in the name of a user: %+v, %v", nodes, err)
			}
			if got := c.Stats()["server"]; got != "http://"+a.HTTPAddr() {
				t.Errorf("connected to %q", got)
			}
		})
	}
}

// Over HTTP nobody passes for a server: Raft is not spoken there, and what is for
// servers is refused, though nothing proves anything while TLS is off.
func TestNodePortIsNotForServers(t *testing.T) {
	a := startAlone(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	open := func(p mux.Protocol) *wire.Client {
		raw, err := nodelink.DialPortOverHTTP(ctx, "http://"+a.HTTPAddr(), nil)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := mux.Select(ctx, raw, p, nil)
		if err != nil {
			t.Fatal(err)
		}
		c := wire.NewClient(conn, wire.DefaultLimits())
		t.Cleanup(func() { c.Close() })
		return c
	}
	rpc := open(mux.ProtoRPC)
	if err := rpc.Call(ctx, "Status.Ping", &structs.GenericRequest{}, nil, wire.CallOptions{}); err != nil {
		t.Error(err)
	}
	err := rpc.Call(ctx, "NodeLink.Update", &structs.NodeLinkUpdateRequest{ServerID: "x"}, &structs.NodeLinkUpdateResponse{}, wire.CallOptions{})
	if errs.CodeOf(err) != errs.PermissionDenied || !strings.Contains(err.Error(), "is for servers") {
		t.Errorf("a server's method: %v", err)
	}
	if err := open(mux.ProtoRaft).Call(ctx, "Status.Ping", &structs.GenericRequest{}, nil, wire.CallOptions{}); err == nil {
		t.Error("Raft is spoken over HTTP")
	}
}

// A client agent has no port to offer.
func TestNodePortOfAClient(t *testing.T) {
	c := DefaultDevConfig()
	c.Server.Enabled = false
	c.NodeName, c.Ports, c.Client.StateDir, c.Client.Servers = "n1", PortsConfig{}, t.TempDir(), []string{"127.0.0.1:1"}
	a, err := Start(c, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Stop(false) })
	if _, err := nodelink.DialPortOverHTTP(t.Context(), "http://"+a.HTTPAddr(), nil); err == nil || !strings.Contains(err.Error(), "dial a server") {
		t.Error(err)
	}
}
