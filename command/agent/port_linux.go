package agent

import (
	"net"
	"os"
	"syscall"
	"time"
)

// handshakeTime is for how long connections that are being opened when the listener
// ends may become complete: more than a round trip within a site.
const handshakeTime = 50 * time.Millisecond

// lastOnes accepts what is complete and has the system refuse what comes then. To
// refuse resets what has become complete since, so nothing new may begin before it:
// a client that tries waits until it sends its SYN again, a second later, and is
// refused.
func (p *port) lastOnes() []net.Conn {
	raw, err := p.SyscallConn()
	if err != nil {
		return nil
	}
	held := false
	_ = raw.Control(func(fd uintptr) { held = holdOff(int(fd)) == nil })
	if held {
		time.Sleep(handshakeTime)
	}
	var fds []int
	_ = raw.Control(func(fd uintptr) { // fails when the listener is closed
		for len(fds) < maxRest {
			n, _, err := syscall.Accept4(int(fd), syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
			if err == syscall.EINTR || err == syscall.ECONNABORTED {
				continue
			}
			if err != nil {
				break
			}
			fds = append(fds, n)
		}
		_ = syscall.Shutdown(int(fd), syscall.SHUT_RDWR) // a listener refuses from then on
	})
	out := make([]net.Conn, 0, len(fds))
	for _, fd := range fds {
		f := os.NewFile(uintptr(fd), "accepted")
		if c, err := net.FileConn(f); err == nil {
			out = append(out, c)
		}
		_ = f.Close() // FileConn has a descriptor of its own
	}
	return out
}

// holdOff has the system drop the first segment of a new connection (SYN without
// ACK, RFC 9293 section 3.1: byte 13 of the header) at a listener, and nothing else.
func holdOff(fd int) error {
	const (
		flags     = 13
		syn, ack  = 0x02, 0x10
		everyByte = 1 << 18
	)
	return syscall.AttachLsf(fd, []syscall.SockFilter{
		*syscall.LsfStmt(syscall.BPF_LD|syscall.BPF_B|syscall.BPF_ABS, flags),
		*syscall.LsfStmt(syscall.BPF_ALU|syscall.BPF_AND|syscall.BPF_K, syn|ack),
		*syscall.LsfJump(syscall.BPF_JMP|syscall.BPF_JEQ|syscall.BPF_K, syn, 0, 1),
		*syscall.LsfStmt(syscall.BPF_RET|syscall.BPF_K, 0),
		*syscall.LsfStmt(syscall.BPF_RET|syscall.BPF_K, everyByte),
	})
}
