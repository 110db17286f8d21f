package command

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/cairn-project/cairn/internal/jsonrpc"
)

// checkMessage holds a message against the methods of the agent, without calling any:
// a node of our own with the same schemas judges it.
func (c *rpcCall) checkMessage(s *session, m *rpcMessage) error {
	var d jsonrpc.Descriptor
	if err := c.invoke(s, jsonrpc.MethodDescriptor, nil, &d); err != nil {
		return err
	}
	judge, err := newJudge(d)
	if err != nil {
		return &failure{code: exitRPCError, err: err}
	}
	kinds := map[string]jsonrpc.Description{}
	for _, e := range d.Methods {
		kinds[e.Name] = e
	}
	var all []*failure
	probe := &rpcMessage{batch: m.batch}
	for i, r := range m.requests {
		with := map[string]json.RawMessage{"id": json.RawMessage(fmt.Sprint(i + 1))}
		var name string
		_ = json.Unmarshal(r["method"], &name) // the judge says what is wrong with it
		for k, v := range r {
			with[k] = v
		}
		_, hasID := r["id"]
		if e, known := kinds[name]; known && hasID == (e.Type == jsonrpc.KindNotification.String()) && !e.WithoutID {
			all = append(all, &failure{code: exitRPCError, err: fmt.Errorf("%s is a %s: a method is called with an id, a notification without (-notify)", clean(name), clean(e.Type))})
		}
		probe.requests = append(probe.requests, with)
	}
	return c.judged(s, judge, probe, all)
}

// judged reports what a judge says of a message, beside what is known of it already.
func (c *rpcCall) judged(s *session, judge *jsonrpc.Server, m *rpcMessage, all []*failure) error {
	answer := judge.Handle(s.ctx, jsonrpc.Caller{Transport: jsonrpc.TransportSocket}, m.encode(""))
	answers, err := parseAnswers(answer.Body)
	if err != nil {
		return &failure{code: exitRPCError, err: err}
	}
	for _, a := range answers {
		if a.Error != nil {
			all = append(all, c.failed(a.Error))
		}
	}
	if err := joinFailures(all); err != nil {
		return err
	}
	s.say("ok")
	return nil
}

// noArgument is what methods of the agent of a node take that describe no argument.
var noArgument = json.RawMessage(`{"type":"object","maxProperties":0}`)

// checkOffered holds calls of a method of the agent of -node against what that offers.
func (c *rpcInvoke) checkOffered(s *session, name string, pieces []json.RawMessage) error {
	m, err := c.findOffered(s, name)
	if err != nil {
		return err
	}
	if m.Class == classStream {
		return &failure{code: exitRPCError, err: fmt.Errorf("%s is a stream: `cairn node call %s %s` shows it", clean(name), clean(c.node), clean(name))}
	}
	schema := m.Args
	if schema == nil {
		schema = noArgument
	}
	judge, err := newJudge(jsonrpc.Descriptor{Limits: jsonrpc.Limits{MaxMessage: maxRPCAnswer, MaxDepth: jsonrpc.DefaultConfig().MaxDepth, MaxBatch: max(len(pieces), 1)},
		Methods: []jsonrpc.Description{{Name: name, Schema: jsonrpc.SchemaPair{Params: schema}}}})
	if err != nil {
		return &failure{code: exitRPCError, err: err}
	}
	probe := &rpcMessage{batch: c.batch}
	for _, p := range pieces {
		one, err := newMessage(name, p)
		if err != nil {
			return err
		}
		probe.requests = append(probe.requests, one.requests...)
	}
	return c.judged(s, judge, probe, nil)
}

// newJudge returns a node that has the names and schemas of another one, and does nothing.
func newJudge(d jsonrpc.Descriptor) (*jsonrpc.Server, error) {
	conf := jsonrpc.DefaultConfig()
	conf.MaxMessage, conf.MaxDepth = max(d.Limits.MaxMessage, 1), max(d.Limits.MaxDepth, 1)
	conf.MaxBatch, conf.StrictIDs = max(d.Limits.MaxBatch, 1), d.Limits.StrictIDs
	judge, err := jsonrpc.New(conf)
	if err != nil {
		return nil, err
	}
	nothing := jsonrpc.Func(func(context.Context, any) (any, error) { return nil, nil })
	for _, e := range d.Methods {
		m := jsonrpc.Method{Name: e.Name, Params: e.Schema.Params, Handler: nothing, Lazy: true}
		if err := judge.Register(m); err != nil && !isDiscovery(e.Name) {
			return nil, err
		}
	}
	return judge, nil
}

// isDiscovery reports whether every node has the method.
func isDiscovery(name string) bool {
	switch name {
	case jsonrpc.MethodHandlers, jsonrpc.MethodDescriptor, jsonrpc.MethodSchema, jsonrpc.MethodPing:
		return true
	}
	return false
}
