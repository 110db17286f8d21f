package nodelink

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// adapter is how a server talks to agents of one version of the protocol. Each
// version embeds the one before it and changes what differs; agents know nothing
// of this, they speak the version that they were built with.
type adapter interface {
	// check says before anything is sent whether the agent can serve a call.
	check(h *Hello, m *Method, r *Request) *Failure
	// encode returns the payload of the call's frame.
	encode(m *Method, r *Request, timeout time.Duration) ([]byte, error)
	// decode returns the end of a call from its last frame; the error is for one
	// that makes no sense.
	decode(t frameType, payload []byte) (json.RawMessage, *Failure, error)
}

// adapters are those of the versions that this release speaks.
var adapters = map[int]adapter{1: version1{}, 2: version2{}}

// needsUpgrade is the failure of a call that an agent is too old for.
func needsUpgrade(h *Hello, m *Method) *Failure {
	to := "a release that has it"
	if m.Since > h.Protocol {
		to = fmt.Sprintf("one that speaks version %d of the link protocol, it speaks %d", m.Since, h.Protocol)
	}
	return &Failure{Outcome: Unsupported, Help: fmt.Sprintf("the agent of the node (version %s) does not have %s: upgrade it to %s", h.Build, m.Name, to)}
}

// version0 is below all versions: the agent can do nothing.
type version0 struct{}

func (version0) check(h *Hello, m *Method, _ *Request) *Failure { return needsUpgrade(h, m) }

// version1 knows calls with an argument and a reply. Which methods an agent has
// follows from the version; errors are text.
type version1 struct{ version0 }

// callFrameV1 and replyFrameV1 are a call and its end in version 1.
type (
	callFrameV1 struct {
		Method  string
		Timeout time.Duration `json:",omitempty"`
		Body    json.RawMessage
	}
	replyFrameV1 struct {
		Result json.RawMessage `json:",omitempty"`
		Error  *string         `json:",omitempty"`
	}
)

func (v version1) check(h *Hello, m *Method, r *Request) *Failure {
	if m.Since > 1 || m.Class == Stream || r.Revision > 1 {
		return v.version0.check(h, m, r)
	}
	return nil
}

func (version1) encode(m *Method, r *Request, timeout time.Duration) ([]byte, error) {
	return encode(callFrameV1{m.Name, timeout, r.Body})
}

func (version1) decode(t frameType, payload []byte) (json.RawMessage, *Failure, error) {
	if t != frameResult {
		return nil, nil, garbled("frame %d instead of a reply", t)
	}
	var reply replyFrameV1
	if err := decode(payload, &reply); err != nil {
		return nil, nil, err
	}
	if reply.Error != nil {
		return nil, &Failure{Outcome: Refused, Kind: Fault, Help: *reply.Error,
			Text: "the agent is too old to say what kind of error it is"}, nil
	}
	return reply.Result, nil, nil
}

// version2 has agents that announce their methods and kinds, streams, calls that
// say who calls, and failures with a structure.
type version2 struct{ version1 }

func (version2) check(h *Hello, m *Method, r *Request) *Failure {
	revision, ok := h.Methods[m.Name]
	switch {
	case !ok:
		return needsUpgrade(h, m)
	case r.Revision > revision:
		return &Failure{Outcome: Unsupported, Help: fmt.Sprintf(
			"the agent of the node (version %s) has revision %d of %s, the call needs %d: upgrade the agent", h.Build, revision, m.Name, r.Revision)}
	}
	if !m.Kinds {
		return nil
	}
	var body struct{ Kind string }
	if err := json.Unmarshal(r.Body, &body); err != nil || body.Kind == "" {
		return &Failure{Outcome: Refused, Kind: User, Help: fmt.Sprintf("%s needs an argument with a Kind, one of %q", m.Name, h.Kinds)}
	}
	if !slices.Contains(h.Kinds, body.Kind) {
		return &Failure{Outcome: Unsupported, Help: fmt.Sprintf(
			"the agent of the node (version %s) does not know the kind %q of %s, only %q", h.Build, body.Kind, m.Name, h.Kinds)}
	}
	return nil
}

func (version2) encode(m *Method, r *Request, timeout time.Duration) ([]byte, error) {
	return encode(callFrame{Method: m.Name, Revision: m.Revision, Timeout: timeout, Idempotent: m.Idempotent,
		Trace: r.Trace, Caller: r.Caller, Hops: r.Hops, Body: r.Body})
}

func (version2) decode(t frameType, payload []byte) (json.RawMessage, *Failure, error) {
	switch t {
	case frameResult:
		if !json.Valid(payload) {
			return nil, nil, garbled("the reply is no JSON")
		}
		return payload, nil, nil
	case frameFailure:
		f := new(Failure)
		if err := decode(payload, f); err != nil {
			return nil, nil, err
		}
		if f.Outcome != Refused && f.Outcome != Unsupported && f.Outcome != Late {
			return nil, nil, garbled("an agent cannot answer %q", f.Outcome)
		}
		return nil, f, nil
	}
	return nil, nil, garbled("frame %d instead of a reply", t)
}
