package archtest

// exceptions maps what breaks a size to the reason why it may. The key is the
// file and, for a function or an interface, a colon and its name as the failure
// prints it: "nomad/fsm.go:FSM.apply".
var exceptions = map[string]string{}

// internalOnly lists the RPCs that no HTTP route calls, each with the reason.
var internalOnly = map[string]string{
	"Keyring.List":            "tools of the RPC port look at root keys; the HTTP API shows the public half only",
	"Namespace.GetNamespaces": "other regions fetch the namespaces that changed, several at once",
	"Status.Ping":             "servers and SDKs of the RPC port ask each other whether they are there",
	"Status.ReadIndex":        "a server asks the leader how far it must have applied the log before it answers a read",
}
