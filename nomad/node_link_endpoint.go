package nomad

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/serf/serf"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/auth"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/structs"
)

// NodeLink answers the RPCs on the links of node agents.
type NodeLink struct{ srv *Server }

// The methods that servers pass on to each other, by the names that they are declared under below.
const (
	nodeLinkCallName = "NodeLink.Call"
	nodeLinkListName = "NodeLink.List"
	nodeLinkKickName = "NodeLink.Kick"
	// nodeLinkNotifyName is for the leader only.
	nodeLinkNotifyName = "NodeLink.Notify"
)

func init() { nodeLinkUpdate.serversOnly = true }

var nodeLinkUpdate = newLocal("NodeLink.Update", anyone[structs.NodeLinkUpdateRequest],
	func(_ context.Context, s *Server, r *structs.NodeLinkUpdateRequest, reply *structs.NodeLinkUpdateResponse) error {
		if peer, ok := s.router.ByID(r.ServerID); !ok || peer.Region != s.config.Region || peer.ID == s.nodeID {
			return errs.New(errs.Invalid, "only servers of the region tell which links they have")
		}
		reply.Resync = s.links.directory.Apply(r)
		for _, c := range r.Changes {
			if c.Up {
				s.links.held.Fence(c.NodeID, c.Epoch)
			}
		}
		return nil
	})

// mayCall is the rule of the method that is called; one that nobody knows tells
// those who may see nodes that it does not exist.
func mayCall(a *acl.ACL, r *structs.NodeCallRequest) bool {
	if m := nodelink.Lookup(r.Method); m != nil {
		return mayReach(a, m)
	}
	return a.AllowNodeRead()
}

// mayReach is the rule of a method, for people and programs: an agent that shows
// the secret of its node has no business on other nodes.
func mayReach(a *acl.ACL, m *nodelink.Method) bool {
	if a.AllowClientOp() && !a.IsManagement() {
		return false
	}
	return m.Allow(a)
}

var nodeLinkCall = newLocal("NodeLink.Call", mayCall,
	func(ctx context.Context, s *Server, r *structs.NodeCallRequest, reply *structs.NodeCallResponse) error {
		return s.callAgent(ctx, r, reply)
	})

// linkPeersTimeout bounds asking the other servers about their links.
const linkPeersTimeout = 5 * time.Second

var nodeLinkList = newLocal("NodeLink.List", readsNodes[structs.NodeLinkListRequest],
	func(ctx context.Context, s *Server, r *structs.NodeLinkListRequest, reply *structs.NodeLinkListResponse) error {
		for _, l := range s.links.held.All() {
			if i := l.Info(); r.NodeID == "" || r.NodeID == i.NodeID {
				reply.Links = append(reply.Links, linkInfo(i))
			}
		}
		if !r.Local {
			s.gatherLinks(ctx, r, reply)
		}
		slices.SortFunc(reply.Links, func(a, b *structs.NodeLinkInfo) int {
			if c := strings.Compare(a.NodeID, b.NodeID); c != 0 {
				return c
			}
			return strings.Compare(a.Server, b.Server)
		})
		return nil
	})

func linkInfo(i nodelink.Info) *structs.NodeLinkInfo {
	return &structs.NodeLinkInfo{NodeID: i.NodeID, Server: i.Server, Remote: i.Remote, Transport: i.Transport, Protocol: i.Protocol, Build: i.Build,
		Epoch: i.Epoch, Instance: i.Instance, Session: i.SessionID, Since: i.Since.UTC(), Running: i.Running, Methods: i.Methods, Kinds: i.Kinds}
}

// gatherLinks adds the links of the other servers of the region.
func (s *Server) gatherLinks(ctx context.Context, r *structs.NodeLinkListRequest, reply *structs.NodeLinkListResponse) {
	ctx, cancel := context.WithTimeout(ctx, linkPeersTimeout)
	defer cancel()
	q := *r
	q.Local, q.AllowStale, q.Region = true, true, s.config.Region
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, peer := range s.router.InRegion(s.config.Region) {
		if peer.ID == s.nodeID || peer.Status != serf.StatusAlive {
			continue
		}
		wg.Go(func() {
			var theirs structs.NodeLinkListResponse
			err := s.pool.Call(ctx, peer.Addr, nodeLinkListName, &q, &theirs, wire.CallOptions{Hops: maxHops})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				reply.Unreachable = append(reply.Unreachable, peer.Name)
				return
			}
			reply.Links = append(reply.Links, theirs.Links...)
		})
	}
	wg.Wait()
	slices.Sort(reply.Unreachable)
}

var nodeLinkKick = newLocal("NodeLink.Kick",
	func(a *acl.ACL, _ *structs.NodeLinkKickRequest) bool { return a.AllowNodeWrite() },
	func(ctx context.Context, s *Server, r *structs.NodeLinkKickRequest, reply *structs.NodeLinkKickResponse) error {
		if r.NodeID == "" {
			return errs.New(errs.Invalid, "missing node ID")
		}
		if s.links.held.Kick(r.NodeID) {
			s.logger.Info("link ended by an operator", "node_id", r.NodeID, "accessor_id", callerOf(ctx))
			reply.Kicked, reply.Server = true, s.config.NodeName
			return nil
		}
		if hops(ctx) > 0 && r.AllowStale {
			return nil // this server was asked by another one
		}
		q := *r
		q.AllowStale, q.Region = true, s.config.Region
		for _, peer := range s.ownersOf(ctx, r.NodeID) {
			if err := s.pool.Call(ctx, peer.Addr, nodeLinkKickName, &q, reply, wire.CallOptions{Hops: maxHops}); err != nil || reply.Kicked {
				return err
			}
		}
		return errs.Newf(errs.NotFound, "no server of the region has a link to the node %q", r.NodeID)
	})

var nodeLinkNotify = newLocal("NodeLink.Notify",
	func(a *acl.ACL, _ *structs.NodeNotifyRequest) bool { return a.AllowClientOp() },
	func(ctx context.Context, s *Server, r *structs.NodeNotifyRequest, reply *structs.NodeCallResponse) error {
		n, err := s.knownNode(ctx, r.NodeID)
		switch id, _ := ctx.Value(callerKey{}).(*auth.Identity); {
		case err != nil && !errors.Is(err, errs.NotFound):
			return err
		case err != nil || !sameSecret(n, r.AuthToken) && (id == nil || id.Node == nil || id.Node.ID != n.ID):
			return errPermissionDenied
		}
		reply.Server = s.config.NodeName
		if l := s.links.held.Get(n.ID); l != nil {
			s.notifyLinked(ctx, l, r, reply)
			return nil
		}
		reply.Failure = nodelink.ToWire(&nodelink.Failure{Outcome: nodelink.Moved, Help: "the server that was asked no longer has the link of the node"})
		return nil
	})

// hops returns how often the call of a context was passed on.
func hops(ctx context.Context) int {
	if c, ok := wire.CallFrom(ctx); ok {
		return c.Hops
	}
	return 0
}

// Update takes in which links another server has.
func (n *NodeLink) Update(ctx context.Context, args *structs.NodeLinkUpdateRequest, reply *structs.NodeLinkUpdateResponse) error {
	return nodeLinkUpdate.serve(ctx, n.srv, args, reply)
}

// Call calls a method of a node's agent.
func (n *NodeLink) Call(ctx context.Context, args *structs.NodeCallRequest, reply *structs.NodeCallResponse) error {
	return nodeLinkCall.serve(ctx, n.srv, args, reply)
}

// List lists the links of the region, with the server that has each.
func (n *NodeLink) List(ctx context.Context, args *structs.NodeLinkListRequest, reply *structs.NodeLinkListResponse) error {
	return nodeLinkList.serve(ctx, n.srv, args, reply)
}

// Kick ends the link of a node.
func (n *NodeLink) Kick(ctx context.Context, args *structs.NodeLinkKickRequest, reply *structs.NodeLinkKickResponse) error {
	return nodeLinkKick.serve(ctx, n.srv, args, reply)
}

// Notify has the agent of a node look at what the servers say of it.
func (n *NodeLink) Notify(ctx context.Context, args *structs.NodeNotifyRequest, reply *structs.NodeCallResponse) error {
	return nodeLinkNotify.serve(ctx, n.srv, args, reply)
}
