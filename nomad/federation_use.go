package nomad

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hashicorp/serf/serf"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/router"
	"github.com/cairn-project/cairn/nomad/structs"
)

// useTimeout bounds the question whether another region uses something.
const useTimeout = 5 * time.Second

// unlessUsed makes a deletion ask first whether another region still uses what would go.
func (m *writeMethod[Req, Resp]) unlessUsed(used func(context.Context, *Server, *Req, string) error) *writeMethod[Req, Resp] {
	run := m.run
	m.run = func(ctx context.Context, c *leaderCall, args *Req, reply *Resp) error {
		if c.srv.federated() {
			for _, region := range c.srv.otherRegions() {
				if err := used(ctx, c.srv, args, region); err != nil {
					return err
				}
			}
		}
		return run(ctx, c, args, reply)
	}
	return m
}

// otherRegions returns the regions that have not left for good.
func (s *Server) otherRegions() []string {
	return slices.DeleteFunc(s.router.Regions(), func(region string) bool {
		stays := func(srv router.Server) bool { return srv.Status != serf.StatusLeft }
		return region == s.config.Region || !slices.ContainsFunc(s.router.InRegion(region), stays)
	})
}

// asksRegion asks another region in the name of the caller. Where the caller may not
// look, nobody knows: that region keeps its copy as long as it uses it.
func (s *Server) asksRegion(ctx context.Context, region, method string, args, reply any) error {
	ctx, cancel := context.WithTimeout(ctx, useTimeout)
	defer cancel()
	err := s.RPC(ctx, method, args, reply)
	if errors.Is(err, errs.PermissionDenied) || errors.Is(err, errs.NotFound) {
		return nil
	}
	if err != nil {
		return errs.Newf(errs.Unavailable, "region %q does not say whether it still uses what is to be deleted (%w): try again when it can be reached, or take a region that is gone for good out with `cairn server force-leave`", region, err)
	}
	return nil
}

// namespacesUsed refuses the deletion of namespaces that hold variables in the region.
func namespacesUsed(ctx context.Context, s *Server, r *structs.NamespaceDeleteRequest, region string) error {
	for _, name := range r.Namespaces {
		var reply structs.VariablesListResponse
		q := structs.QueryOptions{Region: region, Namespace: name, PerPage: 1, AuthToken: r.AuthToken}
		if err := s.asksRegion(ctx, region, variableList.name, &structs.VariablesListRequest{QueryOptions: q}, &reply); err != nil {
			return err
		}
		if len(reply.Data) > 0 {
			return errs.Newf(errs.PreconditionFailed, "namespace %q has variables in region %q: delete them first", name, region)
		}
	}
	return nil
}

// nodePoolsUsed refuses the deletion of node pools that have nodes in the region.
func nodePoolsUsed(ctx context.Context, s *Server, r *structs.NodePoolDeleteRequest, region string) error {
	for _, name := range r.Names {
		var reply structs.NodePoolNodesResponse
		q := structs.QueryOptions{Region: region, PerPage: 1, AuthToken: r.AuthToken}
		if err := s.asksRegion(ctx, region, nodePoolNodes.name, &structs.NodePoolNodesRequest{Name: name, QueryOptions: q}, &reply); err != nil {
			return err
		}
		if len(reply.Nodes) > 0 {
			return errs.Newf(errs.PreconditionFailed, "node pool %q has nodes in region %q: move or purge them first", name, region)
		}
	}
	return nil
}
