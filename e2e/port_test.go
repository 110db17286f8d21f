package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/structs"
)

// metric returns a value of the Prometheus metrics.
func (a *agent) metric(name string) float64 {
	a.t.Helper()
	_, body := a.get("/v1/metrics?format=prometheus")
	m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(body)
	if m == nil {
		a.t.Fatalf("no metric %s in:\n%s", name, tail(body))
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		a.t.Fatal(err)
	}
	return v
}

// memory returns the resident set at present, in bytes.
func (a *agent) memory() int64 {
	a.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.cmd.Process.Pid))
	if err != nil {
		a.t.Fatal(err)
	}
	m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		a.t.Fatal("no VmRSS in /proc")
	}
	kb, _ := strconv.ParseInt(string(m[1]), 10, 64)
	return kb << 10
}

// silentBound is how much memory one silent connection may take; measured are 4
// to 14 KiB, depending on the protocol and on what the collector left.
const silentBound = 48 << 10

// A thousand peers that ask for a protocol and say no more: the server closes
// every one of them, and none costs much while it is there.
func TestSilentConnections(t *testing.T) {
	const count = 1000
	a := newAgent(t, "port", settings{"limits": settings{"rpc_max_conns_per_client": 2 * count}}, "-dev", "-client=false")
	a.start()
	a.ready()
	before := a.memory()
	protocols := []mux.Protocol{mux.ProtoRPC, mux.ProtoRaft, mux.ProtoMultiplex, mux.ProtoStreaming, mux.ProtoMultiplexV2, mux.ProtoSnapshot, mux.ProtoGRPC}
	began := time.Now()
	var conns []net.Conn
	for i := range count {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", a.rpc))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
		if p := protocols[i%len(protocols)]; p == mux.ProtoGRPC {
			io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
		} else {
			conn.Write([]byte{byte(p)})
		}
	}
	eventually(t, "all are there", func() bool { return a.metric("cairn_port_connections") >= count })
	each := (a.memory() - before) / count
	t.Logf("%d bytes of memory for each silent connection", each)
	if each > silentBound {
		t.Errorf("a silent connection takes %d bytes", each)
	}
	for i, conn := range conns {
		conn.SetReadDeadline(time.Now().Add(hang))
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("connection %d (%s) stays open", i, protocols[i%len(protocols)])
		}
	}
	t.Logf("all closed %v after the first was opened", time.Since(began).Round(time.Millisecond))
	eventually(t, "none is counted any more", func() bool { return a.metric("cairn_port_connections") == 0 })
	a.mustPut("app/db", "after")
}

// Queries that wait at a follower, and at the leader behind it, end with their
// clients and leave nothing.
func TestCancelledQueriesLeaveNothing(t *testing.T) {
	const count = 500
	c := prepareCluster(t, nil, settings{"limits": settings{"http_max_conns_per_client": 2 * count, "rpc_max_conns_per_client": 2 * count}})
	c.startAll()
	lead := c.leader()
	follower := c.others(lead)[0]
	index, err := follower.put("app/db", "1")
	if err != nil {
		t.Fatal(err)
	}
	follower.mustRead("app/db", "1")
	for _, a := range c.servers {
		eventually(t, a.name+" has its connections", func() bool {
			return a.metric("cairn_pool_connections") >= 2 && a.metric("cairn_pool_cold_servers") == 0
		})
	}
	before := map[*agent]float64{lead: lead.metric("go_goroutines"), follower: follower.metric("go_goroutines")}

	ctx, cancel := context.WithCancel(t.Context())
	transport := &http.Transport{}
	var waiting sync.WaitGroup
	for range count {
		waiting.Go(func() {
			req, err := http.NewRequestWithContext(ctx, "GET", follower.url(fmt.Sprintf("/v1/var/app/db?index=%d&wait=10m", index)), nil)
			if err != nil {
				t.Error(err)
				return
			}
			if resp, err := transport.RoundTrip(req); err == nil {
				t.Errorf("a query that should wait is answered: %d", resp.StatusCode)
				resp.Body.Close()
			}
		})
	}
	eventually(t, "all wait at the leader", func() bool { return lead.metric("cairn_rpc_blocking_queries") == count })
	cancel()
	waiting.Wait()
	transport.CloseIdleConnections()
	cancelled := time.Now()
	eventually(t, "none waits at the leader", func() bool { return lead.metric("cairn_rpc_blocking_queries") == 0 })
	t.Logf("gone from the leader %v later", time.Since(cancelled).Round(time.Millisecond))
	for a, n := range before {
		eventually(t, a.name+" is back to its goroutines", func() bool { return a.metric("go_goroutines") <= n+20 })
	}
	t.Logf("goroutines back %v later", time.Since(cancelled).Round(time.Millisecond))
}

// On one session a stream that says nothing, and one that is closed empty, cost
// neither a call in flight nor one that comes.
func TestStreamsOfASessionAreApart(t *testing.T) {
	a := newDev(t)
	index, err := a.put("app/db", "1")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", a.rpc))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := mux.Select(t.Context(), raw, mux.ProtoMultiplexV2, nil)
	if err != nil {
		t.Fatal(err)
	}
	session, err := mux.Client(conn, mux.SessionConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	open := func(first ...byte) net.Conn {
		t.Helper()
		st, err := session.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(first) > 0 {
			if _, err := st.Write(first); err != nil {
				t.Fatal(err)
			}
		}
		return st
	}
	inFlight := make(chan error, 1)
	waiting := wire.NewClient(open(byte(mux.ProtoRPC)), wire.DefaultLimits())
	defer waiting.Close()
	go func() {
		var reply structs.VariablesReadResponse
		req := &structs.VariablesReadRequest{Path: "app/db", QueryOptions: structs.QueryOptions{Namespace: "default", Region: "global", MinQueryIndex: index, MaxQueryTime: hang}}
		inFlight <- waiting.Call(t.Context(), "Variables.Read", req, &reply, wire.CallOptions{})
	}()
	eventually(t, "the call is in flight", func() bool { return a.metric("cairn_rpc_blocking_queries") == 1 })
	defer open().Close() // silent
	for range 20 {
		open().Close() // closed empty
		open(byte(99)).Close()
	}
	calls := wire.NewClient(open(byte(mux.ProtoRPC)), wire.DefaultLimits())
	defer calls.Close()
	slowest := time.Duration(0)
	for range 200 {
		began := time.Now()
		if err := calls.Call(t.Context(), "Status.Ping", &structs.GenericRequest{}, nil, wire.CallOptions{}); err != nil {
			t.Fatal(err)
		}
		slowest = max(slowest, time.Since(began))
	}
	t.Logf("slowest of 200 calls beside a silent stream: %v", slowest)
	a.mustPut("app/db", "2")
	select {
	case err := <-inFlight:
		if err != nil {
			t.Errorf("the call in flight: %v", err)
		}
	case <-time.After(hang):
		t.Error("the call in flight is not answered")
	}
}
