package command

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/cairn-project/cairn/internal/jsonrpc"
)

// rpcMessage is what is sent: one request, or a batch.
type rpcMessage struct {
	batch    bool
	requests []map[string]json.RawMessage
}

// newMessage returns a request with an id of its own. params is anything that
// encodes as an array or an object, nil for none.
func newMessage(method string, params any) (*rpcMessage, error) {
	r := map[string]json.RawMessage{"jsonrpc": json.RawMessage(`"2.0"`)}
	for name, v := range map[string]any{"method": method, "id": newID(), "params": params} {
		if v == nil {
			continue
		}
		raw, err := json.Marshal(v)
		if err != nil {
			return nil, failed("encoding the "+name, err)
		}
		if name != "params" || !bytes.Equal(raw, []byte("null")) {
			r[name] = raw
		}
	}
	return &rpcMessage{requests: []map[string]json.RawMessage{r}}, nil
}

func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // crypto/rand never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// parseMessage reads a request or a batch from JSON or YAML. What is in it is
// for the agent to judge.
func parseMessage(text []byte) (*rpcMessage, error) {
	raw, err := yamlToJSON(text)
	if err != nil {
		return nil, err
	}
	m := &rpcMessage{}
	list := []json.RawMessage{raw}
	switch raw[0] {
	case '{':
	case '[':
		m.batch = true
		if err := json.Unmarshal(raw, &list); err != nil {
			return nil, err
		}
	default:
		return nil, errors.New("a message is an object, or a list of them")
	}
	for i, one := range list {
		r, err := members(one)
		if err != nil && m.batch {
			err = fmt.Errorf("element %d: %w", i+1, err)
		}
		if err != nil {
			return nil, err
		}
		m.requests = append(m.requests, r)
	}
	return m, nil
}

// members returns those of an object. One that is given twice is refused: nobody knows
// which was meant, and a map would keep one of them without a word.
func members(raw json.RawMessage) (map[string]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.Join(errors.New("it is no object"), err)
	}
	out := map[string]json.RawMessage{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, _ := t.(string) // in an object nothing else comes here
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf("%q is given twice", name)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, err
		}
		out[name] = value
	}
	return out, nil
}

// wantsAnswer reports whether the agent has to say something to the message.
func (m *rpcMessage) wantsAnswer() bool {
	if m == nil {
		return false
	}
	for _, r := range m.requests {
		if _, hasID := r["id"]; hasID {
			return true
		}
	}
	return false
}

// encode returns the message as one line, with the token where it has none.
func (m *rpcMessage) encode(token string) []byte {
	secret, _ := json.Marshal(token) // a string encodes
	list := make([]map[string]json.RawMessage, len(m.requests))
	for i, r := range m.requests {
		list[i] = r
		if _, own := r["token"]; token != "" && !own {
			list[i] = map[string]json.RawMessage{"token": secret}
			for k, v := range r {
				list[i][k] = v
			}
		}
	}
	var v any = list
	if !m.batch {
		v = list[0]
	}
	out, _ := json.Marshal(v) // raw values that were checked
	return out
}

// shown is encode for people: tokens are hidden.
func (m *rpcMessage) shown() []byte {
	c := &rpcMessage{batch: m.batch}
	for _, r := range m.requests {
		if _, ok := r["token"]; ok {
			masked := map[string]json.RawMessage{}
			for k, v := range r {
				masked[k] = v
			}
			masked["token"] = json.RawMessage(`"<redacted>"`)
			r = masked
		}
		c.requests = append(c.requests, r)
	}
	return c.encode("")
}

// rpcAnswer is the answer to one request.
type rpcAnswer struct {
	Result json.RawMessage `json:"result"`
	Error  *jsonrpc.Error  `json:"error"`
	ID     json.RawMessage `json:"id"`
}

// parseAnswers reads all answers, batches and single ones, one after another.
func parseAnswers(out []byte) ([]rpcAnswer, error) {
	var all []rpcAnswer
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var raw json.RawMessage
		if err := dec.Decode(&raw); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		list := make([]rpcAnswer, 1)
		into := any(&list[0])
		if raw[0] == '[' {
			into = &list
		}
		if err := json.Unmarshal(raw, into); err != nil {
			return nil, err
		}
		for _, one := range list {
			if one.Error == nil && one.Result == nil {
				return nil, errors.New("it has neither a result nor an error")
			}
		}
		all = append(all, list...)
	}
}
