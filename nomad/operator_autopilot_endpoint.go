package nomad

import (
	"context"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

var operatorAutopilotGet = newRead("Operator.AutopilotGetConfiguration", []string{state.Autopilot.Name()},
	func(a *acl.ACL, _ *structs.GenericRequest) bool { return a.AllowOperatorRead() },
	func(v *view, _ *structs.GenericRequest, reply *structs.AutopilotConfigResponse) error {
		if reply.Config = v.AutopilotConfig(v.ws); reply.Config == nil {
			return errs.New(errs.Unavailable, "the region has no settings of autopilot yet: its leader stores them when it begins to lead, try again")
		}
		return nil
	})

var operatorAutopilotSet = newLeader("Operator.AutopilotSetConfiguration",
	func(a *acl.ACL, _ *structs.AutopilotRequest) bool { return a.AllowOperatorWrite() },
	func(ctx context.Context, c *leaderCall, r *structs.AutopilotRequest, reply *structs.AutopilotSetConfigResponse) error {
		if err := r.Config.Validate(); err != nil {
			return err
		}
		if !c.srv.router.MeetsMinimumVersion(c.srv.config.Region, autopilotSince, false) {
			return errs.New(errs.Unsupported, "not every server of the region knows settings of autopilot: upgrade all of them first")
		}
		res, err := c.apply(ctx, structs.AutopilotRequestType, &structs.AutopilotRequest{Config: r.Config, CAS: r.CAS})
		if err != nil {
			return err
		}
		if err = tellAutopilotSet(ctx, c, r, reply, res); err == nil && reply.Updated {
			c.srv.logger.Info("settings of autopilot changed", "cleanup_dead_servers", r.Config.CleanupDeadServers,
				"min_quorum", r.Config.MinQuorum, "by", caller(c))
		}
		return err
	})

// tellAutopilotSet answers with what the store did.
func tellAutopilotSet(_ context.Context, _ *leaderCall, _ *structs.AutopilotRequest, reply *structs.AutopilotSetConfigResponse, res applied) error {
	reply.Updated, reply.Index = len(res.rows()) > 0, res.index
	return nil
}

// operatorServerHealth tells what the last look saw. A leader that begins has not
// looked yet and is waited for.
var operatorServerHealth = newRead("Operator.ServerHealth", nil,
	func(a *acl.ACL, _ *structs.GenericRequest) bool { return a.AllowOperatorRead() },
	func(v *view, _ *structs.GenericRequest, reply *structs.OperatorHealthReply) error {
		a := v.srv.autopilot.now.Load()
		if a == nil || !waitFor(a.looked, 2*lookTimeout) {
			return errs.New(errs.Unavailable, "the leader has not looked at the servers yet: try again")
		}
		*reply = *a.health.Load()
		return nil
	}).onLeader()

var _ = operatorsOnly(operatorAutopilotSet.methodInfo)

// AutopilotGetConfiguration returns the settings of autopilot.
func (o *Operator) AutopilotGetConfiguration(ctx context.Context, args *structs.GenericRequest, reply *structs.AutopilotConfigResponse) error {
	return operatorAutopilotGet.serve(ctx, o.srv, args, reply)
}

// AutopilotSetConfiguration replaces the settings of autopilot.
func (o *Operator) AutopilotSetConfiguration(ctx context.Context, args *structs.AutopilotRequest, reply *structs.AutopilotSetConfigResponse) error {
	return operatorAutopilotSet.serve(ctx, o.srv, args, reply)
}

// ServerHealth returns the health of the servers as their leader sees it.
func (o *Operator) ServerHealth(ctx context.Context, args *structs.GenericRequest, reply *structs.OperatorHealthReply) error {
	return operatorServerHealth.serve(ctx, o.srv, args, reply)
}
