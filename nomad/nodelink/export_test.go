package nodelink

import (
	"context"
	"encoding/json"
	"io"
)

// Direct calls a handler without a link: what the battery wants of the handlers
// themselves, so that a difference elsewhere is one of the transport.
func (a *Agent) Direct(ctx context.Context, r *Request, w io.Writer) (json.RawMessage, error) {
	c := &Call{Method: r.Method, Body: r.Body, Trace: r.Trace}
	if w != nil {
		c.send = func(b []byte) error {
			_, err := w.Write(b)
			return err
		}
	}
	reply, err := a.run(ctx, a.cfg.Handlers[r.Method], c)
	if err != nil {
		return nil, failed(err, r.Trace)
	}
	return encode(reply)
}

// Tunnel opens a connection through a proxy.
var Tunnel = tunnel
