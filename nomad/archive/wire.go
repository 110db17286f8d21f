package archive

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/msgp"
	"github.com/cairn-project/cairn/nomad/structs"
)

// The streaming calls of servers. Each begins with its request in MessagePack. An archive
// to save follows its answer as it is; one to restore comes in pieces, each led by its
// length as a big-endian uint32, an empty one as the last.
const (
	SaveMethod    = "Operator.SnapshotSave"
	RestoreMethod = "Operator.SnapshotRestore"
)

const (
	// alive is how often a side that works says so; idle is after how long without a byte
	// the other side is gone.
	alive = 10 * time.Second
	idle  = time.Minute
	// maxMessage bounds requests and answers, maxPiece pieces, in bytes.
	maxMessage = 1 << 20
	maxPiece   = 1 << 20
	pieceSize  = 128 << 10
	// lastWord is how long a server whose connection broke has to say why.
	lastWord = 2 * time.Second
)

// peer is a connection with a deadline for every byte.
type peer struct {
	net.Conn
	br *bufio.Reader
	mu sync.Mutex // one message at a time
}

func newPeer(conn net.Conn) *peer {
	p := &peer{Conn: conn}
	p.br = bufio.NewReaderSize(readFunc(p.read), 64<<10)
	return p
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(b []byte) (int, error) { return f(b) }

func (p *peer) read(b []byte) (int, error) {
	if err := p.SetReadDeadline(time.Now().Add(idle)); err != nil {
		return 0, err
	}
	return p.Conn.Read(b)
}

// Write writes b within the time for which a connection may be idle.
func (p *peer) Write(b []byte) (int, error) {
	if err := p.SetWriteDeadline(time.Now().Add(idle)); err != nil {
		return 0, err
	}
	return p.Conn.Write(b)
}

func (p *peer) send(v any) error {
	b, err := msgp.Marshal(v)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err = p.Write(b)
	return err
}

func (p *peer) receive(v any) error {
	b, _, err := msgp.ReadValue(p.br, nil, maxMessage)
	if err != nil {
		return err
	}
	return msgp.Unmarshal(b, v)
}

// interrupt ends what waits on the connection, also on a stream whose Close does not do that.
func (p *peer) interrupt() {
	_ = p.SetDeadline(time.Unix(1, 0))
	_ = p.Close()
}

// while runs work and has say called every so often until it has ended.
func while(say func() error, work func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(alive)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				if say() != nil {
					return
				}
			}
		}
	}()
	work()
	close(done)
	<-ended
}

func lost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errs.Gone(ctx.Err())
	}
	return err
}

// AskSave asks the server at the other end of conn for an archive. Whoever gets one closes
// it; conn is closed with it, or when there is none, or when ctx ends.
func AskSave(ctx context.Context, conn net.Conn, r *structs.SnapshotSaveRequest) (*structs.SnapshotSaveResponse, io.ReadCloser, error) {
	p := newPeer(conn)
	stop := context.AfterFunc(ctx, p.interrupt)
	resp, err := askSave(p, r)
	if err != nil {
		stop()
		_ = p.Close()
		return nil, nil, lost(ctx, err)
	}
	return resp, &download{peer: p, left: resp.Size, stop: stop}, nil
}

func askSave(p *peer, r *structs.SnapshotSaveRequest) (*structs.SnapshotSaveResponse, error) {
	broke := func(err error) error {
		return errs.Wrap(errs.Unavailable, "the server that makes the archive broke off: try again", err)
	}
	if err := p.send(r); err != nil {
		return nil, broke(err)
	}
	for {
		resp := &structs.SnapshotSaveResponse{}
		if err := p.receive(resp); err != nil {
			return nil, broke(err)
		}
		if resp.Error != nil {
			return nil, resp.Error.Err()
		}
		if resp.SnapshotChecksum != "" && resp.Size >= 0 {
			return resp, nil
		}
	}
}

// download is an archive on its way.
type download struct {
	*peer
	left int64
	stop func() bool
}

// Read returns io.EOF after the last byte, and no earlier.
func (d *download) Read(b []byte) (int, error) {
	if d.left == 0 {
		return 0, io.EOF
	}
	n, err := d.br.Read(b[:min(int64(len(b)), d.left)])
	if d.left -= int64(n); err != nil {
		err = errs.Wrap(errs.Unavailable, "the server that sends the archive broke off: try again", err)
	}
	return n, err
}

// Close closes the connection.
func (d *download) Close() error {
	d.stop()
	return d.peer.Close()
}

// ServeSave answers on conn with the archive that answer gives, and closes both. The
// context of answer ends when the peer hangs up.
func ServeSave(ctx context.Context, conn net.Conn, answer func(context.Context, *structs.SnapshotSaveRequest) (*structs.SnapshotSaveResponse, io.ReadCloser, error)) error {
	p := newPeer(conn)
	defer p.Close()
	r := &structs.SnapshotSaveRequest{}
	if err := p.receive(r); err != nil {
		return p.send(&structs.SnapshotSaveResponse{Error: badRequest(err)})
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watched := make(chan struct{})
	_ = p.SetReadDeadline(time.Time{})
	go func() {
		defer close(watched)
		_, _ = io.Copy(io.Discard, p.Conn) // nothing more is due: this ends with the connection
		cancel()
	}()
	defer func() { p.interrupt(); <-watched }()
	var resp *structs.SnapshotSaveResponse
	var body io.ReadCloser
	var err error
	while(func() error { return p.send(&structs.SnapshotSaveResponse{}) }, func() { resp, body, err = answer(ctx, r) })
	if err != nil {
		return p.send(&structs.SnapshotSaveResponse{Error: structs.NewSnapshotError(err)})
	}
	defer body.Close()
	if err := p.send(resp); err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{p}, struct{ io.Reader }{body}, make([]byte, pieceSize))
	return err
}

func badRequest(err error) *structs.SnapshotError {
	return structs.NewSnapshotError(errs.Wrap(errs.Invalid, "cannot decode the request of a stream", err))
}

// SendRestore has the server at the other end of conn restore the archive that body gives,
// which it asks for once it would. It closes conn.
func SendRestore(ctx context.Context, conn net.Conn, r *structs.SnapshotRestoreRequest, body io.Reader) (*structs.SnapshotRestoreResponse, error) {
	p := newPeer(conn)
	defer p.interrupt()
	defer context.AfterFunc(ctx, p.interrupt)()
	if err := p.send(r); err != nil {
		return nil, lost(ctx, errs.Lost(errs.ExecutedNo, "the server that restores was lost before it began", err))
	}
	var resp structs.SnapshotRestoreResponse
	for !resp.Send {
		resp = structs.SnapshotRestoreResponse{}
		if err := p.receive(&resp); err != nil {
			return nil, lost(ctx, errs.Lost(errs.ExecutedNo, "the server that restores was lost before it began", err))
		}
		if resp.Done {
			return &resp, resp.Error.Err()
		}
	}
	end := make(chan error, 1)
	go func() { end <- p.awaitEnd(&resp) }()
	if err := p.sendBody(body); err != nil {
		var own *bodyError
		if errors.As(err, &own) {
			p.interrupt()
			<-end
			return nil, lost(ctx, own.cause)
		}
		_ = p.SetReadDeadline(time.Now().Add(lastWord))
	}
	if err := <-end; err != nil {
		return nil, lost(ctx, errs.Wrap(errs.Deadline, "the server that restores was lost before it said how that ended: look at the state before trying again", err))
	}
	return &resp, resp.Error.Err()
}

// awaitEnd reads what the server says until it is done, and ends the sending then.
func (p *peer) awaitEnd(resp *structs.SnapshotRestoreResponse) error {
	defer func() { _ = p.SetWriteDeadline(time.Unix(1, 0)) }()
	for {
		*resp = structs.SnapshotRestoreResponse{}
		if err := p.receive(resp); err != nil || resp.Done {
			return err
		}
	}
}

// bodyError is a failure to read what is to be sent.
type bodyError struct{ cause error }

func (e *bodyError) Error() string { return e.cause.Error() }

func (p *peer) sendBody(body io.Reader) error {
	buf := make([]byte, 4+pieceSize)
	for {
		n, err := io.ReadFull(body, buf[4:])
		last := err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) && n > 0
		if err != nil && !last {
			return &bodyError{err}
		}
		if n > 0 {
			binary.BigEndian.PutUint32(buf, uint32(n))
			if _, err := p.Write(buf[:4+n]); err != nil {
				return err
			}
		}
		if last {
			_, err := p.Write([]byte{0, 0, 0, 0})
			return err
		}
	}
}

// ServeRestore answers on conn, and closes it. The archive is sent once answer reads of it.
func ServeRestore(ctx context.Context, conn net.Conn, answer func(context.Context, *structs.SnapshotRestoreRequest, io.Reader) (*structs.SnapshotRestoreResponse, error)) error {
	p := newPeer(conn)
	defer p.interrupt()
	r := &structs.SnapshotRestoreRequest{}
	if err := p.receive(r); err != nil {
		return p.send(&structs.SnapshotRestoreResponse{Done: true, Error: badRequest(err)})
	}
	var resp *structs.SnapshotRestoreResponse
	var err error
	while(func() error { return p.send(&structs.SnapshotRestoreResponse{}) }, func() { resp, err = answer(ctx, r, &upload{peer: p}) })
	if err != nil {
		resp = &structs.SnapshotRestoreResponse{Error: structs.NewSnapshotError(err)}
	}
	resp.Done = true
	return p.send(resp)
}

// upload reads the pieces of an archive.
type upload struct {
	peer  *peer
	asked bool
	left  uint32
	err   error
}

// Read asks for the archive before it reads the first byte. It returns io.EOF only when
// the peer has said that it sent all.
func (u *upload) Read(b []byte) (int, error) {
	if u.err != nil || len(b) == 0 {
		return 0, u.err
	}
	if !u.asked {
		u.asked = true
		if u.err = u.peer.send(&structs.SnapshotRestoreResponse{Send: true}); u.err != nil {
			return 0, u.err
		}
	}
	if u.left == 0 {
		if u.err = u.next(); u.err != nil {
			return 0, u.err
		}
	}
	n, err := u.peer.br.Read(b[:min(uint32(len(b)), u.left)])
	u.left -= uint32(n)
	u.err = cutOff(err)
	return n, u.err
}

func (u *upload) next() error {
	var head [4]byte
	if _, err := io.ReadFull(u.peer.br, head[:]); err != nil {
		return cutOff(err)
	}
	switch u.left = binary.BigEndian.Uint32(head[:]); {
	case u.left == 0:
		return io.EOF
	case u.left > maxPiece:
		return errs.Newf(errs.TooLarge, "a piece of the archive has %d bytes, at most %d are taken", u.left, maxPiece)
	}
	return nil
}

func cutOff(err error) error {
	if err == nil {
		return nil
	}
	return errs.Wrap(errs.Invalid, "the sending of the archive broke off before its end: nothing was restored; try again", err)
}
