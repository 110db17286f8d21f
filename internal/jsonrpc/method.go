package jsonrpc

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cairn-project/cairn/internal/errs"
)

// Kind says whether a name is called with an id or without.
type Kind uint8

// The kinds. A method is answered; a notification never is.
const (
	KindMethod Kind = iota
	KindNotification
)

// String returns the kind as the descriptor shows it.
func (k Kind) String() string {
	if k == KindNotification {
		return "notification"
	}
	return "method"
}

// Handler serves a method or a notification. params is an array or an object as
// it was sent, or nil when left out; it may be kept. ctx ends with the call's
// deadline, when the caller of a method goes away, and when the server stops; CallerOf
// and MethodOf read who called what from it.
//
// The result is encoded as JSON; a json.RawMessage goes out as it is, without
// white space. A nil result is answered as "success". Results beside an error are dropped.
type Handler func(ctx context.Context, params json.RawMessage) (any, error)

// Method is a method or a notification. It must not be changed once registered.
type Method struct {
	// Name is the name that is called; names that begin with "rpc." are reserved by the protocol.
	Name string
	// Kind is KindMethod or KindNotification.
	Kind Kind
	// Provider says who added the method, "" for the server's own.
	Provider string
	// Summary is one sentence for people.
	Summary string
	// Privileged methods are for those whom the Authorizer lets pass, and are audited.
	Privileged bool
	// WithoutID lets a method be called without an id; its result is then dropped. By
	// default such a call is not run, since nobody would hear that it failed.
	WithoutID bool
	// Parallel allows calls that stand side by side in a batch to run at the same
	// time. It is for reads.
	Parallel bool
	// Timeout bounds one call, 0 for the server's CallTimeout.
	Timeout time.Duration
	// Params and Result are JSON schemas (draft 2020-12), nil for anything. Parameters
	// are checked before the handler runs, results are not: their schema is a promise.
	Params, Result json.RawMessage
	// Lazy has the schemas compiled when they are first needed, instead of checked by
	// Register: for many methods whose schemas are known to be good.
	Lazy bool
	// Examples and Errata are shown by the descriptor.
	Examples []Example
	Errata   []ErrataRange
	// Handler serves the calls.
	Handler Handler
}

// Example is one call and its answer, for the descriptor.
type Example struct {
	Summary string          `json:"summary,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
}

// ErrataRange says which codes of details a method uses, From and To included.
type ErrataRange struct {
	From    int    `json:"from"`
	To      int    `json:"to"`
	Meaning string `json:"meaning"`
}

// Func makes a Handler of a function with typed parameters. Parameters are decoded
// into P by name, numbers in places of type any keep their digits. Parameters that
// are left out give the zero P.
func Func[P, R any](f func(ctx context.Context, params P) (R, error)) Handler {
	return func(ctx context.Context, raw json.RawMessage) (any, error) {
		var p P
		if raw != nil {
			dec := json.NewDecoder(bytes.NewReader(raw))
			dec.UseNumber()
			if err := dec.Decode(&p); err != nil {
				return nil, NotDecoded(raw, err)
			}
		}
		r, err := f(ctx, p)
		if err != nil {
			return nil, err
		}
		return r, nil
	}
}

// maxName bounds the name of a method in bytes, maxSchema a schema.
const (
	maxName   = 128
	maxSchema = 256 << 10
)

// validate returns every problem of m at once.
func (m *Method) validate() error {
	var errata []errs.Erratum
	bad := func(field, msg string) { errata = append(errata, errs.Erratum{Field: field, Msg: msg}) }
	switch {
	case m.Name == "" || len(m.Name) > maxName || !utf8.ValidString(m.Name) || strings.ContainsFunc(m.Name, isControl):
		bad("Name", "must have 1 to 128 bytes of printable text")
	case strings.HasPrefix(m.Name, "rpc."):
		bad("Name", `names that begin with "rpc." are reserved by the protocol`)
	}
	if m.Handler == nil {
		bad("Handler", "must be set")
	}
	if m.Timeout < 0 {
		bad("Timeout", "must not be negative")
	}
	if m.Kind == KindNotification && m.Result != nil {
		bad("Result", "a notification has no result")
	}
	if len(m.Params) > maxSchema || len(m.Result) > maxSchema {
		bad("Params", "a schema has at most 256 KiB")
	}
	return invalid(fmt.Sprintf("invalid method %q", clip(m.Name)), errata)
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }
