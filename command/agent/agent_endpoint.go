package agent

import (
	"net/http"
	"slices"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// agentSelf is the reply of /v1/agent/self.
type agentSelf struct {
	// Config is the configuration in force, with its secrets masked.
	Config *Config                      `json:"config"`
	Member *structs.AgentMember         `json:"member"`
	Stats  map[string]map[string]string `json:"stats"`
}

// agentHealth is the reply of /v1/agent/health.
type agentHealth struct {
	Client *componentHealth `json:"client,omitempty"`
	Server *componentHealth `json:"server,omitempty"`
}

// componentHealth is the state of one half of the agent.
type componentHealth struct {
	OK      bool   `json:"ok"`
	Message string `json:"message"`
}

// joinResult is the reply of /v1/agent/join.
type joinResult struct {
	NumJoined int    `json:"num_joined"`
	Error     string `json:"error"`
	Warning   string `json:"warning,omitempty"`
}

func agentRoutes() []route {
	node := []param{{name: "node", kind: "string", summary: "name of the member"},
		{name: "prune", kind: "boolean", summary: "forget the member at once"}}
	addresses := []param{{name: "address", kind: "string", repeat: true, summary: "gossip address of a server"}}
	return []route{
		local[agentSelf](doc{methods: "GET", pattern: "/v1/agent/self",
			summary: "Show the configuration, the gossip member and figures of this agent."}, getSelf),
		plain[structs.MembersResponse](doc{methods: "GET", pattern: "/v1/agent/members", rpc: "Status.Members",
			summary: "List the members of the gossip pool as this agent sees them."}),
		local[[]string](doc{methods: "GET PUT POST", pattern: "/v1/agent/servers",
			summary: "List or set the servers that a client agent knows.", status: []int{501},
			params: []param{{name: "address", kind: "string", repeat: true, summary: "server port to use from now on, host:port"}}}, clientServers),
		local[agentHealth](doc{methods: "GET", pattern: "/v1/agent/health",
			summary: "Tell whether the agent works: 200 if it does, 500 if not.",
			params:  []param{{name: "type", kind: "string", repeat: true, summary: "client or server"}}}, getHealth),
		local[joinResult](doc{methods: "PUT POST", pattern: "/v1/agent/join",
			summary: "Join gossip pools.", params: addresses}, putJoin),
		local[nothing](doc{methods: "PUT POST", pattern: "/v1/agent/force-leave",
			summary: "Make a failed member leave the gossip pool.", params: node}, putForceLeave),
	}
}

// allow returns an error unless the caller has the right.
func (r *request) allow(right func(*acl.ACL) bool) error {
	a, err := r.api.server.Authorize(r.Context(), r.secret())
	if err != nil {
		return err
	}
	if !right(a) {
		r.api.server.Refused(a, right)
		return errs.New(errs.PermissionDenied, "Permission denied")
	}
	return nil
}

func getSelf(r *request) error {
	if err := r.allow((*acl.ACL).AllowAgentRead); err != nil {
		return err
	}
	stats := r.api.server.Stats()
	if r.api.client != nil {
		stats["client"] = r.api.client.Stats()
	}
	return r.writeJSON(http.StatusOK, &agentSelf{
		Config: r.api.rpc.present().Redacted(),
		Member: r.api.server.LocalMember(),
		Stats:  stats,
	})
}

// clientServers lists or replaces the servers that the node agent knows.
func clientServers(r *request) error {
	right := (*acl.ACL).AllowAgentRead
	change := r.Method == http.MethodPut || r.Method == http.MethodPost
	if change {
		right = (*acl.ACL).AllowAgentWrite
	}
	if err := r.allow(right); err != nil {
		return err
	}
	if r.api.client == nil {
		return errs.New(errs.Unsupported, "this agent is a server: only client agents keep a list of servers")
	}
	if !change {
		return r.writeJSON(http.StatusOK, list(r.api.client.Servers()))
	}
	addrs := slices.DeleteFunc(r.query.all("address"), func(a string) bool { return a == "" })
	if len(addrs) == 0 {
		return errs.New(errs.Invalid, "missing server address")
	}
	if err := r.api.client.SetServers(r.Context(), addrs); err != nil {
		return err
	}
	return r.writeJSON(http.StatusOK, nothing{})
}

// componentOf tells the health of a half of the agent.
func componentOf(ready func() error) *componentHealth {
	if err := ready(); err != nil {
		return &componentHealth{Message: err.Error()}
	}
	return &componentHealth{OK: true, Message: "ok"}
}

func getHealth(r *request) error {
	types, out := r.query.all("type"), agentHealth{}
	wants := func(half string, runs bool) bool {
		return len(types) == 0 && runs || slices.Contains(types, half)
	}
	server, client := r.api.config.Server.Enabled, r.api.client
	if wants("server", server) {
		out.Server = &componentHealth{Message: "server not enabled"}
		if server {
			out.Server = componentOf(r.api.server.Ready)
		}
	}
	if wants("client", client != nil) {
		out.Client = &componentHealth{Message: "client not enabled"}
		if client != nil {
			out.Client = componentOf(client.Ready)
		}
	}
	if out.Server != nil && !out.Server.OK || out.Client != nil && !out.Client.OK {
		return r.writeJSON(http.StatusInternalServerError, &out)
	}
	return r.writeJSON(http.StatusOK, &out)
}

// putJoin asks for a right that the public API only warns about: a stranger could
// tie the cluster to servers of its own.
func putJoin(r *request) error {
	if err := r.allow((*acl.ACL).AllowAgentWrite); err != nil {
		return err
	}
	addrs := slices.DeleteFunc(r.query.all("address"), func(a string) bool { return a == "" })
	if len(addrs) == 0 {
		return errs.New(errs.Invalid, "missing address to join")
	}
	if !r.api.config.Server.Enabled {
		return errNoServer
	}
	n, err := r.api.server.Join(addrs)
	out := joinResult{NumJoined: n}
	if err != nil {
		out.Error = err.Error()
	}
	return r.writeJSON(http.StatusOK, &out)
}

func putForceLeave(r *request) error {
	if err := r.allow((*acl.ACL).AllowAgentWrite); err != nil {
		return err
	}
	node := r.query.Get("node")
	if node == "" {
		return errs.New(errs.Invalid, "missing node to force leave")
	}
	prune, err := r.flag("prune")
	if err != nil {
		return err
	}
	if err := r.api.server.ForceLeave(node, prune); err != nil {
		return err
	}
	return r.writeJSON(http.StatusOK, nothing{})
}
