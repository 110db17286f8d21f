package jsonrpc

import (
	"encoding/json"
	"slices"
)

// request is one element of a message: a call, a notification, or neither.
type request struct {
	// id is as it was sent, nil when there was none or it cannot be echoed.
	id    json.RawMessage
	hasID bool
	// method is "" when problems says why there is none.
	method string
	// params is as it was sent, nil when left out.
	params json.RawMessage
	// token is the member of that name, an extension: the peer's secret.
	token string
	// problems are sorted by code; a request that has any is not run.
	problems []Detail
}

// parseRequest reads one element. raw was checked by a scanner.
func parseRequest(raw []byte, strict bool) request {
	var r request
	if raw[0] != '{' {
		r.problem(ErrataNotObject, "")
		return r
	}
	seen := map[string]json.RawMessage{}
	w := walker{b: raw}
	w.object(func(name string, value []byte) {
		if _, again := seen[name]; !again {
			seen[name] = value
		}
	})
	r.readVersion(seen["jsonrpc"])
	r.readMethod(seen["method"])
	r.readParams(seen["params"])
	r.readID(seen["id"], strict)
	for _, path := range w.duplicates {
		r.problem(ErrataDuplicate, path)
	}
	if w.idTwice {
		r.id = nil // nobody knows which one was meant
	}
	if t := seen["token"]; len(t) > 0 && t[0] == '"' {
		r.token = unquote(t)
	}
	slices.SortStableFunc(r.problems, func(a, b Detail) int { return a.Code - b.Code })
	return r
}

func (r *request) problem(code int, field string) {
	r.problems = append(r.problems, requestDetail(code, field))
}

func (r *request) readVersion(v json.RawMessage) {
	switch {
	case v == nil:
		r.problem(ErrataVersionMissing, "jsonrpc")
	case v[0] != '"':
		r.problem(ErrataVersionType, "jsonrpc")
	case unquote(v) != "2.0":
		r.problem(ErrataVersion, "jsonrpc")
	}
}

func (r *request) readMethod(v json.RawMessage) {
	switch {
	case v == nil:
		r.problem(ErrataMethodMissing, "method")
	case v[0] != '"':
		r.problem(ErrataMethodType, "method")
	default:
		r.method = unquote(v)
	}
}

func (r *request) readParams(v json.RawMessage) {
	if v != nil && v[0] != '{' && v[0] != '[' {
		r.problem(ErrataParamsType, "params")
		return
	}
	r.params = v
}

func (r *request) readID(v json.RawMessage, strict bool) {
	r.hasID = v != nil
	switch {
	case v == nil:
	case v[0] == '{' || v[0] == '[' || v[0] == 't' || v[0] == 'f':
		r.problem(ErrataIDType, "id")
	case v[0] == 'n' && strict:
		r.problem(ErrataIDNull, "id")
	case string(v) == `""` && strict:
		r.problem(ErrataIDEmpty, "id")
	default:
		r.id = v
	}
}
