package jsonrpc

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

const smallCall = `{"jsonrpc":"2.0","method":"typed","params":{"host":"n1","count":3},"id":17}`

// BenchmarkHandle is one small call with a schema, without a transport.
func BenchmarkHandle(b *testing.B) {
	s := testServer(b)
	b.ReportAllocs()
	for b.Loop() {
		s.Handle(context.Background(), root, []byte(smallCall))
	}
}

// BenchmarkSocket is the same call over one connection of the client.
func BenchmarkSocket(b *testing.B) {
	c := &Client{Path: startSocket(b, testServer(b), DefaultSocketConfig())}
	defer c.Close()
	params := map[string]any{"host": "n1", "count": 3}
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Call(context.Background(), "typed", params, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBatch is a batch of 100 of them.
func BenchmarkBatch(b *testing.B) {
	s := testServer(b)
	msg := []byte("[" + strings.TrimSuffix(strings.Repeat(smallCall+",", 100), ",") + "]")
	b.ReportAllocs()
	for b.Loop() {
		s.Handle(context.Background(), root, msg)
	}
}

// BenchmarkScan is the check of a message of 1 MB.
func BenchmarkScan(b *testing.B) {
	msg := []byte("[" + strings.TrimSuffix(strings.Repeat(smallCall+",", 1<<20/len(smallCall)), ",") + "]")
	b.SetBytes(int64(len(msg)))
	for b.Loop() {
		if err := checkMessage(msg, 64); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRegister is what a method with two schemas costs at the start.
func BenchmarkRegister(b *testing.B) {
	s := testServer(b)
	schema := json.RawMessage(`{"type":"object","required":["a"],"properties":{"a":{"type":"string"},"b":{"type":"array","items":{"type":"object","properties":{"c":{"type":"integer"}}}}}}`)
	n := 0
	for b.Loop() {
		n++
		if err := s.Register(Method{Name: fmt.Sprint("m", n), Params: schema, Result: schema, Handler: echo}); err != nil {
			b.Fatal(err)
		}
	}
}
