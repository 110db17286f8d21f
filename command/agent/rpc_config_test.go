package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/jsonrpc"
	"github.com/cairn-project/cairn/nomad/structs"
)

func TestLookupOfRecords(t *testing.T) {
	h := testAPI(t, newFake(), func(c *Config) { c.Server.Encrypt = "c2VjcmV0c2VjcmV0c2VjcmV0" })
	raw, rpcErr := invoke(t, h, "admin_lookup_records",
		`{"records":[{"name":"server.encrypt"},{"regex":"^limits\\.rpc"},{"name":"nope"},{"regex":"("},{"name":"a","regex":"b"},{"name":"rpc.call_timeout"}]}`)
	if rpcErr != nil {
		t.Fatal(rpcErr)
	}
	var got lookupResult
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	byName := map[string]record{}
	for _, r := range got.Records {
		byName[r.Name] = r
	}
	if r := byName["server.encrypt"]; r.Value != redacted || !r.Secret {
		t.Errorf("the secret shows as %+v", r)
	}
	if len(got.Records) != 4 || byName["limits.rpc_handshake_timeout"].Value != "5s" || byName["rpc.call_timeout"].Type != "duration" {
		t.Errorf("%+v", got.Records)
	}
	codes := fmt.Sprint(got.Errors)
	if len(got.Errors) != 3 || got.Errors[0].Code != errataRecordNotFound || got.Errors[1].Code != errataRecordName || got.Errors[2].Code != errataRecordName {
		t.Error(codes)
	}
}

func TestRecordsAreSetTogetherOrNotAtAll(t *testing.T) {
	h := testAPI(t, newFake())
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Info})
	h.rpc.logger = logger
	_, err := invoke(t, h, "admin_config_set_records",
		`{"records":[{"name":"log_level","value":"debug"},{"name":"region","value":"x"},{"name":"nope","value":1},{"name":"log_level","value":"loud"}]}`)
	if err == nil || err.Code != jsonrpc.CodeExecution || len(err.Data) != 3 {
		t.Fatalf("%v", err)
	}
	for i, code := range []int{errataRecordWrite, errataRecordNotFound, errataRecordValue} {
		if err.Data[i].Code != code {
			t.Errorf("problem %d: %+v, want %d", i, err.Data[i], code)
		}
	}
	if logger.GetLevel() != hclog.Info {
		t.Errorf("level %s after a refused change", logger.GetLevel())
	}
	if _, err := invoke(t, h, "admin_config_set_records", `{"records":[{"name":"log_level","value":"debug"}]}`); err != nil || logger.GetLevel() != hclog.Debug {
		t.Errorf("%v, level %s", err, logger.GetLevel())
	}
}

// reload begins a reload and waits for its end.
func reload(t *testing.T, h *api, params string) *operation {
	t.Helper()
	raw, rpcErr := invoke(t, h, "admin_config_reload", params)
	if rpcErr != nil {
		t.Fatal(rpcErr)
	}
	var ref operationRef
	if err := json.Unmarshal(raw, &ref); err != nil {
		t.Fatal(err)
	}
	h.rpc.operations.wg.Wait()
	raw, rpcErr = invoke(t, h, "get_reload_config_status", fmt.Sprintf(`{"token":%q}`, ref.Token))
	if rpcErr != nil {
		t.Fatal(rpcErr)
	}
	var got operationsResult
	if err := json.Unmarshal(raw, &got); err != nil || len(got.Operations) != 1 || got.Operations[0].ID != ref.Operation {
		t.Fatalf("%s %v", raw, err)
	}
	return got.Operations[0]
}

func TestReloadOfTheConfiguration(t *testing.T) {
	h := testAPI(t, newFake())
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Info})
	h.rpc.logger = logger
	if _, err := invoke(t, h, "admin_config_reload", `{}`); !errors.Is(err, errs.Unavailable) {
		t.Errorf("reload of an agent that starts: %v", err)
	}
	if _, err := invoke(t, h, "get_reload_config_status", `{}`); err == nil || err.Data[0].Code != errataNoOperation {
		t.Errorf("status before any reload: %v", err)
	}
	next, problem := *h.config, error(nil)
	next.LogLevel, next.Region = "WARN", "elsewhere"
	var stuck error
	h.rpc.reload.Store(&reloader{
		read: func(string) (*Config, error) { return &next, problem },
		steps: []reloadStep{{name: "apply log_level", apply: func(c *Config) error {
			logger.SetLevel(hclog.LevelFromString(c.LogLevel))
			return stuck
		}}},
	})
	o := reload(t, h, `{"token":"mine"}`)
	if o.State != structs.OperationSucceeded || o.Token != "mine" || len(o.Steps) != 2 || o.Steps[1].State != structs.OperationSucceeded || logger.GetLevel() != hclog.Warn {
		t.Errorf("%+v, level %s", o, logger.GetLevel())
	}
	if want := "take effect when the agent starts again: region"; o.Message != want {
		t.Errorf("message %q, want %q", o.Message, want)
	}
	if _, err := invoke(t, h, "admin_config_reload", `{"token":"mine"}`); err == nil || err.Data[0].Code != errataTokenTaken {
		t.Errorf("same token: %v", err)
	}
	if _, err := invoke(t, h, "get_reload_config_status", `{"token":"nope"}`); err == nil || err.Data[0].Code != errataTokenUnknown {
		t.Errorf("unknown token: %v", err)
	}
	stuck = errors.New("stuck")
	if o = reload(t, h, `{}`); o.State != structs.OperationFailed || o.Message != "stuck" || o.Steps[0].State != structs.OperationSucceeded || o.Steps[1].State != structs.OperationFailed {
		t.Errorf("a step that fails: %+v %+v", o, o.Steps)
	}
	problem = errors.New("file.hcl:3: unknown key")
	o = reload(t, h, `{}`)
	if o.State != structs.OperationFailed || o.Message != problem.Error() || o.Steps[0].State != structs.OperationFailed || o.Steps[1].State != structs.OperationFailed {
		t.Errorf("%+v %+v", o, o.Steps)
	}
}

func TestOneReloadAtATimeUnlessForced(t *testing.T) {
	ops := newOperations(hclog.NewNullLogger())
	block := make(chan struct{})
	work := func(context.Context, *operationRun) error { <-block; return nil }
	spec := operationSpec{kind: "reload", prefix: "rldtk-", alone: true}
	if _, err := ops.begin(spec, work); err != nil {
		t.Fatal(err)
	}
	var rpcErr *jsonrpc.Error
	if _, err := ops.begin(spec, work); !errors.As(err, &rpcErr) || rpcErr.Data[0].Code != errataInProgress {
		t.Errorf("second reload: %v", err)
	}
	spec.force = true
	if _, err := ops.begin(spec, work); err != nil {
		t.Errorf("forced: %v", err)
	}
	close(block)
	ops.stop()
	if _, err := ops.begin(operationSpec{kind: "late"}, work); !errors.Is(err, errs.Unavailable) {
		t.Errorf("begun while the agent stops: %v", err)
	}
	for _, o := range ops.find(func(*operation) bool { return true }, 0) {
		if !o.done() {
			t.Errorf("%+v is in progress after its work has ended", o)
		}
	}
}

func TestHistoryOfOperationsIsBounded(t *testing.T) {
	ops := newOperations(hclog.NewNullLogger())
	block := make(chan struct{})
	ref, err := ops.begin(operationSpec{kind: "slow"}, func(context.Context, *operationRun) error {
		<-block
		return errs.New(errs.NoLeader, "No cluster leader")
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * maxOperations {
		ops.note("mark", fmt.Sprint(i), "")
	}
	all := ops.find(func(*operation) bool { return true }, 0)
	if len(all) != maxOperations || all[0].Name != fmt.Sprint(3*maxOperations-1) || all[maxOperations-1].ID != ref.Operation {
		t.Errorf("%d operations, newest %s, oldest %s", len(all), all[0].Name, all[len(all)-1].ID)
	}
	close(block)
	ops.wg.Wait()
	slow := ops.find(func(o *operation) bool { return o.ID == ref.Operation }, 0)
	if len(slow) != 1 || slow[0].State != structs.OperationUnreachable {
		t.Errorf("%+v", slow)
	}
}

// Each query may match every record: a call of many would be answered with gigabytes.
func TestQueriesOfACallAreBounded(t *testing.T) {
	h := testAPI(t, newFake())
	for n, want := range map[int]bool{maxRecords: true, maxRecords + 1: false} {
		list := strings.TrimSuffix(strings.Repeat(`{"name":"log_level"},`, n), ",")
		if _, err := invoke(t, h, "admin_lookup_records", `{"records":[`+list+`]}`); (err == nil) != want {
			t.Errorf("%d queries: %v", n, err)
		}
		list = strings.ReplaceAll(list, "}", `,"value":"info"}`)
		if _, err := invoke(t, h, "admin_config_set_records", `{"records":[`+list+`]}`); (err == nil) != want {
			t.Errorf("%d changes: %v", n, err)
		}
	}
}

// Whoever only notes what happened does not push out what was done, and work that
// never ends is not taken without limit.
func TestNotesAndWorkLeaveRoomForEachOther(t *testing.T) {
	ops := newOperations(hclog.NewNullLogger())
	done := func(context.Context, *operationRun) error { return nil }
	for range maxNotes {
		if _, err := ops.begin(operationSpec{kind: "work"}, done); err != nil {
			t.Fatal(err)
		}
	}
	ops.wg.Wait()
	for i := range 3 * maxOperations {
		ops.note("mark", fmt.Sprint(i), "")
	}
	if work := ops.find(func(o *operation) bool { return o.Kind == "work" }, 0); len(work) != maxNotes {
		t.Errorf("%d operations are left of %d", len(work), maxNotes)
	}
	block := make(chan struct{})
	for i := range maxOperations + 1 {
		_, err := ops.begin(operationSpec{kind: "slow"}, func(context.Context, *operationRun) error {
			<-block
			return nil
		})
		if full := i == maxOperations; full != errors.Is(err, errs.Busy) {
			t.Errorf("operation %d: %v", i, err)
		}
	}
	close(block)
	ops.wg.Wait()
	if _, err := ops.begin(operationSpec{kind: "late"}, done); err != nil {
		t.Error(err)
	}
	ops.wg.Wait()
}

func TestPanicOfAnOperationIsItsFailure(t *testing.T) {
	ops := newOperations(hclog.NewNullLogger())
	if _, err := ops.begin(operationSpec{kind: "bad", steps: []string{"one"}}, func(_ context.Context, run *operationRun) error {
		return run.step(0, func() error { panic("s3cret") })
	}); err != nil {
		t.Fatal(err)
	}
	ops.wg.Wait()
	got := ops.find(func(*operation) bool { return true }, 0)
	if len(got) != 1 || got[0].State != structs.OperationFailed || got[0].Steps[0].State != structs.OperationFailed || strings.Contains(got[0].Message, "s3cret") {
		t.Errorf("%+v", got[0])
	}
}

func TestRPCConfiguration(t *testing.T) {
	c := DefaultDevConfig()
	c.NodeName = "n"
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	d := &configDecoder{}
	d.source(c, "f.hcl", []byte(`rpc {
  max_batch = 7
  call_timeout = "3s"
  accept_backlog = 4
  socket {
    path = "relative"
    mode = "0444"
    users { "uid:5000" = "management" "gid:7" = "policy:ops" "nobody" = "x" }
  }
}`))
	if len(d.problems) > 0 || c.RPC.MaxBatch != 7 || c.RPC.Socket.Users["gid:7"] != "policy:ops" || len(d.unused) != 1 {
		t.Fatalf("%v %+v %v", d.problems, c.RPC, d.unused)
	}
	err := c.Validate()
	for _, want := range []string{"rpc.socket.path", "rpc.socket.mode", "rpc.socket.users"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
	c.RPC.Socket = RPCSocketConfig{Enabled: true, Path: "/" + strings.Repeat("x", jsonrpc.MaxSocketPath)}
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "rpc.socket.path: has 104 bytes, at most 103") {
		t.Errorf("a path that is too long: %v", err)
	}
}

// The limits of requests are set as a reload would set them, and stay set beside a
// change of the log level.
func TestLimitsAreSetWhileTheAgentRuns(t *testing.T) {
	h := testAPI(t, newFake())
	set := func(records string) *jsonrpc.Error {
		t.Helper()
		_, err := invoke(t, h, "admin_config_set_records", `{"records":[`+records+`]}`)
		return err
	}
	mode := `{"name":"limits.request_limits.mode","value":"enforcing"}`
	if err := set(mode); !errors.Is(err, errs.Unavailable) {
		t.Errorf("while the agent starts: %v", err)
	}
	inForce := h.config.Limits.RequestLimits
	h.rpc.reload.Store(&reloader{
		takenOver: func(c *Config) { c.Limits.RequestLimits = inForce },
		setLimits: func(c *Config) error { inForce = c.Limits.RequestLimits; return nil },
	})
	if err := set(mode + `,{"name":"limits.request_limits.per_token.write.rate","value":7.5}`); err != nil || inForce.Mode != "enforcing" || inForce.PerToken.Write.Rate != 7.5 {
		t.Fatalf("%v, in force %+v", err, inForce)
	}
	if err := set(`{"name":"limits.request_limits.in_flight.read","value":"3"},{"name":"log_level","value":"debug"}`); err != nil || inForce.InFlight.Read != 3 || inForce.PerToken.Write.Rate != 7.5 {
		t.Errorf("%v, in force %+v", err, inForce)
	}
	before := inForce
	for _, bad := range []string{
		`{"name":"limits.request_limits.mode","value":"sometimes"}`,
		`{"name":"limits.request_limits.per_token.write.rate","value":-1}`,
		`{"name":"limits.request_limits.per_token.write.rate","value":"fast"}`,
		`{"name":"limits.request_limits.per_token.write.rate","value":{"x":1}}`,
	} {
		if err := set(mode + "," + bad); err == nil || err.Data[0].Code != errataRecordValue || inForce != before {
			t.Errorf("%s: %v, in force %+v", bad, err, inForce)
		}
	}
	raw, err := invoke(t, h, "admin_lookup_records", `{"records":[{"name":"limits.request_limits.per_token.write.rate"}]}`)
	if err != nil || !strings.Contains(string(raw), `"value":7.5`) || !strings.Contains(string(raw), `"runtime":true`) {
		t.Errorf("%s, %v", raw, err)
	}
}

// What is given inline comes on top of the files, and is checked as they are.
func TestInlineConfiguration(t *testing.T) {
	f := newFlags()
	file := filepath.Join(t.TempDir(), "a.hcl")
	if err := os.WriteFile(file, []byte(`log_level = "WARN"`+"\n"+`region = "eu"`), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, done := f.parse([]string{"-dev", "-config", file}, io.Discard, io.Discard); done {
		t.Fatal(code)
	}
	for text, want := range map[string]string{"": "WARN", `log_level = "ERROR"`: "ERROR", `{"log_level":"DEBUG"}`: "DEBUG"} {
		if c, _, err := f.configWith(text); err != nil || c.LogLevel != want || c.Region != "eu" {
			t.Errorf("%s: %v, %+v", text, err, c.LogLevel)
		}
	}
	for _, text := range []string{`log_levels = "x"`, `log_level = `, `region = ""`} {
		if _, _, err := f.configWith(text); err == nil {
			t.Errorf("%s was taken", text)
		}
	}
	h := testAPI(t, newFake())
	var got string
	h.rpc.reload.Store(&reloader{read: func(inline string) (*Config, error) { got = inline; return h.config, nil }})
	if o := reload(t, h, `{"inline":"log_level = \"DEBUG\""}`); o.State != structs.OperationSucceeded || got != `log_level = "DEBUG"` {
		t.Errorf("%+v with %q", o, got)
	}
}
