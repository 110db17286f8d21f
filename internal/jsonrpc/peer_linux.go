package jsonrpc

import (
	"net"
	"syscall"
)

// peerCred asks the kernel who is at the other end, nil if it does not say.
func peerCred(conn *net.UnixConn) *PeerCred {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil
	}
	var cred *syscall.Ucred
	if raw.Control(func(fd uintptr) {
		cred, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}) != nil || err != nil {
		return nil
	}
	return &PeerCred{UID: cred.Uid, GID: cred.Gid, PID: cred.Pid}
}

// waitGone blocks until the peer has closed its end for good, and returns false
// when conn was closed on our side or its time for reading is up. What the peer sent
// before need not have been read. A peer that only stopped sending still waits for answers.
func waitGone(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	gone := false
	err = raw.Read(func(fd uintptr) bool {
		// Nothing is sent; the kernel only says whether it could be.
		_, err := syscall.SendmsgN(int(fd), nil, nil, nil, syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL)
		gone = err == syscall.EPIPE || err == syscall.ECONNRESET
		return gone
	})
	return err == nil && gone
}
