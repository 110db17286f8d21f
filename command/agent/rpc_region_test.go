package agent

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// shown calls get_operations and returns what it shows in short.
func shown(t *testing.T, h *api, params string) (short []string, incomplete string) {
	t.Helper()
	raw, rpcErr := invoke(t, h, "get_operations", params, "X-Nomad-Token", "secret")
	if rpcErr != nil {
		t.Fatal(rpcErr)
	}
	var out operationsResult
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	for _, o := range out.Operations {
		short = append(short, fmt.Sprintf("%s by %s: %s", o.Kind, o.Agent, o.State))
	}
	return short, out.Incomplete
}

// What an agent does for the region shows at all of them, and so does what was lost.
func TestOperationsOfTheRegion(t *testing.T) {
	f := newFake().fill()
	h := testAPI(t, f)
	var told []structs.Operation
	on(f, "Operation.Upsert", func(a *structs.OperationUpsertRequest, _ *structs.OperationUpsertResponse) error {
		if a.AuthToken != "secret" {
			t.Errorf("told with the token %q", a.AuthToken)
		}
		if err := a.Operation.Validate(); err != nil {
			t.Error(err)
		}
		told = append(told, *a.Operation)
		return nil
	})
	if _, rpcErr := invoke(t, h, "admin_raft_remove_peer", `{"ID":"a","background":true}`, "X-Nomad-Token", "secret"); rpcErr != nil {
		t.Fatal(rpcErr)
	}
	h.rpc.operations.wg.Wait()
	if len(told) != 2 || told[0].State != structs.OperationRunning || !told[1].State.Done() || told[0].ID != told[1].ID || told[0].Agent != "n1" || len(told[0].Steps) != 1 {
		t.Fatalf("the servers were told %+v", told)
	}
	old := told[0]
	old.ID, old.Agent, old.Created = "op-old", "n2", time.Unix(9, 0)
	old.Expires = time.Unix(10, 0)
	fresh := told[0]
	fresh.ID, fresh.Agent, fresh.Created, fresh.Expires = "op-fresh", "n3", time.Unix(8, 0), time.Now().Add(time.Hour)
	drain := structs.Operation{ID: "op-drain", Kind: "drain", State: structs.OperationRunning, Created: time.Unix(7, 0)}
	on(f, "Operation.List", func(a *structs.OperationListRequest, r *structs.OperationListResponse) error {
		if a.AuthToken != "secret" || !a.AllowStale {
			return errs.New(errs.PermissionDenied, "Permission denied")
		}
		r.Operations = []*structs.Operation{&told[1], &old, &fresh, &drain}
		return nil
	})
	want := []string{"admin_raft_remove_peer by : succeeded", "admin_raft_remove_peer by n2: failed", "admin_raft_remove_peer by n3: running", "drain by the leader: running"}
	if got, why := shown(t, h, `{}`); cmp.Diff(want, got) != "" || why != "" {
		t.Error(cmp.Diff(want, got), why)
	}
	if got, _ := shown(t, h, `{"count":2}`); len(got) != 2 {
		t.Error(got)
	}
	if got, _ := shown(t, h, `{"local":true}`); cmp.Diff(want[:1], got) != "" {
		t.Error(got)
	}
	on(f, "Operation.List", func(*structs.OperationListRequest, *structs.OperationListResponse) error {
		return errs.New(errs.PermissionDenied, "Permission denied")
	})
	if got, why := shown(t, h, `{}`); len(got) != 1 || why != "operations of the region: Permission denied" {
		t.Error(got, why)
	}
}

func TestLostOperationSaysSo(t *testing.T) {
	o := &structs.Operation{ID: "x", Agent: "n2", State: structs.OperationRunning, Expires: time.Unix(100, 0),
		Steps: []*structs.OperationStep{{Name: "s", State: structs.OperationRunning}}}
	if got := ofRegion(o, time.Unix(100, 0)); got.State != structs.OperationRunning {
		t.Errorf("within its time: %s", got.State)
	}
	got := ofRegion(o, time.Unix(101, 0))
	if got.State != structs.OperationFailed || got.Message != lostMessage || got.Steps[0].State != structs.OperationFailed || o.State != structs.OperationRunning || o.Steps[0].State != structs.OperationRunning {
		t.Errorf("lost: %+v of %+v", got, o)
	}
}
