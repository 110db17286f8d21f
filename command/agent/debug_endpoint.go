package agent

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/client"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/structs"
)

// whoseParams say which agent a route that debugs agents is about.
var whoseParams = []param{
	{name: "node_id", kind: "string", summary: "ask the agent of this node over its link"},
	{name: "server_id", kind: "string", summary: "must name this server, by ID or name; servers are asked at their own HTTP address"},
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
	return []route{
		local[client.HostReply](doc{methods: "GET", pattern: "/v1/agent/host", rpc: "NodeLink.Call", region: true, params: whoseParams,
			summary: "Show what helps to debug the machine of an agent.", status: []int{404, 501, 503, 504}}, serveHost),
		local[nothing](doc{methods: "GET", pattern: "/v1/agent/pprof/{name}", rpc: "NodeLink.Call", region: true, params: profile, media: "application/octet-stream",
			summary: "Take a profile of an agent: profile, trace, cmdline, or one by name such as heap.", status: []int{404, 429, 501, 503, 504}}, serveProfile),
		local[frame](doc{methods: "GET", pattern: "/v1/agent/monitor", region: true, params: monitor,
			summary: "Follow the log of an agent.", status: []int{404, 501, 503, 504}}, serveMonitor),
	}
}

// here returns an error if the request names another server than this one.
func (r *request) here() error {
	id := r.query.Get("server_id")
	if id == "" || id == r.api.server.NodeID() || id == r.api.config.NodeName || id == r.api.config.NodeName+"."+r.api.config.Region {
		return nil
	}
	return errs.Newf(errs.Invalid, "this agent answers for itself only: ask the HTTP address of the server %q, which `cairn server members` shows", id)
}

// mayDebug reports whether the caller may look into the process.
func (r *request) mayDebug(a *acl.ACL) bool { return a.AllowAgentDebug(r.api.config.EnableDebug) }

// mayProfile is mayDebug for what costs the process something.
func (r *request) mayProfile(a *acl.ACL) bool { return a.AllowAgentWrite() && r.mayDebug(a) }

// callAgent calls a method of the agent of a node.
func (r *request) callAgent(id, method string, args, reply any) error {
	body, err := json.Marshal(args)
	if err != nil {
		return err
	}
	q, answer := &structs.NodeCallRequest{NodeID: id, Method: method, Body: body}, &structs.NodeCallResponse{}
	if err := r.readOptions(&q.QueryOptions); err != nil {
		return err
	}
	if err := r.api.server.RPC(r.Context(), "NodeLink.Call", q, answer); err != nil {
		return err
	}
	if f := answer.Failure; f != nil {
		return (&nodelink.Failure{Outcome: nodelink.Outcome(f.Outcome), Kind: nodelink.Kind(f.Kind), Help: f.Help, Errata: f.Errata, RetryAfter: f.RetryAfter}).Unwrap()
	}
	return json.Unmarshal(answer.Result, reply)
}

func serveHost(r *request) error {
	if id := r.query.Get("node_id"); id != "" {
		reply := &client.HostReply{}
		if err := r.callAgent(id, "Agent.Host", struct{}{}, reply); err != nil {
			return err
		}
		return r.writeJSON(http.StatusOK, reply)
	}
	if err := r.allow(r.mayDebug); err != nil {
		return err
	}
	if err := r.here(); err != nil {
		return err
	}
	reply, err := client.DescribeHost(r.Context(), r.api.server.NodeID(), r.api.config.DataDir)
	if err != nil {
		return err
	}
	return r.writeJSON(http.StatusOK, reply)
}

// profileAsked reads what profile is wanted.
func (r *request) profileAsked() (*client.ProfileRequest, error) {
	p := &client.ProfileRequest{Kind: "lookup", Name: r.rest}
	switch r.rest {
	case "profile":
		p.Kind, p.Name = "cpu", ""
	case "trace", "cmdline":
		p.Kind, p.Name = r.rest, ""
	}
	for name, field := range map[string]*int{"seconds": &p.Seconds, "debug": &p.Debug} {
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
	p.GC = r.query.Get("gc") == "1"
	return p, nil
}

func serveProfile(r *request) error {
	asked, err := r.profileAsked()
	if err != nil {
		return err
	}
	reply := &client.ProfileReply{}
	if id := r.query.Get("node_id"); id != "" {
		err = r.callAgent(id, "Agent.Profile", asked, reply)
	} else if err = r.allow(r.mayProfile); err == nil {
		if err = r.here(); err == nil {
			reply, err = client.TakeProfile(r.Context(), asked)
		}
	}
	if err != nil {
		return err
	}
	r.w.Header().Set("Content-Type", cmp.Or(reply.ContentType, "application/octet-stream"))
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
	id := r.query.Get("node_id")
	var err error
	if id == "" {
		if err = r.here(); err == nil {
			w.begin()
			_, err = client.FollowLog(r.Context(), r.api.root, ask, w)
		}
	} else {
		q := &structs.NodeCallRequest{NodeID: id, Method: "Agent.Monitor"}
		if err = r.readOptions(&q.QueryOptions); err == nil {
			if q.Body, err = json.Marshal(ask); err == nil {
				_, err = r.api.server.StreamNode(r.Context(), q, w)
			}
		}
	}
	if w.began { // what was sent cannot become an error
		return nil
	}
	return err
}

// frame holds lines of a log. Frames follow each other without anything between.
type frame struct{ Data []byte }

// frames writes the lines of a log as frames of the public API, or as they are, and
// lets each go at once.
type frames struct {
	w     http.ResponseWriter
	plain bool
	began bool
}

// begin sends the headers.
func (f *frames) begin() {
	f.began = true
	if f.plain {
		f.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
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
