package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cairn-project/cairn/drpc"
	"github.com/cairn-project/cairn/drpc/agentpb"
)

// workloadEnv makes this test binary a program on a node: its value is the directory
// of the program, with the agent's socket beside it.
const workloadEnv = "E2E_WORKLOAD"

// workloadGo is the file for which a workload waits before it ends, workloadMore the one
// that makes it need twice the time.
const (
	workloadGo   = "go"
	workloadMore = "more"
)

// workloadLife ends a workload whose test is gone; a test ends its own.
const workloadLife = 10 * time.Minute

// runWorkload is a program that holds a lock, answers when it is told to leave, and
// leaves in order once the file is there. It returns its exit code.
func runWorkload(dir string) int {
	if err := serveWorkload(dir); err != nil {
		fmt.Println("failed:", err)
		return 1
	}
	return 0
}

func serveWorkload(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), workloadLife)
	defer cancel()
	path := filepath.Join(dir, "w.sock")
	var asked atomic.Int32
	server, err := drpc.Listen(path, drpc.ServerOptions{}, drpc.Module{ID: 3, Name: "workload", Allow: drpc.PrivilegedPeers, Methods: []drpc.Method{
		{ID: 311, Name: "prepare shutdown", Handle: func(_ context.Context, req *drpc.Request) ([]byte, error) {
			in := &agentpb.PrepareRequest{}
			if err := proto.Unmarshal(req.Body, in); err != nil {
				return nil, err
			}
			if asked.Add(1) == 1 {
				fmt.Printf("told to leave: %s\n", in.Reason)
			}
			need := int64(1000)
			if _, err := os.Stat(filepath.Join(dir, workloadMore)); err == nil {
				need = 2000
			}
			return proto.Marshal(&agentpb.PrepareReply{NeedMs: need})
		}}}})
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx) }()
	agent := drpc.NewClient(filepath.Join(dir, "agent.sock"), drpc.Options{})
	if err := agent.Connect(ctx); err != nil {
		return err
	}
	call := func(method int32, in, out proto.Message) error {
		body, err := proto.Marshal(in)
		if err != nil {
			return err
		}
		if body, err = agent.Do(ctx, method/100, method, body); err != nil {
			return err
		}
		return proto.Unmarshal(body, out)
	}
	var held agentpb.Held
	if err := call(305, &agentpb.HoldRequest{Path: "app/leader"}, &held); err != nil {
		return err
	}
	if err := call(301, &agentpb.ReadyRequest{Name: "web", Socket: path}, &agentpb.ReadyReply{}); err != nil {
		return err
	}
	fmt.Println("holding")
	for {
		if _, err := os.Stat(filepath.Join(dir, workloadGo)); err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	var exit agentpb.ExitReply
	if err := call(302, &agentpb.ExitRequest{Text: "handed over"}, &exit); err != nil {
		return err
	}
	fmt.Printf("released %d\n", exit.Released)
	cancel()
	return <-served
}
