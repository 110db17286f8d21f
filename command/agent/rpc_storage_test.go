package agent

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/structs"
)

// storageWork begins a method of the storage and returns its operation when it has ended.
func storageWork(t *testing.T, h *api, method string) *operation {
	t.Helper()
	raw, rpcErr := invoke(t, h, method, `{}`)
	if rpcErr != nil {
		t.Fatal(rpcErr)
	}
	var ref operationRef
	if err := json.Unmarshal(raw, &ref); err != nil {
		t.Fatal(err)
	}
	h.rpc.operations.wg.Wait()
	found := h.rpc.operations.find(func(o *operation) bool { return o.Token == ref.Token }, 0)
	if len(found) != 1 || found[0].Kind != method {
		t.Fatalf("operations of %s: %v", method, found)
	}
	return found[0]
}

func TestStorageIsVerified(t *testing.T) {
	f := newFake().fill()
	h := testAPI(t, f)
	f.log, f.snapshots = nomad.StorageCheck{Items: 4, Bytes: 40, First: 7, Last: 10}, nomad.StorageCheck{}
	o := storageWork(t, h, "admin_storage_verify")
	if o.State != structs.OperationSucceeded || o.Steps[0].Message != "4 read with 40 bytes, indexes 7 to 10" || o.Steps[1].Message != "there is nothing" {
		t.Errorf("all is well: %+v %+v %+v", o, o.Steps[0], o.Steps[1])
	}
	f.log.Problems, f.log.More = []string{"entry 8: its checksum does not fit"}, 2
	o = storageWork(t, h, "admin_storage_verify")
	if o.State != structs.OperationFailed || o.Steps[0].Message != "entry 8: its checksum does not fit; and 2 more" || o.Steps[1].State != structs.OperationSucceeded {
		t.Errorf("a damaged entry: %+v %+v %+v", o, o.Steps[0], o.Steps[1])
	}
}

func TestStorageIsCompacted(t *testing.T) {
	f := newFake().fill()
	h := testAPI(t, f)
	f.log = nomad.StorageCheck{First: 7, Last: 10}
	f.compacts = true
	if o := storageWork(t, h, "admin_storage_compact"); o.State != structs.OperationSucceeded || !strings.Contains(o.Steps[0].Message, "the log was 7 to 10, and is 7 to 10") {
		t.Errorf("%+v %+v", o, o.Steps[0])
	}
	f.compacts = false
	if o := storageWork(t, h, "admin_storage_compact"); o.State != structs.OperationSucceeded || !strings.Contains(o.Steps[0].Message, "stays as it is") {
		t.Errorf("nothing to do: %+v %+v", o, o.Steps[0])
	}
	f.compactErr = errs.New(errs.Unavailable, "the disk is full")
	if o := storageWork(t, h, "admin_storage_compact"); !o.done() || o.State == structs.OperationSucceeded || o.Steps[0].Message != "the disk is full" {
		t.Errorf("a snapshot that fails: %+v %+v", o, o.Steps[0])
	}
}

// TestMarksReachTheRegion: with it, the event stream.
func TestMarksReachTheRegion(t *testing.T) {
	f := newFake().fill()
	h := testAPI(t, f)
	var told []structs.Operation
	on(f, "Operation.Upsert", func(a *structs.OperationUpsertRequest, _ *structs.OperationUpsertResponse) error {
		if err := a.Operation.Validate(); err != nil || a.AuthToken != "secret" {
			t.Errorf("token %q: %v", a.AuthToken, err)
		}
		told = append(told, *a.Operation)
		return nil
	})
	w := call(h, "POST", "/v1/rpc", `{"jsonrpc":"2.0","method":"mark","params":{"text":"deploy 7"}}`, "X-Nomad-Token", "secret", "Content-Type", "application/json")
	if w.Code != 204 || len(told) != 1 || told[0].Kind != "mark" || told[0].Name != "deploy 7" || told[0].State != structs.OperationSucceeded {
		t.Errorf("status %d, the servers were told %+v", w.Code, told)
	}
}

// An agent without a server has data too, and no log.
func TestStorageOfAnAgentWithoutAServer(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "client-id"), []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := testAPI(t, newFake().fill(), func(c *Config) { c.Server.Enabled, c.Client.StateDir = false, dir })
	raw, rpcErr := invoke(t, h, "get_storage_status", `{}`)
	if rpcErr != nil {
		t.Fatal(rpcErr)
	}
	var got storageStatus
	if err := json.Unmarshal(raw, &got); err != nil || got.Dir != dir || got.LogStore != "none" || got.Bytes["."] != 5 {
		t.Errorf("%+v, %v", got, err)
	}
}
