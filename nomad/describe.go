package nomad

import (
	"github.com/cairn-project/cairn/internal/wire"
)

// MethodDescription is what other surfaces need to know of an RPC to offer it under a name of their own.
type MethodDescription struct {
	// Name is "Service.Method".
	Name string
	// Writes is true for what the leader runs, false for reads.
	Writes bool
	// NewArgs and NewReply return a pointer to a new zero value of the request and of the reply.
	NewArgs, NewReply func() any
}

// Methods describes every RPC of a server, sorted by name.
func Methods() []MethodDescription {
	registry := wire.NewRegistry()
	for name, endpoint := range endpoints(nil) {
		if err := registry.Register(name, endpoint); err != nil {
			panic("methods: " + err.Error()) // a fault in an endpoint, found by any test
		}
	}
	var out []MethodDescription
	for _, name := range registry.Names() {
		m, _ := registry.Lookup(name)
		out = append(out, MethodDescription{Name: name, Writes: methods[name].kind == writeKind, NewArgs: m.NewArgs, NewReply: m.NewReply})
	}
	return out
}
