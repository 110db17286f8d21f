package jsonrpc

import (
	"cmp"
	"slices"
	"sync"

	"github.com/cairn-project/cairn/internal/errs"
)

// registry holds methods and notifications in one name space.
type registry struct {
	mu      sync.RWMutex
	entries map[string]*entry
}

// entry is a registered method. It is immutable.
type entry struct {
	Method
	// schema returns that of the parameters, compiled; nil takes anything.
	schema func() (*schema, error)
}

// Register adds a method or a notification, at any time. A name can be taken once, whatever its
// kind: the error names the provider that has it.
func (s *Server) Register(m Method) error {
	if m.Provider == "" {
		m.Provider = s.cfg.Provider
	}
	if err := m.validate(); err != nil {
		return err
	}
	e := &entry{Method: m, schema: sync.OnceValues(func() (*schema, error) { return compileSchema(m.Params) })}
	if !m.Lazy {
		if err := e.checkSchemas(); err != nil {
			return err
		}
	}
	s.reg.mu.Lock()
	defer s.reg.mu.Unlock()
	if have, taken := s.reg.entries[m.Name]; taken {
		return errs.Newf(errs.Conflict, "%s %q is registered by provider %q already", have.Kind, m.Name, have.Provider)
	}
	s.reg.entries[m.Name] = e
	return nil
}

// checkSchemas compiles both schemas.
func (e *entry) checkSchemas() error {
	if _, err := e.schema(); err != nil {
		return errs.Newf(errs.Invalid, "method %q: schema of the parameters: %w", e.Name, err)
	}
	if _, err := compileSchema(e.Result); err != nil {
		return errs.Newf(errs.Invalid, "method %q: schema of the result: %w", e.Name, err)
	}
	return nil
}

// Unregister removes a name that provider has registered, "" for the server's own. Calls that run go on.
func (s *Server) Unregister(provider, name string) error {
	if provider == "" {
		provider = s.cfg.Provider
	}
	s.reg.mu.Lock()
	defer s.reg.mu.Unlock()
	have, ok := s.reg.entries[name]
	if !ok {
		return errs.Newf(errs.NotFound, "nothing is registered as %q", name)
	}
	if have.Provider != provider {
		return errs.Newf(errs.PermissionDenied, "%q belongs to provider %q", name, have.Provider)
	}
	delete(s.reg.entries, name)
	return nil
}

// UnregisterProvider removes everything that a provider has registered and
// returns how much that was.
func (s *Server) UnregisterProvider(provider string) int {
	s.reg.mu.Lock()
	defer s.reg.mu.Unlock()
	n := 0
	for name, e := range s.reg.entries {
		if e.Provider == provider {
			delete(s.reg.entries, name)
			n++
		}
	}
	return n
}

// Methods returns what is registered, sorted by name.
func (s *Server) Methods() []Method {
	s.reg.mu.RLock()
	out := make([]Method, 0, len(s.reg.entries))
	for _, e := range s.reg.entries {
		out = append(out, e.Method)
	}
	s.reg.mu.RUnlock()
	slices.SortFunc(out, func(a, b Method) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// lookup returns nil for a name that is not registered.
func (r *registry) lookup(name string) *entry {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.entries[name]
}
