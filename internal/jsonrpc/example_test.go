package jsonrpc_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/jsonrpc"
)

type drainParams struct {
	Node     string `json:"node"`
	Deadline string `json:"deadline"`
}

type drainResult struct {
	Operation string `json:"operation"`
}

// startDrain stands for what an agent does when it is asked to drain a node.
func startDrain(ctx context.Context, p drainParams) (drainResult, error) {
	if p.Node == "n8" {
		return drainResult{}, jsonrpc.Failed(jsonrpc.Detail{Code: 7101, Message: "already draining", Field: "node"})
	}
	return drainResult{Operation: "op-1"}, nil
}

// Example registers a method, serves it on a socket and calls it.
func Example() {
	server, err := jsonrpc.New(jsonrpc.DefaultConfig())
	if err != nil {
		log.Fatal(err)
	}
	err = server.Register(jsonrpc.Method{
		Name: "admin_node_start_drain", Summary: "move the work of a node elsewhere", Privileged: true, Timeout: 10 * time.Second,
		Params: json.RawMessage(`{"type":"object","required":["node"],"additionalProperties":false,
			"properties":{"node":{"type":"string"},"deadline":{"type":"string"}}}`),
		Result:  json.RawMessage(`{"type":"object","properties":{"operation":{"type":"string"}}}`),
		Errata:  []jsonrpc.ErrataRange{{From: 7100, To: 7109, Meaning: "state of the node"}},
		Handler: jsonrpc.Func(startDrain),
	})
	if err != nil {
		log.Fatal(err)
	}

	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	cfg := jsonrpc.DefaultSocketConfig()
	cfg.Path = filepath.Join(dir, "rpc.sock")
	socket, err := server.Listen(cfg)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- socket.Serve(ctx) }()

	client := &jsonrpc.Client{Path: cfg.Path}
	var result drainResult
	fmt.Println(client.Call(ctx, "admin_node_start_drain", drainParams{Node: "n7"}, &result), result.Operation)

	err = client.Call(ctx, "admin_node_start_drain", drainParams{Node: "n8"}, &result)
	var failed *jsonrpc.Error
	if errors.As(err, &failed) {
		fmt.Println(failed.Code, failed.Data[0].Code, failed.Data[0].Message)
	}

	err = client.Call(ctx, "admin_node_start_drain", map[string]any{"nod": "n7"}, nil)
	errors.As(err, &failed)
	fmt.Println(errors.Is(err, errs.Invalid), failed.Code, len(failed.Data))

	client.Close()
	stop()
	fmt.Println(<-served)
	// Output:
	// <nil> op-1
	// 9 7101 already draining
	// true -32602 2
	// <nil>
}
