package agent

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"slices"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/drpc/agentpb"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/jsonrpc"
)

// maxTag bounds the tag of a message, in bytes.
const maxTag = 128

// messageParams are a message to the programs that offer methods.
type messageParams struct {
	// Tag tells the programs what kind of message it is.
	Tag string `json:"tag"`
	// Data is any JSON.
	Data json.RawMessage `json:"data,omitempty"`
	// Provider is the only one to get it, "" for all.
	Provider string `json:"provider,omitempty"`
}

// messageResult says who took a message.
type messageResult struct {
	Components []messageTaken `json:"components"`
	// Failed is how many did not take it.
	Failed int `json:"failed"`
}

// messageTaken is what one program answered.
type messageTaken struct {
	Provider string `json:"provider"`
	// Kind and Message say why it did not take the message, "" if it did.
	Kind    errs.Code `json:"kind,omitempty"`
	Message string    `json:"message,omitempty"`
}

// sendMethod is admin_component_send_msg.
func (n *rpcNode) sendMethod() operatorMethod {
	m := newOperatorMethod("admin_component_send_msg",
		"tell the programs that offer methods something, all of them or one: a tag and any JSON; the result says who took it",
		(*acl.ACL).AllowAgentWrite, n.sendMessage)
	m.Privileged = true
	m.Params = []byte(`{"type":"object","required":["tag"],"additionalProperties":false,"properties":{
		"tag":{"type":"string","minLength":1,"maxLength":128},"data":{},"provider":{"type":"string"}}}`)
	m.Examples = []jsonrpc.Example{{Params: json.RawMessage(`{"tag":"reload","data":{"what":"certificates"}}`)}}
	return m
}

// sendMessage passes a message on.
func (n *rpcNode) sendMessage(ctx context.Context, p messageParams) (messageResult, error) {
	out := messageResult{Components: []messageTaken{}}
	sockets := n.sockets.Load()
	if sockets == nil {
		return out, errs.New(errs.Busy, "the agent is starting: try again in a moment")
	}
	if len(p.Tag) > maxTag {
		return out, jsonrpc.InvalidParams("/tag", "must have 128 bytes at most")
	}
	to := sockets.providers.named(p.Provider)
	if p.Provider != "" && len(to) == 0 {
		return out, errs.Newf(errs.NotFound, "no provider %q: admin_plugin_get_list names those that there are", p.Provider)
	}
	in := &agentpb.MessageRequest{Tag: p.Tag}
	var compact bytes.Buffer
	if p.Data != nil && json.Compact(&compact, p.Data) == nil {
		in.DataJson = compact.String()
	}
	out.Components = make([]messageTaken, len(to))
	eachOf(len(to), func(i int) {
		out.Components[i].Provider = to[i].name
		if err := to[i].tell(ctx, methodProviderMessage, in); err != nil {
			e := errs.From(err, "")
			out.Components[i].Kind, out.Components[i].Message = e.Code, e.Error()
		}
	})
	for _, c := range out.Components {
		if c.Kind != "" {
			out.Failed++
		}
	}
	return out, nil
}

// named returns the provider of a name, or all of them in order for "".
func (p *providers) named(name string) []*provider {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*provider
	for _, one := range p.byName {
		if name == "" || one.name == name {
			out = append(out, one)
		}
	}
	slices.SortFunc(out, func(a, b *provider) int { return cmp.Compare(a.name, b.name) })
	return out
}
