package drpc

import (
	"context"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
)

// BenchmarkCall is one call after another of 64 bytes and its echo, both ends in this process.
func BenchmarkCall(b *testing.B) {
	for name, framed := range map[string]bool{"plain": false, "framed": true} {
		b.Run(name, func(b *testing.B) {
			r := NewRegistry()
			mustRegister(b, r, Module{ID: 5, Name: "five", Allow: Anyone, Methods: []Method{{ID: 1, Name: "echo", Handle: echo}}})
			l := connect(b, start(b, r, nil).path)
			msg := mustEncode(b, &Call{Module: 5, Method: 1, Sequence: 1, Body: pattern(64)})
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				if _, _, err := ask(l, Message{Data: msg, Framed: framed}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDispatch is the server's share of that: decode, find, run, encode.
func BenchmarkDispatch(b *testing.B) {
	r := NewRegistry()
	mustRegister(b, r, Module{ID: 5, Name: "five", Allow: Anyone, Methods: []Method{{ID: 1, Name: "echo", Handle: echo}}})
	msg := mustEncode(b, &Call{Module: 5, Method: 1, Sequence: 1, Body: pattern(64)})
	b.ReportAllocs()
	for range b.N {
		var call Call
		if err := decodeCall(msg, DefaultMaxMessage, &call); err != nil {
			b.Fatal(err)
		}
		m, err := r.find(&call, Peer{})
		if err != nil {
			b.Fatal(err)
		}
		body, err := m.Handle(context.Background(), &Request{Body: call.Body})
		if _, out := encode(respond(call.Sequence, body, err, ""), true, DefaultMaxMessage); len(out) == 0 {
			b.Fatal("no answer")
		}
	}
}

// BenchmarkLargeCall is an echo of one mebibyte in frames.
func BenchmarkLargeCall(b *testing.B) {
	r := NewRegistry()
	mustRegister(b, r, Module{ID: 5, Name: "five", Allow: Anyone, Methods: []Method{{ID: 1, Name: "echo", Handle: echo}}})
	l := connect(b, start(b, r, func(c *Config) { c.MessageTimeout = time.Minute }).path)
	msg, err := proto.Marshal(&Call{Module: 5, Method: 1, Sequence: 1, Body: pattern(1 << 20)})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(1 << 20)
	for range b.N {
		if _, _, err := ask(l, Message{Data: msg, Framed: true}); err != nil {
			b.Fatal(err)
		}
	}
}
