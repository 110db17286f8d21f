package drpc

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/cairn-project/cairn/internal/errs"
)

// Module is a set of methods under one number, as data. Numbers may be any
// int32 but 0, which an empty packet names and which only answers greetings.
type Module struct {
	ID   int32
	Name string
	// Allow says which peers may call its methods. It has no default.
	Allow   Policy
	Methods []Method
}

// Method is one entry of a module. Numbers are 100 times the module's and up
// by convention, and are never used again for something else.
type Method struct {
	ID   int32
	Name string
	// Privileged keeps the method to privileged peers, whatever the module allows.
	Privileged bool
	Handle     Handler
}

// Handler runs one call. The context ends with the call's deadline, with its
// session, and when the server's grace at shutdown is over. A nil error is
// SUCCESS; what others become says respond. Handlers of one session run at the
// same time. The body is the handler's own.
type Handler func(ctx context.Context, req *Request) (body []byte, err error)

// Request is one call as its handler sees it.
type Request struct {
	Module, Method int32
	Body           []byte
	// Trace is what the client sent to tie the call to a trace, nil for nothing.
	Trace []byte
	Peer  Peer
	// Session is the connection that the call came in by.
	Session *Session
}

// Registry is the table of modules, shared by the servers of an agent. It is
// safe for concurrent use; modules may come while servers run.
type Registry struct {
	mu      sync.RWMutex
	modules map[int32]*registered
}

type registered struct {
	Module
	methods map[int32]*Method
}

// NewRegistry returns a table that holds the greeting at module 0 and nothing else.
func NewRegistry() *Registry {
	r := &Registry{modules: map[int32]*registered{}}
	r.add(greeting())
	return r
}

// Register adds a module. What is wrong with it is said all at once.
func (r *Registry) Register(m Module) error {
	var wrong []errs.Erratum
	bad := func(field, format string, args ...any) {
		wrong = append(wrong, errs.Erratum{Field: field, Msg: fmt.Sprintf(format, args...)})
	}
	if m.Name == "" {
		bad("name", "a module needs a name")
	}
	if m.Allow == nil {
		bad("allow", "say which peers may call it, Anyone if everybody")
	}
	seen := map[int32]bool{}
	for _, method := range m.Methods {
		if method.Name == "" || method.Handle == nil {
			bad(fmt.Sprintf("methods.%d", method.ID), "a method needs a name and a handler")
		}
		if seen[method.ID] {
			bad(fmt.Sprintf("methods.%d", method.ID), "the number is taken by another method")
		}
		seen[method.ID] = true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, taken := r.modules[m.ID]; taken {
		bad("id", "the number is taken by module %q", old.Name)
	} else if m.ID == 0 {
		bad("id", "0 is for the greeting alone: an empty packet calls it")
	}
	if len(wrong) > 0 {
		return errs.Newf(errs.Invalid, "dRPC module %d (%s) cannot be registered: %s", m.ID, m.Name, wrong[0].Msg).WithErrata(wrong...)
	}
	r.addLocked(m)
	return nil
}

func (r *Registry) add(m Module) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addLocked(m)
}

// addLocked stores a module that was checked; r.mu is held.
func (r *Registry) addLocked(m Module) {
	reg := &registered{Module: m, methods: make(map[int32]*Method, len(m.Methods))}
	reg.Methods = slices.Clone(m.Methods)
	for i := range reg.Methods {
		reg.methods[reg.Methods[i].ID] = &reg.Methods[i]
	}
	r.modules[m.ID] = reg
}

// Modules returns every module, by number. The slices must not be changed.
func (r *Registry) Modules() []Module {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := make([]Module, 0, len(r.modules))
	for _, m := range r.modules {
		out = append(out, m.Module)
	}
	slices.SortFunc(out, func(a, b Module) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// find returns the method that a peer asks for. Whether a method exists is no
// secret, so absence is reported before denial.
func (r *Registry) find(call *Call, peer Peer) (*Method, error) {
	r.mu.RLock()
	m := r.modules[call.Module]
	r.mu.RUnlock()
	if m == nil {
		return nil, failf(Status_UNKNOWN_MODULE, "no module %d: this agent may be older than its client", call.Module)
	}
	method := m.methods[call.Method]
	switch {
	case method == nil:
		return nil, failf(Status_UNKNOWN_METHOD, "module %d (%s) has no method %d", call.Module, m.Name, call.Method)
	case !m.Allow(peer), method.Privileged && !PrivilegedPeers(peer):
		return nil, errs.Newf(errs.PermissionDenied, "%s may not call %s of module %d (%s): use the admin socket as root or the agent's user",
			peer, method.Name, m.ID, m.Name)
	}
	return method, nil
}
