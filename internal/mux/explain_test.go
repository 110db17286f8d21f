package mux

import (
	"context"
	"io"
	"net"
	"testing"
)

// What a limit refuses is explained, on connections and on streams, while few
// others are being told.
func TestRefusalsAreExplained(t *testing.T) {
	hold := make(chan struct{})
	m := New(Config{MaxConnsPerClient: 2, MaxStreams: 2, Explain: func(_ context.Context, conn net.Conn, info Info, why Reason) {
		io.WriteString(conn, "because of "+why.String())
		if info.Protocol == ProtoRPC {
			<-hold
		}
	}})
	addr := serve(t, m)
	s := newClient(t, dial(t, addr, byte(ProtoMultiplexV2)))
	for range 2 {
		mustAnswer(t, open(t, s, byte(ProtoRPC)), "rpc", "within the bound")
	}
	mustRead(t, open(t, s, byte(ProtoRPC)), "because of stream_limit")
	mustClose(t, open(t, s, byte(ProtoStreaming)))
	mustAnswer(t, dial(t, addr, byte(ProtoRPC)), "rpc", "the second connection")
	mustClose(t, dial(t, addr, byte(ProtoStreaming)))
	mustRead(t, dial(t, addr, byte(ProtoRPC)), "because of client_limit")
	close(hold)
}

func TestFewRefusalsAreExplainedAtOnce(t *testing.T) {
	hold := make(chan struct{})
	m := New(Config{MaxConns: 1, Explain: func(_ context.Context, conn net.Conn, _ Info, _ Reason) {
		io.WriteString(conn, "sorry")
		<-hold
	}})
	for range maxExplained {
		m.explains <- struct{}{}
	}
	addr := serve(t, m)
	mustAnswer(t, dial(t, addr, byte(ProtoRPC)), "rpc", "first")
	mustClose(t, dial(t, addr, byte(ProtoRPC)))
	<-m.explains
	mustRead(t, dial(t, addr, byte(ProtoRPC)), "sorry")
	close(hold)
}
