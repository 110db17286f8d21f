package raftnet

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// FuzzConn feeds whole connections, of several frames, to HandleConn. It must
// return once the peer has gone, whatever arrived.
func FuzzConn(f *testing.F) {
	var all []byte
	for _, cmd := range sampleRequests() {
		b := mustEncode(f, cmd)
		f.Add(b)
		all = append(all, b...)
	}
	f.Add(all)
	snap := mustEncode(f, &raft.InstallSnapshotRequest{Size: 3})
	snap = append(snap, 0, 0, 0, 5, 1, 6, 'a', 'b', 'c', 0, 0, 0, 2, 1, 6)
	f.Add(append(snap, all...))
	f.Fuzz(func(t *testing.T, b []byte) {
		tr := New(Config{MaxMessage: 1 << 16, Timeout: 5 * time.Second})
		tr.SetHeartbeatHandler(accept)
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				select {
				case rpc := <-tr.Consumer():
					if rpc.Reader != nil {
						io.Copy(io.Discard, rpc.Reader)
					}
					accept(rpc)
				case <-ctx.Done():
					return
				}
			}
		})
		here, there := net.Pipe()
		wg.Go(func() { io.Copy(io.Discard, here) })
		wg.Go(func() {
			io.Copy(here, bytes.NewReader(b))
			here.Close()
		})
		tr.HandleConn(context.Background(), there)
		cancel()
		here.Close()
		wg.Wait()
		tr.Close()
	})
}
