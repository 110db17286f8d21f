package drpc

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// seqpacket is a socket of the kind that keeps packets apart.
type seqpacket struct {
	conn *net.UnixConn
	oob  []byte
}

// newSeqpacket asks the kernel for the sender's credentials with each packet:
// they come with an empty packet and not with the end of the connection, which
// look the same otherwise.
func newSeqpacket(conn *net.UnixConn) packets {
	s := &seqpacket{conn: conn}
	raw, err := conn.SyscallConn()
	if err != nil {
		return s
	}
	_ = raw.Control(func(fd uintptr) {
		// Credentials come first and fill the buffer: descriptors that a peer
		// passes find no room and are closed by the kernel.
		if passCredentials(int(fd)) == nil {
			s.oob = make([]byte, syscall.CmsgSpace(syscall.SizeofUcred))
		}
	})
	return s
}

// passCredentials may fail; then an empty packet reads as the end.
func passCredentials(fd int) error {
	return syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_PASSCRED, 1)
}

func (s *seqpacket) read(buf []byte) (int, error) {
	n, oobn, flags, _, err := s.conn.ReadMsgUnix(buf, s.oob)
	switch {
	case n == 0 && oobn > 0 && (err == nil || errors.Is(err, io.EOF)):
		return 0, nil
	case n == 0 && err == nil:
		return 0, io.EOF
	case err == nil && flags&syscall.MSG_TRUNC != 0:
		return n, errPacketTooLong
	}
	return n, err
}

func (s *seqpacket) write(packet []byte) error {
	_, err := s.conn.Write(packet)
	return err
}

// isSeqpacket reports the kind of socket.
func isSeqpacket(conn *net.UnixConn) bool {
	a, ok := conn.LocalAddr().(*net.UnixAddr)
	return ok && a.Net == "unixpacket"
}
