package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// balancer sends requests to the servers in turn, over connections that it keeps,
// as an HTTP load balancer does. It turns to the next server in one case only:
// where the connection was refused, so that nothing can have been sent. Whatever
// else goes wrong is an error of the request.
type balancer struct {
	t       *testing.T
	servers []*agent
	next    atomic.Int64
	clients []*http.Client // one for each server, by its index
	// done and refused count requests answered and connections refused.
	done, refused atomic.Int64
	failures      atomic.Int64
}

func newBalancer(t *testing.T, servers []*agent) *balancer {
	b := &balancer{t: t, servers: servers}
	for range servers {
		tr := &http.Transport{MaxIdleConnsPerHost: 64}
		t.Cleanup(tr.CloseIdleConnections)
		b.clients = append(b.clients, &http.Client{Transport: tr, Timeout: callLimit})
	}
	return b
}

// send makes one request and returns the status and the body.
func (b *balancer) send(method, path, body string) (status int, reply string, err error) {
	for range 2 * len(b.servers) {
		i := int(b.next.Add(1)) % len(b.servers)
		status, reply, err = b.sendTo(i, method, path, body)
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return status, reply, err
		}
		b.refused.Add(1)
	}
	return status, reply, err
}

func (b *balancer) sendTo(i int, method, path, body string) (int, string, error) {
	// GetBody would let net/http send the request again by itself on another
	// connection; without it nobody hides a request that was lost.
	req, err := http.NewRequestWithContext(context.Background(), method, b.servers[i].url(path), io.NopCloser(strings.NewReader(body)))
	if err != nil {
		return 0, "", err
	}
	req.ContentLength = int64(len(body))
	resp, err := b.clients[i].Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(reply), err
}

// must makes one request that must be answered with 200.
func (b *balancer) must(method, path, body string) (reply string) {
	status, reply, err := b.send(method, path, body)
	if err != nil || status != http.StatusOK {
		if b.failures.Add(1) <= 20 {
			b.t.Errorf("%s %s: %d %s %v", method, path, status, reply, err)
		}
		return ""
	}
	b.done.Add(1)
	return reply
}

// write puts and reads variables until stop is closed.
func (b *balancer) write(w int, stop chan struct{}) {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		path := fmt.Sprintf("/v1/var/rolling/%d", w)
		b.must("PUT", path, fmt.Sprintf(`{"Path": "rolling/%d", "Items": {"n": "%d"}}`, w, n))
		var got struct{ Items map[string]string }
		if reply := b.must("GET", path, ""); reply != "" {
			if err := json.Unmarshal([]byte(reply), &got); err != nil || got.Items["n"] != fmt.Sprint(n) {
				b.t.Errorf("%s reads as %v after %d was written: %v", path, got.Items, n, err)
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// watch follows a variable with blocking queries until stop is closed.
func (b *balancer) watch(w int, stop chan struct{}) {
	index := uint64(1)
	for {
		select {
		case <-stop:
			return
		default:
		}
		reply := b.must("GET", fmt.Sprintf("/v1/vars?prefix=quiet%d&wait=5s&index=%d", w, index), "")
		if reply == "" {
			return
		}
		index = 1 << 40 // nothing has this index: only the end of the wait answers
		time.Sleep(20 * time.Millisecond)
	}
}

// Every server is stopped and started again, one after the other and the leader
// among them, while clients write, read and watch through all three.
func TestRollingRestartShowsNoError(t *testing.T) {
	c := newCluster(t, nil)
	b := newBalancer(t, c.servers)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() { b.write(w, stop) })
	}
	for w := range 4 {
		wg.Go(func() { b.watch(w, stop) })
	}
	b.more(200)
	for _, a := range append([]*agent{c.leader()}, c.servers...) {
		if code := a.interrupt(); code != 0 {
			t.Errorf("%s ended with exit code %d", a.name, code)
		}
		b.more(50)
		a.start()
		a.ready()
		b.more(200)
	}
	close(stop)
	wg.Wait()
	t.Logf("%d requests answered, %d failed, %d connections refused and turned to another server",
		b.done.Load(), b.failures.Load(), b.refused.Load())
}

// more waits until another n requests were answered.
func (b *balancer) more(n int64) {
	b.t.Helper()
	want := b.done.Load() + n
	eventually(b.t, fmt.Sprintf("another %d requests are answered", n), func() bool { return b.done.Load() >= want })
}
