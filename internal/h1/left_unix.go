//go:build linux || darwin || freebsd

package h1

import (
	"net"
	"syscall"
)

// hasLeft reports whether the client has closed its side of the connection and
// sent nothing more before. It does not wait.
func hasLeft(nc net.Conn) bool {
	raw, err := rawConn(nc)
	if err != nil {
		return false
	}
	left := false
	_ = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		left = n == 0 && err == nil || err == syscall.ECONNRESET
	})
	return left
}
