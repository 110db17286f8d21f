package command

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/posener/complete"

	"github.com/cairn-project/cairn/internal/jsonrpc"
)

// classStream is the class of the methods that only `cairn node call` can follow.
const classStream = "stream"

// methodNodeMethods names the method that tells what the agent of a node offers.
const methodNodeMethods = "get_node_methods"

// offeredMethod is a method of the agent of a node, as that method shows it.
type offeredMethod struct {
	Name       string          `json:"name"`
	Revision   int             `json:"revision"`
	Class      string          `json:"class"`
	Needs      string          `json:"needs"`
	Idempotent bool            `json:"idempotent"`
	Kinds      []string        `json:"kinds,omitempty"`
	Args       json.RawMessage `json:"args,omitempty"`
}

// beginningOfID is the beginning of a node's ID, as `cairn node status` shows it.
var beginningOfID = regexp.MustCompile("^[0-9a-fA-F]{1,8}$|^[0-9a-fA-F]{8}-[0-9a-fA-F-]{0,26}$")

// settleNode completes the ID of -node. That takes the HTTP API: on the socket IDs are whole.
func (c *rpcCall) settleNode(s *session) (err error) {
	if c.socket == "" && beginningOfID.MatchString(c.node) {
		c.node, err = s.findNode(c.node)
	}
	return err
}

// offered asks what the agent of -node offers.
func (c *rpcCall) offered(s *session) ([]offeredMethod, error) {
	var out struct {
		Methods []offeredMethod `json:"methods"`
	}
	return out.Methods, c.invoke(s, methodNodeMethods, map[string]string{"node": c.node}, &out)
}

// listOffered prints the methods of the agent of -node.
func (c *rpcCall) listOffered(s *session) error {
	if c.format != "table" {
		m, err := newMessage(methodNodeMethods, map[string]string{"node": c.node})
		if err != nil {
			return err
		}
		return c.send(s, m, false)
	}
	all, err := c.offered(s)
	if err != nil {
		return err
	}
	t := newTable("Name", "Class", "Needs", "Revision", "Again")
	for _, m := range all {
		t.add(m.Name, m.Class, m.Needs, fmt.Sprint(m.Revision), yesNo(m.Idempotent))
	}
	s.print(t, "the agent offers no methods")
	return nil
}

// describeOffered explains a method of the agent of -node.
func (c *rpcCall) describeOffered(s *session, name string) error {
	m, err := c.findOffered(s, name)
	switch {
	case err != nil:
		return err
	case c.format != "table":
		return s.printJSON(m)
	}
	s.describeAtNode(m, c.node)
	return nil
}

// findOffered asks for one of the methods that the agent of -node offers.
func (c *rpcCall) findOffered(s *session, name string) (*offeredMethod, error) {
	all, err := c.offered(s)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].Name == name {
			return &all[i], nil
		}
	}
	return nil, &failure{code: exitUnimplemented, err: fmt.Errorf("the agent of node %s has no method %q", c.node, name), hint: c.listHint()}
}

// describeAtNode prints a method of the agent of a node for people.
func (s *session) describeAtNode(m *offeredMethod, node string) {
	s.pairs([2]string{"Name", m.Name}, [2]string{"Class", m.Class}, [2]string{"Needs", m.Needs}, [2]string{"Revision", fmt.Sprint(m.Revision)},
		[2]string{"May be called again", yesNo(m.Idempotent)}, [2]string{"Kinds", orNone(strings.Join(m.Kinds, ", "))})
	if m.Args != nil {
		s.say("")
		s.title("Parameters")
		_ = s.printJSON(m.Args) // it came as JSON; a closed output has nobody to tell
	}
	s.say("")
	s.title("Example")
	if m.Class == classStream {
		s.say("cairn node call %s %s", node, m.Name)
		return
	}
	s.say("cairn rpc invoke %s -node %s", m.Name, node)
}

// listHint says how to list what can be called.
func (c *rpcCall) listHint() string {
	if c.node != "" {
		return "`cairn rpc get-api -node " + clean(c.node) + "` lists the methods of the agent"
	}
	return "`cairn rpc get-api` lists the methods"
}

// failed ends the command with the code and the hint for an error of the operator node.
func (c *rpcCall) failed(e *jsonrpc.Error) *failure {
	f := rpcFailure(e)
	switch {
	case c.node == "":
	case e.Code == jsonrpc.CodeMethodNotFound:
		f.hint = c.listHint()
	case e.Code == jsonrpc.CodeInvalidParams:
		f.hint = "`cairn rpc describe <name> -node " + clean(c.node) + "` shows the parameters"
	}
	return f
}

// names completes what `rpc describe` explains: methods and notifications of the operator
// node or, where the line has -node, the methods of that node's agent.
func (c *rpcCall) names(s *session, _ complete.Args) []string {
	return c.known(s, func(*offeredMethod) bool { return true })
}

// callable completes what can be called: of a node's agent all but streams, which
// `cairn node call` follows.
func (c *rpcCall) callable(s *session, _ complete.Args) []string {
	return c.known(s, func(m *offeredMethod) bool { return m.Class != classStream })
}

// known lists methods for completion, nothing where nobody answers.
func (c *rpcCall) known(s *session, wanted func(*offeredMethod) bool) []string {
	var list jsonrpc.HandlerList
	switch {
	case c.settle(s) != nil:
		return nil
	case c.node == "" && c.invoke(s, jsonrpc.MethodHandlers, nil, &list) != nil:
		return nil
	case c.node == "":
		return append(list.Methods, list.Notifications...)
	}
	all, err := c.offered(s)
	if err != nil {
		return nil
	}
	var out []string
	for i := range all {
		if wanted(&all[i]) {
			out = append(out, all[i].Name)
		}
	}
	return out
}
