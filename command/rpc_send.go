package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/cairn-project/cairn/internal/jsonrpc"
)

// rpcFile sends messages that stand in files.
type rpcFile struct {
	rpcCall
	check bool
}

func newRPCFile() action { return &rpcFile{rpcCall: newRPCCall()} }

func (*rpcFile) about() about {
	return about{
		synopsis: "send messages from files",
		usage:    "[options] <file>...",
		text: "Sends each file as one message of JSON-RPC 2.0, a request or a batch, in the order given; - is standard input. Files are JSON or YAML. Those that cannot be read or are answered with an error do not keep the others from being sent; the exit code is that of the worst." +
			"\n\nEach request has jsonrpc: \"2.0\", a method, its params, and an id unless it is a notification; a batch is a list of requests.",
		examples: [][2]string{
			{"One request", `echo '{"jsonrpc":"2.0","id":1,"method":"namespace_list"}' | cairn rpc file -`},
			{"Send a batch", "cairn rpc file nightly.yaml"},
			{"Only check it", "cairn rpc file -check nightly.yaml"},
		},
		exits: rpcExits, min: 1, max: -1, groups: withAgent, args: anyFile,
	}
}

func (c *rpcFile) flags(f *flags) {
	f.boolean(&c.check, "check", "Check the messages against the schemas, and send nothing.")
	c.rpcCall.flags(f)
}

func (c *rpcFile) run(s *session, args []string) error {
	if err := c.settle(s); err != nil {
		return err
	}
	var failures []*failure
	for _, name := range args {
		err := c.one(s, name)
		if s.ctx.Err() != nil {
			return err
		}
		if err != nil {
			failures = append(failures, ofFile(name, err))
		}
	}
	return joinFailures(failures)
}

// one sends what one file holds.
func (c *rpcFile) one(s *session, name string) error {
	text, err := readFileOrStdin(s, name)
	if err != nil {
		return err
	}
	m, err := parseMessage(text)
	if err != nil {
		return err
	}
	return c.send(s, m, c.check)
}

// ofFile says which file a failure is of.
func ofFile(name string, err error) *failure {
	var unread *fs.PathError
	if errors.As(err, &unread) && unread.Path == name {
		err = unread.Err // it names the file too
	}
	out := &failure{code: exitRPCError, err: failed(name, err)}
	var f *failure
	if errors.As(err, &f) {
		out.code, out.hint = f.code, f.hint
	}
	return out
}

func readFileOrStdin(s *session, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(s.stdin)
	}
	return os.ReadFile(name)
}

// rpcInput sends what standard input holds.
type rpcInput struct {
	rpcCall
	raw, check bool
}

func newRPCInput() action { return &rpcInput{rpcCall: newRPCCall()} }

func (*rpcInput) about() about {
	return about{
		synopsis: "send a message from standard input",
		usage:    "[options]",
		text:     "Sends standard input as one message of JSON-RPC 2.0 in JSON or YAML. With -raw the bytes go out as they are, and no token is added.",
		examples: [][2]string{
			{"Type a message, then Ctrl-D", "cairn rpc input"},
			{"See what a broken message is answered with", "cairn rpc input -raw -format rpc < broken.json"},
		},
		exits: rpcExits, groups: withAgent,
	}
}

func (c *rpcInput) flags(f *flags) {
	f.boolean(&c.raw, "raw", "Send the bytes unchecked.")
	f.boolean(&c.check, "check", "Check the message against the schemas, and send nothing.")
	c.rpcCall.flags(f)
}

func (c *rpcInput) run(s *session, _ []string) error {
	if err := c.settle(s); err != nil {
		return err
	}
	if c.raw && c.check {
		return usagef("-raw and -check exclude each other")
	}
	text, err := io.ReadAll(s.stdin)
	if err != nil {
		return failed("reading standard input", err)
	}
	if c.raw {
		out, err := c.exchange(s, text)
		return c.outcome(s, nil, out, err)
	}
	m, err := parseMessage(text)
	if err != nil {
		return &failure{code: exitRPCError, err: failed("standard input", err)}
	}
	return c.send(s, m, c.check)
}

// rpcGetAPI lists what can be called.
type rpcGetAPI struct{ rpcCall }

func newRPCGetAPI() action { return &rpcGetAPI{newRPCCall()} }

func (*rpcGetAPI) about() about {
	return about{
		synopsis: "list the methods of the operator node",
		usage:    "[options]",
		text:     "Lists methods and notifications with who provides them. An asterisk marks those that need a privilege. With -node it lists what the agent of a node offers.",
		examples: [][2]string{{"List everything", "cairn rpc get-api"}, {"The schemas as JSON", "cairn rpc get-api -format json"},
			{"The methods of the agent of a node", "cairn rpc get-api -node 1f3a2b4c-0000-4000-8000-000000000000"}},
		exits: rpcExits, groups: withAgent,
	}
}

func (c *rpcGetAPI) flags(f *flags) {
	f.text(&c.node, "node", "id", "List the methods of the agent of this node instead.", nodeIDs)
	c.rpcCall.flags(f)
}

func (c *rpcGetAPI) run(s *session, _ []string) error {
	if err := c.settle(s); err != nil {
		return err
	}
	if c.node != "" {
		return c.listOffered(s)
	}
	if c.format != "table" {
		m, err := newMessage(jsonrpc.MethodDescriptor, nil)
		if err != nil {
			return err
		}
		return c.send(s, m, false)
	}
	var d jsonrpc.Descriptor
	if err := c.invoke(s, jsonrpc.MethodDescriptor, nil, &d); err != nil {
		return err
	}
	t := newTable("Name", "Type", "Provider", "Summary")
	for _, m := range d.Methods {
		name := m.Name
		if m.Privileged {
			name += "*"
		}
		t.add(name, m.Type, m.Provider, m.Summary)
	}
	s.print(t, "no methods")
	return nil
}

// rpcDescribe shows one method.
type rpcDescribe struct{ rpcCall }

func newRPCDescribe() action { return &rpcDescribe{newRPCCall()} }

func (c *rpcDescribe) about() about {
	return about{
		synopsis: "explain a method of the operator node",
		usage:    "[options] <name>",
		text:     "Shows what a method does, who may call it, and the JSON schemas of its parameters and its result.",
		examples: [][2]string{{"Explain a method", "cairn rpc describe namespace_upsert"},
			{"Explain a method of the agent of a node", "cairn rpc describe Node.Apply -node 1f3a2b4c-0000-4000-8000-000000000000"}},
		exits: rpcExits, min: 1, max: 1, groups: withAgent, args: c.names,
	}
}

func (c *rpcDescribe) flags(f *flags) {
	f.text(&c.node, "node", "id", "Explain a method of the agent of this node.", nodeIDs)
	c.rpcCall.flags(f)
}

func (c *rpcDescribe) run(s *session, args []string) error {
	if err := c.settle(s); err != nil {
		return err
	}
	if c.node != "" {
		return c.describeOffered(s, args[0])
	}
	var d jsonrpc.Descriptor
	if err := c.invoke(s, jsonrpc.MethodDescriptor, nil, &d); err != nil {
		return err
	}
	for _, m := range d.Methods {
		if m.Name != args[0] {
			continue
		}
		if c.format != "table" {
			return s.printJSON(m)
		}
		s.describe(&m)
		return nil
	}
	return &failure{code: exitUnimplemented, err: fmt.Errorf("there is no method %q", args[0]), hint: c.listHint()}
}

// describe prints a method for people.
func (s *session) describe(m *jsonrpc.Description) {
	s.pairs([2]string{"Name", m.Name}, [2]string{"Type", m.Type}, [2]string{"Summary", m.Summary}, [2]string{"Provider", m.Provider},
		[2]string{"Privileged", yesNo(m.Privileged)}, [2]string{"Timeout", (time.Duration(m.TimeoutMS) * time.Millisecond).String()})
	for _, e := range m.Errata {
		s.say("Codes %d to %d: %s", e.From, e.To, clean(e.Meaning))
	}
	for _, part := range []struct {
		name   string
		schema json.RawMessage
	}{{"Parameters", m.Schema.Params}, {"Result", m.Schema.Result}} {
		if part.schema == nil {
			continue
		}
		s.say("")
		s.title(part.name)
		_ = s.printJSON(part.schema) // it came as JSON; a closed output has nobody to tell
	}
	for _, e := range m.Examples {
		s.say("")
		s.title("Example")
		s.say("cairn rpc invoke %s -p %s", m.Name, shellQuote(string(e.Params)))
	}
}

// rpcWatch calls a method again and again.
type rpcWatch struct {
	rpcInvoke
	every time.Duration
	count uint64
}

func newRPCWatch() action {
	return &rpcWatch{rpcInvoke: rpcInvoke{rpcCall: newRPCCall()}, every: 2 * time.Second}
}

func (c *rpcWatch) about() about {
	return about{
		synopsis: "call a method again and again",
		usage:    "[options] <name>",
		text:     "Calls a method in intervals and prints each answer under the time. An agent that is busy, has no leader, reaches no node or does not answer in time is asked again, and so is one that has answered before and is not there now; other errors end the command.",
		examples: [][2]string{
			{"Watch Raft", "cairn rpc watch get_raft_stats -every 2s"},
			{"Three answers as JSON", "cairn rpc watch get_metrics -p 'regex: raft' -count 3 -format json"},
		},
		exits: rpcExits, min: 1, max: 1, groups: withAgent | withNamespace, args: c.callable,
	}
}

func (c *rpcWatch) flags(f *flags) {
	f.list(&c.params, "p", "params", "Parameters in YAML or JSON, @file or -; may be repeated.")
	f.text(&c.node, "node", "id", nodeUsage, nodeIDs)
	f.duration(&c.every, "every", "Time between two calls. Default: 2s.")
	f.number(&c.count, "count", "number", "How many calls to make, 0 for no end.")
	c.rpcCall.flags(f)
}

func (c *rpcWatch) run(s *session, args []string) error {
	if err := c.settle(s); err != nil {
		return err
	}
	if c.every <= 0 {
		return usagef("-every must be above zero")
	}
	pieces, err := c.pieces(s)
	if err != nil {
		return err
	}
	m, err := c.message(s, args[0], pieces)
	if err != nil {
		return err
	}
	answered := false
	for n := uint64(1); ; n++ {
		if c.format == "table" {
			s.title(time.Now().UTC().Format(time.RFC3339))
		}
		err := c.send(s, m, false)
		f, ok := err.(*failure)
		switch {
		case err == nil:
			answered = true
		case ok && s.ctx.Err() == nil && (f.code == exitTryAgain || f.lost && answered):
			s.warn("%s", f)
		default:
			return err
		}
		if n == c.count || s.unwritten() != nil {
			return err
		}
		if c.format == "table" {
			s.say("")
		}
		select {
		case <-s.ctx.Done():
			return s.ctx.Err()
		case <-time.After(c.every):
		}
	}
}
