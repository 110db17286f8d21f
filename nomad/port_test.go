package nomad_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

// Whoever has too many connections hears so on the next one, and when to try again.
func TestRefusedConnectionsAreToldWhy(t *testing.T) {
	const limit = 3
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		ping := func(client *wire.Client) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			return client.Call(ctx, "Status.Ping", &structs.GenericRequest{}, nil, wire.CallOptions{})
		}
		var held []*wire.Client
		for i := range limit + 2 {
			client, err := dialAs(c, c.Nodes[0], nil)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			err = ping(client)
			if i < limit {
				held = append(held, client)
				if err != nil {
					t.Fatal(err)
				}
				continue
			}
			var e *errs.Error
			if !errors.As(err, &e) || !errors.Is(err, errs.Busy) || e.RetryAfter <= 0 || !errs.NotSent(err) || !strings.Contains(e.Msg, "rpc_max_conns_per_client") {
				t.Fatalf("connection %d: %v", i, err)
			}
			time.Sleep(10 * time.Second)
			select {
			case <-client.Done():
			default:
				t.Errorf("connection %d stays open after it was refused", i)
			}
		}
		held[0].Close()
		time.Sleep(time.Second)
		if again, err := dialAs(c, c.Nodes[0], nil); err != nil || ping(again) != nil {
			t.Errorf("room is not given back: %v", err)
		} else {
			again.Close()
		}
	}, func(conf *nomad.Config) { conf.RPCMaxConnsPerClient = limit })
}

// A connection that says nothing after its byte does not stay.
func TestSilentConnectionsEnd(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		for _, p := range []mux.Protocol{mux.ProtoRPC, mux.ProtoRaft, mux.ProtoStreaming, mux.ProtoSnapshot} {
			conn, err := c.Fabric.Dial(t.Context(), "10.9.9.9:1", c.Nodes[0].Host+":4647")
			if err != nil {
				t.Fatal(err)
			}
			if conn, err = mux.Select(t.Context(), conn, p, nil); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if n, err := conn.Read(make([]byte, 1)); err == nil {
				t.Errorf("%s: %d bytes", p, n)
			}
			if took := time.Since(began); took > mux.DefaultSilenceTimeout { // fake time is exact
				t.Errorf("%s: closed after %v", p, took)
			}
			conn.Close()
		}
	})
}
