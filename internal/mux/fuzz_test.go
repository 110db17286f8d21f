package mux

import (
	"context"
	"io"
	"net"
	"testing"
	"time"
)

// pipeListener accepts what is sent to it.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	select {
	case <-l.done:
	default:
		close(l.done)
	}
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

func FuzzDemultiplex(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{1, 'x'})
	f.Add([]byte{4, 22, 3, 1})
	f.Add([]byte{5})
	f.Add([]byte{99})
	f.Add([]byte{22, 3, 1, 0, 5, 1, 0, 0, 1, 3})
	f.Add([]byte(preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"))
	f.Add([]byte("PUT / HTTP/1.1\r\n\r\n"))
	serverTLS, _ := certificates(f)
	// A window update that opens stream 1, and three bytes of data on it.
	opened := []byte{0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0}
	data := []byte{0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3, 1, 'h', 'i'}
	for _, p := range []Protocol{ProtoMultiplex, ProtoMultiplexV2} {
		f.Add(append([]byte{byte(p)}, append(opened, data...)...))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		m := New(Config{HandshakeTimeout: time.Second, MaxStreams: 8, TLS: serverTLS})
		for _, p := range []Protocol{ProtoRPC, ProtoRaft, ProtoStreaming, ProtoSnapshot, ProtoJoin, ProtoNodeLink, ProtoGRPC} {
			m.Handle(p, func(_ context.Context, conn net.Conn, _ Info) {
				io.Copy(io.Discard, conn)
				conn.Close()
			})
		}
		l := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- m.Serve(ctx, l) }()
		ours, theirs := net.Pipe()
		l.conns <- theirs
		go io.Copy(io.Discard, ours)
		ours.SetWriteDeadline(time.Now().Add(time.Second))
		ours.Write(sent)
		ours.Close()
		cancel()
		<-done
		if s := m.Stats(); s.OpenConns != 0 || s.OpenStreams != 0 {
			t.Fatalf("left open: %+v", s)
		}
	})
}
