package jsonrpc

import (
	"context"
	"encoding/json"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
)

// Names of the discovery methods, which every server offers.
const (
	MethodHandlers   = "show_registered_handlers"
	MethodDescriptor = "get_service_descriptor"
	MethodSchema     = "get_schema"
	MethodPing       = "ping"
)

// HandlerList is the result of MethodHandlers. Both lists are sorted.
type HandlerList struct {
	Methods       []string `json:"methods"`
	Notifications []string `json:"notifications"`
}

// Descriptor is the result of MethodDescriptor.
type Descriptor struct {
	// Methods holds notifications too, sorted by name.
	Methods []Description `json:"methods"`
	Limits  Limits        `json:"limits"`
}

// Limits are those that a caller has to know.
type Limits struct {
	MaxMessage int  `json:"max_message"`
	MaxDepth   int  `json:"max_depth"`
	MaxBatch   int  `json:"max_batch"`
	StrictIDs  bool `json:"strict_ids"`
}

// Description is one registered name as the descriptor shows it.
type Description struct {
	Name       string        `json:"name"`
	Type       string        `json:"type"`
	Provider   string        `json:"provider"`
	Summary    string        `json:"summary,omitempty"`
	Privileged bool          `json:"privileged"`
	WithoutID  bool          `json:"without_id,omitempty"`
	Parallel   bool          `json:"parallel,omitempty"`
	TimeoutMS  int64         `json:"timeout_ms"`
	Schema     SchemaPair    `json:"schema"`
	Examples   []Example     `json:"examples,omitempty"`
	Errata     []ErrataRange `json:"errata,omitempty"`
}

// SchemaPair is the result of MethodSchema. A schema that is left out allows anything.
type SchemaPair struct {
	Params json.RawMessage `json:"params,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
}

// Pong is the result of MethodPing.
type Pong struct {
	// Time is the server's.
	Time time.Time `json:"time"`
	// Caller is how the server sees the caller.
	Caller string `json:"caller"`
}

// noParams is the schema of methods without parameters.
var noParams = json.RawMessage(`{"type":["object","array"],"maxProperties":0,"maxItems":0}`)

// discovery returns the methods that describe the server.
func (s *Server) discovery() []Method {
	return []Method{
		{Name: MethodHandlers, Summary: "names of all methods and notifications", Params: noParams, Parallel: true,
			Result: json.RawMessage(`{"type":"object","required":["methods","notifications"],"properties":{"methods":{"type":"array","items":{"type":"string"}},"notifications":{"type":"array","items":{"type":"string"}}}}`),
			Handler: Func(func(context.Context, any) (HandlerList, error) {
				return s.handlerList(), nil
			})},
		{Name: MethodDescriptor, Summary: "all methods and notifications with their schemas, privileges and providers", Params: noParams, Parallel: true,
			Result: json.RawMessage(`{"type":"object","required":["methods"],"properties":{"methods":{"type":"array","items":{"type":"object","required":["name","type","provider","privileged","schema"]}}}}`),
			Handler: Func(func(context.Context, any) (Descriptor, error) {
				return s.Descriptor(), nil
			})},
		{Name: MethodSchema, Summary: "JSON schemas of the parameters and of the result of one method", Parallel: true,
			Params:   json.RawMessage(`{"type":"object","required":["name"],"additionalProperties":false,"properties":{"name":{"type":"string"}}}`),
			Result:   json.RawMessage(`{"type":"object","properties":{"params":{},"result":{}}}`),
			Examples: []Example{{Params: json.RawMessage(`{"name":"get_schema"}`)}},
			Handler: Func(func(_ context.Context, p struct{ Name string }) (SchemaPair, error) {
				return s.schemaOf(p.Name)
			})},
		{Name: MethodPing, Summary: "the time of the server, and whom it takes the caller for", Params: noParams, Parallel: true,
			Result: json.RawMessage(`{"type":"object","required":["time","caller"],"properties":{"time":{"type":"string"},"caller":{"type":"string"}}}`),
			Handler: Func(func(ctx context.Context, _ any) (Pong, error) {
				return Pong{Time: time.Now().UTC(), Caller: CallerOf(ctx).String()}, nil
			})},
	}
}

func (s *Server) handlerList() HandlerList {
	out := HandlerList{Methods: []string{}, Notifications: []string{}}
	for _, m := range s.Methods() {
		if m.Kind == KindNotification {
			out.Notifications = append(out.Notifications, m.Name)
		} else {
			out.Methods = append(out.Methods, m.Name)
		}
	}
	return out
}

// Descriptor describes the server and everything that is registered.
func (s *Server) Descriptor() Descriptor {
	out := Descriptor{Methods: []Description{}, Limits: Limits{MaxMessage: s.cfg.MaxMessage,
		MaxDepth: s.cfg.MaxDepth, MaxBatch: s.cfg.MaxBatch, StrictIDs: s.cfg.StrictIDs}}
	for _, m := range s.Methods() {
		timeout := m.Timeout
		if timeout == 0 {
			timeout = s.cfg.CallTimeout
		}
		out.Methods = append(out.Methods, Description{
			Name: m.Name, Type: m.Kind.String(), Provider: m.Provider, Summary: m.Summary, Privileged: m.Privileged,
			WithoutID: m.WithoutID, Parallel: m.Parallel, TimeoutMS: timeout.Milliseconds(),
			Schema: SchemaPair{Params: m.Params, Result: m.Result}, Examples: m.Examples, Errata: m.Errata,
		})
	}
	return out
}

func (s *Server) schemaOf(name string) (SchemaPair, error) {
	e := s.reg.lookup(name)
	if e == nil {
		return SchemaPair{}, errs.Newf(errs.NotFound, "nothing is registered as %q: call %s for the names", name, MethodHandlers)
	}
	return SchemaPair{Params: e.Params, Result: e.Result}, nil
}
