package archtest

// exceptions maps what breaks a size to the reason why it may. The key is the
// file and, for a function or an interface, a colon and its name as the failure
// prints it: "nomad/fsm.go:FSM.apply".
var exceptions = map[string]string{}

// internalOnly lists the RPCs that no HTTP route calls, each with the reason.
var internalOnly = map[string]string{
	"ACL.ExpireOneTimeTokens": "the leader deletes one-time tokens that nobody exchanged in time",
	"ACL.GetAuthMethods":      "other regions fetch the auth methods that changed, several at once",
	"ACL.GetBindingRules":     "other regions fetch the binding rules that changed, several at once",
	"ACL.GetPolicies":         "other regions and node agents fetch policies, several at once",
	"ACL.GetRolesByID":        "other regions and node agents fetch roles, several at once",
	"ACL.GetTokens":           "other regions fetch the global tokens that changed, several at once",
	"ACL.ResolveToken":        "node agents of earlier versions find out whose a secret is",
	"Alloc.GetAllocs":         "node agents fetch the allocations that they run",
	"Authority.Join":          "an agent without a certificate asks for its first one, on a protocol of its own",
	"Authority.Renew":         "an agent asks for a new certificate and shows the old one, which HTTP could not",
	"Namespace.GetNamespaces": "other regions fetch the namespaces that changed, several at once",
	"Node.BatchDeregister":    "the leader forgets nodes that were down for long",
	"Node.EmitEvents":         "node agents tell what happened to them",
	"Node.GetClientAllocs":    "node agents ask which allocations they are to run",
	"Node.Register":           "node agents tell who they are",
	"Node.UpdateStatus":       "node agents tell that they are alive",
	"NodeLink.Notify":         "the leader has the server that holds a node's link tell its agent of a change",
	"NodeLink.Update":         "servers tell each other which links of node agents they have",
	"Region.LatestIndex":      "a server asks another region how far its store is before it passes a write on",
	"Status.HasNodeConn":      "servers ask each other which of them a node is connected to",
	"Status.Cluster":          "a leader asks a server which cluster it belongs to before it takes it in",
	"Status.Ping":             "servers and SDKs of the RPC port ask each other whether they are there",
	"Status.RaftStats":        "the leader asks every server how far its log is, to judge its health",
	"Status.ReadIndex":        "a server asks the leader how far it must have applied the log before it answers a read",
}
