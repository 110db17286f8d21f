package agent

import (
	"context"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/client"
	"github.com/cairn-project/cairn/internal/jsonrpc"
	"github.com/cairn-project/cairn/nomad/structs"
)

// operatorMethod is a method of the agent's own with the right that it needs.
type operatorMethod struct {
	jsonrpc.Method
	right right
}

// newOperatorMethod makes a method of a typed function; its schemas come from the types.
func newOperatorMethod[P, R any](name, summary string, need right, f func(context.Context, P) (R, error)) operatorMethod {
	return operatorMethod{jsonrpc.Method{
		Name: name, Summary: summary, Params: paramsFor[P](), Result: schemaFor[R](),
		Handler: jsonrpc.Func(f),
	}, need}
}

// newReading is newOperatorMethod for what changes nothing and takes no parameters.
func newReading[R any](name, summary string, f func(context.Context) (R, error)) operatorMethod {
	m := newOperatorMethod(name, summary, (*acl.ACL).AllowAgentRead, func(ctx context.Context, _ noParams) (R, error) { return f(ctx) })
	m.Parallel = true
	return m
}

// noParams are the parameters of methods that take none.
type noParams struct{}

type levelParams struct {
	Level string `json:"level"`
}

type levelResult struct {
	Level    string `json:"level"`
	Previous string `json:"previous"`
}

type metricsParams struct {
	// Regex selects metrics by name, "" for all.
	Regex string `json:"regex,omitempty"`
}

// serverStatus is the result of get_server_status.
type serverStatus struct {
	Node    string                       `json:"node"`
	ID      string                       `json:"id"`
	Region  string                       `json:"region"`
	Version string                       `json:"version"`
	Ready   bool                         `json:"ready"`
	Reason  string                       `json:"reason,omitempty"`
	Member  *structs.AgentMember         `json:"member"`
	Stats   map[string]map[string]string `json:"stats"`
}

// storageStatus is the result of get_storage_status.
type storageStatus struct {
	// Dir is "" when all is in memory.
	Dir string `json:"dir"`
	// LogStore is wal, boltdb or memory, none for an agent without a server.
	LogStore string `json:"log_store"`
	// Bytes are sizes of files by directory below Dir, "." for those in it.
	Bytes map[string]int64 `json:"bytes"`
	// Raft has the indexes of the log and of the newest snapshot.
	Raft map[string]string `json:"raft"`
}

// profileParams ask for a profile of this process.
type profileParams struct {
	// Kind is cpu, trace, cmdline, or the name of a profile such as heap.
	Kind string `json:"kind"`
	// Seconds is how long cpu and trace look, 1 by default.
	Seconds int `json:"seconds,omitempty"`
	// Text makes a profile by name text.
	Text bool `json:"text,omitempty"`
}

type profileResult struct {
	ContentType string `json:"content_type"`
	// Data is the profile in base64.
	Data []byte `json:"data"`
}

// pluginList is the result of admin_plugin_get_list.
type pluginList struct {
	Plugins []plugin `json:"plugins"`
}

// plugin is a program that offers methods.
type plugin struct {
	Provider string   `json:"provider"`
	Methods  []string `json:"methods"`
}

type noteParams struct {
	Text string `json:"text"`
}

// operatorMethods are the methods and notifications of this process.
func (n *rpcNode) operatorMethods() []operatorMethod {
	level := newOperatorMethod("admin_set_log_level", "set the log level of this agent until it stops or reloads",
		(*acl.ACL).AllowAgentWrite, n.setLogLevel)
	level.Privileged = true
	metrics := newOperatorMethod("get_metrics", "metrics of the last interval whose names match a regular expression",
		n.config.ACL.mayReadMetrics, n.getMetrics)
	metrics.Privileged = n.config.ACL.ProtectMetrics
	ops := newOperatorMethod("get_operations", "long work of this agent and of the region, newest first, with its steps; the last 100 of each are kept",
		(*acl.ACL).AllowAgentRead, n.getOperations)
	metrics.Parallel, ops.Parallel = true, true
	profile := newOperatorMethod("admin_profile", "take a profile of this process: cpu, trace, cmdline, or one by name such as heap; node_call with Agent.Profile takes one of a node's agent",
		func(a *acl.ACL) bool { return a.AllowAgentWrite() && a.AllowAgentDebug(n.config.EnableDebug) }, n.profile)
	profile.Privileged, profile.Timeout = true, time.Minute
	return []operatorMethod{
		profile, n.sendMethod(),
		newReading("admin_plugin_get_list", "the programs that offer methods through the agent's socket, and which", n.plugins),
		newReading("get_server_status", "what this server is and how it does", n.serverStatus),
		newReading("get_raft_stats", "what Raft says about itself on this server", func(context.Context) (map[string]string, error) {
			return n.server.Stats()["raft"], nil
		}),
		newReading("get_connection_tracker_info", "what is connected and under way on this agent", n.trackerInfo),
		newReading("get_storage_status", "where this server keeps its data, and how much", n.storageStatus),
		level, metrics, ops, n.flushMethod(),
		n.notification("log_line", "write a line into the log of this agent", func(_ context.Context, caller jsonrpc.Caller, text string) {
			n.logger.Info("line of an operator", "text", text, "caller", caller.String())
		}),
		n.notification("mark", "note in the log, the history of operations and the event stream that something happened", func(ctx context.Context, caller jsonrpc.Caller, text string) {
			n.logger.Info("mark", "text", text, "caller", caller.String())
			n.tellRegion(ctx, caller.Token, n.operations.note("mark", text, caller.String()))
		}),
	}
}

// notification makes a notification that takes a line of text.
func (n *rpcNode) notification(name, summary string, take func(context.Context, jsonrpc.Caller, string)) operatorMethod {
	m := newOperatorMethod(name, summary, (*acl.ACL).AllowAgentWrite, func(ctx context.Context, p noteParams) (noParams, error) {
		take(ctx, jsonrpc.CallerOf(ctx), p.Text)
		return noParams{}, nil
	})
	m.Kind, m.Result = jsonrpc.KindNotification, nil
	m.Params = []byte(`{"type":"object","required":["text"],"additionalProperties":false,"properties":{"text":{"type":"string","minLength":1,"maxLength":1024}}}`)
	return m
}

// flushMethod lets scripts see at once what they did to the metrics.
func (n *rpcNode) flushMethod() operatorMethod {
	m := newOperatorMethod("flush_metrics", "show in get_metrics and /v1/metrics what the interval that runs has counted, without waiting for its end",
		(*acl.ACL).AllowAgentWrite, func(context.Context, noParams) (noParams, error) {
			n.telemetry.flush()
			return noParams{}, nil
		})
	m.Kind, m.Result, m.Privileged = jsonrpc.KindNotification, nil, true
	return m
}

func (n *rpcNode) setLogLevel(_ context.Context, p levelParams) (levelResult, error) {
	if !validLevel(p.Level) {
		return levelResult{}, jsonrpc.InvalidParams("/level", "must be trace, debug, info, warn or error")
	}
	defer n.change()()
	was := n.logger.GetLevel().String()
	n.logger.SetLevel(hclog.LevelFromString(p.Level))
	return levelResult{Level: n.logger.GetLevel().String(), Previous: was}, nil
}

func (n *rpcNode) profile(ctx context.Context, p profileParams) (profileResult, error) {
	ask := &client.ProfileRequest{Kind: p.Kind, Seconds: p.Seconds}
	if p.Kind != "cpu" && p.Kind != "trace" && p.Kind != "cmdline" {
		ask.Kind, ask.Name = "lookup", p.Kind
	}
	if p.Text {
		ask.Debug = 1
	}
	got, err := client.TakeProfile(ctx, ask)
	if err != nil {
		return profileResult{}, err
	}
	return profileResult{ContentType: got.ContentType, Data: got.Payload}, nil
}

func (n *rpcNode) plugins(context.Context) (pluginList, error) {
	out := pluginList{Plugins: []plugin{}}
	for _, m := range n.rpc.Methods() {
		if m.Provider == jsonrpc.DefaultConfig().Provider {
			continue
		}
		at := slices.IndexFunc(out.Plugins, func(p plugin) bool { return p.Provider == m.Provider })
		if at < 0 {
			at = len(out.Plugins)
			out.Plugins = append(out.Plugins, plugin{Provider: m.Provider})
		}
		out.Plugins[at].Methods = append(out.Plugins[at].Methods, m.Name)
	}
	return out, nil
}

func (n *rpcNode) serverStatus(context.Context) (serverStatus, error) {
	out := serverStatus{Node: n.config.NodeName, ID: n.server.NodeID(), Region: n.config.Region, Version: n.config.Version.Version,
		Ready: true, Member: n.server.LocalMember(), Stats: n.server.Stats()}
	if err := n.server.Ready(); err != nil {
		out.Ready, out.Reason = false, err.Error()
	}
	return out, nil
}

func (n *rpcNode) getMetrics(_ context.Context, p metricsParams) (*metricsSummary, error) {
	re, err := regexp.Compile(p.Regex)
	if err != nil {
		return nil, jsonrpc.InvalidParams("/regex", err.Error())
	}
	s := n.telemetry.summary()
	out := &metricsSummary{Timestamp: s.Timestamp}
	for _, g := range s.Gauges {
		if re.MatchString(g.Name) {
			out.Gauges = append(out.Gauges, g)
		}
	}
	for _, g := range s.Points {
		if re.MatchString(g.Name) {
			out.Points = append(out.Points, g)
		}
	}
	for _, g := range s.Counters {
		if re.MatchString(g.Name) {
			out.Counters = append(out.Counters, g)
		}
	}
	for _, g := range s.Samples {
		if re.MatchString(g.Name) {
			out.Samples = append(out.Samples, g)
		}
	}
	out.Gauges, out.Points, out.Counters, out.Samples = list(out.Gauges), list(out.Points), list(out.Counters), list(out.Samples)
	return out, nil
}

func (n *rpcNode) storageStatus(ctx context.Context) (storageStatus, error) {
	out := storageStatus{Dir: n.config.ownDataDir(), LogStore: "memory", Bytes: map[string]int64{}, Raft: map[string]string{}}
	for name, v := range n.server.Stats()["raft"] {
		if strings.Contains(name, "index") || strings.Contains(name, "snapshot") {
			out.Raft[name] = v
		}
	}
	switch {
	case !n.config.Server.Enabled:
		out.LogStore = "none"
	case out.Dir != "":
		out.LogStore = n.config.Server.RaftLogStore.Backend
	}
	if out.Dir == "" {
		return out, nil
	}
	// Files come and go while the server works: what vanishes is not counted.
	err := filepath.WalkDir(out.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return ctx.Err()
		}
		if info, err := d.Info(); err == nil {
			dir, _ := filepath.Rel(out.Dir, filepath.Dir(path)) // path is below it
			out.Bytes[dir] += info.Size()
		}
		return ctx.Err()
	})
	return out, err
}
