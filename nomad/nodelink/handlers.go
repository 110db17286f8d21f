package nodelink

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/cairn-project/cairn/internal/errs"
)

// Call is one call as the agent's handler sees it. Its context ends with the
// caller's deadline, when the caller goes away, and with the link.
type Call struct {
	// Method and Revision say what was called; Revision is the caller's.
	Method   string
	Revision int
	// Body is the argument, JSON; empty stands for none.
	Body json.RawMessage
	// Idempotent calls may come again.
	Idempotent bool
	// Trace names the call in the logs of every hop.
	Trace string
	// Caller is the accessor ID of the token that the call was made with, "" without one.
	Caller string
	// Hops are the names of the servers that passed the call on, the first one first.
	Hops []string

	send func([]byte) error // nil for a method that is no stream
}

// Decode reads the argument into v, a pointer. Fields that v does not have are an
// error, since the agent would not do what they ask for.
func (c *Call) Decode(v any) error {
	if len(c.Body) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(c.Body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return errs.Wrap(errs.Invalid, fmt.Sprintf("cannot decode the argument of %s: %v", c.Method, err), err)
	}
	return nil
}

// Write sends data to the caller of a stream. It blocks while the caller is
// behind, and fails when it went away.
func (c *Call) Write(b []byte) (int, error) {
	if c.send == nil {
		return 0, errs.Newf(errs.Internal, "%s is not a stream", c.Method)
	}
	return len(b), c.send(b)
}

// Handler serves the calls of one method, each in a goroutine of its own. The
// reply is anything that package encoding/json encodes, sent after what was
// written; an error with a code reaches the caller with its text, errata and
// RetryAfter.
type Handler func(ctx context.Context, c *Call) (reply any, err error)

// Handlers are the methods that an agent serves, by name. The names are those of
// Methods.
type Handlers map[string]Handler

// Handle returns a handler with a decoded argument.
func Handle[Req, Resp any](f func(ctx context.Context, c *Call, args *Req) (Resp, error)) Handler {
	return func(ctx context.Context, c *Call) (any, error) {
		args := new(Req)
		if err := c.Decode(args); err != nil {
			return nil, err
		}
		return f(ctx, c, args)
	}
}

// revisions returns what the hello announces.
func (h Handlers) revisions() (map[string]int, error) {
	out := make(map[string]int, len(h))
	for name := range h {
		m := Lookup(name)
		if m == nil {
			return nil, errs.Newf(errs.Internal, "method %s is not in the table", name)
		}
		out[name] = m.Revision
	}
	return out, nil
}
