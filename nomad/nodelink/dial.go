package nodelink

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/cairn-project/cairn/internal/mux"
)

// DialPort starts the session of a link on a new connection to the server port,
// within TLS where secure is not nil. It owns conn.
func DialPort(ctx context.Context, conn net.Conn, secure *tls.Config, cfg mux.SessionConfig) (mux.Session, error) {
	conn, err := mux.Select(ctx, conn, mux.ProtoNodeLink, secure)
	if err != nil {
		return nil, err
	}
	s, err := mux.Client(conn, cfg)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return s, nil
}
