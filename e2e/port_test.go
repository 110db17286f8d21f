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
	"slices"
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

const (
	// silentBound is how much memory one silent connection may take, silentResident
	// with what the collector left; measured are 4 to 14 KiB.
	silentBound, silentResident = 16 << 10, 48 << 10
	// silentLimit is how long it may stay; the port gives it ten seconds.
	silentLimit = 15 * time.Second
)

// inUse returns what heap and stacks hold once garbage was collected, in bytes.
func (a *agent) inUse() int64 {
	a.t.Helper()
	if code, body := a.get("/v1/agent/pprof/heap?gc=1"); code != http.StatusOK {
		a.t.Fatalf("the garbage was not collected: %d %s", code, body)
	}
	return int64(a.metric("go_memstats_heap_inuse_bytes") + a.metric("go_memstats_stack_inuse_bytes"))
}

// A thousand peers that ask for a protocol and say no more: the server closes
// every one of them, and none costs much while it is there.
func TestSilentConnections(t *testing.T) {
	t.Parallel() // it waits for the port to lose patience
	const count = 1000
	a := newAgent(t, "port", settings{"enable_debug": true, "limits": settings{"rpc_max_conns_per_client": 2 * count}}, "-dev", "-client=false")
	a.start()
	a.ready()
	before, resident := a.inUse(), a.memory()
	protocols := []mux.Protocol{mux.ProtoRPC, mux.ProtoRaft, mux.ProtoMultiplex, mux.ProtoStreaming, mux.ProtoMultiplexV2, mux.ProtoSnapshot, mux.ProtoNodeLink, mux.ProtoGRPC}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var longest time.Duration // guarded by mu
	for i := range count {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", a.rpc))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if p := protocols[i%len(protocols)]; p == mux.ProtoGRPC {
			io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
		} else {
			conn.Write([]byte{byte(p)})
		}
		began := time.Now()
		wg.Go(func() {
			conn.SetReadDeadline(began.Add(hang))
			if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("connection %d (%s) stays open", i, protocols[i%len(protocols)])
			}
			mu.Lock()
			defer mu.Unlock()
			longest = max(longest, time.Since(began))
		})
	}
	eventually(t, "all are there", func() bool { return a.metric("cairn_port_connections") >= count })
	each, withGarbage := (a.inUse()-before)/count, (a.memory()-resident)/count
	t.Logf("%d bytes of memory for each silent connection, %d with what the collector left", each, withGarbage)
	if each > silentBound || withGarbage > silentResident {
		t.Errorf("a silent connection takes %d bytes, %d with what the collector left", each, withGarbage)
	}
	end := lateness()
	wg.Wait()
	late := end()
	t.Logf("each closed within %v (woken up to %v late)", longest.Round(time.Millisecond), late.Round(time.Millisecond))
	if longest > silentLimit+late {
		t.Errorf("a silent connection stays for %v", longest)
	}
	eventually(t, "none is counted any more", func() bool { return a.metric("cairn_port_connections") == 0 })
	a.mustPut("app/db", "after")
}

// cancelledLimit is how long 500 queries may take to leave nothing.
const cancelledLimit = time.Second

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
	within(t, "the queries are gone, and their goroutines", cancelledLimit, func() time.Duration {
		return cancelQueries(t, lead, follower, fmt.Sprintf("/v1/var/app/db?index=%d&wait=10m", index), count)
	})
}

// cancelQueries has count queries wait at the leader through a follower and returns
// how long after they were cancelled both have the goroutines that they had before.
func cancelQueries(t *testing.T, lead, follower *agent, query string, count int) time.Duration {
	t.Helper()
	before := map[*agent]float64{lead: lead.metric("go_goroutines"), follower: follower.metric("go_goroutines")}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	transport := &http.Transport{}
	var waiting sync.WaitGroup
	for range count {
		waiting.Go(func() {
			req, err := http.NewRequestWithContext(ctx, "GET", follower.url(query), nil)
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
	eventually(t, "all wait at the leader", func() bool { return lead.metric("cairn_rpc_blocking_queries") == float64(count) })
	cancel()
	waiting.Wait()
	transport.CloseIdleConnections()
	cancelled := time.Now()
	eventually(t, "none waits at the leader", func() bool { return lead.metric("cairn_rpc_blocking_queries") == 0 })
	for a, n := range before {
		eventually(t, a.name+" is back to its goroutines", func() bool { return a.metric("go_goroutines") <= n+20 })
	}
	return time.Since(cancelled)
}

// siblingLimit is what 99 of 100 calls may take beside a silent stream.
const siblingLimit = 10 * time.Millisecond

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
	within(t, "the 99th of 100 calls beside a silent stream", siblingLimit, func() time.Duration {
		var took []time.Duration
		for range 200 {
			began := time.Now()
			if err := calls.Call(t.Context(), "Status.Ping", &structs.GenericRequest{}, nil, wire.CallOptions{}); err != nil {
				t.Fatal(err)
			}
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		return took[len(took)*99/100-1]
	})
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
