package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/msgp"
	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/archive"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/stream"
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
	conn, err := c.openStream(ctx, streamMethod)
	if err != nil {
		return nil, err
	}
	return nodelink.PassStream(ctx, conn, b, w)
}

// StreamEvents has a server send events, as lines, until ctx ends or the server does.
func (c *Client) StreamEvents(ctx context.Context, r *structs.EventStreamRequest, send func([]byte) error) error {
	q := *r
	if q.Region == "" {
		q.Region = c.config.Region
	}
	conn, err := c.openStream(ctx, stream.Method)
	if err != nil {
		return err
	}
	return stream.Relay(ctx, conn, &q, send)
}

// SaveSnapshot has a server send an archive of the state; the caller closes it.
func (c *Client) SaveSnapshot(ctx context.Context, r *structs.SnapshotSaveRequest) (*structs.SnapshotSaveResponse, io.ReadCloser, error) {
	q := *r
	if q.Region == "" {
		q.Region = c.config.Region
	}
	conn, err := c.openStream(ctx, archive.SaveMethod)
	if err != nil {
		return nil, nil, err
	}
	return archive.AskSave(ctx, conn, &q)
}

// RestoreSnapshot has a server restore the archive that body gives.
func (c *Client) RestoreSnapshot(ctx context.Context, r *structs.SnapshotRestoreRequest, body io.Reader) (*structs.SnapshotRestoreResponse, error) {
	q := *r
	if q.Region == "" {
		q.Region = c.config.Region
	}
	conn, err := c.openStream(ctx, archive.RestoreMethod)
	if err != nil {
		return nil, err
	}
	return archive.SendRestore(ctx, conn, &q, body)
}

// openStream opens a streaming call at the server that this agent is connected to.
func (c *Client) openStream(ctx context.Context, method string) (net.Conn, error) {
	s, err := c.connection(ctx)
	if err != nil {
		return nil, err
	}
	opening, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := s.session.Open(opening)
	if err != nil {
		return nil, errs.Lost(errs.ExecutedNo, "the connection to the server was lost: try again", err)
	}
	_ = conn.SetWriteDeadline(time.Now().Add(connectTimeout))
	_, err = conn.Write([]byte{byte(mux.ProtoStreaming)})
	if err == nil {
		err = wire.OpenStream(opening, conn, method, wire.DefaultLimits())
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	_ = conn.SetDeadline(time.Time{})
	return conn, nil
}
