package nomad

import (
	"cmp"
	"context"
	"crypto/subtle"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/serf/serf"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// sameSecret reports whether secret is the node's.
func sameSecret(n *structs.Node, secret string) bool {
	return secret != "" && subtle.ConstantTimeCompare([]byte(n.SecretID), []byte(secret)) == 1
}

func init() {
	nodeRegister.proves, nodeUpdateStatus.proves = true, true
}

var nodeRegister = newLeader("Node.Register", anyone[structs.NodeRegisterRequest],
	func(ctx context.Context, c *leaderCall, r *structs.NodeRegisterRequest, reply *structs.NodeUpdateResponse) error {
		if r.Node == nil {
			return errPermissionDenied // who presents no node proves nothing
		}
		now := time.Now()
		row := r.Node.Copy()
		row.NodePool = cmp.Or(row.NodePool, structs.NodePoolDefault)
		row.Status = cmp.Or(row.Status, structs.NodeStatusInit)
		entry := &structs.NodeRegisterRequest{Node: row, CreateNodePool: !c.srv.copies()}
		if err := entry.Validate(); err != nil {
			return err
		}
		before := c.srv.state.Snapshot().Node(nil, row.ID)
		if err := c.mayRegister(row, before); err != nil {
			return err
		}
		message := "Node registered"
		row.StatusUpdatedAt = now.Unix()
		if before != nil {
			message, row.Status = "Node re-registered", before.Status
		}
		row.Status = c.srv.statusInPool(row.NodePool, row.Status)
		entry.NodeEvent = structs.NewNodeEvent(structs.NodeEventSubsystemCluster, message, now)
		reply.SignedIdentity, row.IdentitySigningKeyID = c.identityDue(row, before == nil, now)
		index, err := c.commit(ctx, structs.NodeRegisterRequestType, entry)
		if err != nil {
			return err
		}
		reply.Index, reply.NodeModifyIndex = index, index
		c.answerNode(row.ID, reply)
		return nil
	})

// tellRegistered answers a node whose first try registered it. The identity that it
// was to get is lost, so that it gets another.
func tellRegistered(_ context.Context, c *leaderCall, r *structs.NodeRegisterRequest, reply *structs.NodeUpdateResponse, res applied) error {
	if r.Node == nil {
		return errPermissionDenied
	}
	n := c.srv.state.Snapshot().Node(nil, r.Node.ID)
	if n == nil {
		return errGoneAgain
	}
	if err := c.mayRegister(r.Node, n); err != nil {
		return err
	}
	reply.SignedIdentity, _ = c.identityDue(n, true, time.Now())
	reply.Index, reply.NodeModifyIndex = res.index, res.index
	c.answerNode(n.ID, reply)
	return nil
}

// mayRegister checks the proof of who registers a node: the secret of a known
// one; for a new one an introduction, as far as the operator wants it.
func (c *leaderCall) mayRegister(n, before *structs.Node) error {
	if c.id.Node != nil && c.id.Node.ID != n.ID {
		return errPermissionDenied
	}
	if before != nil {
		if !sameSecret(before, n.SecretID) {
			return errNodeSecret
		}
		return nil
	}
	if i := c.id.Introduction; i != nil {
		if i.NodePool != n.NodePool || i.NodeName != "" && i.NodeName != n.Name {
			return errs.Newf(errs.PermissionDenied, "Permission denied: the introduction token is for the node pool %q and the node %q", i.NodePool, cmp.Or(i.NodeName, "*"))
		}
		return nil
	}
	switch c.srv.config.Introduction.Enforcement {
	case IntroductionStrict:
		return errs.New(errs.PermissionDenied, "Permission denied: a new node needs an introduction token")
	case IntroductionWarn:
		c.srv.logger.Warn("a new node registers without an introduction token", "node_id", n.ID, "name", n.Name, "pool", n.NodePool)
	}
	return nil
}

var nodeUpdateStatus = newLeader("Node.UpdateStatus", anyone[structs.NodeUpdateStatusRequest],
	func(ctx context.Context, c *leaderCall, r *structs.NodeUpdateStatusRequest, reply *structs.NodeUpdateResponse) error {
		if r.NodeID == "" {
			return errPermissionDenied
		}
		n := c.srv.state.Snapshot().Node(nil, r.NodeID)
		if n == nil {
			return errNodeNotFound // and the node registers again
		}
		if c.id.Node == nil || c.id.Node.ID != n.ID {
			return errPermissionDenied
		}
		if err := r.Validate(); err != nil {
			return err
		}
		now := time.Now()
		status := c.srv.statusInPool(n.NodePool, r.Status)
		entry := &structs.NodeUpdateStatusRequest{NodeID: n.ID, Status: status, UpdatedAt: now.Unix()}
		reply.SignedIdentity, entry.IdentitySigningKeyID = c.identityDue(n, r.ForceIdentityRenewal, now)
		newKey := entry.IdentitySigningKeyID != "" && entry.IdentitySigningKeyID != n.IdentitySigningKeyID
		if status != n.Status || newKey {
			if n.Status == structs.NodeStatusDown && status == structs.NodeStatusReady {
				entry.NodeEvent = structs.NewNodeEvent(structs.NodeEventSubsystemCluster, "Node reregistered by heartbeat", now)
			}
			if status == n.Status {
				entry.UpdatedAt = n.StatusUpdatedAt
			}
			index, err := c.commit(ctx, structs.NodeUpdateStatusRequestType, entry)
			if err != nil {
				return err
			}
			reply.Index, reply.NodeModifyIndex = index, index
		}
		c.answerNode(n.ID, reply)
		return nil
	})

// tellStatus answers a node whose first try changed its status.
func tellStatus(_ context.Context, c *leaderCall, r *structs.NodeUpdateStatusRequest, reply *structs.NodeUpdateResponse, res applied) error {
	n := c.srv.state.Snapshot().Node(nil, r.NodeID)
	switch {
	case n == nil:
		return errNodeNotFound
	case c.id.Node == nil || c.id.Node.ID != n.ID:
		return errPermissionDenied
	}
	reply.SignedIdentity, _ = c.identityDue(n, r.ForceIdentityRenewal, time.Now())
	reply.Index, reply.NodeModifyIndex = res.index, res.index
	c.answerNode(n.ID, reply)
	return nil
}

// statusInPool returns the status of a node of the pool: where pools are copied from
// another region it is not ready before its pool is there.
func (s *Server) statusInPool(pool, status string) string {
	if status == structs.NodeStatusReady && s.copies() && s.state.Snapshot().NodePool(nil, pool) == nil {
		return structs.NodeStatusInit
	}
	return status
}

// answerNode tells a node when to call again and whom, and expects it to.
func (c *leaderCall) answerNode(id string, reply *structs.NodeUpdateResponse) {
	sn := c.srv.state.Snapshot()
	n := sn.Node(nil, id)
	if n == nil { // purged at this moment
		return
	}
	reply.HeartbeatTTL = c.srv.heartbeats.called(id)
	if n.Status == structs.NodeStatusDown {
		c.srv.heartbeats.forget(id)
	}
	reply.SchedulingEligibility = n.SchedulingEligibility
	reply.LinkEpoch = n.LinkEpoch
	reply.NumNodes = int32(sn.NodeCount())
	reply.LeaderRPCAddr = c.srv.config.RPCAdvertise
	for _, server := range c.srv.router.InRegion(c.srv.config.Region) {
		if server.Status != serf.StatusAlive {
			continue
		}
		major, minor := majorMinor(server.Build)
		reply.Servers = append(reply.Servers, &structs.NodeServerInfo{RPCAdvertiseAddr: server.Addr,
			RPCMajorVersion: major, RPCMinorVersion: minor, Datacenter: server.Datacenter})
	}
}

// majorMinor returns the first two numbers of a version, 0 for what is none.
func majorMinor(version string) (major, minor int32) {
	parts := strings.SplitN(version, ".", 3)
	number := func(i int) int32 {
		if i >= len(parts) {
			return 0
		}
		n, _ := strconv.ParseInt(parts[i], 10, 32)
		return int32(n)
	}
	return number(0), number(1)
}

var nodeEmitEvents = newLeader("Node.EmitEvents", anyone[structs.EmitNodeEventsRequest],
	func(ctx context.Context, c *leaderCall, r *structs.EmitNodeEventsRequest, reply *structs.EmitNodeEventsResponse) (err error) {
		if c.id.Node == nil {
			return errPermissionDenied
		}
		if len(r.NodeEvents) == 0 {
			return errs.New(errs.Invalid, "no node events given")
		}
		for id := range r.NodeEvents {
			if id != c.id.Node.ID {
				return errPermissionDenied
			}
		}
		reply.Index, err = c.commit(ctx, structs.UpsertNodeEventsType, &structs.EmitNodeEventsRequest{NodeEvents: r.NodeEvents})
		return err
	})

// Register makes a node known, or tells what changed of it.
func (n *Node) Register(ctx context.Context, args *structs.NodeRegisterRequest, reply *structs.NodeUpdateResponse) error {
	return nodeRegister.serve(ctx, n.srv, args, reply)
}

// UpdateStatus takes a heartbeat.
func (n *Node) UpdateStatus(ctx context.Context, args *structs.NodeUpdateStatusRequest, reply *structs.NodeUpdateResponse) error {
	return nodeUpdateStatus.serve(ctx, n.srv, args, reply)
}

// EmitEvents adds events to the node that calls.
func (n *Node) EmitEvents(ctx context.Context, args *structs.EmitNodeEventsRequest, reply *structs.EmitNodeEventsResponse) error {
	return nodeEmitEvents.serve(ctx, n.srv, args, reply)
}
