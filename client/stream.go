package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/msgp"
	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/structs"
)

// streamMethod is the streaming call of servers for the streams of node agents.
const streamMethod = "NodeLink.Stream"

// StreamNode has a server call a streaming method of a node's agent, and writes the
// data to w, until the agent or ctx ends it.
func (c *Client) StreamNode(ctx context.Context, r *structs.NodeCallRequest, w io.Writer) (json.RawMessage, error) {
	q := *r
	if q.Region == "" {
		q.Region = c.config.Region
	}
	b, err := msgp.Marshal(&q)
	if err != nil {
		return nil, err
	}
	s, err := c.connection(ctx)
	if err != nil {
		return nil, err
	}
	opening, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	stream, err := s.session.Open(opening)
	if err != nil {
		return nil, errs.Lost(errs.ExecutedNo, "the connection to the server was lost: try again", err)
	}
	_ = stream.SetWriteDeadline(time.Now().Add(connectTimeout))
	_, err = stream.Write([]byte{byte(mux.ProtoStreaming)})
	if err == nil {
		err = wire.OpenStream(opening, stream, streamMethod, wire.DefaultLimits())
	}
	if err != nil {
		return nil, errors.Join(err, stream.Close())
	}
	_ = stream.SetDeadline(time.Time{})
	return nodelink.PassStream(ctx, stream, b, w)
}
