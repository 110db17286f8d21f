package command

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
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
	pieces, err := c.pieces(s)
	if err != nil {
		return err
	}
	m, err := c.message(s, args[0], pieces)
	switch {
	case err != nil:
		return err
	case c.check && c.node != "":
		return c.checkOffered(s, args[0], pieces)
	}
	return c.send(s, m, c.check)
}

// pieces returns the parameters of each call, one that is nil for a call without.
func (c *rpcInvoke) pieces(s *session) ([]json.RawMessage, error) {
	var pieces []json.RawMessage
	for _, p := range c.params {
		raw, err := c.piece(s, p)
		if err != nil {
			return nil, failed("-p", err)
		}
		pieces = append(pieces, raw)
	}
	if c.batch {
		return pieces, nil
	}
	joined, err := joinParams(pieces)
	return []json.RawMessage{joined}, err
}

// message builds what is sent.
func (c *rpcInvoke) message(s *session, method string, pieces []json.RawMessage) (*rpcMessage, error) {
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
		var err error
		if object, err = members(p); err != nil {
			return nil, usagef("-p: %v", err)
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
		more, err := members(p)
		if err != nil {
			return nil, usagef("-p: %v", err)
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
	return c.outcome(s, m, out, err)
}

// outcome prints what a message was answered with. err says that the exchange broke:
// answers that came before are printed all the same. m is nil for bytes that went out as they were.
func (c *rpcCall) outcome(s *session, m *rpcMessage, out []byte, err error) error {
	if err == nil && len(out) == 0 && m.wantsAnswer() {
		err = &failure{code: exitRPCError, err: errors.New("the connection ended without an answer"), hint: "whether the call took effect is not known", lost: true}
	}
	if err == nil {
		return c.answer(s, m, out)
	}
	if len(out) == 0 {
		return err
	}
	var all []*failure
	for _, e := range []error{c.answer(s, m, out), err} {
		if f, ok := e.(*failure); ok {
			all = append(all, f)
		}
	}
	return joinFailures(all)
}
