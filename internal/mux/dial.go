package mux

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"
)

// selectTimeout bounds asking for a protocol when the context has no deadline.
const selectTimeout = 10 * time.Second

// Select asks for a protocol on a new connection to a server port: by its byte
// in clear, or by its ALPN name within TLS when secure is not nil. A peer that
// knows no ALPN is sent the byte. It owns conn and closes it when it fails.
func Select(ctx context.Context, conn net.Conn, p Protocol, secure *tls.Config) (net.Conn, error) {
	out, err := selectProtocol(ctx, conn, p, secure)
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return out, nil
}

func selectProtocol(ctx context.Context, conn net.Conn, p Protocol, secure *tls.Config) (net.Conn, error) {
	until, ok := ctx.Deadline()
	if !ok {
		until = time.Now().Add(selectTimeout)
	}
	if err := conn.SetDeadline(until); err != nil {
		return nil, err
	}
	if secure == nil {
		return conn, writeProtocol(conn, p)
	}
	if err := writeProtocol(conn, ProtoTLS); err != nil {
		return nil, err
	}
	secure = secure.Clone()
	secure.NextProtos = []string{row(p).ALPN}
	inner := tls.Client(conn, secure)
	if err := inner.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("tls handshake: %w", err)
	}
	if inner.ConnectionState().NegotiatedProtocol != "" {
		return inner, nil
	}
	return inner, writeProtocol(inner, p)
}

func writeProtocol(conn net.Conn, p Protocol) error {
	_, err := conn.Write([]byte{byte(p)})
	return err
}
