package nomad

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"slices"
	"strings"

	"github.com/hashicorp/serf/serf"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/auth"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/router"
	"github.com/cairn-project/cairn/nomad/structs"
)

// Agent answers the RPCs that look into the process of an agent, of this server, of
// another one or of a node.
type Agent struct{ srv *Server }

// Debugger looks into the process that a server runs in. Whoever asks was allowed to.
type Debugger interface {
	DescribeHost(ctx context.Context) (*structs.AgentHostResponse, error)
	TakeProfile(ctx context.Context, r *structs.AgentProfileRequest) (*structs.AgentProfileResponse, error)
	// FollowLog writes the log to w from now on, until ctx ends or w fails; options and
	// reply are those of the method Agent.Monitor of node agents.
	FollowLog(ctx context.Context, options json.RawMessage, w io.Writer) (json.RawMessage, error)
	// ExportLog writes what was logged before, as Agent.MonitorExport of node agents does.
	ExportLog(ctx context.Context, options json.RawMessage, w io.Writer) (json.RawMessage, error)
}

// The methods that servers pass on to each other, by the names that they are declared under below.
const (
	agentHostName    = "Agent.Host"
	agentProfileName = "Agent.Profile"
	// The streams.
	agentMonitorName = "Agent.Monitor"
	agentExportName  = "Agent.MonitorExport"
)

// mayLook is the rule of the method of node agents of the same name, for servers too.
func mayLook[Req any](method string) func(*acl.ACL, *Req) bool {
	return func(a *acl.ACL, _ *Req) bool { return mayReach(a, nodelink.Lookup(method)) }
}

var agentHost = newLocal("Agent.Host", mayLook[structs.AgentHostRequest](agentHostName),
	func(ctx context.Context, s *Server, r *structs.AgentHostRequest, reply *structs.AgentHostResponse) error {
		if r.NodeID != "" {
			if _, err := s.knownNode(ctx, r.NodeID); err != nil {
				return err
			}
			return s.onNode(ctx, r.NodeID, agentHostName, r, reply, reply)
		}
		peer, err := s.serverMeant(ctx, r.ServerID)
		if err != nil {
			return err
		}
		if peer != nil {
			q := *r
			q.ServerID, q.AllowStale = peer.ID, true
			return s.pool.Call(ctx, peer.Addr, agentHostName, &q, reply, wire.CallOptions{Hops: maxHops})
		}
		if err := s.mayDebug(ctx); err != nil {
			return err
		}
		out, err := s.debugger().DescribeHost(ctx)
		if err == nil {
			*reply = *out
			reply.AgentID = s.nodeID
		}
		return err
	})

var agentProfile = newLocal("Agent.Profile", mayLook[structs.AgentProfileRequest](agentProfileName),
	func(ctx context.Context, s *Server, r *structs.AgentProfileRequest, reply *structs.AgentProfileResponse) error {
		if r.NodeID != "" {
			return s.profileNode(ctx, r, reply)
		}
		peer, err := s.serverMeant(ctx, r.ServerID)
		if err != nil {
			return err
		}
		if peer != nil {
			q := *r
			q.ServerID, q.AllowStale = peer.ID, true
			return s.pool.Call(ctx, peer.Addr, agentProfileName, &q, reply, wire.CallOptions{Hops: maxHops})
		}
		if err := s.mayDebug(ctx); err != nil {
			return err
		}
		out, err := s.debugger().TakeProfile(ctx, r)
		if err == nil {
			*reply = *out
			reply.AgentID = s.nodeID
		}
		return err
	})

// profileNode takes a profile of a node's agent, over its link.
func (s *Server) profileNode(ctx context.Context, r *structs.AgentProfileRequest, reply *structs.AgentProfileResponse) error {
	argument := map[string]any{"Kind": r.ReqType, "Name": r.Profile, "Seconds": r.Seconds, "Debug": r.Debug, "GC": r.GC > 0}
	body, err := json.Marshal(argument)
	if err != nil {
		return err
	}
	if _, err := s.knownNode(ctx, r.NodeID); err != nil {
		return err
	}
	var linked struct {
		Payload     []byte
		ContentType string
	}
	if done, err := s.onSession(ctx, r.NodeID, agentProfileName, r, reply); done {
		return err
	}
	q := &structs.NodeCallRequest{NodeID: r.NodeID, Method: agentProfileName, Body: body}
	q.AuthToken = r.AuthToken
	if err := s.callLinked(ctx, q, &linked); err != nil {
		return err
	}
	*reply = structs.AgentProfileResponse{AgentID: r.NodeID, Payload: linked.Payload, HTTPHeaders: map[string]string{"Content-Type": linked.ContentType}}
	return nil
}

// mayDebug refuses callers who may not look into this process: while access control
// is off, everybody unless its configuration says otherwise.
func (s *Server) mayDebug(ctx context.Context) error {
	if id, _ := ctx.Value(callerKey{}).(*auth.Identity); id != nil && id.ACL.AllowAgentDebug(s.config.EnableDebug) {
		return nil
	}
	return errNoDebug
}

// errNoDebug is for who may debug only where the configuration says so.
var errNoDebug = errs.New(errs.PermissionDenied, "Permission denied: this needs a token, or enable_debug in the server's configuration while access control is off")

// debugger returns what looks into this process.
func (s *Server) debugger() Debugger {
	if s.config.Debugger == nil {
		return noDebugger{}
	}
	return s.config.Debugger
}

// noDebugger is of a server whose process nobody may look into.
type noDebugger struct{}

var errNoDebugger = errs.New(errs.Unsupported, "this server cannot look into its process")

// DescribeHost refuses.
func (noDebugger) DescribeHost(context.Context) (*structs.AgentHostResponse, error) {
	return nil, errNoDebugger
}

// TakeProfile refuses.
func (noDebugger) TakeProfile(context.Context, *structs.AgentProfileRequest) (*structs.AgentProfileResponse, error) {
	return nil, errNoDebugger
}

// FollowLog refuses.
func (noDebugger) FollowLog(context.Context, json.RawMessage, io.Writer) (json.RawMessage, error) {
	return nil, errNoDebugger
}

// ExportLog refuses.
func (noDebugger) ExportLog(context.Context, json.RawMessage, io.Writer) (json.RawMessage, error) {
	return nil, errNoDebugger
}

// leaderID stands for the leader where a server is named.
const leaderID = "leader"

// serverMeant returns the server that an ID or a name means, nil for this one. A call
// that was passed on is not passed on again.
func (s *Server) serverMeant(ctx context.Context, id string) (*router.Server, error) {
	if s.isMe(id) {
		return nil, nil
	}
	peer, err := s.serverNamed(id)
	switch {
	case err != nil:
		return nil, err
	case peer.ID == s.nodeID:
		return nil, nil
	case hops(ctx) >= maxHops:
		return nil, errs.Newf(errs.NoPath, "this server is not %q: ask again", id)
	}
	return peer, nil
}

func (s *Server) isMe(id string) bool {
	return id == "" || id == s.nodeID || id == s.config.NodeName || id == s.config.NodeName+"."+s.config.Region ||
		id == leaderID && s.IsLeader()
}

// serverNamed returns a server of the region by ID or name.
func (s *Server) serverNamed(id string) (*router.Server, error) {
	if id == leaderID {
		leader, ok := s.router.ByAddr(s.leaders.current().addr)
		if !ok {
			return nil, errNoLeader
		}
		return &leader, nil
	}
	all := s.router.InRegion(s.config.Region)
	i := slices.IndexFunc(all, func(p router.Server) bool {
		return p.ID == id || p.Name == id || p.Name == id+"."+p.Region || p.Name+"."+p.Region == id
	})
	switch {
	case i < 0:
		names := make([]string, len(all))
		for n, p := range all {
			names[n] = p.Name
		}
		slices.Sort(names)
		return nil, errs.Newf(errs.NotFound, "no server %q is in the region %q: its servers are %s", id, s.config.Region, strings.Join(names, ", "))
	case all[i].Status != serf.StatusAlive:
		return nil, errs.Newf(errs.NoPath, "the server %q is %s: ask another one", cmp.Or(all[i].Name, id), all[i].Status)
	}
	return &all[i], nil
}

// streamsOfServers reports whether servers serve a stream of node agents, too.
func streamsOfServers(method string) bool {
	return method == agentMonitorName || method == agentExportName
}

// followLog follows or exports the log of this server, or of the one that is meant.
func (s *Server) followLog(ctx context.Context, r *structs.NodeCallRequest, w io.Writer) (json.RawMessage, error) {
	if len(r.Passed) == 0 {
		peer, err := s.serverMeant(ctx, r.ServerID)
		if err != nil {
			return nil, err
		}
		if peer != nil {
			q := *r
			q.ServerID = peer.ID
			return s.passStream(ctx, peer.Addr, &q, w)
		}
	} else if !s.isMe(r.ServerID) {
		return nil, errs.Newf(errs.NoPath, "this server is not %q: ask again", r.ServerID)
	}
	if r.Method == agentExportName {
		return s.debugger().ExportLog(ctx, r.Body, w)
	}
	return s.debugger().FollowLog(ctx, r.Body, w)
}

// Host tells what helps to debug the machine of an agent.
func (a *Agent) Host(ctx context.Context, args *structs.AgentHostRequest, reply *structs.AgentHostResponse) error {
	return agentHost.serve(ctx, a.srv, args, reply)
}

// Profile takes a profile of an agent.
func (a *Agent) Profile(ctx context.Context, args *structs.AgentProfileRequest, reply *structs.AgentProfileResponse) error {
	return agentProfile.serve(ctx, a.srv, args, reply)
}
