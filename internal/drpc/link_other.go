//go:build !linux

package drpc

import "net"

// newSeqpacket is never called: isSeqpacket is false here.
func newSeqpacket(conn *net.UnixConn) packets { return &stream{conn: conn} }

// passCredentials has nothing to do on a stream.
func passCredentials(int) error { return nil }

// isSeqpacket is false on systems whose Unix sockets are streams.
func isSeqpacket(*net.UnixConn) bool { return false }
