package agent

import (
	"context"

	"google.golang.org/protobuf/proto"

	client "github.com/cairn-project/cairn/drpc"
	"github.com/cairn-project/cairn/internal/drpc"
	"github.com/cairn-project/cairn/internal/errs"
)

// localSocket is a socket on which a local program answers the agent.
type localSocket struct {
	path string
	// peer is who named it, and whose it must be whenever it is called.
	peer drpc.Peer
	// maxMessage bounds call and answer, in bytes, 0 for 4 MiB.
	maxMessage int
}

// call calls a method, whose number begins with that of its module.
func (s *localSocket) call(ctx context.Context, method int32, in proto.Message) ([]byte, error) {
	body, err := proto.Marshal(in)
	if err != nil {
		return nil, errs.Newf(errs.Invalid, "the call cannot be passed on: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	c := client.NewClient(s.path, client.Options{MaxMessage: s.maxMessage, MaxCalls: 1, Owner: &s.peer.UID})
	if err := c.Connect(ctx); err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	return c.Do(ctx, method/100, method, body)
}
