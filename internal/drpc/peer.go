package drpc

import (
	"fmt"
	"os"
)

// Peer is who is at the other end, as the kernel saw it when it connected: a
// process that changed its user since, or handed the connection on, still
// counts as that one.
type Peer struct {
	// Known is false where the kernel could not say; the numbers are -1 then.
	Known    bool
	UID, GID int
	// PID may be used by another process once the peer has exited.
	PID int
	// Privileged is what Config.Privileged said of the peer.
	Privileged bool
	// Socket is the path of the socket it came in by.
	Socket string
}

// String returns the peer for logs.
func (p Peer) String() string {
	if !p.Known {
		return "unknown peer"
	}
	return fmt.Sprintf("uid %d gid %d pid %d", p.UID, p.GID, p.PID)
}

// Policy decides which peers may call a module.
type Policy func(Peer) bool

// Anyone lets every peer in, even one that the kernel could not name.
func Anyone(Peer) bool { return true }

// KnownPeers lets every peer in whose identity is known.
func KnownPeers(p Peer) bool { return p.Known }

// PrivilegedPeers lets in whom the server's configuration calls privileged.
func PrivilegedPeers(p Peer) bool { return p.Known && p.Privileged }

// RootOrSelf is the usual answer to who is privileged: root, and the user that
// this process runs as.
func RootOrSelf(p Peer) bool { return p.Known && (p.UID == 0 || p.UID == os.Geteuid()) }
