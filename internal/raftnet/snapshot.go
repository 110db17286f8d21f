package raftnet

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/hashicorp/raft"
)

// chunkSize is how much of a snapshot one frame carries.
const chunkSize = 256 << 10

// snapshotScale is how many bytes of a snapshot earn its answer one Timeout: the
// follower restores before it answers.
const snapshotScale = 16 << 20

// stallFactor is how many Timeouts a follower may take to accept the next chunk,
// because it first has to finish what its main loop is at.
const stallFactor = 3

// InstallSnapshot streams the snapshot over a connection of its own.
func (t *Transport) InstallSnapshot(id raft.ServerID, addr raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	if t.silent.Load() {
		return errSilent
	}
	c, err := t.conns.dial(context.Background(), t.cfg.DialSnapshot, addr)
	if err != nil {
		return err
	}
	defer c.Close()
	t.stats.snapshots.Add(1)
	if err := c.send(args); err != nil {
		return fmt.Errorf("offer snapshot to %s: %w", addr, err)
	}
	if err := c.stream(data); err != nil {
		return fmt.Errorf("send snapshot to %s: %w", addr, err)
	}
	within := t.cfg.Timeout * time.Duration(stallFactor+args.Size/snapshotScale)
	remote, err := c.receive(kindSnapshot, within, resp)
	if err != nil {
		return fmt.Errorf("await snapshot at %s: %w", addr, err)
	}
	t.seen(id)
	return remote
}

// stream writes data as chunks and the empty chunk that ends them.
func (c *outConn) stream(data io.Reader) error {
	buf := make([]byte, headerLen+chunkSize)
	for {
		n, err := io.ReadFull(data, buf[headerLen:])
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return err
		}
		frame := append(beginFrame(buf[:0], kindChunk), buf[headerLen:headerLen+n]...)
		endFrame(frame, 0)
		if err := c.writeWithin(frame, stallFactor*c.pool.t.cfg.Timeout); err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
	}
}

// chunkReader reads the chunks that follow a snapshot request. It ends with
// io.EOF at the empty chunk and with another error when that never comes.
type chunkReader struct {
	conn    net.Conn
	r       *bufio.Reader
	left    int           // of the current chunk
	size    int64         // of the snapshot, what is still allowed
	timeout time.Duration // between two chunks
	err     error
}

func (c *chunkReader) Read(p []byte) (int, error) {
	if c.err == nil && c.left == 0 {
		c.err = c.next()
	}
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.r.Read(p[:min(len(p), c.left)])
	c.left -= n
	c.err = noEOF(err)
	return n, c.err
}

func (c *chunkReader) next() error {
	if err := c.conn.SetReadDeadline(time.Now().Add(c.timeout)); err != nil {
		return err
	}
	k, n, err := peekHeader(c.r, chunkSize)
	if err != nil {
		return noEOF(err)
	}
	if k != kindChunk {
		return fmt.Errorf("%w: kind %d inside a snapshot", errMalformed, k)
	}
	if _, err := c.r.Discard(headerLen); err != nil {
		return err
	}
	if c.left = n; n == 0 {
		return io.EOF
	}
	if c.size -= int64(n); c.size < 0 {
		return fmt.Errorf("%w: snapshot longer than announced", errMalformed)
	}
	return nil
}
