package jsonrpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/internal/errs"
)

var root = Caller{Transport: TransportSocket, Peer: &PeerCred{UID: 0}}

// ask sends one call and returns the answer.
func ask(t testing.TB, s *Server, c Caller, msg string) answer {
	t.Helper()
	var a answer
	body := s.Handle(context.Background(), c, []byte(msg)).Body
	if err := json.Unmarshal(body, &a); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return a
}

func call(method string) string { return fmt.Sprintf(`{"jsonrpc":"2.0","method":%q,"id":1}`, method) }

func TestRegistrationIsChecked(t *testing.T) {
	s := testServer(t)
	ok := always(1, nil)
	for _, c := range []struct {
		m    Method
		want errs.Code
		word string
	}{
		{Method{Name: "echo", Handler: ok}, errs.Conflict, `"cairn"`},
		{Method{Name: "update", Handler: ok}, errs.Conflict, "notification"},
		{Method{Name: "echo", Kind: KindNotification, Handler: ok}, errs.Conflict, "method"},
		{Method{Name: "ping", Handler: ok}, errs.Conflict, "already"},
		{Method{Name: "", Handler: ok}, errs.Invalid, ""},
		{Method{Name: "rpc.x", Handler: ok}, errs.Invalid, ""},
		{Method{Name: "a\nb", Handler: ok}, errs.Invalid, ""},
		{Method{Name: strings.Repeat("x", 129), Handler: ok}, errs.Invalid, ""},
		{Method{Name: "x"}, errs.Invalid, ""},
		{Method{Name: "x", Handler: ok, Timeout: -1}, errs.Invalid, ""},
		{Method{Name: "x", Handler: ok, Kind: KindNotification, Result: noParams}, errs.Invalid, ""},
		{Method{Name: "x", Handler: ok, Params: json.RawMessage(`{"type":"nonsense"}`)}, errs.Invalid, "parameters"},
		{Method{Name: "x", Handler: ok, Params: json.RawMessage(`{`)}, errs.Invalid, "parameters"},
		{Method{Name: "x", Handler: ok, Result: json.RawMessage(`{"$ref":"file:///etc/passwd"}`)}, errs.Invalid, "stands for itself"},
		{Method{Name: "x", Handler: ok, Params: json.RawMessage(`{"maximum":1e999999999}`)}, errs.Invalid, "exponent"},
	} {
		if err := s.Register(c.m); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.word) {
			t.Errorf("%q: %v, want %s with %q", c.m.Name, err, c.want, c.word)
		}
	}
}

// Schemas stand for themselves, whatever the directory is called in which the agent runs.
func TestSchemasAreTakenInAnyDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a blank, 100% # and ?")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	s := testServer(t)
	inside := json.RawMessage(`{"type":"object","properties":{"n":{"$ref":"#/$defs/n"}},"$defs":{"n":{"type":"integer"}}}`)
	mustRegister(t, s, Method{Name: "shaped", Params: inside, Result: inside, Handler: always(map[string]int{"n": 1}, nil)})
	if got := ask(t, s, root, `{"jsonrpc":"2.0","method":"shaped","params":{"n":"x"},"id":1}`); got.Error == nil || got.Error.Code != CodeInvalidParams {
		t.Errorf("a wrong parameter: %+v", got)
	}
	for _, other := range []string{"other.json", "file:other.json", "//host/other.json"} {
		m := Method{Name: "refers", Handler: always(1, nil), Result: json.RawMessage(fmt.Sprintf(`{"$ref":%q}`, other+"#/$defs/n"))}
		if err := s.Register(m); !errors.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", other, err)
		}
	}
}

func TestProvidersComeAndGo(t *testing.T) {
	s := testServer(t)
	for _, name := range []string{"p_one", "p_two"} {
		mustRegister(t, s, Method{Name: name, Provider: "plug", Summary: "one of plug", Handler: always(name, nil)})
	}
	if err := s.Unregister("other", "p_one"); !errors.Is(err, errs.PermissionDenied) || !strings.Contains(err.Error(), "plug") {
		t.Errorf("taking away another's: %v", err)
	}
	if err := s.Unregister("plug", "p_none"); !errors.Is(err, errs.NotFound) {
		t.Errorf("unknown: %v", err)
	}
	if got := ask(t, s, root, call("p_one")); string(got.Result) != `"p_one"` {
		t.Errorf("%+v", got)
	}
	for _, d := range s.Descriptor().Methods {
		if d.Name == "p_one" && (d.Provider != "plug" || d.Summary != "one of plug" || d.TimeoutMS != 5000) {
			t.Errorf("%+v", d)
		}
	}
	if err := s.Unregister("plug", "p_one"); err != nil {
		t.Error(err)
	}
	if got := ask(t, s, root, call("p_one")); got.Error == nil || got.Error.Code != CodeMethodNotFound {
		t.Errorf("%+v", got)
	}
	if n := s.UnregisterProvider("plug"); n != 1 {
		t.Errorf("%d removed", n)
	}
}

func TestFreshServerListsItself(t *testing.T) {
	got := ask(t, mustServer(t, DefaultConfig()), root, call(MethodHandlers))
	if string(got.Result) != `{"methods":["get_schema","get_service_descriptor","ping","show_registered_handlers"],"notifications":[]}` {
		t.Errorf("%s", got.Result)
	}
}

type auditLog struct {
	mu      sync.Mutex
	records []AuditRecord
}

func (a *auditLog) Audit(_ context.Context, r AuditRecord) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r.Duration = 0
	a.records = append(a.records, r)
}

func TestPrivilegedCallsAreAudited(t *testing.T) {
	log, cfg := &auditLog{}, DefaultConfig()
	var lines bytes.Buffer
	cfg.Auditor, cfg.Logger = log, hclog.New(&hclog.LoggerOptions{Output: &lines, Level: hclog.Trace})
	s := mustServer(t, cfg)
	mustRegister(t, s, append(conformanceMethods(), conformanceCounters()...)...)
	user := Caller{Transport: TransportSocket, Peer: &PeerCred{UID: 4_000_000_000}}
	withParams := `{"jsonrpc":"2.0","method":"restricted","params":{"a":"hunter2"},"token":"s3cret","id":1}`
	ask(t, s, root, withParams)
	ask(t, s, user, call("restricted"))
	s.Handle(context.Background(), user, []byte(`{"jsonrpc":"2.0","method":"note_restricted"}`))
	ask(t, s, user, call("get_data"))
	s.Handle(context.Background(), user, []byte(`{"jsonrpc":"2.0","method":"restricted"}`)) // not as their kinds are called
	ask(t, s, user, call("note_restricted"))
	s.Handle(context.Background(), user, []byte(`{"jsonrpc":"2.0","method":"bump"}`))
	rootWithToken := root
	rootWithToken.Token = "s3cret"
	want := []AuditRecord{
		{Caller: rootWithToken, Method: "restricted", Provider: "cairn", Params: digest([]byte(`{"a":"hunter2"}`)), Ran: true},
		{Caller: user, Method: "restricted", Provider: "cairn", Code: CodeUnauthorized},
		{Caller: user, Method: "note_restricted", Provider: "cairn", Code: CodeUnauthorized},
		{Caller: user, Method: "restricted", Provider: "cairn", Code: CodeInvalidRequest},
		{Caller: user, Method: "note_restricted", Provider: "cairn", Code: CodeInvalidRequest},
	}
	if diff := cmp.Diff(want, log.records); diff != "" {
		t.Error(diff)
	}
	if out := lines.String(); strings.Contains(out, "s3cret") || strings.Contains(out, "hunter2") || !strings.Contains(out, "privileged call") {
		t.Errorf("log: %s", out)
	}
	if s.Stats().Denied != 2 {
		t.Errorf("%+v", s.Stats())
	}
}

// tokens lets those pass who have the token, and fails like a cluster without a leader for one other.
type tokens string

func (k tokens) Authorize(_ context.Context, c Caller, m *Method) error {
	switch {
	case c.Token == "later":
		return errs.New(errs.NoLeader, "no leader to ask").WithRetryAfter(time.Second)
	case c.Token == "broken":
		return errors.New("database password is hunter2")
	case m.Privileged && c.Token != string(k):
		return errs.New(errs.PermissionDenied, "token lacks operator:write")
	}
	return nil
}

func TestTokensOnTheSocket(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Authorizer = tokens("right")
	s := mustServer(t, cfg)
	mustRegister(t, s, Method{Name: "restricted", Privileged: true, Handler: always("granted", nil)})
	with := func(token string) *Error {
		return ask(t, s, Caller{}, fmt.Sprintf(`{"jsonrpc":"2.0","method":"restricted","id":1,"token":%s}`, token)).Error
	}
	if err := with(`"right"`); err != nil {
		t.Error(err)
	}
	for _, token := range []string{`"wrong"`, `5`, `null`} {
		if err := with(token); err == nil || err.Code != CodeUnauthorized || err.Data[0].Code != ErrataDenied || !errors.Is(err, errs.PermissionDenied) {
			t.Errorf("%s: %v", token, err)
		}
	}
	if err := with(`"later"`); err == nil || err.Code != CodeNoLeader || err.Coded().RetryAfter != time.Second {
		t.Errorf("%v", err)
	}
	if err := with(`"broken"`); err == nil || err.Code != CodeUnauthorized || strings.Contains(fmt.Sprint(err.Data), "hunter2") {
		t.Errorf("%+v", err)
	}
}

func TestSuspendedServerRefuses(t *testing.T) {
	s := testServer(t)
	s.Suspend("agent is starting", 1500*time.Microsecond)
	got := ask(t, s, root, call("bump")).Error
	if got == nil || got.Code != CodeBusy || got.Data[0].RetryAfterMS != 2 || got.Coded().Executed != errs.ExecutedNo || !errors.Is(got, errs.Busy) {
		t.Errorf("%+v", got)
	}
	s.Resume()
	if got := ask(t, s, root, call("bump_count")); string(got.Result) != "0" {
		t.Errorf("%s %v", got.Result, got.Error)
	}
}

func TestHandlersThatDoNotHeedTheirContextCannotPileUp(t *testing.T) {
	cfg := DefaultConfig()
	cfg.MaxRunning = 2
	s := mustServer(t, cfg)
	release := make(chan struct{})
	mustRegister(t, s, Method{Name: "deaf", Timeout: time.Millisecond, Handler: func(context.Context, json.RawMessage) (any, error) {
		<-release
		panic("late")
	}})
	for range 2 {
		if got := ask(t, s, root, call("deaf")).Error; got == nil || got.Code != CodeTimeout || got.Coded().Executed != errs.ExecutedUnknown {
			t.Errorf("%+v", got)
		}
	}
	if got := ask(t, s, root, call("deaf")).Error; got == nil || got.Code != CodeBusy {
		t.Errorf("%+v", got)
	}
	close(release)
	eventually(t, "the handlers ended", func() bool { return s.Stats().Running == 0 })
	if got := s.Stats(); got.Panics != 2 || got.Busy != 1 {
		t.Errorf("%+v", got)
	}
}

// Calls of others leave room for root and the agent's user.
func TestOthersLeaveSlotsForTheOwner(t *testing.T) {
	cfg := DefaultConfig()
	cfg.MaxRunning = 8
	s := mustServer(t, cfg)
	release := make(chan struct{})
	var began sync.WaitGroup
	mustRegister(t, s, Method{Name: "block", Timeout: time.Hour, Handler: func(context.Context, json.RawMessage) (any, error) {
		began.Done()
		<-release
		return nil, nil
	}})
	remote := Caller{Transport: TransportHTTP, Remote: "192.0.2.1:1"}
	var all sync.WaitGroup
	hold := func(c Caller) {
		began.Add(1)
		all.Go(func() { s.Handle(context.Background(), c, []byte(call("block"))) })
		began.Wait()
	}
	for range 7 {
		hold(remote)
	}
	for _, c := range []Caller{remote, {Transport: TransportSocket, Peer: &PeerCred{UID: 4_000_000_000}}} {
		if got := ask(t, s, c, call(MethodPing)).Error; got == nil || got.Code != CodeBusy {
			t.Errorf("%s: %+v", c, got)
		}
	}
	if got := ask(t, s, root, call(MethodPing)).Error; got != nil {
		t.Errorf("root: %+v", got)
	}
	hold(root)
	if got := ask(t, s, root, call(MethodPing)).Error; got == nil || got.Code != CodeBusy {
		t.Errorf("root, with every slot taken: %+v", got)
	}
	close(release)
	all.Wait()
	if got := ask(t, s, remote, call(MethodPing)).Error; got != nil {
		t.Errorf("afterwards: %+v", got)
	}
}

// A result that is too large to be sent was made all the same.
func TestAnswersThatAreTooLargeSayThatTheCallRan(t *testing.T) {
	cfg := DefaultConfig()
	cfg.MaxAnswer = 100
	s := mustServer(t, cfg)
	mustRegister(t, s, Method{Name: "large", Handler: Func(func(context.Context, any) (string, error) { return strings.Repeat("x", 200), nil })},
		Method{Name: "fails", Handler: Func(func(context.Context, any) (any, error) { return nil, errs.New(errs.Conflict, strings.Repeat("x", 200)) })})
	for name, want := range map[string]errs.Executed{"large": errs.ExecutedYes, "fails": ""} {
		if got := ask(t, s, root, call(name)).Error; got == nil || got.Code != CodeTooLarge || got.Data[0].Executed != want || got.Data[0].Limit != 100 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestParallelCallsOfABatchMeet(t *testing.T) {
	s := testServer(t)
	var both sync.WaitGroup
	both.Add(2)
	mustRegister(t, s, Method{Name: "meet", Parallel: true, Handler: func(_ context.Context, p json.RawMessage) (any, error) {
		both.Done()
		both.Wait()
		return p, nil
	}})
	body := s.Handle(context.Background(), root, []byte(`[{"jsonrpc":"2.0","method":"meet","params":[1],"id":1},{"jsonrpc":"2.0","method":"meet","params":[2],"id":2},`+
		`{"jsonrpc":"2.0","method":"bump","id":3}]`)).Body
	if want := `[{"jsonrpc":"2.0","result":[1],"id":1},{"jsonrpc":"2.0","result":[2],"id":2},{"jsonrpc":"2.0","result":1,"id":3}]`; string(body) != want {
		t.Errorf("%s", body)
	}
}

func TestAnswersAreBounded(t *testing.T) {
	cfg := DefaultConfig()
	cfg.MaxAnswer = 1000
	s := mustServer(t, cfg)
	mustRegister(t, s, Method{Name: "half", Handler: always(strings.Repeat("x", 600), nil)}, Method{Name: "double", Handler: always(strings.Repeat("x", 2000), nil)})
	if got := ask(t, s, root, call("double")).Error; got == nil || got.Code != CodeTooLarge || got.Data[0].Limit != 1000 {
		t.Errorf("%+v", got)
	}
	var batch []answer
	body := s.Handle(context.Background(), root, []byte("["+call("half")+","+call("half")+"]")).Body
	if err := json.Unmarshal(body, &batch); err != nil || batch[0].Error != nil || batch[1].Error == nil || batch[1].Error.Code != CodeTooLarge {
		t.Errorf("%v %s", err, body)
	}
}

func TestMethodWithoutIDIsCounted(t *testing.T) {
	s := testServer(t)
	if a := s.Handle(context.Background(), root, []byte(`{"jsonrpc":"2.0","method":"bump"}`)); a.Body != nil || a.Close {
		t.Errorf("%+v", a)
	}
	if got := s.Stats(); got.WithoutID != 1 || got.Notifications != 1 {
		t.Errorf("%+v", got)
	}
}

// TestWhatCannotBeDecodedIsNamed: numbers that a schema lets pass and a handler's type
// cannot hold are refused in words of the protocol, with their place.
func TestWhatCannotBeDecodedIsNamed(t *testing.T) {
	type inner struct {
		Size  int32  `json:"size"`
		Flags uint64 `json:"flags"`
	}
	type params struct {
		inner
		List  []inner            `json:"list"`
		Rates map[string]float32 `json:"rates"`
	}
	s := mustServer(t, DefaultConfig())
	mustRegister(t, s, Method{Name: "m", Handler: Func(func(context.Context, params) (any, error) { return 1, nil })})
	for raw, want := range map[string]Detail{
		`{"size":3.0}`:            {Field: "/size", Message: "must be a whole number without fraction and exponent from -2147483648 to 2147483647, not 3.0"},
		`{"size":2147483648}`:     {Field: "/size", Message: "must be a whole number without fraction and exponent from -2147483648 to 2147483647, not 2147483648"},
		`{"flags":-1}`:            {Field: "/flags", Message: "must be a whole number without fraction and exponent from 0 to 18446744073709551615, not -1"},
		`{"list":[{"size":1e1}]}`: {Field: "/list", Message: "must be a whole number without fraction and exponent from -2147483648 to 2147483647, not 1e1"},
		`{"rates":{"a/b":1e99}}`:  {Field: "/rates", Message: "must be a number that fits in 32 bits, not 1e99"},
		`{"list":{}}`:             {Field: "/list", Message: "must be a list, not object"},
		`[1]`:                     {Message: "must be an object, not array"},
	} {
		e := ask(t, s, root, fmt.Sprintf(`{"jsonrpc":"2.0","method":"m","params":%s,"id":1}`, raw)).Error
		want.Code = ErrataParams
		if e == nil || e.Code != CodeInvalidParams || !cmp.Equal(e.Data, []Detail{want}) {
			t.Errorf("%s: %v", raw, cmp.Diff([]Detail{want}, e.Data))
		}
	}
}

func TestPanicsAndPlainErrorsStayLocal(t *testing.T) {
	var lines bytes.Buffer
	cfg := DefaultConfig()
	cfg.Logger = hclog.New(&hclog.LoggerOptions{Output: &lines})
	s := mustServer(t, cfg)
	mustRegister(t, s,
		Method{Name: "panics", Handler: func(context.Context, json.RawMessage) (any, error) { panic("hunter2") }},
		Method{Name: "fails", Handler: always(nil, errors.New("hunter3"))})
	for _, name := range []string{"panics", "fails"} {
		body := string(s.Handle(context.Background(), root, []byte(call(name))).Body)
		if strings.Contains(body, "hunter") || strings.Contains(body, "goroutine") || !strings.Contains(body, "request ") {
			t.Errorf("%s", body)
		}
	}
	if out := lines.String(); !strings.Contains(out, "hunter2") || !strings.Contains(out, "hunter3") || !strings.Contains(out, "server_test.go") {
		t.Errorf("log: %s", out)
	}
}

func TestConfigIsChecked(t *testing.T) {
	var e *errs.Error
	if _, err := New(Config{MaxDepth: 1}); !errors.As(err, &e) || len(e.Errata) != 7 {
		t.Errorf("%+v", e)
	}
	if got := DefaultConfig().String(); !strings.Contains(got, "max_message=4194304 max_depth=64 max_batch=1000") {
		t.Error(got)
	}
}
