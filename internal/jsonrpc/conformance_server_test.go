package jsonrpc

import (
	"context"
	"encoding/json"
	"errors"
	"math/big"
	"sync/atomic"
	"testing"
	"time"
)

// conformanceServer is a fresh server with the names that the cases use.
func conformanceServer(t testing.TB, c *conformanceCase) *Server {
	t.Helper()
	cfg := DefaultConfig()
	if c.Setup.MaxMessage > 0 {
		cfg.MaxMessage = c.Setup.MaxMessage
	}
	if c.Setup.MaxBatch > 0 {
		cfg.MaxBatch = c.Setup.MaxBatch
	}
	if c.Setup.CallTimeoutMS > 0 {
		cfg.CallTimeout = time.Duration(c.Setup.CallTimeoutMS) * time.Millisecond
	}
	cfg.StrictIDs = c.Setup.StrictIDs
	s := mustServer(t, cfg)
	mustRegister(t, s, append(conformanceMethods(), conformanceCounters()...)...)
	for _, name := range c.Uses {
		if s.reg.lookup(name) == nil {
			t.Fatalf("the case needs %q, which is not registered", name)
		}
	}
	return s
}

func mustServer(t testing.TB, cfg Config) *Server {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustRegister(t testing.TB, s *Server, methods ...Method) {
	t.Helper()
	for _, m := range methods {
		if err := s.Register(m); err != nil {
			t.Fatal(err)
		}
	}
}

// always answers with v and err.
func always(v any, err error) Handler {
	return func(context.Context, json.RawMessage) (any, error) { return v, err }
}

func echo(_ context.Context, params json.RawMessage) (any, error) { return params, nil }

func conformanceMethods() []Method {
	return []Method{
		{Name: "subtract", Handler: Func(subtract), Params: json.RawMessage(`{"anyOf":[
			{"type":"array","items":{"type":"number"},"minItems":2,"maxItems":2},
			{"type":"object","required":["minuend","subtrahend"],"additionalProperties":false,
			 "properties":{"minuend":{"type":"number"},"subtrahend":{"type":"number"}}}]}`)},
		{Name: "sum", Handler: Func(sum), Params: json.RawMessage(`{"type":"array","items":{"type":"number"}}`)},
		{Name: "get_data", Handler: always([]any{"hello", 5}, nil)},
		{Name: "grand", Handler: always("grand!", nil)},
		{Name: "false_result", Handler: always(false, nil)},
		{Name: "echo", Handler: echo},
		{Name: "noop", Handler: always(nil, nil)},
		{Name: "null_result", Handler: always(json.RawMessage("null"), nil)},
		{Name: "ok_or_error", Handler: Func(okOrError)},
		{Name: "raises", Handler: always(nil, errors.New("raised by the handler"))},
		{Name: "raises_many", Handler: always(nil, Failed(Detail{Code: 3000, Message: "first"}, Detail{Code: 3001, Message: "second"}))},
		{Name: "both", Handler: always("a result", Failed(Detail{Code: 5000, Message: "and an error"}))},
		{Name: "panics", Handler: func(context.Context, json.RawMessage) (any, error) { panic("boom") }},
		{Name: "bad_result", Handler: always(map[string]any{"f": func() {}}, nil)},
		{Name: "typed", Handler: Func(typed), Params: json.RawMessage(`{"type":"object","required":["host"],"additionalProperties":false,
			"properties":{"host":{"type":"string"},"count":{"type":"integer"}}}`)},
		{Name: "slow", Handler: Func(slow)},
		{Name: "restricted", Privileged: true, Handler: always("granted", nil)},
	}
}

// conformanceCounters are the names that share the two counts of a server.
func conformanceCounters() []Method {
	var bumps, notes atomic.Int64
	add := func(n *atomic.Int64) Handler {
		return func(context.Context, json.RawMessage) (any, error) { return n.Add(1), nil }
	}
	read := func(n *atomic.Int64) Handler {
		return func(context.Context, json.RawMessage) (any, error) { return n.Load(), nil }
	}
	level := json.RawMessage(`{"type":"object","required":["level"],"additionalProperties":false,"properties":{"level":{"type":"string"}}}`)
	return []Method{
		{Name: "bump", Handler: add(&bumps)},
		{Name: "bump_any", WithoutID: true, Handler: add(&bumps)},
		{Name: "bump_count", Handler: read(&bumps)},
		{Name: "count_notes", Handler: read(&notes)},
		{Name: "notify_hello", Kind: KindNotification, Handler: add(&notes)},
		{Name: "notify_sum", Kind: KindNotification, Handler: add(&notes)},
		{Name: "update", Kind: KindNotification, Handler: add(&notes)},
		{Name: "note_fails", Kind: KindNotification, Handler: always(nil, errors.New("failed"))},
		{Name: "note_panics", Kind: KindNotification, Handler: func(context.Context, json.RawMessage) (any, error) { panic("boom") }},
		{Name: "note_typed", Kind: KindNotification, Params: level, Handler: add(&notes)},
		{Name: "note_restricted", Kind: KindNotification, Privileged: true, Handler: add(&notes)},
	}
}

// pair takes its two numbers by position or by name.
type pair struct{ a, b *big.Rat }

func (p *pair) UnmarshalJSON(raw []byte) error {
	var named struct{ Minuend, Subtrahend json.Number }
	list := []json.Number{"", ""}
	if raw[0] == '[' {
		if err := json.Unmarshal(raw, &list); err != nil {
			return err
		}
	} else if err := json.Unmarshal(raw, &named); err != nil {
		return err
	} else {
		list = []json.Number{named.Minuend, named.Subtrahend}
	}
	var okA, okB bool
	p.a, okA = new(big.Rat).SetString(list[0].String())
	p.b, okB = new(big.Rat).SetString(list[1].String())
	if !okA || !okB {
		return errors.New("not two numbers")
	}
	return nil
}

func number(r *big.Rat) json.Number {
	if r.IsInt() {
		return json.Number(r.Num().String())
	}
	f, _ := r.Float64()
	raw, _ := json.Marshal(f)
	return json.Number(raw)
}

func subtract(_ context.Context, p pair) (json.Number, error) {
	return number(new(big.Rat).Sub(p.a, p.b)), nil
}

func sum(_ context.Context, p []json.Number) (json.Number, error) {
	if p == nil {
		return "", InvalidParams("", "numbers are missing")
	}
	total := new(big.Rat)
	for _, n := range p {
		r, ok := new(big.Rat).SetString(n.String())
		if !ok {
			return "", InvalidParams("", "not a number")
		}
		total.Add(total, r)
	}
	return number(total), nil
}

func okOrError(_ context.Context, p struct {
	ReturnError string `json:"return_error"`
}) (map[string]string, error) {
	if p.ReturnError == "yes" {
		return nil, Failed(Detail{Code: 9999, Message: "asked to fail"})
	}
	return map[string]string{"ran": "ok"}, nil
}

func typed(_ context.Context, p struct {
	Host  string      `json:"host"`
	Count json.Number `json:"count"`
}) (any, error) {
	return p, nil
}

func slow(ctx context.Context, p struct{ MS int64 }) (int64, error) {
	select {
	case <-time.After(time.Duration(p.MS) * time.Millisecond):
		return p.MS, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
