package agent

import (
	"net/http"
	"slices"
	"strings"

	"github.com/cairn-project/cairn/internal/errs"
)

// routes returns the table of all routes. The router and the OpenAPI document
// are made from it.
func routes() []route {
	return slices.Concat(
		aclRoutes(),
		namespaceRoutes(),
		nodePoolRoutes(),
		nodeRoutes(),
		nodeLinkRoutes(),
		clientRoutes(),
		debugRoutes(),
		eventRoutes(),
		searchRoutes(),
		variableRoutes(),
		statusRoutes(),
		operatorRoutes(),
		autopilotRoutes(),
		systemRoutes(),
		agentRoutes(),
		keyringRoutes(),
		gossipKeyringRoutes(),
		authorityRoutes(),
		joinTokenRoutes(),
		operationRoutes(),
		metricsRoutes(),
		documentRoutes(),
		rpcRoutes(),
	)
}

// RoutedRPCs returns the names of the RPC methods that some route calls.
func RoutedRPCs() []string {
	var out []string
	for _, r := range routes() {
		out = append(out, strings.Fields(r.rpc)...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

var staleParam = param{name: "stale", kind: "boolean", summary: "let any server answer from what it has"}

// errMethod is the answer to a method that a path does not have.
var errMethod = &statusError{http.StatusMethodNotAllowed, "Invalid method"}

// wrongMethod returns what pattern answers to a method that it does not have.
// The public API is not uniform here.
func wrongMethod(pattern string) error {
	switch pattern {
	case "/v1/var/{path...}":
		return errs.New(errs.Invalid, "Invalid method")
	case "/v1/operator/raft/peer", "/v1/operator/autopilot/configuration", "/v1/operator/autopilot/health":
		return &statusError{http.StatusNotFound, ""}
	case "/v1/operator/raft/configuration":
		return &statusError{http.StatusMethodNotAllowed, ""}
	}
	return errMethod
}

// corsMethods are the methods that browsers may use from other origins.
var corsMethods = map[string]string{
	"/v1/client/identity": "GET, HEAD",
	"/v1/client/metadata": "GET, HEAD",
	"/v1/client/stats":    "GET, HEAD",
	"/v1/vars":            "GET, HEAD",
	"/v1/var/{path...}":   "GET, HEAD, PUT, DELETE",
}
