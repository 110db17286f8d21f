package mux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
)

// The frame of yamux: version, type, flags, stream and length, big endian.
const (
	frameHeader     = 12
	frameTypeData   = 0
	frameTypeWindow = 1
	frameTypePing   = 2
	frameFlagSYN    = 1
)

// A peer pings every 30 s or so; it may do so pingBurst times in a row and
// pingRate times a second.
const (
	pingBurst = 32
	pingRate  = 4
)

var (
	errPingFlood   = errors.New("peer floods the session with pings")
	errForeignName = errors.New("peer opens a stream under a number that is ours to give")
)

// guardedConn ends a session whose peer floods it with pings: yamux starts a
// goroutine for each, and a peer that does not read holds them all. It also ends one
// whose peer opens a stream under a number of our side: yamux would give the number
// again, forget the first stream, and let its reader spin when the session has ended.
type guardedConn struct {
	net.Conn
	// ours are the last bits of the numbers of streams that this side opens.
	ours uint32

	// These belong to the one goroutine that reads.
	header [frameHeader]byte
	have   int    // bytes of header
	skip   uint32 // bytes of data before the next header
	pings  float64
	last   time.Time
}

func (g *guardedConn) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if bad := g.scan(p[:n]); bad != nil {
		return 0, bad
	}
	return n, err
}

// scan follows the frames in b and returns what is wrong with them, nil for nothing.
func (g *guardedConn) scan(b []byte) error {
	for len(b) > 0 {
		if g.skip > 0 {
			n := min(uint64(len(b)), uint64(g.skip))
			g.skip -= uint32(n)
			b = b[n:]
			continue
		}
		n := copy(g.header[g.have:], b)
		g.have += n
		b = b[n:]
		if g.have < frameHeader {
			return nil
		}
		g.have = 0
		if bad := g.frame(); bad != nil {
			return bad
		}
	}
	return nil
}

// frame looks at a header that is complete.
func (g *guardedConn) frame() error {
	opens := binary.BigEndian.Uint16(g.header[2:])&frameFlagSYN != 0
	switch g.header[1] {
	case frameTypePing:
		if opens && !g.takePing(time.Now()) {
			return errPingFlood
		}
		return nil
	case frameTypeData:
		g.skip = binary.BigEndian.Uint32(g.header[8:])
	case frameTypeWindow:
	default:
		return nil
	}
	if opens && binary.BigEndian.Uint32(g.header[4:])%2 == g.ours {
		return errForeignName
	}
	return nil
}

// takePing reports whether a ping is within the rate.
func (g *guardedConn) takePing(now time.Time) bool {
	g.pings = max(0, g.pings-pingRate*now.Sub(g.last).Seconds()) + 1
	g.last = now
	return g.pings <= pingBurst
}

// quietLog is the logger of a yamux session. A peer can make yamux write a line
// for every frame, and the loss of any connection is an error to it, so all of
// it is for debugging and at most a line a second.
type quietLog struct {
	log  hclog.Logger
	last atomic.Int64 // Unix seconds
}

func (q *quietLog) Print(v ...any)   { q.write(func() string { return fmt.Sprint(v...) }) }
func (q *quietLog) Println(v ...any) { q.write(func() string { return fmt.Sprint(v...) }) }
func (q *quietLog) Printf(format string, v ...any) {
	q.write(func() string { return fmt.Sprintf(format, v...) })
}

func (q *quietLog) write(text func() string) {
	if q.log == nil || !q.log.IsDebug() {
		return
	}
	now, last := time.Now().Unix(), q.last.Load()
	if now == last || !q.last.CompareAndSwap(last, now) {
		return
	}
	q.log.Debug("session", "detail", text())
}
