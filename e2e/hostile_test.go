package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// memoryBound is far above what a small server needs and far below what the
// hostile clients ask it to reserve.
const memoryBound = 512 << 20

// gib is a length prefix of 1 GiB in the byte order of the protocols.
var gib = []byte{0x40, 0, 0, 0}

// garbage returns the bytes that a port gets: noise, half a message, a length
// that nobody should believe.
func garbage() map[string][]byte {
	noise := make([]byte, 64<<10)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	out := map[string][]byte{
		"nothing": nil,
		"noise":   noise,
		"http":    []byte("GET /v1/status/leader HTTP/1.1\r\nHost: x\r\n\r\n"),
		"zeros":   make([]byte, 4096),
		"ones":    bytes.Repeat([]byte{0xff}, 4096),
	}
	for first := byte(0); first <= 7; first++ {
		for what, rest := range map[string][]byte{
			"alone": nil,
			"noise": noise[:512],
			"bin":   append([]byte{0xc6}, gib...), // msgpack: 1 GiB of bytes,
			"text":  append([]byte{0xdb}, gib...), // of text,
			"array": append([]byte{0xdd}, gib...), // 2^30 values,
			"map":   append([]byte{0xdf}, gib...), // 2^30 pairs
			"half":  []byte("\x82\xadServiceMethod\xb1Variables"),
			"frame": append([]byte{0, 0, 0, 0, 0, 0, 0, 1}, gib...), // yamux: data of 1 GiB
			"deep":  bytes.Repeat([]byte{0x91}, 100_000),            // arrays in arrays
		} {
			out[fmt.Sprintf("%#02x %s", first, what)] = append([]byte{first}, rest...)
		}
	}
	return out
}

func TestGarbageOnEveryPort(t *testing.T) {
	a := newServer(t, "target", 1, nil)
	a.start()
	a.ready()
	a.mustPut("app/db", "before")
	for _, port := range []int{a.http, a.rpc, a.serf} {
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		var open []net.Conn
		for what, data := range garbage() {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatalf("port %d refuses after %s: %v", port, what, err)
			}
			conn.SetDeadline(time.Now().Add(callLimit))
			conn.Write(data) // the server may have hung up
			if rand.IntN(2) == 0 {
				conn.Close()
				continue
			}
			open = append(open, conn) // half the peers stay silent
			if len(open) > 50 {
				open[0].Close()
				open = open[1:]
			}
		}
		a.mustPut("app/db", "during")
		a.mustRead("app/db", "during")
		for _, conn := range open {
			conn.Close()
		}
	}
	datagrams(t, fmt.Sprintf("127.0.0.1:%d", a.serf))
	a.mustPut("app/db", "after")
	a.mustRead("app/db", "after")
	if peak := a.peakMemory(); peak > memoryBound {
		t.Errorf("the server used %d MiB", peak>>20)
	}
	if a.interrupt() != 0 {
		t.Error("the server does not end well after garbage")
	}
}

// datagrams sends garbage to the gossip port over UDP.
func datagrams(t *testing.T, addr string) {
	t.Helper()
	conn, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, data := range garbage() {
		conn.Write(data[:min(len(data), 8<<10)])
	}
	for kind := range 256 {
		conn.Write(append([]byte{byte(kind)}, gib...))
	}
}

// A client that sends a byte now and then holds a connection and nothing else.
func TestSlowClients(t *testing.T) {
	a := newServer(t, "target", 1, nil)
	a.start()
	a.ready()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for port, text := range map[int]string{
		a.http: "PUT /v1/var/app/slow HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n{\"Items\":{\"a\":\"" + strings.Repeat("a", 4096),
		a.rpc:  "\x01\x82\xadServiceMethod\xb1Variables.Applied" + strings.Repeat("\x00", 4096),
		a.serf: strings.Repeat("\x06\x00\x00\x00\x40", 4096),
	} {
		for range 30 {
			wg.Go(func() { drip(fmt.Sprintf("127.0.0.1:%d", port), text, stop) })
		}
	}
	for i := range 50 {
		a.mustPut("app/db", fmt.Sprint(i))
		a.mustRead("app/db", fmt.Sprint(i))
		time.Sleep(20 * time.Millisecond)
	}
	if peak := a.peakMemory(); peak > memoryBound {
		t.Errorf("the server used %d MiB", peak>>20)
	}
	if a.interrupt() != 0 { // they are still there
		t.Error("slow clients keep the server from ending")
	}
	close(stop)
	wg.Wait()
}

// drip sends text a byte at a time, and comes back when the server hangs up.
func drip(addr, text string, stop chan struct{}) {
	for {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		for i := range len(text) {
			select {
			case <-stop:
				conn.Close()
				return
			case <-time.After(20 * time.Millisecond):
			}
			if _, err := conn.Write([]byte{text[i]}); err != nil {
				break
			}
		}
		conn.Close()
	}
}

// A body larger than any limit is refused, not read into memory.
func TestHugeBody(t *testing.T) {
	a := newDev(t)
	before := a.peakMemory()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", a.http))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(hang))
	fmt.Fprintf(conn, "PUT /v1/var/app/huge HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n{\"Items\":{\"a\":\"", 1<<30)
	chunk := bytes.Repeat([]byte{'a'}, 1<<20)
	for range 256 {
		if _, err := conn.Write(chunk); err != nil {
			break // refused in the middle, as it should be
		}
	}
	if grown := a.peakMemory() - before; grown > 128<<20 {
		t.Errorf("a body of 256 MiB made the server grow by %d MiB", grown>>20)
	}
	a.mustPut("app/db", "after")
}
