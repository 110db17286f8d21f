package drpc

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cairn-project/cairn/internal/errs"
)

// Message is what one peer sent in one go.
type Message struct {
	Data []byte
	// Framed is set where it came in frames; its answer goes the same way.
	Framed bool
}

// errPacketTooLong is a packet that did not fit; what came of it is lost.
var errPacketTooLong = errors.New("packet is longer than 131072 bytes: send the message in frames")

// packets reads and writes whole packets. One goroutine reads, one writes.
type packets interface {
	// read returns the next packet in buf, io.EOF where the peer has left, and
	// errPacketTooLong where one was skipped. An empty packet is a packet.
	read(buf []byte) (int, error)
	write(packet []byte) error
}

// Link carries whole messages over one connection. One goroutine may read;
// any number may write.
type Link struct {
	conn    *net.UnixConn
	packets packets
	buf     []byte // of the reader
	asm     Assembler

	// For links of a server, nil and 0 for others: what a message that is not
	// complete may hold, and how long it may take.
	share   *share
	held    int
	patient time.Duration

	turn chan struct{} // full while a message is written, so that frames of two never mix
	out  []byte        // of the writer
}

// NewLink takes over the connection. maxMessage bounds what is read.
func NewLink(conn *net.UnixConn, maxMessage int) *Link {
	l := &Link{conn: conn, buf: make([]byte, MaxPacket), asm: Assembler{Max: maxMessage}, turn: make(chan struct{}, 1)}
	if isSeqpacket(conn) {
		l.packets = newSeqpacket(conn)
	} else {
		l.packets = &stream{conn: conn}
	}
	return l
}

// Read returns the next message. io.EOF is an orderly end; errPacketTooLong
// leaves the link usable, any other error does not.
func (l *Link) Read() (Message, error) {
	for {
		n, err := l.packets.read(l.buf)
		if errors.Is(err, errPacketTooLong) && n > 0 && l.buf[0] == frameMarker {
			return Message{}, frameErr(ChunkTooBig, "chunk of more than %d bytes", ChunkCapacity)
		}
		if err != nil {
			if cut := l.asm.Close(); cut != nil && errors.Is(err, io.EOF) {
				return Message{}, cut
			}
			return Message{}, err
		}
		packet := l.buf[:n]
		if n == 0 || packet[0] != frameMarker {
			return Message{Data: append([]byte(nil), packet...)}, nil
		}
		msg, done, err := l.asm.Add(packet)
		if err == nil {
			err = l.hold(n, done)
		}
		if err != nil || done {
			return Message{Data: msg, Framed: true}, err
		}
	}
}

// hold counts a frame of n bytes against the share until its message is
// complete, and lets the message take its time and no more.
func (l *Link) hold(n int, done bool) error {
	if l.share == nil || done && l.held == 0 {
		return nil
	}
	if done {
		l.drop()
		return l.readUntil(time.Time{})
	}
	if !l.share.take(n) {
		return errs.New(errs.Busy, "the calls of this user hold too many bytes: wait for answers").WithRetryAfter(time.Second)
	}
	first := l.held == 0
	l.held += n
	if !first {
		return nil
	}
	return l.readUntil(time.Now().Add(l.patient))
}

// bound makes the link one of a server, whose peer has a share and so much time for a message.
func (l *Link) bound(of *share, patient time.Duration) {
	l.share, l.patient = of, patient
	if s, ok := l.packets.(*stream); ok {
		s.patient = patient
	}
}

// readUntil sets when reading ends, zero for never. It is for the goroutine that reads.
func (l *Link) readUntil(t time.Time) error {
	if s, ok := l.packets.(*stream); ok {
		s.until = t
	}
	return l.conn.SetReadDeadline(t)
}

// drop gives back what hold took.
func (l *Link) drop() {
	if l.share != nil {
		l.share.give(l.held)
		l.held = 0
	}
}

// Fits reports whether a message can go as a packet of its own.
func Fits(msg []byte) bool {
	return len(msg) <= MaxPacket && (len(msg) == 0 || msg[0] != frameMarker)
}

// Write sends a message, in at most timeout from when its turn comes.
func (l *Link) Write(msg Message, timeout time.Duration) error {
	return l.writeAfter(msg, timeout, func() {})
}

// writeAfter is Write that runs begin once its turn has come.
func (l *Link) writeAfter(msg Message, timeout time.Duration, begin func()) error {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	begin()
	if err := l.conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	_, err := l.write(msg)
	return err
}

// WriteContext sends a message unless the context ends first. sent is false
// where nothing of it left; the link can be used on then if it was the context
// that ended.
func (l *Link) WriteContext(ctx context.Context, msg Message) (sent bool, err error) {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	defer func() { <-l.turn }()
	if err := l.conn.SetWriteDeadline(time.Time{}); err != nil {
		return false, err
	}
	if ctx.Done() == nil {
		return l.write(msg)
	}
	expired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(expired)
		_ = l.conn.SetWriteDeadline(time.Unix(1, 0))
	})
	sent, err = l.write(msg)
	if !stop() {
		<-expired
		if err != nil {
			err = errors.Join(ctx.Err(), err)
		}
	}
	return sent, err
}

// write sends a message; the turn is the caller's. sent is false where nothing of it left.
func (l *Link) write(msg Message) (sent bool, err error) {
	if !msg.Framed {
		if !Fits(msg.Data) {
			return false, errPacketTooLong
		}
		err := l.packets.write(msg.Data)
		return err == nil || !l.atomic(), err
	}
	defer l.shrink()
	for i := range chunkCount(len(msg.Data), ChunkCapacity) {
		l.out = frameAt(l.out[:0], msg.Data, i)
		if err := l.packets.write(l.out); err != nil {
			return i > 0 || !l.atomic(), err
		}
	}
	return true, nil
}

// Close ends the link; a blocked read or write returns.
func (l *Link) Close() error { return l.conn.Close() }

// Refuse sends a last answer and closes the link once the peer had a chance to
// read it: closing at once could throw away what is still on its way.
func (l *Link) Refuse(resp *Response) {
	defer l.Close()
	b, err := proto.Marshal(resp)
	if err != nil {
		return
	}
	if err := l.Write(Message{Data: b}, time.Second); err != nil || l.conn.CloseWrite() != nil {
		return
	}
	_ = l.readUntil(time.Now().Add(time.Second))
	for err == nil {
		_, err = l.packets.read(l.buf)
		if errors.Is(err, errPacketTooLong) {
			err = nil
		}
	}
}

// atomic reports whether a failed write of a packet sent nothing of it.
func (l *Link) atomic() bool {
	_, ok := l.packets.(*stream)
	return !ok
}

// shrink gives the buffer of a long message back.
func (l *Link) shrink() {
	if cap(l.out) > 8<<10 {
		l.out = nil
	}
}

// stream keeps packets apart on a socket that does not: each follows its
// length, 32 bits in network order.
type stream struct {
	conn *net.UnixConn
	out  []byte
	// patient is how long a packet may take once it has begun, 0 for any time; until
	// is when reading ends before that, zero for never.
	patient time.Duration
	until   time.Time
}

func (s *stream) read(buf []byte) (int, error) {
	var head [4]byte
	if _, err := io.ReadFull(s.conn, head[:1]); err != nil {
		return 0, endOfStream(err)
	}
	if s.patient > 0 {
		end := time.Now().Add(s.patient)
		if !s.until.IsZero() && s.until.Before(end) {
			end = s.until
		}
		if err := s.conn.SetReadDeadline(end); err != nil {
			return 0, err
		}
	}
	n, err := s.rest(head, buf)
	if s.patient > 0 && (err == nil || errors.Is(err, errPacketTooLong)) {
		err = cmp.Or(s.conn.SetReadDeadline(s.until), err)
	}
	return n, err
}

// rest reads what follows the first byte of the length.
func (s *stream) rest(head [4]byte, buf []byte) (int, error) {
	if _, err := io.ReadFull(s.conn, head[1:]); err != nil {
		return 0, endOfStream(err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if uint64(n) <= uint64(len(buf)) {
		_, err := io.ReadFull(s.conn, buf[:n])
		return int(n), endOfStream(err)
	}
	have, err := io.ReadFull(s.conn, buf)
	if err != nil {
		return 0, endOfStream(err)
	}
	if _, err := io.CopyN(io.Discard, s.conn, int64(n)-int64(have)); err != nil {
		return 0, endOfStream(err)
	}
	return have, errPacketTooLong
}

// endOfStream takes a packet cut short for the end that it is.
func endOfStream(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return io.EOF
	}
	return err
}

func (s *stream) write(packet []byte) error {
	s.out = binary.BigEndian.AppendUint32(s.out[:0], uint32(len(packet)))
	s.out = append(s.out, packet...)
	_, err := s.conn.Write(s.out)
	if cap(s.out) > 8<<10 {
		s.out = nil
	}
	return err
}
