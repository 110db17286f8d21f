package wire

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"

	"github.com/cairn-project/cairn/internal/errs"
)

// streams serves one connection with a stream that echoes.
func streams(t *testing.T, ctx context.Context) (net.Conn, <-chan struct{}) {
	r := NewStreamRegistry(Limits{}, nil)
	if err := r.Register("FileSystem.Logs", func(_ context.Context, conn net.Conn, _ *Identity) {
		_, _ = io.Copy(conn, conn)
	}); err != nil {
		t.Fatal(err)
	}
	if err := r.Register("FileSystem.Logs", func(context.Context, net.Conn, *Identity) {}); err == nil {
		t.Error("registered twice")
	}
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.ServeConn(ctx, far, nil)
	}()
	t.Cleanup(func() { _ = near.Close(); <-done })
	return near, done
}

func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, _ := streams(t, t.Context())
		if err := OpenStream(t.Context(), conn, "FileSystem.Logs", Limits{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour) // no deadline of the opening is left
		go func() { _, _ = conn.Write([]byte("frames")) }()
		got := make([]byte, 6)
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != "frames" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

func TestStreamAsPlainPeersOpenIt(t *testing.T) {
	conn, done := streams(t, t.Context())
	enc, dec := codec.NewEncoder(conn, plainHandle()), codec.NewDecoder(conn, plainHandle())
	if err := enc.Encode(struct{ Method string }{"Agent.Nope"}); err != nil {
		t.Fatal(err)
	}
	var ack struct{ Error string }
	if err := dec.Decode(&ack); err != nil || ack.Error != "rpc: can't find streaming method Agent.Nope" {
		t.Errorf("ack %q, %v", ack.Error, err)
	}
	<-done
	conn, _ = streams(t, t.Context())
	if err := OpenStream(t.Context(), conn, "Agent.Nope", Limits{}); !errors.Is(err, errs.Unsupported) {
		t.Errorf("unknown method: %v", err)
	}
}

func TestStreamHeaderLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, done := streams(t, t.Context())
		_, _ = conn.Write([]byte("\x81\xa6Meth"))
		start := time.Now()
		<-done
		if d := time.Since(start); d != DefaultLimits().HeaderTimeout {
			t.Errorf("closed after %v", d)
		}
		conn, done = streams(t, t.Context())
		_, _ = conn.Write([]byte("\x81\xa6Method\xdb\x40\x00\x00\x00"))
		<-done
	})
}

func TestStreamEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		conn, done := streams(t, ctx)
		if err := OpenStream(t.Context(), conn, "FileSystem.Logs", Limits{}); err != nil {
			t.Fatal(err)
		}
		cancel()
		<-done

		near, far := net.Pipe() // nobody answers
		defer near.Close()
		defer far.Close()
		short, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if err := OpenStream(short, near, "FileSystem.Logs", Limits{}); !errors.Is(err, errs.Deadline) {
			t.Errorf("got %v", err)
		}
	})
}
