package nomad_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/msgp"
	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

// linkNode is a node with an agent that serves a link.
type linkNode struct {
	*structs.Node
	epoch uint64
	agent *nodelink.Agent
}

func (n *linkNode) hello() nodelink.Hello {
	return nodelink.Hello{Region: "global", NodeID: n.ID, Secret: n.SecretID, Epoch: n.epoch, Instance: n.LinkInstance, Build: "1.0.0", Kinds: nomadtest.LinkKinds}
}

// newLinkNode registers a node whose agent has handlers.
func newLinkNode(t *testing.T, s *nomadtest.Node, h nodelink.Handlers) *linkNode {
	t.Helper()
	n := &linkNode{Node: newNode("")}
	n.LinkInstance = uuid.NewString()
	n.registerAt(t, s)
	a, err := nodelink.NewAgent(nodelink.AgentConfig{Hello: n.hello, Handlers: h})
	if err != nil {
		t.Fatal(err)
	}
	n.agent = a
	return n
}

func (n *linkNode) registerAt(t *testing.T, s *nomadtest.Node) {
	t.Helper()
	reply, err := register(s, n.Node, n.SecretID)
	if err != nil {
		t.Fatal(err)
	}
	n.epoch = reply.LinkEpoch
}

// dial links the agent to a server; end takes the link down.
func (n *linkNode) dial(t *testing.T, s *nomadtest.Node) (end func(), ended <-chan error) {
	t.Helper()
	far, near := nomadtest.Sessions()
	go s.ServeLink(context.Background(), near, nodelink.From{Remote: "agent", Transport: "pipe"})
	up, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- n.agent.Serve(context.Background(), far, func(nodelink.Welcome) { close(up) }) }()
	select {
	case <-up:
	case err := <-done:
		t.Fatal(err)
	}
	return func() { far.Close() }, done
}

// dialOld links an agent of version 1 of the protocol.
func (n *linkNode) dialOld(t *testing.T, s *nomadtest.Node) mux.Session {
	t.Helper()
	far, near := nomadtest.Sessions()
	go s.ServeLink(context.Background(), near, nodelink.From{Remote: "agent", Transport: "pipe"})
	if frame, answer, err := nomadtest.ServeOldLink(far, nomadtest.OldHello(n.hello())); err != nil || frame != 2 {
		t.Fatal(frame, string(answer), err)
	}
	return far
}

// through calls the agent of a node through a server.
func through(s *nomadtest.Node, node string) nomadtest.LinkCaller {
	return func(ctx context.Context, r *nodelink.Request, w io.Writer) (json.RawMessage, error) {
		q := &structs.NodeCallRequest{NodeID: node, Method: r.Method, Body: r.Body, Trace: r.Trace}
		if w != nil {
			return s.StreamNode(ctx, q, w)
		}
		var reply structs.NodeCallResponse
		if err := s.RPC(ctx, "NodeLink.Call", q, &reply); err != nil {
			return nil, err
		}
		return endOf(&reply)
	}
}

// fromOutside calls the agent of a node through a server that is called over its port,
// so that a call to the server that has the link is its second hop.
func fromOutside(t *testing.T, c *nomadtest.Cluster, s *nomadtest.Node, node string) nomadtest.LinkCaller {
	t.Helper()
	dial := func(ctx context.Context, p mux.Protocol) net.Conn {
		raw, err := c.Fabric.Dial(ctx, "10.9.9.9:1", s.Host+":4647")
		if err != nil {
			t.Fatal(err)
		}
		conn, err := mux.Select(ctx, raw, p, nil)
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	return func(ctx context.Context, r *nodelink.Request, w io.Writer) (json.RawMessage, error) {
		q := &structs.NodeCallRequest{NodeID: node, Method: r.Method, Body: r.Body, Trace: r.Trace}
		if w != nil {
			conn := dial(ctx, mux.ProtoStreaming)
			if err := wire.OpenStream(ctx, conn, "NodeLink.Stream", wire.DefaultLimits()); err != nil {
				return nil, errors.Join(err, conn.Close())
			}
			_ = conn.SetDeadline(time.Time{})
			b, err := msgp.Marshal(q)
			if err != nil {
				t.Fatal(err)
			}
			return nodelink.PassStream(ctx, conn, b, w)
		}
		client := wire.NewClient(dial(ctx, mux.ProtoRPC), wire.DefaultLimits())
		defer client.Close()
		var reply structs.NodeCallResponse
		if err := client.Call(ctx, "NodeLink.Call", q, &reply, wire.CallOptions{}); err != nil {
			return nil, err
		}
		return endOf(&reply)
	}
}

// endOf returns the result or the failure of a call.
func endOf(reply *structs.NodeCallResponse) (json.RawMessage, error) {
	if f := reply.Failure; f != nil {
		return nil, nodelink.FromWire(f)
	}
	return reply.Result, nil
}

// nameOf is the name of a server, by the last part of its address.
func nameOf(s *nomadtest.Node) string { return "s" + s.Host[len(s.Host)-1:] }

// callNode calls a method of the node and returns the outcome, "" for a result.
func callNode(ctx context.Context, s *nomadtest.Node, r *structs.NodeCallRequest) (structs.NodeCallResponse, string) {
	var reply structs.NodeCallResponse
	if err := s.RPC(ctx, "NodeLink.Call", r, &reply); err != nil {
		return reply, err.Error()
	}
	if reply.Failure != nil {
		return reply, reply.Failure.Outcome
	}
	return reply, ""
}

// The battery passes at the server that has the link, at the others, when they were
// not told, and when the one that has it started anew.
func TestLinkBatteryFromAnyServer(t *testing.T) {
	for version, name := range map[int]string{1: "version 1", 2: "version 2"} {
		t.Run(name, func(t *testing.T) {
			nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
				leader, f := c.WaitLeader(), c.Follower()
				n := newLinkNode(t, f, nomadtest.LinkHandlers())
				end := func() {}
				connect := func(s *nomadtest.Node) {
					if version == 1 {
						far := n.dialOld(t, s)
						end = func() { far.Close() }
					} else {
						end, _ = n.dial(t, s)
					}
				}
				connect(f)
				nomadtest.LinkBattery(t, version, through(leader, n.ID)) // nobody was told yet
				nomadtest.LinkBattery(t, version, through(f, n.ID))
				time.Sleep(5 * time.Second)
				nomadtest.LinkBattery(t, version, through(leader, n.ID))
				nomadtest.LinkBattery(t, version, fromOutside(t, c, leader, n.ID)) // two hops

				c.Crash(f)
				end()
				if _, how := callNode(t.Context(), leader, &structs.NodeCallRequest{NodeID: n.ID, Method: "Node.Ping"}); how != "no_link" {
					t.Errorf("while the owner is away: %q", how)
				}
				c.Restart(f)
				c.WaitReady()
				connect(f)
				nomadtest.LinkBattery(t, version, through(leader, n.ID))
				end()
			})
		})
	}
}

// A call goes on to a server that has lost the link a moment ago: that one says who
// has it now, and passes nothing on itself.
func TestMovedLink(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		a, b, d := c.Nodes[0], c.Nodes[1], c.Nodes[2]
		var hops []string
		n := newLinkNode(t, a, nodelink.Handlers{"Node.Ping": func(_ context.Context, c *nodelink.Call) (any, error) { hops = c.Hops; return nil, nil }})
		end, _ := n.dial(t, b)
		time.Sleep(5 * time.Second)
		end()
		end, _ = n.dial(t, d)
		for range 2 { // at once, and when it was told to everybody
			reply, how := callNode(t.Context(), a, &structs.NodeCallRequest{NodeID: n.ID, Method: "Node.Ping"})
			if how != "" || reply.Server != nameOf(d) || len(hops) != 1 || hops[0] != nameOf(a) {
				t.Errorf("%q at %q, by way of %q", how, reply.Server, hops)
			}
			time.Sleep(5 * time.Second)
		}
		q := &structs.NodeCallRequest{NodeID: n.ID, Method: "Node.Ping", Passed: []string{"x"}}
		if reply, how := callNode(t.Context(), a, q); how != "moved" || reply.Failure.Hint != d.Host+":4647" {
			t.Errorf("passed on before: %q, hint %q", how, reply.Failure.Hint)
		}
		end()
	})
}

// A call waits for a link as long as it was told to, and runs once.
func TestCallWaitsForLink(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		runs := 0
		n := newLinkNode(t, c.Nodes[0], nodelink.Handlers{"Node.Identity": func(context.Context, *nodelink.Call) (any, error) { runs++; return nil, nil }})
		q := &structs.NodeCallRequest{NodeID: n.ID, Method: "Node.Identity", Wait: 10 * time.Second}
		began := time.Now()
		if _, how := callNode(t.Context(), c.Nodes[1], q); how != "no_link" || time.Since(began) < 10*time.Second {
			t.Errorf("%q after %s", how, time.Since(began))
		}
		how := make(chan string, 1)
		go func() { _, h := callNode(t.Context(), c.Nodes[1], q); how <- h }()
		time.Sleep(3 * time.Second)
		end, _ := n.dial(t, c.Nodes[2])
		if h := <-how; h != "" || runs != 1 {
			t.Errorf("%q after %d runs", h, runs)
		}
		end()
	})
}

// The server that has the link dies with a call in flight: the caller hears that it
// may have run, and it ran once.
func TestOwnerDiesWithCallInFlight(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		runs := make(chan struct{}, 10)
		f := c.Follower()
		n := newLinkNode(t, f, nodelink.Handlers{"Node.Identity": func(ctx context.Context, _ *nodelink.Call) (any, error) {
			runs <- struct{}{}
			<-ctx.Done()
			return nil, ctx.Err()
		}})
		end, ended := n.dial(t, f)
		how := make(chan string, 1)
		go func() {
			_, h := callNode(t.Context(), c.WaitLeader(), &structs.NodeCallRequest{NodeID: n.ID, Method: "Node.Identity", Wait: 5 * time.Second})
			how <- h
		}()
		<-runs
		c.Crash(f)
		end()
		if h := <-how; h != "may_have_run" && h != "deadline" {
			t.Errorf("ended with %q", h)
		}
		<-ended
		if len(runs) != 0 {
			t.Error("it ran twice")
		}
	})
}

// Of two machines with one identity, the one that registered last has the link,
// wherever the other one is linked.
func TestCloneIsFenced(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		n := newLinkNode(t, c.Nodes[0], nomadtest.LinkHandlers())
		_, ended := n.dial(t, c.Nodes[1])
		again := n.epoch
		n.registerAt(t, c.Nodes[0])
		if n.epoch != again || again == 0 {
			t.Errorf("the same process has epoch %d, then %d", again, n.epoch)
		}
		clone := &linkNode{Node: n.Node.Copy(), agent: n.agent}
		clone.LinkInstance = uuid.NewString()
		clone.registerAt(t, c.Nodes[0])
		clone.agent, _ = nodelink.NewAgent(nodelink.AgentConfig{Hello: clone.hello, Handlers: nomadtest.LinkHandlers()})
		if clone.epoch <= n.epoch {
			t.Fatalf("epochs %d, %d", n.epoch, clone.epoch)
		}
		end, _ := clone.dial(t, c.Nodes[2])
		r := new(nodelink.Refusal)
		if err := <-ended; !errors.As(err, &r) || r.Reason != nodelink.Superseded {
			t.Errorf("the older one ended with %v", err)
		}
		for _, bad := range []struct {
			change func(h *nodelink.Hello)
			want   nodelink.Reason
		}{
			{func(*nodelink.Hello) {}, nodelink.Superseded},
			{func(h *nodelink.Hello) { h.Secret = "other" }, nodelink.BadIdentity},
			{func(h *nodelink.Hello) { h.NodeID = uuid.NewString() }, nodelink.BadIdentity},
			{func(h *nodelink.Hello) { h.Epoch += 1000 }, nodelink.BadIdentity},
			{func(h *nodelink.Hello) { h.Epoch = clone.epoch }, nodelink.BadIdentity},
		} {
			a, _ := nodelink.NewAgent(nodelink.AgentConfig{Hello: func() nodelink.Hello { h := n.hello(); bad.change(&h); return h }})
			far, near := nomadtest.Sessions()
			go c.Nodes[1].ServeLink(context.Background(), near, nodelink.From{})
			if err := a.Serve(t.Context(), far, nil); !errors.As(err, &r) || r.Reason != bad.want {
				t.Errorf("%v, want %s", err, bad.want)
			}
		}
		end()
		epoch := clone.epoch
		clone.epoch-- // it says what it knew before it registered again
		end, _ = clone.dial(t, c.Nodes[1])
		var list structs.NodeLinkListResponse
		if err := c.Nodes[1].RPC(t.Context(), "NodeLink.List", &structs.NodeLinkListRequest{}, &list); err != nil || len(list.Links) != 1 || list.Links[0].Epoch != epoch {
			t.Errorf("%+v, %v: want one link of epoch %d", list.Links, err, epoch)
		}
		end()
	})
}

// Links are listed with the server that has them, and ended from any server.
func TestListAndKickLinks(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		n := newLinkNode(t, c.Nodes[0], nomadtest.LinkHandlers())
		_, ended := n.dial(t, c.Nodes[1])
		var list structs.NodeLinkListResponse
		if err := c.Nodes[2].RPC(t.Context(), "NodeLink.List", &structs.NodeLinkListRequest{}, &list); err != nil {
			t.Fatal(err)
		}
		if len(list.Links) != 1 || list.Unreachable != nil || list.Links[0].NodeID != n.ID || list.Links[0].Server != nameOf(c.Nodes[1]) ||
			list.Links[0].Protocol != 2 || len(list.Links[0].Methods) != len(nodelink.Methods) {
			t.Fatalf("%+v", list)
		}
		var kick structs.NodeLinkKickResponse
		if err := c.Nodes[2].RPC(t.Context(), "NodeLink.Kick", &structs.NodeLinkKickRequest{NodeID: n.ID}, &kick); err != nil || !kick.Kicked || kick.Server != nameOf(c.Nodes[1]) {
			t.Errorf("%+v, %v", kick, err)
		}
		if err := <-ended; err == nil || !strings.Contains(err.Error(), "an operator ended the link") {
			t.Error(err)
		}
		synctest.Wait()
		if err := c.Nodes[2].RPC(t.Context(), "NodeLink.Kick", &structs.NodeLinkKickRequest{NodeID: n.ID}, &kick); err == nil {
			t.Error("there was a link to end")
		}
	})
}

// What agents of the public API are asked goes over the link where there is one.
func TestClientStatsOverLink(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		n := newLinkNode(t, c.Nodes[0], nomadtest.LinkHandlers())
		ask := func(s *nomadtest.Node) (structs.ClientStatsResponse, error) {
			var reply structs.ClientStatsResponse
			err := s.RPC(t.Context(), "ClientStats.Stats", &structs.NodeSpecificRequest{NodeID: n.ID}, &reply)
			return reply, err
		}
		if _, err := ask(c.Nodes[0]); err == nil || !strings.Contains(err.Error(), "No path to node") {
			t.Errorf("without a link: %v", err)
		}
		end, _ := n.dial(t, c.Nodes[1])
		for _, s := range c.Nodes {
			if reply, err := ask(s); err != nil || reply.HostStats == nil || reply.HostStats.Uptime != 1<<64-1 {
				t.Errorf("%s: %+v, %v", nameOf(s), reply, err)
			}
		}
		end()
	})
}

// holdSession has a server call a node over a session whose other end serves the
// use of the machine and nothing else.
func (n *linkNode) holdSession(t *testing.T, s *nomadtest.Node) {
	t.Helper()
	far, near := nomadtest.Sessions()
	t.Cleanup(func() { far.Close() })
	s.HoldSession(n.ID, near)
	agent := wire.NewServer(func(_ context.Context, c *wire.Call) (any, error) {
		if c.Method == "ClientStats.Stats" {
			return &structs.ClientStatsResponse{HostStats: &structs.HostStats{Uptime: 7}}, nil
		}
		return nil, wire.UnknownMethod(c.Method)
	}, wire.DefaultLimits(), nil)
	go func() {
		for {
			conn, err := far.Accept()
			if err != nil {
				return
			}
			go agent.ServeConn(context.Background(), conn, nil)
		}
	}()
}

// An agent that has a session with one server and no link answers from every server.
func TestSessionIsReachedFromAnyServer(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		n := newLinkNode(t, c.Nodes[0], nil)
		n.holdSession(t, c.Nodes[1])
		for _, s := range c.Nodes {
			var stats structs.ClientStatsResponse
			if err := s.RPC(t.Context(), "ClientStats.Stats", &structs.NodeSpecificRequest{NodeID: n.ID}, &stats); err != nil || stats.HostStats.Uptime != 7 {
				t.Errorf("%s: %+v, %v", nameOf(s), stats, err)
			}
		}
	})
}

// What an agent serves over its link only is asked there, also by a server that has
// its session but not its link.
func TestAgentWithItsSessionHereAndItsLinkElsewhere(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		n := newLinkNode(t, c.Nodes[0], nodelink.Handlers{
			"Agent.Host": func(context.Context, *nodelink.Call) (any, error) {
				return &structs.AgentHostResponse{AgentID: "it"}, nil
			},
			"Agent.Profile": func(context.Context, *nodelink.Call) (any, error) { return map[string]any{"Payload": []byte("p")}, nil },
		})
		s := c.Nodes[0]
		n.holdSession(t, s)
		var host structs.AgentHostResponse
		ask := &structs.AgentHostRequest{AgentTarget: structs.AgentTarget{NodeID: n.ID}}
		if err := s.RPC(t.Context(), "Agent.Host", ask, &host); !errors.Is(err, errs.NoPath) {
			t.Errorf("without a link: %v", err)
		}
		end, _ := n.dial(t, c.Nodes[1])
		defer end()
		if err := s.RPC(t.Context(), "Agent.Host", ask, &host); err != nil || host.AgentID != "it" {
			t.Errorf("host: %+v, %v", host, err)
		}
		var profile structs.AgentProfileResponse
		if err := s.RPC(t.Context(), "Agent.Profile", &structs.AgentProfileRequest{AgentTarget: ask.AgentTarget}, &profile); err != nil || string(profile.Payload) != "p" {
			t.Errorf("profile: %+v, %v", profile, err)
		}
		var stats structs.ClientStatsResponse
		if err := s.RPC(t.Context(), "ClientStats.Stats", &structs.NodeSpecificRequest{NodeID: n.ID}, &stats); err != nil || stats.HostStats.Uptime != 7 {
			t.Errorf("use of the machine: %+v, %v", stats, err)
		}
	})
}

// With access control on, what a caller may ask of a node goes over the link of
// another server in the caller's name.
func TestClientStatsOverAnothersLinkInTheNameOfTheCaller(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		var boot structs.ACLTokenUpsertResponse
		if err := c.Nodes[0].RPC(t.Context(), "ACL.Bootstrap", &structs.ACLTokenBootstrapRequest{}, &boot); err != nil {
			t.Fatal(err)
		}
		n := newLinkNode(t, c.Nodes[0], nomadtest.LinkHandlers())
		end, _ := n.dial(t, c.Nodes[1])
		time.Sleep(5 * time.Second) // told to all
		for _, s := range c.Nodes {
			q := &structs.NodeSpecificRequest{NodeID: n.ID}
			if err := s.RPC(t.Context(), "ClientStats.Stats", q, &structs.ClientStatsResponse{}); !errors.Is(err, errs.PermissionDenied) {
				t.Errorf("%s, nobody: %v", nameOf(s), err)
			}
			q.AuthToken = boot.Tokens[0].SecretID
			if err := s.RPC(t.Context(), "ClientStats.Stats", q, &structs.ClientStatsResponse{}); err != nil {
				t.Errorf("%s: %v", nameOf(s), err)
			}
		}
		end()
	}, func(c *nomad.Config) { c.ACL.Enabled = true })
}
