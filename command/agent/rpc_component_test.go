package agent

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	offer "github.com/cairn-project/cairn/drpc/provider"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/jsonrpc"
)

// runProvider offers a method named after the provider until the test ends.
func runProvider(t *testing.T, a *Agent, name string, message func(context.Context, string, json.RawMessage) error) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	methods := []offer.Method{{Name: name + "_list", Handle: func(context.Context, json.RawMessage) (any, error) { return name, nil }}}
	go func() {
		done <- offer.Run(ctx, offer.Config{Name: name, Admin: a.sockets.admin, Methods: methods, Message: message})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestMessagesReachProviders(t *testing.T) {
	a, client := socketAgent(t)
	var last atomic.Value // the message that came last
	runProvider(t, a, "disk", func(_ context.Context, tag string, data json.RawMessage) error {
		last.Store(tag + " " + string(data))
		return nil
	})
	runProvider(t, a, "gpu", func(context.Context, string, json.RawMessage) error { return errors.New("not now") })
	runProvider(t, a, "net", nil)
	ctx := t.Context()
	var out messageResult
	for len(out.Components) < 3 { // until all of them have registered
		out = messageResult{}
		if err := client.Call(ctx, "admin_component_send_msg", messageParams{Tag: "hello"}, &out); err != nil {
			t.Fatal(err)
		}
	}
	if out.Failed != 2 || out.Components[0] != (messageTaken{Provider: "disk"}) || out.Components[1].Message != "not now" || out.Components[2].Kind != errs.Unsupported {
		t.Errorf("%+v", out)
	}
	if m := last.Load(); m != "hello " {
		t.Errorf("got %q", m)
	}
	out = messageResult{}
	err := client.Call(ctx, "admin_component_send_msg", json.RawMessage(`{"tag":"reload","data":{ "n": 1.50 },"provider":"disk"}`), &out)
	if diff := cmp.Diff(messageResult{Components: []messageTaken{{Provider: "disk"}}}, out); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if m := last.Load(); m != `reload {"n":1.50}` {
		t.Errorf("got %q", m)
	}
	if err := client.Call(ctx, "admin_component_send_msg", messageParams{Tag: "x", Provider: "nobody"}, nil); !errors.Is(err, errs.NotFound) {
		t.Errorf("to nobody: %v", err)
	}
	for _, bad := range []string{`{}`, `{"tag":""}`, `{"tag":1}`} {
		var rpcErr *jsonrpc.Error
		if err := client.Call(ctx, "admin_component_send_msg", json.RawMessage(bad), nil); !errors.As(err, &rpcErr) || rpcErr.Code != jsonrpc.CodeInvalidParams {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
