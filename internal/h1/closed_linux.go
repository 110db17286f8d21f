package h1

import (
	"encoding/binary"
	"net"
	"syscall"
)

// established is the state of a TCP connection whose two sides are open; part of
// the kernel's interface (tcp_states.h).
const established = 1

// hasClosed reports whether the client has closed its side of the connection, also
// when something that it sent before has not been read. It does not wait.
func hasClosed(nc net.Conn) bool {
	raw, err := rawConn(nc)
	if err != nil {
		return false
	}
	closed := false
	_ = raw.Control(func(fd uintptr) {
		info, err := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_INFO)
		var first [4]byte // of tcp_info: the state is its first byte
		binary.NativeEndian.PutUint32(first[:], uint32(info))
		closed = err == nil && first[0] != established
	})
	return closed
}
