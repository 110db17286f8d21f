package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/drpc/agentpb"
	"github.com/cairn-project/cairn/internal/drpc"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/limit"
	"github.com/cairn-project/cairn/nomad"
)

// taken returns what was charged so far, and forgets it.
func (f *fakeServer) taken() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.charged
	f.charged = nil
	return out
}

// refuse has Charge return err from now on.
func (f *fakeServer) refuse(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.chargeErr = err
}

func TestEachCallOfABatchIsChargedOnce(t *testing.T) {
	f := newFake().fill()
	h := testAPI(t, f)
	body := `[
		{"jsonrpc":"2.0","id":1,"method":"variable_list"},
		{"jsonrpc":"2.0","id":2,"method":"get_raft_configuration"},
		{"jsonrpc":"2.0","id":3,"method":"get_server_status"},
		{"jsonrpc":"2.0","id":4,"method":"admin_set_log_level","params":{"level":"info"}},
		{"jsonrpc":"2.0","id":5,"method":"no_such_method"},
		{"jsonrpc":"2.0","method":"log_line","params":{"text":"hello"}}]`
	w := call(h, "POST", "/v1/rpc", body, "X-Nomad-Token", "secret")
	if w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	from := " secret 192.0.2.1:1234"
	want := []string{"Variables.List" + from, "Operator.RaftGetConfiguration" + from, "get_server_status as read" + from,
		"admin_set_log_level as control" + from, "log_line as read" + from}
	got := f.taken()
	less := cmp.Transformer("set", func(in []string) map[string]int {
		out := map[string]int{}
		for _, s := range in {
			out[s]++
		}
		return out
	})
	if diff := cmp.Diff(want, got, less); diff != "" {
		t.Error(diff)
	}
}

func TestARefusedCallOfABatchSaysWhenToComeBack(t *testing.T) {
	f := newFake().fill()
	h := testAPI(t, f)
	f.refuse(errs.New(errs.RateLimited, "too many").WithRetryAfter(1500 * time.Millisecond))
	w := call(h, "POST", "/v1/rpc", `[{"jsonrpc":"2.0","id":1,"method":"variable_list"},{"jsonrpc":"2.0","id":2,"method":"ping"}]`)
	var answers []struct {
		Error struct {
			Code int
			Data []struct {
				Kind         string `json:"kind"`
				RetryAfterMS int    `json:"retry_after_ms"`
			}
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answers); err != nil || len(answers) != 2 {
		t.Fatalf("%v: %s", err, w.Body)
	}
	for _, a := range answers {
		if a.Error.Code != errs.RateLimited.Surface().JSONRPC || len(a.Error.Data) != 1 ||
			a.Error.Data[0].RetryAfterMS != 1500 || a.Error.Data[0].Kind != string(errs.RateLimited) {
			t.Errorf("answered %s", w.Body)
		}
	}
}

func TestCallsOnTheOperatorSocketPayByUser(t *testing.T) {
	f := newFake().fill()
	a, client := socketAgentOver(t, f)
	f.taken()
	if err := client.Call(context.Background(), "get_server_status", nil, nil); err != nil {
		t.Fatal(err)
	}
	want := []string{"get_server_status as read  " + localUser(os.Getuid())}
	if diff := cmp.Diff(want, f.taken()); diff != "" {
		t.Error(diff)
	}
	f.refuse(errs.New(errs.Busy, "this server is full").WithRetryAfter(time.Second))
	err := client.Call(context.Background(), "get_server_status", nil, nil)
	var e *errs.Error
	if !errors.Is(err, errs.Busy) || !errors.As(err, &e) || e.RetryAfter != time.Second {
		t.Errorf("refused with %v", err)
	}
	f.refuse(nil)
	if err := a.Stop(false); err != nil {
		t.Error(err)
	}
}

func TestCallsOnTheAgentSocketsPayByUser(t *testing.T) {
	f := newFake()
	a := agentWithSockets(t, f)
	c := openSockets(t, a)
	f.taken()
	mustAsk[agentpb.PingReply](t, c, 201, &agentpb.PingRequest{})
	want := []string{"ping as read  " + localUser(os.Getuid())}
	if diff := cmp.Diff(want, f.taken()); diff != "" {
		t.Error(diff)
	}
	f.refuse(errs.New(errs.RateLimited, "slow down").WithRetryAfter(time.Second))
	// what is no payload at all is refused before it is looked at
	_, err := c.Do(t.Context(), 2, 201, []byte("\xff\xff\xff"))
	var e *errs.Error
	if !errors.As(err, &e) || e.Code != errs.RateLimited || e.RetryAfter != time.Second || e.Msg != "slow down" {
		t.Errorf("refused with %#v", err)
	}
	if s := drpc.StatusOf(err); s != drpc.Status_UNAVAILABLE {
		t.Errorf("the status is %v", s)
	}
	f.refuse(nil)
	mustAsk[agentpb.PingReply](t, c, 201, &agentpb.PingRequest{})
}

func TestEveryMethodOfTheAgentSocketsHasAClass(t *testing.T) {
	a := agentWithSockets(t, newFake())
	seen := map[int32]bool{}
	for _, m := range append([]socketModule{greetingModule()}, a.sockets.modules...) {
		for _, method := range m.methods {
			seen[method.ID] = true
			if _, ok := socketClasses[method.ID]; !ok {
				t.Errorf("method %d (%s) of module %s is missing in socketClasses", method.ID, method.Name, m.name)
			}
		}
	}
	for id := range socketClasses {
		if !seen[id] {
			t.Errorf("socketClasses has method %d, which does not exist", id)
		}
	}
}

// A node agent has no server in its process, and holds its users to the rates itself.
func TestNodeAgentsLimitTheirUsers(t *testing.T) {
	c := DefaultConfig()
	c.Limits.RequestLimits.Mode = "enforcing"
	c.Limits.RequestLimits.PerToken.Write = RateConfig{Rate: 0.001, Burst: 2}
	r := newRemote(c, nil)
	write := func(user string) error {
		return r.Charge(t.Context(), nomad.Charged{Method: "WorkloadEvent.Raise", User: user})
	}
	for i := range 4 {
		for _, user := range []string{"uid 1", "uid 2"} {
			err := write(user)
			if over := i >= 2; errors.Is(err, errs.RateLimited) != over {
				t.Errorf("write %d of %s: %v", i, user, err)
			}
			if err != nil && !strings.Contains(err.Error(), "too many write requests") {
				t.Errorf("refused with %v", err)
			}
		}
		if err := r.Charge(t.Context(), nomad.Charged{Method: "Variables.Apply", Remote: "10.0.0.1:5", Secret: fmt.Sprint(i)}); err != nil {
			t.Errorf("a request that a server will count: %v", err)
		}
	}
	r.SetLimits(nomad.LimitConfig{Rates: limit.Rates{Mode: limit.Permissive}})
	if err := write("uid 1"); err != nil {
		t.Errorf("after the reload: %v", err)
	}
}
