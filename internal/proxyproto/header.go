package proxyproto

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// signature begins a header of version 2. No header of version 1 is as short.
const signature = "\r\n\r\n\x00\r\nQUIT\n"

const (
	// maxLine is the length of the longest header of version 1, with its end.
	maxLine = 107
	// maxBody bounds what a header of version 2 may hold behind its fixed part.
	// Proxies add a few hundred bytes to the addresses at most.
	maxBody = 4 << 10
)

// ErrHeader says that a connection does not begin with a header.
var ErrHeader = errors.New("no header of the PROXY protocol")

// The second half of the 13th byte of version 2 is a command, the 14th byte the
// family of the addresses and the transport.
const (
	commandLocal = 0
	commandProxy = 1
	tcp4         = 0x11
	tcp6         = 0x21
)

// Read reads a header from r, not a byte more, and returns the address of the
// client: the zero AddrPort where the proxy speaks for itself, as it does when it
// looks whether the server is there, or where it does not know.
func Read(r io.Reader) (netip.AddrPort, error) {
	var b [maxLine]byte
	n, err := io.ReadFull(r, b[:len(signature)])
	switch {
	case err != nil:
		return netip.AddrPort{}, early(err)
	case string(b[:n]) == signature:
		return readBinary(r)
	case !strings.HasPrefix(string(b[:n]), "PROXY "):
		return netip.AddrPort{}, ErrHeader
	}
	for {
		if _, err := io.ReadFull(r, b[n:n+1]); err != nil {
			return netip.AddrPort{}, early(err)
		}
		if n++; b[n-1] == '\n' {
			return parseLine(string(b[:n]))
		}
		if n == maxLine {
			return netip.AddrPort{}, fmt.Errorf("%w: the line has no end", ErrHeader)
		}
	}
}

// early is the error of a connection that ends within its header.
func early(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: the connection ended", ErrHeader)
	}
	return err
}

// parseLine reads a header of version 1: the protocol, the addresses of the client
// and of the proxy, and their ports.
func parseLine(line string) (netip.AddrPort, error) {
	line, ok := strings.CutSuffix(line, "\r\n")
	f := strings.Split(line, " ")
	switch {
	case !ok || len(f) < 2:
		return netip.AddrPort{}, fmt.Errorf("%w: a line that ends too early", ErrHeader)
	case f[1] == "UNKNOWN":
		return netip.AddrPort{}, nil
	case len(f) != 6 || f[1] != "TCP4" && f[1] != "TCP6":
		return netip.AddrPort{}, fmt.Errorf("%w: the line is for neither TCP4 nor TCP6", ErrHeader)
	}
	for _, other := range [2]string{f[2], f[3]} {
		if a, err := netip.ParseAddr(other); err != nil || a.Zone() != "" || a.Is4() != (f[1] == "TCP4") {
			return netip.AddrPort{}, fmt.Errorf("%w: %.64q is no address of %s", ErrHeader, other, f[1])
		}
	}
	port, err := strconv.ParseUint(f[4], 10, 16)
	if err == nil {
		_, err = strconv.ParseUint(f[5], 10, 16)
	}
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%w: a bad port", ErrHeader)
	}
	return netip.AddrPortFrom(netip.MustParseAddr(f[2]).Unmap(), uint16(port)), nil
}

// readBinary reads what follows the signature of version 2.
func readBinary(r io.Reader) (netip.AddrPort, error) {
	var fixed [4]byte
	if _, err := io.ReadFull(r, fixed[:]); err != nil {
		return netip.AddrPort{}, early(err)
	}
	command, size := fixed[0]&0x0f, int(binary.BigEndian.Uint16(fixed[2:]))
	switch {
	case fixed[0]>>4 != 2 || command > commandProxy:
		return netip.AddrPort{}, fmt.Errorf("%w: unknown version or command %#x", ErrHeader, fixed[0])
	case size > maxBody:
		return netip.AddrPort{}, fmt.Errorf("%w: %d bytes, %d at most are taken", ErrHeader, size, maxBody)
	}
	var addrs [36]byte
	if _, err := io.ReadFull(r, addrs[:min(size, len(addrs))]); err != nil {
		return netip.AddrPort{}, early(err)
	}
	if _, err := io.CopyN(io.Discard, r, int64(max(0, size-len(addrs)))); err != nil {
		return netip.AddrPort{}, early(err)
	}
	if command == commandLocal {
		return netip.AddrPort{}, nil
	}
	return parseAddrs(fixed[1], addrs[:min(size, len(addrs))])
}

// parseAddrs reads the addresses of the client and of the proxy, and their ports.
func parseAddrs(family byte, b []byte) (netip.AddrPort, error) {
	width := 0
	switch family {
	case tcp4:
		width = 4
	case tcp6:
		width = 16
	default: // UDP, a Unix socket, or unspecified: no address that means anything here
		return netip.AddrPort{}, nil
	}
	if len(b) < 2*width+4 {
		return netip.AddrPort{}, fmt.Errorf("%w: %d bytes hold no addresses of family %#x", ErrHeader, len(b), family)
	}
	from, _ := netip.AddrFromSlice(b[:width]) // the width is right
	return netip.AddrPortFrom(from.Unmap(), binary.BigEndian.Uint16(b[2*width:])), nil
}
