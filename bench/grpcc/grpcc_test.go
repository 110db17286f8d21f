package grpcc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/protobuf/encoding/protowire"
)

// mustServe runs a gRPC server that answers with what reply returns, and
// returns a connection to it.
func mustServe(t testing.TB, reply func(method string, msg []byte) (out []byte, status string)) *Conn {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || len(body) < 5 || r.Header.Get("Content-Type") != "application/grpc" || r.Header.Get("Te") != "trailers" {
			t.Errorf("bad request: %v, %v, %d bytes", err, r.Header, len(body))
			return
		}
		out, status := reply(r.URL.Path, body[5:])
		w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
		if out != nil {
			w.Write(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(out))))
			w.Write(out)
		}
		w.Header().Set("Grpc-Status", status)
		w.Header().Set("Grpc-Message", "because")
	})
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go (&http2.Server{}).ServeConn(nc, &http2.ServeConnOpts{Handler: handler})
		}
	}()
	c, err := Dial(ln.Addr().String(), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestConcurrentCallsGetTheirOwnReplies(t *testing.T) {
	c := mustServe(t, func(method string, msg []byte) ([]byte, string) { return append([]byte(method), msg...), "0" })
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 200 {
				text := fmt.Sprintf("%d-%d-%s", w, i, strings.Repeat("x", 1000))
				got, err := c.Call("/echo", []byte(text), 10*time.Second)
				if err != nil || string(got) != "/echo"+text {
					t.Errorf("call %d of %d: %d bytes, %v", i, w, len(got), err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestLargeReply(t *testing.T) {
	large := bytes.Repeat([]byte("y"), 3<<20)
	c := mustServe(t, func(string, []byte) ([]byte, string) { return large, "0" })
	if got, err := c.Call("/m", nil, 10*time.Second); err != nil || !bytes.Equal(got, large) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestFailures(t *testing.T) {
	release := make(chan struct{})
	c := mustServe(t, func(method string, _ []byte) ([]byte, string) {
		switch method {
		case "/denied":
			return nil, "7"
		case "/slow":
			<-release
		}
		return []byte{}, "0"
	})
	if _, err := c.Call("/denied", nil, time.Second*5); err == nil || !strings.Contains(err.Error(), "status 7: because") {
		t.Errorf("denied: %v", err)
	}
	if _, err := c.Call("/slow", nil, time.Millisecond); err == nil || !strings.Contains(err.Error(), "no reply within") {
		t.Errorf("slow: %v", err)
	}
	close(release)
	if _, err := c.Call("/fine", nil, 5*time.Second); err != nil {
		t.Errorf("after a call that was given up: %v", err)
	}
	c.Close()
	if _, err := c.Call("/fine", nil, time.Second); err == nil || c.Err() == nil {
		t.Errorf("after close: %v", err)
	}
}

func TestServerGoneEndsCalls(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := Dial(ln.Addr().String(), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error)
	go func() {
		_, err := c.Call("/m", nil, time.Minute)
		failed <- err
	}()
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	if err := <-failed; err == nil {
		t.Error("no error")
	}
}

func TestEtcdMessages(t *testing.T) {
	message := func(num protowire.Number, b []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), b)
	}
	number := func(num protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.VarintType), v)
	}
	store := map[string][]byte{}
	var serializable bool
	leader := uint64(1)
	c := mustServe(t, func(method string, msg []byte) ([]byte, string) {
		header := message(1, append(number(1, 99), number(2, 7)...))
		key, _ := field(msg, 1)
		switch method {
		case "/etcdserverpb.KV/Put":
			store[string(key)], _ = field(msg, 2)
		case "/etcdserverpb.KV/Range":
			_, err := field(msg, 7)
			serializable = err == nil
			if v, ok := store[string(key)]; ok {
				return append(header, message(2, append(message(1, key), message(5, v)...))...), "0"
			}
		case "/etcdserverpb.Maintenance/Status":
			return append(header, number(4, leader)...), "0"
		}
		return header, "0"
	})
	e := Etcd{Conn: c, Timeout: 5 * time.Second}
	if err := e.Put("k", []byte("v1")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{true, false} {
		if got, err := e.Get("k", want); err != nil || string(got) != "v1" || serializable != want {
			t.Errorf("%q, %v, serializable %v", got, err, serializable)
		}
	}
	if _, err := e.Get("absent", false); err == nil {
		t.Error("absent key gives no error")
	}
	if ok, err := e.IsLeader(); ok || err != nil {
		t.Errorf("leader: %v, %v", ok, err)
	}
	leader = 7
	if ok, err := e.IsLeader(); !ok || err != nil {
		t.Errorf("leader: %v, %v", ok, err)
	}
}

func FuzzField(f *testing.F) {
	f.Add([]byte{0x12, 3, 'a', 'b', 'c'}, int32(2))
	f.Add([]byte{0x20, 0xff, 0xff}, int32(4))
	f.Fuzz(func(t *testing.T, msg []byte, num int32) {
		if v, err := field(msg, protowire.Number(num)); err == nil && len(v) > max(len(msg), 8) {
			t.Errorf("%d bytes from %d", len(v), len(msg))
		}
	})
}
