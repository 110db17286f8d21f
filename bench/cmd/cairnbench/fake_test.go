package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// fakeEnv makes this test binary act as a server.
const fakeEnv = "CAIRNBENCH_FAKE"

func TestMain(m *testing.M) {
	if os.Getenv(fakeEnv) != "" {
		fakeMain()
		return
	}
	os.Exit(m.Run())
}

// fake answers as a server does that keeps no data but an index per variable.
type fake struct {
	rpc string

	mu      sync.Mutex
	index   uint64
	keys    map[string]uint64
	changed map[string]chan struct{} // closed by the next write of the key
}

// fakeMain runs "version" or "agent -config=FILE" until it is killed.
func fakeMain() {
	if os.Args[1] == "version" {
		fmt.Println("fake v0")
		return
	}
	raw, err := os.ReadFile(strings.TrimPrefix(os.Args[2], "-config="))
	if err != nil {
		panic(err)
	}
	conf := func(pattern string) string { return string(regexp.MustCompile(pattern).FindSubmatch(raw)[1]) }
	f := &fake{rpc: "127.0.0.1:" + conf(`rpc = (\d+)`), keys: map[string]uint64{}, changed: map[string]chan struct{}{}}
	if strings.Contains(string(raw), "raft_snapshot_interval") {
		go f.snapshots(filepath.Join(conf(`data_dir = "(.*)"`), "server", "raft", "snapshots"))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	srv := &http.Server{Addr: "127.0.0.1:" + conf(`http = (\d+)`), Handler: f}
	go srv.ListenAndServe()
	<-ctx.Done()
}

// snapshots leaves a fresh directory now and then.
func (f *fake) snapshots(dir string) {
	for n := range 1000 {
		os.MkdirAll(filepath.Join(dir, fmt.Sprint("2-", n, "-1700000000000")), 0o700)
		time.Sleep(100 * time.Millisecond)
	}
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key, isVar := strings.CutPrefix(r.URL.Path, "/v1/var/")
	switch {
	case r.URL.Path == "/v1/status/leader":
		fmt.Fprintf(w, "%q", f.rpc)
	case r.URL.Path == "/v1/metrics":
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		fmt.Fprintf(w, `{"Gauges":[{"Name":"nomad.runtime.heap_objects","Value":1},{"Name":"nomad.runtime.alloc_bytes","Value":%d}]}`, m.HeapAlloc)
	case r.URL.Path == "/v1/operator/snapshot":
		f.snapshot(w, r)
	case isVar && r.Method == "PUT":
		f.put(w, key)
	case isVar:
		f.get(w, r, key)
	}
}

// snapshot saves or restores nothing, for as long as a number of writes take.
func (f *fake) snapshot(w http.ResponseWriter, r *http.Request) {
	written := func() uint64 {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.index
	}
	for start := written(); written() < start+50 && r.Context().Err() == nil; {
		time.Sleep(time.Millisecond)
	}
	fmt.Fprint(w, "state")
}

func (f *fake) put(w http.ResponseWriter, key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.index++
	f.keys[key] = f.index
	if c := f.changed[key]; c != nil {
		close(c)
		delete(f.changed, key)
	}
	w.Header().Set("X-Nomad-Index", strconv.FormatUint(f.index, 10))
}

func (f *fake) get(w http.ResponseWriter, r *http.Request, key string) {
	min, _ := strconv.ParseUint(r.URL.Query().Get("index"), 10, 64)
	f.mu.Lock()
	for min > 0 && f.keys[key] <= min {
		c := f.changed[key]
		if c == nil {
			c = make(chan struct{})
			f.changed[key] = c
		}
		f.mu.Unlock()
		select {
		case <-c:
		case <-r.Context().Done():
			return
		}
		f.mu.Lock()
	}
	w.Header().Set("X-Nomad-Index", strconv.FormatUint(max(1, f.keys[key]), 10))
	f.mu.Unlock()
	fmt.Fprintf(w, `{"Path":%q}`, key)
}
