//go:build !linux

package h1

import "net"

// hasClosed sees a client that left only when all that it sent has been read.
func hasClosed(nc net.Conn) bool { return hasLeft(nc) }
