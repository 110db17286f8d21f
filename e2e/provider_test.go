package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cairn-project/cairn/drpc"
	"github.com/cairn-project/cairn/drpc/provider"
)

// providerEnv makes this test binary a program that offers methods of the operator
// node: its value is the directory with the agent's admin socket.
const providerEnv = "E2E_PROVIDER"

// runProvider offers methods for ever, or until a call asks too much of it. It returns
// its exit code.
func runProvider(dir string) int {
	err := provider.Run(context.Background(), provider.Config{Name: "greeter", Admin: filepath.Join(dir, "admin.sock"),
		Methods: []provider.Method{
			{Name: "greet", Summary: "greets somebody", Params: json.RawMessage(`{"type":"object","required":["name"],"additionalProperties":false,"properties":{"name":{"type":"string"}}}`),
				Handle: func(_ context.Context, params json.RawMessage) (any, error) {
					var in struct{ Name string }
					if err := json.Unmarshal(params, &in); err != nil {
						return nil, err
					}
					if in.Name == "nobody" {
						return nil, &drpc.Error{Code: drpc.NotFound, Msg: "there is nobody"}
					}
					return map[string]string{"hello": in.Name}, nil
				}},
			{Name: "ponder", Handle: func(ctx context.Context, _ json.RawMessage) (any, error) {
				fmt.Println("pondering")
				<-ctx.Done()
				return nil, ctx.Err()
			}},
		},
		Message: func(_ context.Context, tag string, data json.RawMessage) error {
			fmt.Printf("message %s %s\n", tag, data)
			return nil
		}})
	fmt.Println("ended:", err)
	return 1
}

func startProvider(t *testing.T, a *agent) (*process, *output) {
	t.Helper()
	out := &output{}
	p := &process{t: t, cmd: exec.Command(os.Args[0]), out: out, done: make(chan struct{})}
	p.cmd.Env = append(cleanEnv(), providerEnv+"="+a.dataDir())
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.run()
	return p, out
}

// TestProgramsOfferMethods: a program adds methods to the operator node, is killed in
// the middle of a call, comes back, and outlives its agent.
func TestProgramsOfferMethods(t *testing.T) {
	a := newServer(t, "one", 1, nil)
	a.start()
	p, out := startProvider(t, a)
	greets := func(when string) {
		t.Helper()
		eventually(t, "the program's method answers "+when, func() bool {
			text, code := a.try("rpc", "invoke", "-format", "json", "greet", "-p", "name: you")
			return code == 0 && strings.Contains(text, `"result":{"hello":"you"}`)
		})
	}
	greets("at first")
	if api := a.run("rpc", "get-api"); !strings.Contains(api, "greeter") || !strings.Contains(api, "greet*") {
		t.Errorf("the list of methods lacks those of the program:\n%s", api)
	}
	for params, want := range map[string]string{"nme: you": "additional properties", "name: nobody": "there is nobody"} {
		if text, code := a.try("rpc", "invoke", "greet", "-p", params); code != 2 || !strings.Contains(text, want) {
			t.Errorf("%s: exit code %d:\n%s", params, code, text)
		}
	}
	a.run("rpc", "invoke", "admin_component_send_msg", "-p", "tag: reload", "-p", "data: {what: all}")
	eventually(t, "the program tells of the message", func() bool {
		return strings.Contains(out.String(), `message reload {"what":"all"}`)
	})

	asked := spawnEnv(t, a.dir, &output{}, []string{"CAIRN_ADDR=" + a.url("")}, "rpc", "invoke", "ponder")
	eventually(t, "the program works on a call", func() bool { return strings.Contains(out.String(), "pondering") })
	p.signal(syscall.SIGKILL)
	if code := asked.wait(); code == 0 || !strings.Contains(asked.out.String(), "went away before it answered") {
		t.Errorf("the call of a program that was killed ended with exit code %d:\n%s", code, asked.out)
	}
	eventually(t, "its methods are gone", func() bool {
		_, code := a.try("rpc", "invoke", "greet", "-p", "name: you")
		return code == 3
	})

	p, out = startProvider(t, a)
	greets("after the program came back")
	a.kill()
	a.start()
	greets("after its agent came back")
	if p.ended() {
		t.Errorf("the program ended with its agent:\n%s", out)
	}
}
