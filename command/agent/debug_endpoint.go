package agent

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/client"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// whoseParams say which agent a route that debugs agents is about.
var whoseParams = []param{
	{name: "node_id", kind: "string", summary: "ask the agent of this node over its link"},
	{name: "server_id", kind: "string", summary: "ask this server of the region, by ID or name, or the leader as \"leader\""},
}

func debugRoutes() []route {
	profile := append([]param{
		{name: "seconds", kind: "integer", summary: "how long to look, 1 by default"},
		{name: "debug", kind: "integer", summary: "above 0 for text"},
		{name: "gc", kind: "integer", summary: "1 to collect garbage first"},
	}, whoseParams...)
	monitor := append([]param{
		{name: "log_level", kind: "string", summary: "trace, debug, info, warn or error; info by default"},
		{name: "log_json", kind: "boolean", summary: "lines in JSON"},
		{name: "log_include_location", kind: "boolean", summary: "lines with their place in the source"},
		{name: "plain", kind: "boolean", summary: "lines as they are, not in frames"},
	}, whoseParams...)
	export := append([]param{
		{name: "on_disk", kind: "boolean", summary: "the log file of the agent"},
		{name: "service_name", kind: "string", summary: "the journal of this unit of systemd"},
		{name: "logs_since", kind: "string", summary: "how far back the journal is read, 72h by default"},
		{name: "follow", kind: "boolean", summary: "go on with what comes into the journal"},
		{name: "plain", kind: "boolean", summary: "lines as they are, not in frames"},
	}, whoseParams...)
	return []route{
		local[structs.AgentHostResponse](doc{methods: "GET", pattern: "/v1/agent/host", rpc: "Agent.Host", region: true, params: whoseParams,
			summary: "Show what helps to debug the machine of an agent.", status: []int{404, 501, 503, 504}}, serveHost),
		local[nothing](doc{methods: "GET", pattern: "/v1/agent/pprof/{name}", rpc: "Agent.Profile", region: true, params: profile, media: "application/octet-stream",
			summary: "Take a profile of an agent: profile, trace, cmdline, or one by name such as heap.", status: []int{404, 429, 501, 503, 504}}, serveProfile),
		local[frame](doc{methods: "GET", pattern: "/v1/agent/monitor", region: true, params: monitor,
			summary: "Follow the log of an agent.", status: []int{404, 501, 503, 504}}, serveMonitor),
		local[frame](doc{methods: "GET", pattern: "/v1/agent/monitor/export", region: true, params: export,
			summary: "Read what an agent logged before.", status: []int{404, 422, 501, 503, 504}}, exportMonitor),
	}
}

// target returns the agent that a request is about, nil for this one.
func (r *request) target() (*structs.AgentTarget, error) {
	t := &structs.AgentTarget{NodeID: r.query.Get("node_id"), ServerID: r.query.Get("server_id")}
	switch {
	case t.NodeID != "" && t.ServerID != "":
		return nil, errs.New(errs.Invalid, "give node_id or server_id, not both")
	case *t == structs.AgentTarget{}:
		return nil, nil
	}
	return t, nil
}

// mayDebug reports whether the caller may look into the process.
func (r *request) mayDebug(a *acl.ACL) bool { return a.AllowAgentDebug(r.api.config.EnableDebug) }

// allowDebug is allow for right, which is about debugging.
func (r *request) allowDebug(right func(*acl.ACL) bool) error {
	err := r.allow(right)
	if errors.Is(err, errs.PermissionDenied) && !r.api.config.ACL.Enabled && !r.api.config.EnableDebug {
		return errs.New(errs.PermissionDenied, "Permission denied: this needs enable_debug in the agent's configuration while access control is off")
	}
	return err
}

// mayProfile is mayDebug for what costs the process something.
func (r *request) mayProfile(a *acl.ACL) bool { return a.AllowAgentWrite() && r.mayDebug(a) }

func serveHost(r *request) error {
	t, err := r.target()
	if err != nil {
		return err
	}
	if t != nil {
		args, reply := &structs.AgentHostRequest{AgentTarget: *t}, &structs.AgentHostResponse{}
		if err := r.readOptions(&args.QueryOptions); err != nil {
			return err
		}
		if err := r.api.server.RPC(r.Context(), "Agent.Host", args, reply); err != nil {
			return err
		}
		return r.writeJSON(http.StatusOK, reply)
	}
	if err := r.allowDebug(r.mayDebug); err != nil {
		return err
	}
	reply, err := client.DescribeHost(r.Context(), r.api.server.NodeID(), r.api.config.DataDir)
	if err != nil {
		return err
	}
	return r.writeJSON(http.StatusOK, reply)
}

// profileAsked reads what profile is wanted.
func (r *request) profileAsked() (*structs.AgentProfileRequest, error) {
	p := &structs.AgentProfileRequest{ReqType: "lookup", Profile: r.rest}
	switch r.rest {
	case "profile":
		p.ReqType, p.Profile = "cpu", ""
	case "trace", "cmdline":
		p.ReqType, p.Profile = r.rest, ""
	}
	for name, field := range map[string]*int{"seconds": &p.Seconds, "debug": &p.Debug, "gc": &p.GC} {
		text := r.query.Get(name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, errs.Newf(errs.Invalid, "%s: %q is no number", name, text)
		}
		*field = n
	}
	return p, nil
}

func serveProfile(r *request) error {
	asked, err := r.profileAsked()
	if err != nil {
		return err
	}
	t, err := r.target()
	if err != nil {
		return err
	}
	reply := &structs.AgentProfileResponse{}
	if t != nil {
		asked.AgentTarget = *t
		if err := r.readOptions(&asked.QueryOptions); err != nil {
			return err
		}
		err = r.api.server.RPC(r.Context(), "Agent.Profile", asked, reply)
	} else if err = r.allowDebug(r.mayProfile); err == nil {
		reply, err = takeProfile(r.Context(), asked)
	}
	if err != nil {
		return err
	}
	r.w.Header().Set("Content-Type", cmp.Or(reply.HTTPHeaders["Content-Type"], "application/octet-stream"))
	r.w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = r.w.Write(reply.Payload) // a client that went away needs no error
	return nil
}

func serveMonitor(r *request) error {
	ask := &client.MonitorRequest{LogLevel: r.query.Get("log_level")}
	plain := false
	for name, field := range map[string]*bool{"log_json": &ask.LogJSON, "log_include_location": &ask.LogIncludeLocation, "plain": &plain} {
		on, err := r.flag(name)
		if err != nil {
			return err
		}
		*field = on
	}
	if err := r.allow((*acl.ACL).AllowAgentRead); err != nil {
		return err
	}
	if ask.LogLevel != "" && hclog.LevelFromString(ask.LogLevel) == hclog.NoLevel {
		return errs.Newf(errs.Invalid, "log_level %q: must be trace, debug, info, warn or error", ask.LogLevel)
	}
	w := &frames{w: r.w, plain: plain}
	err := r.streamLog(w, "Agent.Monitor", ask, func() error {
		w.begin()
		_, err := client.FollowLog(r.Context(), r.api.root, ask, w)
		return err
	})
	if w.began { // what was sent cannot become an error
		return nil
	}
	return err
}

// streamLog has the agent that is meant stream its log to w, with own if that is this one.
func (r *request) streamLog(w io.Writer, method string, ask any, own func() error) error {
	t, err := r.target()
	switch {
	case err != nil:
		return err
	case t == nil:
		return own()
	}
	q := &structs.NodeCallRequest{NodeID: t.NodeID, ServerID: t.ServerID, Method: method}
	if err := r.readOptions(&q.QueryOptions); err != nil {
		return err
	}
	if q.Body, err = json.Marshal(ask); err != nil {
		return err
	}
	_, err = r.api.server.StreamNode(r.Context(), q, w)
	return err
}

// exportMonitor answers with what an agent logged before. Where that breaks off the
// connection does, too, so that nobody takes the part for the whole.
func exportMonitor(r *request) error {
	ask := &client.LogExportRequest{ServiceName: r.query.Get("service_name"), LogsSince: r.query.Get("logs_since")}
	plain := false
	for name, field := range map[string]*bool{"on_disk": &ask.OnDisk, "follow": &ask.Follow, "plain": &plain} {
		on, err := r.flag(name)
		if err != nil {
			return err
		}
		*field = on
	}
	if err := r.allow((*acl.ACL).AllowAgentRead); err != nil {
		return err
	}
	if err := ask.Validate(); err != nil {
		r.writeText(http.StatusUnprocessableEntity, err.Error())
		return nil
	}
	w := &frames{w: r.w, plain: plain}
	err := r.streamLog(w, "Agent.MonitorExport", ask, func() error {
		_, err := client.ExportLog(r.Context(), r.api.config.logPath(), ask, w)
		return err
	})
	switch {
	case err == nil && !w.began:
		w.begin()
	case err != nil && w.began:
		panic(http.ErrAbortHandler)
	}
	return err
}

// frame holds lines of a log. Frames follow each other without anything between.
type frame struct{ Data []byte }

// frames writes the lines of a log as frames of the public API, or as they are, and
// lets each go at once.
type frames struct {
	w http.ResponseWriter
	// plain writes the data as it is, of the type media, text if that is "".
	plain bool
	media string
	began bool
}

// begin sends the headers.
func (f *frames) begin() {
	f.began = true
	if f.plain {
		f.w.Header().Set("Content-Type", cmp.Or(f.media, "text/plain; charset=utf-8"))
	} else {
		f.w.Header().Set("Content-Type", "application/json")
	}
	f.flush()
}

func (f *frames) flush() {
	_ = http.NewResponseController(f.w).Flush() // a writer that holds nothing back
}

// frameWriteTimeout bounds a write to a reader that is behind.
const frameWriteTimeout = 30 * time.Second

// Write sends data.
func (f *frames) Write(b []byte) (int, error) {
	if !f.began {
		f.begin()
	}
	_ = http.NewResponseController(f.w).SetWriteDeadline(time.Now().Add(frameWriteTimeout))
	out := b
	if !f.plain {
		var err error
		if out, err = json.Marshal(frame{b}); err != nil {
			return 0, err
		}
	}
	if _, err := f.w.Write(out); err != nil {
		return 0, err
	}
	f.flush()
	return len(b), nil
}
