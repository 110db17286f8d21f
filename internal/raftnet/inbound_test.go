package raftnet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// wired returns a client and a server transport joined by pipes. handle gets what
// reaches the server's Consumer, one at a time like with raft.
func wired(t *testing.T, change func(*Config), handle func(raft.RPC)) (client, server *Transport) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cfg := Config{LocalID: "server", LocalAddr: "server"}
	if change != nil {
		change(&cfg)
	}
	server = New(cfg)
	cfg.LocalID, cfg.LocalAddr = "client", "client"
	cfg.Dial = func(context.Context, string) (net.Conn, error) {
		here, there := net.Pipe()
		go server.HandleConn(ctx, there)
		return here, nil
	}
	client = New(cfg)
	go func() {
		for {
			select {
			case rpc := <-server.Consumer():
				handle(rpc)
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() {
		client.Close()
		server.Close()
		cancel()
	})
	return client, server
}

func accept(rpc raft.RPC) {
	switch cmd := rpc.Command.(type) {
	case *raft.AppendEntriesRequest:
		rpc.Respond(&raft.AppendEntriesResponse{Term: cmd.Term, Success: true, LastLog: cmd.PrevLogEntry + uint64(len(cmd.Entries))}, nil)
	case *raft.RequestVoteRequest:
		rpc.Respond(&raft.RequestVoteResponse{Term: cmd.Term, Granted: true}, nil)
	default:
		rpc.Respond(nil, errors.New("unexpected command"))
	}
}

func TestInboundRefusesGarbage(t *testing.T) {
	for name, c := range map[string]struct {
		send   []byte
		logged bool
	}{
		"text":     {[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), true},
		"oversize": {[]byte{0x7f, 0, 0, 0, 1, 1}, true},
		"kind":     {[]byte{0, 0, 0, 2, 1, 50}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				tr := New(Config{Logger: hclog.New(&hclog.LoggerOptions{Output: &log})})
				defer tr.Close()
				here, there := net.Pipe()
				var wg sync.WaitGroup
				wg.Go(func() { tr.HandleConn(context.Background(), there) })
				here.Write(c.send)
				if _, err := here.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("the connection is open: %v", err)
				}
				wg.Wait()
				if lines := strings.Count(log.String(), "\n"); lines != 1 || tr.Stats().Rejected != 1 {
					t.Errorf("logged %q, rejected %d", log.String(), tr.Stats().Rejected)
				}
			})
		})
	}
}

func TestInboundTimeouts(t *testing.T) {
	for name, c := range map[string]struct {
		send []byte
		want time.Duration
	}{
		"silence":           {nil, 10 * time.Minute},
		"part of a header":  {[]byte{0, 0}, 10 * time.Second},
		"header and no end": {[]byte{0, 0, 1, 0, 1, 1, 3}, 10 * time.Second},
		"watch":             {[]byte{0, 0, 0, 2, 1, 7}, 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr := New(Config{})
				ctx, cancel := context.WithTimeout(context.Background(), 24*time.Hour)
				defer cancel()
				defer tr.Close()
				here, there := net.Pipe()
				defer here.Close()
				began := time.Now()
				go here.Write(c.send)
				tr.HandleConn(ctx, there)
				if d := time.Since(began); d != c.want {
					t.Errorf("ended after %s, want %s", d, c.want)
				}
			})
		})
	}
}

func TestHeartbeatsPassABusyMainLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := make(chan struct{})
		client, server := wired(t, nil, func(rpc raft.RPC) {
			if len(rpc.Command.(*raft.AppendEntriesRequest).Entries) > 0 {
				<-busy // the disk
			}
			accept(rpc)
		})
		var fast int
		server.SetHeartbeatHandler(func(rpc raft.RPC) { fast++; accept(rpc) })
		beat := func(term uint64) error {
			var resp raft.AppendEntriesResponse
			return client.AppendEntries("server", "server", &raft.AppendEntriesRequest{Term: term}, &resp)
		}
		if err := beat(4); err != nil || fast != 0 {
			t.Errorf("the first heartbeat of a term: %v, %d by the handler; want it in the main loop", err, fast)
		}
		stored := make(chan error, 1)
		go func() {
			var resp raft.AppendEntriesResponse
			stored <- client.AppendEntries("server", "server", &raft.AppendEntriesRequest{Term: 4, Entries: []*raft.Log{{Index: 1}}}, &resp)
		}()
		synctest.Wait()
		began := time.Now()
		for range 5 {
			if err := beat(4); err != nil {
				t.Error(err)
			}
		}
		if err := beat(3); err != nil || fast != 6 || time.Since(began) != 0 {
			t.Errorf("%v: %d heartbeats passed in %s, want 6 at once", err, fast, time.Since(began))
		}
		close(busy)
		if err := <-stored; err != nil {
			t.Error(err)
		}
		if err := beat(5); err != nil || fast != 6 {
			t.Errorf("the first heartbeat of the next term: %v, by the handler %v", err, fast != 6)
		}
	})
}

func TestCallsSurviveARestartOfThePeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var open []net.Conn
		client, _ := wired(t, nil, accept)
		dial := client.cfg.Dial
		client.cfg.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			c, err := dial(ctx, addr)
			mu.Lock()
			defer mu.Unlock()
			open = append(open, c)
			return c, err
		}
		vote := func() error {
			var resp raft.RequestVoteResponse
			return client.RequestVote("server", "server", &raft.RequestVoteRequest{Term: 2}, &resp)
		}
		if err := vote(); err != nil {
			t.Fatal(err)
		}
		for _, c := range open {
			c.Close()
		}
		if err := vote(); err != nil {
			t.Errorf("on a connection that was closed meanwhile: %v", err)
		}
		if err := vote(); err != nil || len(open) != 2 {
			t.Errorf("%v; dialed %d times, want 2", err, len(open))
		}
	})
}

func TestRemoteErrorsKeepTheirText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, _ := wired(t, nil, accept)
		var resp raft.RequestPreVoteResponse
		err := client.RequestPreVote("server", "server", &raft.RequestPreVoteRequest{}, &resp)
		if err == nil || err.Error() != "unexpected command" { // raft looks for this text
			t.Errorf("got %v", err)
		}
	})
}

func TestSnapshotThatStallsFreesTheMainLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := make(chan error, 1)
		client, _ := wired(t, nil, func(rpc raft.RPC) {
			_, err := io.Copy(io.Discard, rpc.Reader)
			got <- err
			rpc.Respond(&raft.InstallSnapshotResponse{Success: err == nil}, err)
		})
		stalled, w := io.Pipe()
		defer w.Close()
		go w.Write(make([]byte, chunkSize))
		began := time.Now()
		go func() {
			var resp raft.InstallSnapshotResponse
			client.InstallSnapshot("server", "server", &raft.InstallSnapshotRequest{Size: 1 << 30}, &resp, stalled)
		}()
		if err := <-got; err == nil || time.Since(began) != DefaultTimeout {
			t.Errorf("the main loop got %v after %s, want an error after %s", err, time.Since(began), DefaultTimeout)
		}
	})
}

func TestSnapshotLongerThanAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := make(chan error, 1)
		client, _ := wired(t, nil, func(rpc raft.RPC) {
			_, err := io.Copy(io.Discard, rpc.Reader)
			got <- err
			rpc.Respond(&raft.InstallSnapshotResponse{}, err)
		})
		go func() {
			var resp raft.InstallSnapshotResponse
			client.InstallSnapshot("server", "server", &raft.InstallSnapshotRequest{Size: 10}, &resp, strings.NewReader("eleven byte"))
		}()
		if err := <-got; !errors.Is(err, errMalformed) {
			t.Errorf("got %v", err)
		}
	})
}

func TestPipelineKeepsOrderAndBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		client, _ := wired(t, nil, func(rpc raft.RPC) { <-gate; accept(rpc) })
		p, err := client.AppendEntriesPipeline("server", "server")
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		sent := make(chan int, 100)
		go func() {
			for i := range 40 {
				req := &raft.AppendEntriesRequest{Term: 2, PrevLogEntry: uint64(i), Entries: []*raft.Log{{Index: uint64(i + 1)}}}
				if _, err := p.AppendEntries(req, new(raft.AppendEntriesResponse)); err != nil {
					t.Error(err)
				}
				sent <- i
			}
		}()
		synctest.Wait()
		if n := len(sent); n > DefaultMaxInFlight {
			t.Errorf("%d requests sent without an answer", n)
		}
		close(gate)
		for i := range 40 {
			f := <-p.Consumer()
			if err := f.Error(); err != nil || f.Request().PrevLogEntry != uint64(i) || f.Response().LastLog != uint64(i+1) {
				t.Fatalf("answer %d: %v, %+v", i, err, f.Response())
			}
		}
	})
}

func TestPipelineBreaks(t *testing.T) {
	for name, breakIt := range map[string]func(p raft.AppendPipeline, server *Transport){
		"closed here":  func(p raft.AppendPipeline, _ *Transport) { p.Close(); p.Close() },
		"closed there": func(_ raft.AppendPipeline, server *Transport) { server.Close() },
		"no answer":    func(raft.AppendPipeline, *Transport) { time.Sleep(2 * DefaultTimeout) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := wired(t, nil, func(raft.RPC) {})
				p, err := client.AppendEntriesPipeline("server", "server")
				if err != nil {
					t.Fatal(err)
				}
				var futures []raft.AppendFuture
				for range 3 {
					f, err := p.AppendEntries(&raft.AppendEntriesRequest{Term: 2, PrevLogEntry: 1}, new(raft.AppendEntriesResponse))
					if err != nil {
						t.Fatal(err)
					}
					futures = append(futures, f)
				}
				synctest.Wait()
				breakIt(p, server)
				for _, f := range futures {
					if f.Error() == nil {
						t.Errorf("a request without an answer succeeded")
					}
				}
				if _, err := p.AppendEntries(&raft.AppendEntriesRequest{Term: 2, PrevLogEntry: 1}, new(raft.AppendEntriesResponse)); err == nil {
					t.Errorf("the pipeline takes requests")
				}
				if len(p.Consumer()) != 0 {
					t.Errorf("a failed request counts as contact with the follower")
				}
			})
		})
	}
}

func TestCloseEndsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := wired(t, nil, func(raft.RPC) {})
		failed := make(chan error, 2)
		go func() {
			var resp raft.RequestVoteResponse
			failed <- client.RequestVote("server", "server", &raft.RequestVoteRequest{}, &resp)
		}()
		go func() {
			var resp raft.AppendEntriesResponse
			failed <- client.AppendEntries("server", "server", &raft.AppendEntriesRequest{}, &resp)
		}()
		synctest.Wait()
		began := time.Now()
		client.Close()
		if <-failed == nil || <-failed == nil || time.Since(began) != 0 {
			t.Errorf("calls outlived the transport")
		}
		server.Close()
		here, there := net.Pipe()
		defer here.Close()
		server.HandleConn(context.Background(), there) // returns
	})
}

func TestEntriesKeepTheirDataWhileMoreArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var kept []*raft.Log // as the log cache does
		client, _ := wired(t, nil, func(rpc raft.RPC) {
			kept = append(kept, rpc.Command.(*raft.AppendEntriesRequest).Entries...)
			accept(rpc)
		})
		for i := range 20 {
			req := &raft.AppendEntriesRequest{PrevLogEntry: uint64(i), Entries: []*raft.Log{{Index: uint64(i + 1), Data: []byte{byte(i), byte(i)}}}}
			if err := client.AppendEntries("server", "server", req, new(raft.AppendEntriesResponse)); err != nil {
				t.Fatal(err)
			}
		}
		for i, l := range kept {
			if !bytes.Equal(l.Data, []byte{byte(i), byte(i)}) {
				t.Errorf("entry %d holds %v", l.Index, l.Data)
			}
		}
	})
}
