package drpc

import (
	"net"
	"syscall"
)

// peerOf asks the kernel who connected.
func peerOf(conn *net.UnixConn) Peer {
	unknown := Peer{UID: -1, GID: -1, PID: -1}
	raw, err := conn.SyscallConn()
	if err != nil {
		return unknown
	}
	var cred *syscall.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil || credErr != nil {
		return unknown
	}
	return Peer{Known: true, UID: int(cred.Uid), GID: int(cred.Gid), PID: int(cred.Pid)}
}
