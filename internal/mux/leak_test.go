package mux

import (
	"context"
	"io"
	"math/rand"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"
)

// manyInputs is how many connections send something random.
const manyInputs = 100_000

// begins are what inputs begin with, so that they get beyond the first byte.
var begins = [][]byte{
	{}, {1}, {2}, {3}, {4}, {5}, {6}, {7}, {8}, {9}, {22, 3, 1}, {4, 22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3},
	[]byte(preface), []byte(preface[:9]),
	{3, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0}, // a session with a stream
	{6, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3, 5, 'h', 'i'},
	{6, 0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1}, // a session with a ping
}

// garbage returns a beginning and up to 64 random bytes, of which one was changed.
func garbage(r *rand.Rand) []byte {
	b := append([]byte(nil), begins[r.Intn(len(begins))]...)
	more := make([]byte, r.Intn(65))
	r.Read(more)
	if b = append(b, more...); len(b) > 0 && r.Intn(2) == 0 {
		b[r.Intn(len(b))] ^= 1 << r.Intn(8)
	}
	return b
}

// sendGarbage is one peer: it sends its input in two pieces and goes away, half of the
// time without a look at what it is answered.
func sendGarbage(l *pipeListener, r *rand.Rand) {
	ours, theirs := net.Pipe()
	l.conns <- theirs
	var reading sync.WaitGroup
	if r.Intn(2) == 0 {
		reading.Go(func() { io.Copy(io.Discard, ours) })
	}
	// Who does not read may not be read either.
	ours.SetWriteDeadline(time.Now().Add(time.Millisecond))
	b := garbage(r)
	cut := r.Intn(len(b) + 1)
	if _, err := ours.Write(b[:cut]); err == nil {
		ours.Write(b[cut:])
	}
	ours.Close()
	reading.Wait()
}

// Whatever peers send, no connection, no stream and no goroutine is left of it.
func TestNothingIsLeftOfGarbage(t *testing.T) {
	n, seed := manyInputs, time.Now().UnixNano()
	if testing.Short() {
		n /= 20
	}
	t.Logf("seed %d", seed)
	serverTLS, _ := certificates(t)
	m := New(Config{MaxStreams: 8, MaxConns: 1000, TLS: serverTLS})
	for _, p := range []Protocol{ProtoRPC, ProtoRaft, ProtoStreaming, ProtoSnapshot, ProtoJoin, ProtoNodeLink, ProtoGRPC} {
		m.Handle(p, echo(p.String()))
	}
	l := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Serve(ctx, l) }()
	defer func() {
		cancel()
		<-done
	}()
	before := runtime.NumGoroutine()
	const peers = 64
	var sent sync.WaitGroup
	for i := range peers {
		r := rand.New(rand.NewSource(seed + int64(i)))
		sent.Go(func() {
			for range n / peers {
				sendGarbage(l, r)
			}
		})
	}
	sent.Wait()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		s, left := m.Stats(), runtime.NumGoroutine()
		if s.OpenConns == 0 && s.OpenStreams == 0 && left <= before {
			return
		}
		if time.Now().After(end) {
			stacks := make([]byte, 1<<16)
			t.Fatalf("%d goroutines before and %d after, %d connections and %d streams open:\n%s",
				before, left, s.OpenConns, s.OpenStreams, stacks[:runtime.Stack(stacks, true)])
		}
	}
}
