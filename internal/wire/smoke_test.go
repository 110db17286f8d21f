package wire

import (
	"context"
	"net"
	"testing"
)

func TestSmoke(t *testing.T) {
	a, b := net.Pipe()
	s := NewServer(func(ctx context.Context, c *Call) (any, error) {
		var v map[string]string
		if err := c.Decode(&v); err != nil {
			return nil, err
		}
		v["m"] = c.Method
		return v, nil
	}, Limits{}, nil)
	go s.ServeConn(t.Context(), a, nil)
	c := NewClient(b, Limits{})
	defer c.Close()
	for range 3 {
		var out map[string]string
		if err := c.Call(t.Context(), "A.B", map[string]string{"x": "y"}, &out, CallOptions{}); err != nil {
			t.Fatal(err)
		}
		if out["m"] != "A.B" || out["x"] != "y" {
			t.Fatal(out)
		}
	}
}
