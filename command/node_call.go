package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/posener/complete"
)

// callFailure is how a call to an agent ended that has no result.
type callFailure struct {
	Outcome, Kind, Help, Text string
	Errata                    []struct{ Field, Msg string }
	RetryAfter                time.Duration
}

// Error says how the call ended.
func (f *callFailure) Error() string {
	text := f.Help
	for _, e := range f.Errata {
		text += "; " + strings.TrimPrefix(e.Field+": "+e.Msg, ": ")
	}
	if f.Text != "" {
		text += " (" + f.Text + ")"
	}
	return clean(text)
}

// exitCode is 75 where trying again may help, as sysexits has it, and 2 elsewhere.
func (f *callFailure) exitCode() int {
	switch f.Outcome {
	case "application_error":
		if f.Kind == "unavailable" {
			return exitTryAgain
		}
	case "deadline", "not_sent", "may_have_run", "no_link", "moved":
		return exitTryAgain
	}
	return exitRefused
}

// exitRefused is the exit code of a call that an agent refused.
const exitRefused = 2

// callExits are the exit codes in the help.
var callExits = []exit{
	{exitRefused, "an agent refused the call, or cannot serve it"},
	{exitTryAgain, "an agent could not be reached or did not answer in time"},
}

// callOptions are the options of commands that call agents.
type callOptions struct {
	data    string
	timeout time.Duration
	wait    time.Duration
}

func (o *callOptions) flags(f *flags) {
	f.text(&o.data, "d", "json", "The argument; \"-\" reads it from standard input.")
	o.times(f)
}

func (o *callOptions) times(f *flags) {
	f.duration(&o.timeout, "timeout", "How long a call may take, 30s at most and by default.")
	f.duration(&o.wait, "link-wait", "How long to wait for a link of the node.")
}

// argument returns the argument of the call, nil for none.
func (o *callOptions) argument(s *session) (any, error) {
	text := o.data
	if text == "-" {
		b, err := io.ReadAll(s.stdin)
		if err != nil {
			return nil, fmt.Errorf("reading standard input: %w", err)
		}
		text = string(b)
	}
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	if !json.Valid([]byte(text)) {
		return nil, usagef("-d: the argument is not JSON")
	}
	return json.RawMessage(text), nil
}

// call calls a method of a node's agent. A failure of the call is a *callFailure.
func (o *callOptions) call(s *session, id, method string, argument any) (json.RawMessage, error) {
	client, err := s.client()
	if err != nil {
		return nil, err
	}
	q := url.Values{}
	if o.timeout > 0 {
		q.Set("timeout", o.timeout.String())
	}
	if o.wait > 0 {
		q.Set("link_wait", o.wait.String())
	}
	var reply json.RawMessage
	_, err = client.Raw().Write("/v1/node/"+url.PathEscape(id)+"/call/"+url.PathEscape(method)+"?"+q.Encode(), argument, &reply, s.write())
	var status api.UnexpectedResponseError
	if errors.As(err, &status) {
		return nil, callFailed(status, id, method)
	}
	return reply, err
}

// noRoute is what a path is answered with that there is none of.
const noRoute = "resource not found"

// callFailed returns how a call ended by what was answered.
func callFailed(status api.UnexpectedResponseError, id, method string) error {
	f := new(callFailure)
	if json.Unmarshal([]byte(status.Body()), f) == nil && f.Outcome != "" {
		return f
	}
	if status.StatusCode() == http.StatusNotFound && strings.Contains(status.Body(), noRoute) {
		return &callFailure{Outcome: outcomeNoMethod, Help: fmt.Sprintf("no method %s can be called: `cairn node link show %s` shows those of the agent", method, id)}
	}
	return status
}

// outcomeNoMethod is the outcome of a call that nobody can serve.
const outcomeNoMethod = "unsupported"

// stream calls a streaming method of a node's agent and writes its data to the
// standard output.
func (o *callOptions) stream(s *session, id, method string, argument any) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	q := url.Values{}
	if text, ok := argument.(json.RawMessage); ok {
		q.Set("argument", string(text))
	}
	body, err := client.Raw().Response("/v1/node/"+url.PathEscape(id)+"/stream/"+url.PathEscape(method)+"?"+q.Encode(), s.query())
	var status api.UnexpectedResponseError
	if errors.As(err, &status) {
		return callFailed(status, id, method)
	}
	if err != nil {
		return err
	}
	defer body.Close()
	if _, err := io.Copy(s.stdout, body); err != nil {
		return &callFailure{Outcome: "may_have_run", Help: "the stream broke off, what came is not all of it", Text: err.Error()}
	}
	return nil
}

// nodeCall calls a method of an agent.
type nodeCall struct{ callOptions }

func (*nodeCall) about() about {
	return about{
		synopsis: "call a method of a node's agent",
		usage:    "[options] <ID> <method>",
		text:     "Calls a method of the agent of a node over its link and prints the reply, or the data of a method that streams.",
		exits:    callExits,
		examples: [][2]string{
			{"Ask an agent for its version", "cairn node call 1f3a Node.Version"},
			{"With an argument", `cairn node call -d '{"Path":"/"}' 1f3a FS.List`},
			{"Follow a file", `cairn node call -d '{"Path":"operations.json","Follow":true}' 1f3a FS.Stream`},
		},
		min: 2, max: 2,
		groups: withAgent | withData,
		args:   nodeAndMethod,
	}
}

// nodeAndMethod completes a node, and behind it what can be called of its agent.
func nodeAndMethod(s *session, a complete.Args) []string {
	if id := a.LastCompleted; id != "" && strings.Trim(id, "0123456789abcdef-") == "" && id[0] != '-' {
		c := newRPCCall()
		c.node = id // names looks for the whole of it
		if methods := c.names(s, a); methods != nil {
			return methods
		}
	}
	return nodeIDs(s, a)
}

func (c *nodeCall) run(s *session, args []string) error {
	id, err := s.findNode(args[0])
	if err != nil {
		return err
	}
	argument, err := c.argument(s)
	if err != nil {
		return err
	}
	reply, err := c.call(s, id, args[1], argument)
	f := new(callFailure)
	if errors.As(err, &f) && f.Outcome == outcomeNoMethod {
		if err = c.stream(s, id, args[1], argument); err == nil {
			return nil
		}
	}
	if errors.As(err, &f) {
		return &failure{code: f.exitCode(), err: fmt.Errorf("calling %s of node %s: %w", args[1], id, f)}
	}
	if err != nil {
		return failed("calling "+args[1]+" of node "+id, err)
	}
	v, err := decoded(bytes.NewReader(reply))
	if err != nil {
		return failed("reading the reply", err)
	}
	return s.show(v, func() { _ = s.printJSON(v) })
}

// nodePing asks whether an agent answers.
type nodePing struct {
	callOptions
	count uint64
}

func (*nodePing) about() about {
	return about{
		synopsis: "see whether the agent of a node answers",
		usage:    "[options] <ID>",
		text:     "Calls the agent of a node and says by way of which server and how quickly it answered.",
		exits:    callExits,
		examples: [][2]string{{"Is it there?", "cairn node ping 1f3a"}},
		min:      1, max: 1,
		groups: withAgent,
		args:   nodeIDs,
	}
}

func (c *nodePing) flags(f *flags) {
	c.times(f)
	c.count = 1
	f.number(&c.count, "count", "number", "How often to ask, once by default.")
}

func (c *nodePing) run(s *session, args []string) error {
	id, err := s.findNode(args[0])
	if err != nil {
		return err
	}
	for range max(1, c.count) {
		began := time.Now()
		_, err := c.call(s, id, "Node.Ping", nil)
		took := time.Since(began)
		if f := new(callFailure); errors.As(err, &f) {
			return &failure{code: f.exitCode(), err: fmt.Errorf("node %s: %w", id, f)}
		}
		if err != nil {
			return failed("asking node "+id, err)
		}
		by := ""
		if l, err := s.nodeLink(id); err == nil {
			by = " by way of server " + clean(l.Server)
		}
		s.say("node %s answered%s in %s", id, by, took.Round(10*time.Microsecond))
	}
	return nil
}

// nodeFanout calls a method of many agents.
type nodeFanout struct {
	callOptions
	selector string
	parallel uint64
}

// fanoutResult is how the call to one node ended.
type fanoutResult struct {
	NodeID string
	Name   string
	// Result is the reply of the agent, Outcome and Error how it ended without one.
	Result  json.RawMessage `json:",omitempty"`
	Outcome string          `json:",omitempty"`
	Error   string          `json:",omitempty"`
	code    int
}

func (*nodeFanout) about() about {
	return about{
		synopsis: "call a method of the agents of many nodes",
		usage:    "[options] <method>",
		text:     "Calls a method of the agents of the nodes that -selector holds for, of all nodes without it, many at a time, and prints what became of each.",
		exits:    callExits,
		examples: [][2]string{
			{"Versions of all agents", "cairn node fanout Node.Version"},
			{"Of one pool", `cairn node fanout -selector 'NodePool == "gpu"' Agent.Host`},
		},
		min: 1, max: 1,
		groups: withAgent | withData,
	}
}

func (c *nodeFanout) flags(f *flags) {
	c.callOptions.flags(f)
	c.parallel = 16
	f.text(&c.selector, "selector", "expression", "Call only the nodes that the expression holds for.")
	f.number(&c.parallel, "parallel", "number", "How many calls run at once, 16 by default.")
}

func (c *nodeFanout) run(s *session, args []string) error {
	argument, err := c.argument(s)
	if err != nil {
		return err
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	q := s.query()
	q.Filter = c.selector
	nodes, _, err := client.Nodes().List(q)
	if err != nil {
		return failed("listing nodes", err)
	}
	results := c.all(s, nodes, args[0], argument)
	err = s.show(results, func() { s.print(fanoutTable(results), "no nodes found") })
	if err != nil {
		return err
	}
	worst := slices.MaxFunc(append(results, fanoutResult{}), func(a, b fanoutResult) int { return a.code - b.code })
	if worst.code != 0 {
		return &failure{code: worst.code}
	}
	return nil
}

// all calls the nodes, and returns the results in their order.
func (c *nodeFanout) all(s *session, nodes []*api.NodeListStub, method string, argument any) []fanoutResult {
	results := make([]fanoutResult, len(nodes))
	places := make(chan struct{}, max(1, min(c.parallel, 256)))
	var wg sync.WaitGroup
	for i, n := range nodes {
		places <- struct{}{}
		wg.Go(func() {
			results[i] = c.one(s, n, method, argument)
			<-places
		})
	}
	wg.Wait()
	return results
}

func (c *nodeFanout) one(s *session, n *api.NodeListStub, method string, argument any) fanoutResult {
	r := fanoutResult{NodeID: n.ID, Name: n.Name}
	reply, err := c.call(s, n.ID, method, argument)
	f := new(callFailure)
	switch {
	case err == nil:
		r.Result = reply
	case errors.As(err, &f):
		r.Outcome, r.Error, r.code = f.Outcome, f.Error(), f.exitCode()
	default:
		text, _ := s.explain(err)
		r.Outcome, r.Error, r.code = "error", text, exitRefused
	}
	return r
}

func fanoutTable(results []fanoutResult) *table {
	t := newTable("Node ID", "Name", "Outcome", "Result")
	for _, r := range results {
		how, what := r.Outcome, r.Error
		if how == "" {
			how, what = "result", string(r.Result)
		}
		if len(what) > maxFanoutCell {
			what = strings.ToValidUTF8(what[:maxFanoutCell], "") + "…"
		}
		t.add(r.NodeID[:min(len(r.NodeID), shortID)], r.Name, how, what)
	}
	return t
}

// maxFanoutCell is how many bytes of a result the table shows; -json shows all.
const maxFanoutCell = 120
