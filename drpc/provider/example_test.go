package provider_test

import (
	"context"
	"encoding/json"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/cairn-project/cairn/drpc"
	"github.com/cairn-project/cairn/drpc/provider"
)

// Card is a graphics card of the machine.
type Card struct {
	Slot int    `json:"slot"`
	Name string `json:"name"`
}

// A program that adds two methods to the operator node of the agent on its machine.
func Example() {
	cards := map[int]Card{0: {0, "A"}, 1: {1, "B"}}
	list := func(context.Context, json.RawMessage) (any, error) {
		return map[string]any{"cards": cards}, nil
	}
	reset := func(_ context.Context, params json.RawMessage) (any, error) {
		var p struct {
			Slot int `json:"slot"`
		}
		if err := json.Unmarshal(params, &p); err != nil {
			return nil, &drpc.Error{Code: drpc.Invalid, Msg: "slot: give the number of a card"}
		}
		if _, ok := cards[p.Slot]; !ok {
			return nil, &drpc.Error{Code: drpc.NotFound, Msg: "there is no such card: gpu_list names them"}
		}
		return nil, nil
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := provider.Run(ctx, provider.Config{
		Name: "gpu", Admin: os.Getenv("CAIRN_AGENT_SOCKET"),
		Methods: []provider.Method{
			{Name: "gpu_list", Summary: "the cards of this machine", Open: true, Handle: list},
			{Name: "admin_gpu_reset", Summary: "reset a card", Handle: reset,
				Params: json.RawMessage(`{"type":"object","required":["slot"],"properties":{"slot":{"type":"integer"}}}`)},
		},
	})
	if err != nil {
		log.Print(err)
	}
}
