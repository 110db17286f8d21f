package agent

import (
	"net"
	"os"
	"syscall"
)

// lastOnes accepts what is complete and has the system refuse what comes then. The
// two follow each other at once, so that next to nothing can come between.
func (p *port) lastOnes() []net.Conn {
	raw, err := p.SyscallConn()
	if err != nil {
		return nil
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
