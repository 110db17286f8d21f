package h1

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"syscall"

	"github.com/cairn-project/cairn/internal/presence"
)

// Present lets handlers of an http.Server ask for the client of a connection, as
// those of a Server may: it is for http.Server.ConnContext. What a client that left
// has sent before, such as the farewell of TLS, does not make it there.
func Present(ctx context.Context, c net.Conn) context.Context {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	return presence.With(ctx, func() bool { return !hasClosed(c) })
}

// SyscallConn gives access to the socket, if there is one.
func (c *replayed) SyscallConn() (syscall.RawConn, error) { return rawConn(c.Conn) }

func rawConn(c net.Conn) (syscall.RawConn, error) {
	if sc, ok := c.(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}
