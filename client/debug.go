package client

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/shirou/gopsutil/v4/disk"
	hostinfo "github.com/shirou/gopsutil/v4/host"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/structs"
)

// maxText bounds a file of HostData, in bytes.
const maxText = 64 << 10

// mayDebug refuses what needs a token or enable_debug.
func (c *Client) mayDebug(call *nodelink.Call) error {
	if !c.config.EnableDebug && (call.Caller == "" || call.Caller == disabledAccessor) {
		return errs.New(errs.PermissionDenied, "this needs a token, or enable_debug in the agent's configuration while access control is off")
	}
	return nil
}

func (c *Client) hostData(ctx context.Context, call *nodelink.Call, _ *nothing) (*structs.AgentHostResponse, error) {
	if err := c.mayDebug(call); err != nil {
		return nil, err
	}
	return DescribeHost(ctx, c.identity.nodeID, c.state.path)
}

// DescribeHost returns what helps to debug the machine of the agent with the ID, and
// the use of the disk of dir, "" for none.
func DescribeHost(ctx context.Context, id, dir string) (*structs.AgentHostResponse, error) {
	d := &structs.HostData{}
	out := &structs.AgentHostResponse{AgentID: id, HostData: d}
	d.ResolvConf, d.Hosts = textFile("/etc/resolv.conf"), textFile("/etc/hosts")
	d.Environment, d.Disk, d.Network = environment(os.Environ()), map[string]structs.DiskUsage{}, []map[string]string{}
	if info, err := hostinfo.InfoWithContext(ctx); err == nil {
		d.OS = strings.Join([]string{info.OS, info.Platform, info.PlatformVersion, info.KernelVersion, info.KernelArch}, " ")
	}
	if parts, err := disks(ctx); err == nil {
		for _, p := range parts {
			d.Disk[p.Mountpoint] = structs.DiskUsage{DiskMB: int64(p.Size >> 20), UsedMB: int64(p.Used >> 20)}
		}
	}
	if u, err := disk.UsageWithContext(ctx, dir); err == nil && dir != "" {
		d.Disk[dir] = structs.DiskUsage{DiskMB: int64(u.Total >> 20), UsedMB: int64(u.Used >> 20)}
	}
	all, err := net.Interfaces()
	if err != nil {
		return nil, errs.Wrap(errs.Internal, "the network interfaces cannot be listed", err)
	}
	for _, i := range all {
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			d.Network = append(d.Network, map[string]string{"name": i.Name, "address": a.String(), "flags": i.Flags.String()})
		}
	}
	return out, nil
}

// textFile returns the beginning of a file, "" if it cannot be read.
func textFile(name string) string {
	b, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	return string(b[:min(len(b), maxText)])
}

// plainVariables are those of the environment whose values are no secret.
var plainVariables = map[string]bool{"PATH": true, "HOME": true, "LANG": true, "USER": true, "PWD": true, "TZ": true, "SHELL": true,
	"GOMAXPROCS": true, "GOGC": true, "GOMEMLIMIT": true, "GODEBUG": true}

// masked stands for a value that is not shown.
const masked = "<redacted>"

func environment(all []string) map[string]string {
	out := map[string]string{}
	for _, kv := range all {
		key, value, _ := strings.Cut(kv, "=")
		if !plainVariables[key] {
			value = masked
		}
		out[key] = value
	}
	return out
}

// ProfileRequest is the argument of Agent.Profile.
type ProfileRequest struct {
	// Kind is cpu, trace, cmdline or lookup; Name is the profile of a lookup, such as heap.
	Kind, Name string
	// Seconds is how long cpu and trace look, 1 by default.
	Seconds int
	// Debug above 0 makes a lookup text, GC collects garbage first.
	Debug int
	GC    bool
}

// ProfileReply answers it.
type ProfileReply struct {
	Payload     []byte
	ContentType string
}

// maxProfileSeconds bounds how long a profile looks: less than a call may take.
const maxProfileSeconds = 25

// profiling is true while a profile of the process runs: there is one of a kind at a time.
var profiling atomic.Bool

func (c *Client) profile(ctx context.Context, call *nodelink.Call, r *ProfileRequest) (*ProfileReply, error) {
	if err := c.mayDebug(call); err != nil {
		return nil, err
	}
	return TakeProfile(ctx, r)
}

// TakeProfile looks at this process. Whoever asks was allowed to.
func TakeProfile(ctx context.Context, r *ProfileRequest) (*ProfileReply, error) {
	if r.Seconds < 0 || r.Seconds > maxProfileSeconds {
		return nil, errs.Newf(errs.Invalid, "Seconds: must be from 0 to %d", maxProfileSeconds)
	}
	out := &bytes.Buffer{}
	binary := &ProfileReply{ContentType: "application/octet-stream"}
	var err error
	switch r.Kind {
	case "cpu":
		err = during(ctx, r, func() error { return pprof.StartCPUProfile(out) }, pprof.StopCPUProfile)
	case "trace":
		err = during(ctx, r, func() error { return trace.Start(out) }, trace.Stop)
	case "cmdline":
		return &ProfileReply{[]byte(strings.Join(os.Args, "\x00")), "text/plain; charset=utf-8"}, nil
	case "lookup":
		p := pprof.Lookup(r.Name)
		if p == nil {
			return nil, errs.Newf(errs.NotFound, "there is no profile %q", r.Name)
		}
		if r.GC {
			runtime.GC()
		}
		if r.Debug > 0 {
			binary.ContentType = "text/plain; charset=utf-8"
		}
		err = p.WriteTo(out, r.Debug)
	default:
		return nil, errs.Newf(errs.Invalid, "unknown kind %q of profile: must be cpu, trace, cmdline or lookup", r.Kind)
	}
	binary.Payload = out.Bytes()
	return binary, err
}

// during runs a profile for the time asked for.
func during(ctx context.Context, r *ProfileRequest, start func() error, stop func()) error {
	if !profiling.CompareAndSwap(false, true) {
		return errs.New(errs.Busy, "another profile of the agent runs: wait for its end").WithRetryAfter(time.Second)
	}
	defer profiling.Store(false)
	if err := start(); err != nil {
		return errs.Wrap(errs.Busy, "another profile of the agent runs: wait for its end", err).WithRetryAfter(time.Second)
	}
	defer stop()
	if !sleep(ctx, time.Duration(max(1, r.Seconds))*time.Second) {
		return ctx.Err()
	}
	return nil
}

// MonitorRequest is the argument of Agent.Monitor.
type MonitorRequest struct {
	// LogLevel is trace, debug, info, warn or error, info by default.
	LogLevel           string
	LogJSON            bool
	LogIncludeLocation bool
}

// monitorBuffer is how many log lines may wait for a slow reader; more are dropped
// and counted.
const monitorBuffer = 512

// lines is a log sink that never blocks whoever logs.
type lines struct {
	ch      chan []byte
	dropped atomic.Int64
}

// Write takes one line.
func (l *lines) Write(b []byte) (int, error) {
	select {
	case l.ch <- bytes.Clone(b):
	default:
		l.dropped.Add(1)
	}
	return len(b), nil
}

// MonitorReply ends the stream of a log.
type MonitorReply struct{ Dropped int64 }

func (c *Client) monitor(ctx context.Context, call *nodelink.Call, r *MonitorRequest) (*MonitorReply, error) {
	return FollowLog(ctx, c.config.Logger, r, call)
}

// FollowLog writes what is logged from now on to w, until ctx ends or w fails.
func FollowLog(ctx context.Context, logger hclog.Logger, r *MonitorRequest, w io.Writer) (*MonitorReply, error) {
	level := hclog.Info
	if r.LogLevel != "" {
		level = hclog.LevelFromString(r.LogLevel)
	}
	if level == hclog.NoLevel {
		return nil, errs.Newf(errs.Invalid, "LogLevel %q: must be trace, debug, info, warn or error", r.LogLevel)
	}
	source, ok := logger.(hclog.InterceptLogger)
	if !ok {
		return nil, errs.New(errs.Unsupported, "the log of this agent cannot be followed")
	}
	out := &lines{ch: make(chan []byte, monitorBuffer)}
	sink := hclog.NewSinkAdapter(&hclog.LoggerOptions{Level: level, Output: out, JSONFormat: r.LogJSON, IncludeLocation: r.LogIncludeLocation})
	source.RegisterSink(sink)
	defer source.DeregisterSink(sink)
	for {
		select {
		case <-ctx.Done():
			return &MonitorReply{out.dropped.Load()}, ctx.Err()
		case line := <-out.ch:
			if _, err := w.Write(line); err != nil {
				return nil, err
			}
		}
	}
}
