package agent

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/drpc/agentpb"
	"github.com/cairn-project/cairn/internal/drpc"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/nodelink"
)

// How a workload answered a ping, beside nodelink.WorkloadSilent and
// nodelink.WorkloadUnreachable.
const (
	pingedOK     = "ok"
	pingedFailed = "failed"
)

// maxPings bounds how many workloads are asked at a time.
const maxPings = 16

// pingWorkloads answers 208.
func (s *agentSockets) pingWorkloads(ctx context.Context, req *drpc.Request, in *agentpb.PingWorkloadsRequest) (*agentpb.PingedWorkloads, error) {
	if in.LogLevel != "" {
		if hclog.LevelFromString(in.LogLevel) == hclog.NoLevel {
			return nil, errs.Newf(errs.Invalid, "log level %q: must be trace, debug, info, warn, error or off", in.LogLevel)
		}
		s.logger.Info("setting the log level of workloads", "peer", req.Peer.String(), "name", in.Name, "level", in.LogLevel)
	}
	var asked []workload
	s.workloads.mu.Lock()
	for _, l := range s.workloads.bySession {
		if !l.exited && (in.Name == "" || in.Name == l.name) {
			asked = append(asked, *l)
		}
	}
	s.workloads.mu.Unlock()
	slices.SortFunc(asked, func(a, b workload) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.peer.PID, b.peer.PID))
	})
	out := &agentpb.PingedWorkloads{Workloads: make([]*agentpb.PingedWorkload, len(asked))}
	slots := make(chan struct{}, maxPings)
	var wg sync.WaitGroup
	for i := range asked {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			out.Workloads[i] = asked[i].ping(ctx, in.LogLevel)
		})
	}
	wg.Wait()
	return out, nil
}

// ping asks one workload whether it is there, and sets its log level unless that is "".
func (l *workload) ping(ctx context.Context, level string) *agentpb.PingedWorkload {
	out := &agentpb.PingedWorkload{Name: l.name, Uid: uint32(l.peer.UID), Pid: int32(l.peer.PID), State: nodelink.WorkloadSilent}
	if l.socket == "" {
		return out
	}
	began := time.Now()
	err := l.ask(ctx, methodWorkloadPing, &agentpb.WorkloadPing{LogLevel: level}, &agentpb.WorkloadPingReply{})
	out.TookUs = time.Since(began).Microseconds()
	switch {
	case err == nil:
		out.State = pingedOK
	case errors.Is(err, errs.Unavailable) || errors.Is(err, errs.Deadline):
		out.State, out.Text = nodelink.WorkloadUnreachable, err.Error()
	default:
		out.State, out.Text = pingedFailed, err.Error()
	}
	return out
}
