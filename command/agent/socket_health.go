package agent

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cairn-project/cairn/drpc/agentpb"
	"github.com/cairn-project/cairn/internal/drpc"
)

// The states of health, worst last.
const (
	stateHealthy   = "healthy"
	stateDegraded  = "degraded"
	stateUnhealthy = "unhealthy"
)

// A disk whose room is below both is a reason to worry: the part alone would be half a
// terabyte of a large disk, the bytes alone more than a small one has.
const (
	lowDiskPart  = 0.05
	lowDiskBytes = 10 << 30
)

func diskIsLow(free, total uint64) bool {
	return free < lowDiskBytes && float64(free) < lowDiskPart*float64(total)
}

// health answers 203.
func (s *agentSockets) health(context.Context, *drpc.Request, *agentpb.HealthRequest) (*agentpb.Health, error) {
	raft := s.server.Stats()["raft"]
	applied, _ := strconv.ParseUint(raft["applied_index"], 10, 64) // 0 where it is not told
	out := &agentpb.Health{
		State: stateHealthy, AppliedIndex: applied, RaftState: raft["state"],
		UptimeSeconds: int64(time.Since(s.started) / time.Second),
	}
	if err := s.server.Ready(); err != nil {
		out.State = stateUnhealthy
		out.Reasons = append(out.Reasons, err.Error())
	}
	if out.Link = s.link(); strings.HasPrefix(out.Link, "down") {
		worry(out, "the link to the servers is "+out.Link)
	}
	s.addDisk(out)
	s.addWorkloads(out)
	for _, session := range s.sessions().Sessions {
		out.Sessions++
		out.Calls += session.Calls
	}
	return out, nil
}

// addDisk looks at the disk of the data directory.
func (s *agentSockets) addDisk(out *agentpb.Health) {
	if s.dataDir == "" {
		return
	}
	var err error
	if out.DiskFreeBytes, out.DiskTotalBytes, err = s.diskRoom(s.dataDir); err != nil {
		worry(out, fmt.Sprintf("the disk of %s cannot be looked at: %v", s.dataDir, err))
		return
	}
	if free, total := out.DiskFreeBytes, out.DiskTotalBytes; diskIsLow(free, total) {
		worry(out, fmt.Sprintf("the disk of %s has %.1f%% left, %d MiB", s.dataDir, 100*float64(free)/float64(total), free>>20))
	}
}

// diskRoom returns, in bytes, what others than root can still write to the disk of dir, and its size.
func diskRoom(dir string) (free, total uint64, err error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return 0, 0, err
	}
	return fs.Bavail * uint64(fs.Bsize), fs.Blocks * uint64(fs.Bsize), nil
}

// addWorkloads counts what the agent looks after.
func (s *agentSockets) addWorkloads(out *agentpb.Health) {
	all, notHealthy := s.workloads.count()
	out.Workloads, out.WorkloadsNotHealthy, out.Locks = int32(all), int32(notHealthy), int32(s.locks.count(nil))
	if out.PreparingShutdown = s.workloads.leavingNow(); out.PreparingShutdown {
		worry(out, "the agent prepares its shutdown")
	}
	if notHealthy > 0 {
		worry(out, fmt.Sprintf("%d of %d workloads say that they are not healthy", notHealthy, all))
	}
}

// worry adds a reason for which the agent is degraded.
func worry(out *agentpb.Health, reason string) {
	out.Reasons = append(out.Reasons, reason)
	if out.State == stateHealthy {
		out.State = stateDegraded
	}
}
