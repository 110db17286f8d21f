package client

import (
	"context"
	"errors"
	"time"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"
	hostinfo "github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/mem"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// statsWindow is the time over which the use of cores is measured.
const statsWindow = 200 * time.Millisecond

// stats tells how busy the machine is. It takes statsWindow.
func (h *host) stats(ctx context.Context) (*structs.HostStats, error) {
	out := &structs.HostStats{Timestamp: time.Now().UnixNano()}
	var err, bad error
	m, bad := mem.VirtualMemoryWithContext(ctx)
	err = errors.Join(err, bad)
	if m != nil {
		out.Memory = &structs.HostMemoryStats{Total: m.Total, Available: m.Available, Used: m.Used, Free: m.Free}
	}
	out.Uptime, bad = hostinfo.UptimeWithContext(ctx)
	err = errors.Join(err, bad)
	_, resources := h.describe()
	mhz := float64(resources.Cpu.CpuShares) / float64(max(1, resources.Cpu.TotalCpuCores))
	out.CPU, bad = cores(ctx, mhz)
	err = errors.Join(err, bad)
	for _, c := range out.CPU {
		out.CPUTicksConsumed += c.TotalTicks
	}
	out.DiskStats, bad = disks(ctx)
	err = errors.Join(err, bad)
	if u, bad := disk.UsageWithContext(ctx, h.dir); bad == nil {
		out.AllocDirStats = diskStats("", u)
	} else {
		err = errors.Join(err, bad)
	}
	if out.Memory == nil && len(out.CPU) == 0 && err != nil {
		return nil, errs.Wrap(errs.Unavailable, "the node's agent cannot tell how busy the machine is", err)
	}
	if err != nil {
		h.logger.Debug("part of the machine's use is not known", "error", err)
	}
	return out, nil
}

// cores tells how busy each core is over statsWindow.
func cores(ctx context.Context, mhz float64) ([]*structs.HostCPUStats, error) {
	before, err := cpu.TimesWithContext(ctx, true)
	if err != nil {
		return nil, err
	}
	if !sleep(ctx, statsWindow) {
		return nil, ctx.Err()
	}
	after, err := cpu.TimesWithContext(ctx, true)
	if err != nil {
		return nil, err
	}
	var out []*structs.HostCPUStats
	for i := range min(len(before), len(after)) {
		b, a := before[i], after[i]
		total := max(busy(a)+a.Idle+a.Iowait-busy(b)-b.Idle-b.Iowait, 1e-9)
		percent := func(d float64) float64 { return min(100, max(0, 100*d/total)) }
		c := &structs.HostCPUStats{CPU: a.CPU, User: percent(a.User - b.User), System: percent(a.System - b.System),
			Idle: percent(a.Idle + a.Iowait - b.Idle - b.Iowait), TotalPercent: percent(busy(a) - busy(b))}
		c.TotalTicks = c.TotalPercent / 100 * mhz
		out = append(out, c)
	}
	return out, nil
}

// busy is the time in which a core did anything. Guests are counted as users.
func busy(t cpu.TimesStat) float64 {
	return t.User + t.System + t.Nice + t.Irq + t.Softirq + t.Steal
}

// maxDisks bounds how many file systems are told of.
const maxDisks = 64

func disks(ctx context.Context) ([]*structs.HostDiskStats, error) {
	parts, err := disk.PartitionsWithContext(ctx, false)
	out := []*structs.HostDiskStats{}
	for _, p := range parts {
		if len(out) == maxDisks {
			break
		}
		if u, err := disk.UsageWithContext(ctx, p.Mountpoint); err == nil && u.Total > 0 {
			out = append(out, diskStats(p.Device, u))
		}
	}
	return out, err
}

func diskStats(device string, u *disk.UsageStat) *structs.HostDiskStats {
	return &structs.HostDiskStats{Device: device, Mountpoint: u.Path, Size: u.Total, Used: u.Used, Available: u.Free,
		UsedPercent: u.UsedPercent, InodesUsedPercent: u.InodesUsedPercent}
}
