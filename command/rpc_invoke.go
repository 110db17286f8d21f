package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/cairn-project/cairn/internal/jsonrpc"
)

// rpcInvoke calls one method.
type rpcInvoke struct {
	rpcCall
	params               []string
	batch, notify, check bool
}

func newRPCInvoke() action { return &rpcInvoke{rpcCall: newRPCCall()} }

func (c *rpcInvoke) about() about {
	return about{
		synopsis: "call a method of the operator node",
		usage:    "[options] <name>",
		text: "Calls a method or sends a notification. Parameters are YAML or JSON; several -p are joined: objects to one object, lists to one list. " +
			"With @ before it a value is read from a file, and - is standard input. The region and the namespace are parameters of the method.",
		examples: [][2]string{
			{"A method without parameters", "cairn rpc invoke get_server_status"},
			{"Parameters in YAML", "cairn rpc invoke variable_list -p 'prefix: app/' -p 'per_page: 10'"},
			{"In another region", "cairn rpc invoke namespace_list -region eu"},
			{"Two calls in one message", `cairn rpc invoke namespace_get -batch -p 'Name: a' -p 'Name: b'`},
			{"A method of the agent of a node", "cairn rpc invoke Node.Version -node 1f3a2b4c-0000-4000-8000-000000000000"},
			{"Over the socket, as root", "cairn rpc invoke admin_set_log_level -socket /var/lib/cairn/rpc.sock -p 'level: debug'"},
		},
		exits: rpcExits, min: 1, max: 1, groups: withAgent | withNamespace, args: c.callable,
	}
}

func (c *rpcInvoke) flags(f *flags) {
	f.list(&c.params, "p", "params", "Parameters in YAML or JSON, @file or -; may be repeated.")
	f.boolean(&c.batch, "batch", "Send each -p as a call of its own, all in one message.")
	f.boolean(&c.notify, "notify", "Send without an id: for notifications.")
	f.text(&c.node, "node", "id", nodeUsage, nodeIDs)
	f.boolean(&c.check, "check", "Check name and parameters against the schema, and send nothing.")
	c.rpcCall.flags(f)
}

func (c *rpcInvoke) run(s *session, args []string) error {
	if err := c.settle(s); err != nil {
		return err
	}
	m, err := c.message(s, args[0])
	if err != nil {
		return err
	}
	return c.send(s, m, c.check)
}

// message builds what is sent.
func (c *rpcInvoke) message(s *session, method string) (*rpcMessage, error) {
	var pieces []json.RawMessage
	for _, p := range c.params {
		raw, err := c.piece(s, p)
		if err != nil {
			return nil, failed("-p", err)
		}
		pieces = append(pieces, raw)
	}
	if !c.batch {
		joined, err := joinParams(pieces)
		if err != nil {
			return nil, err
		}
		pieces = []json.RawMessage{joined}
	}
	out := &rpcMessage{batch: c.batch}
	method, pieces, err := c.atNode(method, pieces)
	if err != nil {
		return nil, err
	}
	for _, p := range pieces {
		p, err := c.placed(s, p)
		if err != nil {
			return nil, err
		}
		one, err := newMessage(method, p)
		if err != nil {
			return nil, err
		}
		if c.notify {
			delete(one.requests[0], "id")
		}
		out.requests = append(out.requests, one.requests...)
	}
	if len(out.requests) == 0 {
		return nil, usagef("-batch needs at least one -p")
	}
	return out, nil
}

// nodeUsage explains -node.
const nodeUsage = "Call a method of the agent of this node, over its link, by node_call."

// atNode makes calls of node_call of those that are for the agent of -node.
func (c *rpcInvoke) atNode(method string, pieces []json.RawMessage) (string, []json.RawMessage, error) {
	switch {
	case c.node == "":
		return method, pieces, nil
	case !strings.Contains(method, "."):
		return "", nil, usagef("-node: %q is no method of a node's agent: those have names such as Node.Ping", method)
	case c.notify:
		return "", nil, usagef("-node and -notify exclude each other")
	}
	out := make([]json.RawMessage, len(pieces))
	for i, p := range pieces {
		params := map[string]any{"node": c.node, "method": method}
		if p != nil {
			params["args"] = p
		}
		raw, err := json.Marshal(params)
		if err != nil {
			return "", nil, err
		}
		out[i] = raw
	}
	return "node_call", out, nil
}

// placed adds -region and -namespace to parameters that do not name their own. What
// the environment says of them is not added: most methods of an agent take neither.
func (c *rpcInvoke) placed(s *session, p json.RawMessage) (json.RawMessage, error) {
	object := map[string]json.RawMessage{}
	switch {
	case len(p) > 0 && p[0] == '[':
		return p, nil
	case len(p) > 0:
		if err := json.Unmarshal(p, &object); err != nil {
			return nil, err
		}
	}
	added := false
	for name, value := range map[string]string{"region": s.conn.region, "namespace": s.conn.namespace} {
		if _, own := object[name]; own || value == "" || value == setting(s.opts.Getenv, strings.ToUpper(name)) {
			continue
		}
		raw, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		object[name], added = raw, true
	}
	if !added {
		return p, nil
	}
	return json.Marshal(object)
}

// piece reads one -p.
func (c *rpcInvoke) piece(s *session, p string) (json.RawMessage, error) {
	text := []byte(p)
	var err error
	if p == "-" {
		text, err = io.ReadAll(s.stdin)
	} else if name, ok := strings.CutPrefix(p, "@"); ok {
		text, err = os.ReadFile(name)
	}
	if err != nil {
		return nil, err
	}
	raw, err := yamlToJSON(text)
	if err == nil && raw[0] != '{' && raw[0] != '[' {
		err = errors.New("parameters are an object or a list, such as 'name: value'")
	}
	return raw, err
}

// joinParams makes one value of several objects or several lists, nil of none.
func joinParams(pieces []json.RawMessage) (json.RawMessage, error) {
	switch len(pieces) {
	case 0:
		return nil, nil
	case 1:
		return pieces[0], nil
	}
	object := map[string]json.RawMessage{}
	var list []json.RawMessage
	for _, p := range pieces {
		if p[0] != pieces[0][0] {
			return nil, usagef("-p: objects and lists cannot be joined")
		}
		if p[0] == '[' {
			var more []json.RawMessage
			if err := json.Unmarshal(p, &more); err != nil {
				return nil, err
			}
			list = append(list, more...)
			continue
		}
		var more map[string]json.RawMessage
		if err := json.Unmarshal(p, &more); err != nil {
			return nil, err
		}
		for k, v := range more {
			if _, twice := object[k]; twice {
				return nil, usagef("-p: %q is given twice", k)
			}
			object[k] = v
		}
	}
	if list != nil {
		return json.Marshal(list)
	}
	return json.Marshal(object)
}

// send sends a message and prints the answer, or only checks it.
func (c *rpcCall) send(s *session, m *rpcMessage, check bool) error {
	if check {
		return c.checkMessage(s, m)
	}
	out, err := c.exchange(s, m.encode(c.token(s)))
	if err != nil {
		return err
	}
	return c.answer(s, m, out)
}

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
	answer := judge.Handle(s.ctx, jsonrpc.Caller{Transport: jsonrpc.TransportSocket}, probe.encode(""))
	answers, err := parseAnswers(answer.Body)
	if err != nil {
		return &failure{code: exitRPCError, err: err}
	}
	for _, a := range answers {
		if a.Error != nil {
			all = append(all, rpcFailure(a.Error))
		}
	}
	if err := joinFailures(all); err != nil {
		return err
	}
	s.say("ok")
	return nil
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
