package agent

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

func TestWrongMethodsAreToldTheRightOnes(t *testing.T) {
	h := testAPI(t, newFake().fill())
	for target, want := range map[string]string{"/v1/rpc": "POST", "/v1/namespace/x": "GET, HEAD, PUT, POST, DELETE", "/v1/vars": "GET, HEAD"} {
		if w := call(h, "PATCH", target, ""); w.Code != 405 || w.Header().Get("Allow") != want {
			t.Errorf("%s: %d, Allow %q, want %q", target, w.Code, w.Header().Get("Allow"), want)
		}
	}
}

func TestStatuses(t *testing.T) {
	lock := `{"Lock":{"ID":"x","TTL":"15s"}}`
	autopilot := `{"CleanupDeadServers":true,"LastContactThreshold":"200ms","MaxTrailingLogs":250,"ServerStabilizationTime":10000000000}`
	for _, tc := range []struct {
		method, target, body string
		status               int
		reply                string // "" for any
	}{
		{"GET", "/v1/namespaces", "", 200, ""},
		{"POST", "/v1/namespaces", "", 405, "Invalid method"},
		{"HEAD", "/v1/namespaces", "", 200, ""},
		{"HEAD", "/v1/namespace/nope", "", 404, ""},
		{"HEAD", "/v1/namespace", "", 405, ""},
		{"HEAD", "/v1/agent/health", "", 200, ""},
		{"HEAD", "/v1/agent/health?type=client", "", 500, ""},
		{"HEAD", "/v1/metrics", "", 200, ""},
		{"GET", "/v1/namespace/default", "", 200, ""},
		{"GET", "/v1/namespace/nope", "", 404, "Namespace not found"},
		{"GET", "/v1/namespace/a/b", "", 404, "resource not found"},
		{"GET", "/v1/namespace/", "", 400, "missing namespace name"},
		{"GET", "/v1/namespace", "", 405, "Invalid method"},
		{"PUT", "/v1/namespace", `{"Name":"x"}`, 200, ""},
		{"POST", "/v1/namespace", `{"Name":"x"}`, 200, ""},
		{"PUT", "/v1/namespace", "", 400, "Request body is empty"},
		{"PUT", "/v1/namespace", "  \n", 400, "Request body is empty"},
		{"PUT", "/v1/namespace", `{"Name":`, 400, ""},
		{"PUT", "/v1/namespace", `{"Name":1}`, 400, "invalid JSON in request body: Name must not be a JSON number"},
		{"PUT", "/v1/namespace/x", `{"Name":"y"}`, 400, ""},
		{"PUT", "/v1/namespace/x", `{"Name":"x"}`, 200, ""},
		{"DELETE", "/v1/namespace/x", "", 200, ""},
		{"DELETE", "/v1/namespace/", "", 400, ""},
		{"PATCH", "/v1/namespace/x", "", 405, "Invalid method"},
		{"GET", "/v1/vars", "", 200, ""},
		{"PUT", "/v1/vars", "", 405, "Invalid method"},
		{"GET", "/v1/vars?index=x", "", 400, "Invalid index"},
		{"GET", "/v1/vars?index=-1", "", 400, "Invalid index"},
		{"GET", "/v1/vars?wait=x", "", 400, "Invalid wait time"},
		{"GET", "/v1/vars?wait=-5s", "", 400, "Invalid wait time"},
		{"GET", "/v1/vars?per_page=x", "", 400, ""},
		{"GET", "/v1/vars?stale=maybe", "", 400, ""},
		{"GET", "/v1/vars?x=%zz", "", 400, ""},
		{"GET", "/v1/var/app/db", "", 200, ""},
		{"GET", "/v1/var/nope", "", 404, "variable not found"},
		{"GET", "/v1/var/", "", 400, ""},
		{"HEAD", "/v1/var/app/db", "", 200, ""},
		{"PATCH", "/v1/var/app/db", "", 400, "Invalid method"},
		{"PUT", "/v1/var/app/db", `{"Items":{"a":"b"}}`, 200, ""},
		{"POST", "/v1/var/app/db", `{"Path":"app/db","Items":{"a":"b"}}`, 200, ""},
		{"PUT", "/v1/var/app/db", `{"Path":"other","Items":{"a":"b"}}`, 400, ""},
		{"PUT", "/v1/var/app/db", "", 400, "Request body is empty"},
		{"PUT", "/v1/var/app/db", `{"Items":{"a":1}}`, 400, "invalid JSON in request body: every value of Items must be a string, not a JSON number"},
		{"PUT", "/v1/var/app/db", `{"Items":1}`, 400, "invalid JSON in request body: Items must not be a JSON number"},
		{"PUT", "/v1/var/app/db?cas=x", `{"Items":{"a":"b"}}`, 400, ""},
		{"PUT", "/v1/var/app/db?cas=", `{"Items":{"a":"b"}}`, 400, ""},
		{"PUT", "/v1/var/app/db?cas=1&lock-acquire", lock, 400, ""},
		{"PUT", "/v1/var/app/db?lock-renew&lock-acquire", lock, 400, ""},
		{"PUT", "/v1/var/app/db?lock-acquire", lock, 200, ""},
		{"PUT", "/v1/var/app/db?lock-release", lock, 200, ""},
		{"PUT", "/v1/var/app/db?lock-renew", lock, 200, ""},
		{"PUT", "/v1/var/app/db?lock-renew", `{}`, 400, ""},
		{"PUT", "/v1/var/app/db?lock-acquire", `{"Lock":{"TTL":"soon"}}`, 400, ""},
		{"PUT", "/v1/var/app/db", `{"Items":{"a":"b"},"Lock":{"TTL":"15s"}}`, 400, ""},
		{"DELETE", "/v1/var/app/db", "", 204, ""},
		{"DELETE", "/v1/var/app/db?cas=4", "", 204, ""},
		{"DELETE", "/v1/var/app/db?lock-release", "", 400, ""},
		{"GET", "/v1/status/leader", "", 200, `"127.0.0.1:4647"`},
		{"GET", "/v1/status/peers", "", 200, `["127.0.0.1:4647"]`},
		{"PUT", "/v1/status/peers", "", 405, "Invalid method"},
		{"GET", "/v1/regions", "", 200, `["global"]`},
		{"GET", "/v1/operator/raft/configuration", "", 200, ""},
		{"PUT", "/v1/operator/raft/configuration", "", 405, ""},
		{"GET", "/v1/operator/autopilot/configuration", "", 200, ""},
		{"PUT", "/v1/operator/autopilot/configuration", autopilot, 200, "true"},
		{"PUT", "/v1/operator/autopilot/configuration?cas=4", autopilot, 200, "true"},
		{"PUT", "/v1/operator/autopilot/configuration?cas=5", autopilot, 200, "false"},
		{"PUT", "/v1/operator/autopilot/configuration?cas=x", autopilot, 400, `Invalid cas: "x" is not an index`},
		{"PUT", "/v1/operator/autopilot/configuration", `{"LastContactThreshold":"soon"}`, 400, ""},
		{"PUT", "/v1/operator/autopilot/configuration", `{"MinQuorum":-1}`, 400, ""},
		{"PUT", "/v1/operator/autopilot/configuration", `{"LastContactThreshold":"1s","MaxTrailingLogs":1,"EnableRedundancyZones":true}`, 400,
			"invalid autopilot configuration: EnableRedundancyZones is not supported: leave it out or set it to false"},
		{"PUT", "/v1/operator/autopilot/configuration", "", 400, ""},
		{"POST", "/v1/operator/autopilot/configuration", autopilot, 404, ""},
		{"DELETE", "/v1/operator/autopilot/configuration", "", 404, ""},
		{"GET", "/v1/operator/autopilot/health", "", 200, `{"Healthy":true,"FailureTolerance":1,"Servers":[` +
			`{"ID":"a","Name":"n1.global","Address":"127.0.0.1:4647","SerfStatus":"alive","Version":"0.1.0","Leader":true,"LastTerm":2,"LastIndex":9,` +
			`"Healthy":true,"Voter":true,"StableSince":"1970-01-01T00:00:01Z","LastContact":"1.5ms"}],"Leader":"a","Voters":["a"]}`},
		{"PUT", "/v1/operator/autopilot/health", "", 404, ""},
		{"DELETE", "/v1/operator/raft/peer?id=a", "", 200, ""},
		{"DELETE", "/v1/operator/raft/peer", "", 400, ""},
		{"DELETE", "/v1/operator/raft/peer?address=1.2.3.4:1", "", 400, ""},
		{"GET", "/v1/operator/raft/peer", "", 404, ""},
		{"PUT", "/v1/operator/raft/transfer-leadership?id=a", "", 200, ""},
		{"PUT", "/v1/operator/raft/transfer-leadership", "", 400, ""},
		{"PUT", "/v1/operator/raft/transfer-leadership?id=a&address=b", "", 400, ""},
		{"GET", "/v1/operator/raft/transfer-leadership?id=a", "", 405, "Invalid method"},
		{"GET", "/v1/agent/self", "", 200, ""},
		{"GET", "/v1/agent/members", "", 200, ""},
		{"GET", "/v1/agent/servers", "", 501, ""},
		{"PUT", "/v1/agent/servers?address=a", "", 501, ""},
		{"GET", "/v1/agent/health", "", 200, `{"server":{"ok":true,"message":"ok"}}`},
		{"GET", "/v1/agent/health?type=client", "", 500, `{"client":{"ok":false,"message":"client not enabled"}}`},
		{"PUT", "/v1/agent/join?address=a&address=b", "", 200, `{"num_joined":2,"error":""}`},
		{"PUT", "/v1/agent/join", "", 400, ""},
		{"PUT", "/v1/agent/force-leave?node=n&prune=1", "", 200, ""},
		{"PUT", "/v1/agent/force-leave", "", 400, ""},
		{"PUT", "/v1/agent/force-leave?node=n&prune=maybe", "", 400, ""},
		{"GET", "/v1/metrics", "", 200, ""},
		{"GET", "/v1/metrics?format=prometheus", "", 200, ""},
		{"GET", "/v1/openapi.json", "", 200, ""},
		{"GET", "/", "", 200, ""},
		{"GET", "/v1/nope", "", 404, "resource not found"},
		{"GET", "/v1/", "", 404, "resource not found"},
	} {
		t.Run(tc.method+" "+tc.target, func(t *testing.T) {
			w := call(testAPI(t, newFake().fill()), tc.method, tc.target, tc.body)
			if w.Code != tc.status {
				t.Fatalf("status %d, want %d: %s", w.Code, tc.status, w.Body)
			}
			if tc.reply != "" && w.Body.String() != tc.reply {
				t.Errorf("body %q, want %q", w.Body, tc.reply)
			}
			ct := w.Header().Get("Content-Type")
			switch {
			case w.Code >= 400 && w.Code != 500 && w.Body.Len() > 0 && ct != "text/plain; charset=utf-8":
				t.Errorf("error with content type %q", ct)
			case w.Body.Len() == 0 && ct != "":
				t.Errorf("empty body with content type %q", ct)
			}
		})
	}
}

func TestErrorCodesBecomeStatuses(t *testing.T) {
	for _, tc := range []struct {
		err    error
		status int
		body   string
	}{
		{errs.New(errs.PermissionDenied, "Permission denied"), 403, "Permission denied"},
		{errs.New(errs.NoLeader, "No cluster leader"), 500, "No cluster leader"},
		{errs.New(errs.Invalid, "bad filter"), 400, "bad filter"},
		{errs.New(errs.TooLarge, "too big"), 413, "too big"},
		{errs.New(errs.Busy, "later").WithRetryAfter(1500 * time.Millisecond), 503, "later"},
	} {
		f := newFake()
		on(f, "Variables.Read", func(*structs.VariablesReadRequest, *structs.VariablesReadResponse) error { return tc.err })
		w := call(testAPI(t, f), "GET", "/v1/var/x", "")
		if w.Code != tc.status || w.Body.String() != tc.body {
			t.Errorf("%v: %d %q", tc.err, w.Code, w.Body)
		}
		if retry := w.Header().Get("Retry-After"); errors.Is(tc.err, errs.Busy) != (retry == "2") {
			t.Errorf("%v: Retry-After %q", tc.err, retry)
		}
	}
}

func TestInternalErrorsKeepTheirCause(t *testing.T) {
	f := newFake()
	on(f, "Variables.Read", func(*structs.VariablesReadRequest, *structs.VariablesReadResponse) error {
		return errors.New("disk path /secret")
	})
	w := call(testAPI(t, f), "GET", "/v1/var/x", "")
	if w.Code != 500 || strings.Contains(w.Body.String(), "secret") || !strings.Contains(w.Body.String(), "request ") {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	on(f, "Variables.Read", func(*structs.VariablesReadRequest, *structs.VariablesReadResponse) error { panic("boom") })
	if w := call(testAPI(t, f), "GET", "/v1/var/x", ""); w.Code != 500 || strings.Contains(w.Body.String(), "boom") {
		t.Errorf("panic: %d %q", w.Code, w.Body)
	}
}

func TestReadParametersReachTheServer(t *testing.T) {
	for _, tc := range []struct {
		target, header, value string
		want                  structs.QueryOptions
	}{
		{"/v1/vars", "", "", structs.QueryOptions{}},
		{"/v1/vars?stale", "X-Nomad-Token", "t1", structs.QueryOptions{AllowStale: true, AuthToken: "t1"}},
		{"/v1/vars?stale=", "Authorization", "Bearer t2", structs.QueryOptions{AllowStale: true, AuthToken: "t2"}},
		{"/v1/vars?stale=false&reverse=true", "Authorization", "bearer  t3", structs.QueryOptions{Reverse: true, AuthToken: "t3"}},
		{"/v1/vars?stale=true&token=no", "Authorization", "Basic eDp5", structs.QueryOptions{AllowStale: true}},
		{"/v1/vars?region=eu&namespace=*&prefix=a/&filter=Path+%3D%3D+x&per_page=5&next_token=n&index=9&wait=1h", "", "",
			structs.QueryOptions{Region: "eu", Namespace: "*", Prefix: "a/", Filter: "Path == x", PerPage: 5,
				NextToken: "n", MinQueryIndex: 9, MaxQueryTime: structs.MaxBlockingWait}},
	} {
		f := newFake().fill()
		w := call(testAPI(t, f), "GET", tc.target, "", tc.header, tc.value)
		if w.Code != 200 {
			t.Fatalf("%s: %d %s", tc.target, w.Code, w.Body)
		}
		if diff := cmp.Diff(tc.want, f.last.(*structs.VariablesListRequest).QueryOptions); diff != "" {
			t.Errorf("%s: %s", tc.target, diff)
		}
	}
}

func TestReadHeaders(t *testing.T) {
	w := call(testAPI(t, newFake().fill()), "GET", "/v1/vars", "")
	got := map[string]string{}
	for k := range w.Header() {
		got[k] = w.Header().Get(k)
	}
	delete(got, "Content-Length")
	want := map[string]string{"Content-Type": "application/json", "X-Nomad-Index": "42", "X-Nomad-Knownleader": "true",
		"X-Nomad-Lastcontact": "3", "X-Nomad-Nexttoken": "default.next"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	w = call(testAPI(t, newFake().fill()), "GET", "/v1/var/nope", "")
	if w.Code != 404 || w.Header().Get("X-Nomad-Index") != "42" {
		t.Errorf("an absent object has no index to wait on: %v", w.Header())
	}
}

func TestEmptyListsAreNotNull(t *testing.T) {
	f := newFake()
	on(f, "Variables.List", func(*structs.VariablesListRequest, *structs.VariablesListResponse) error { return nil })
	on(f, "Namespace.ListNamespaces", func(*structs.NamespaceListRequest, *structs.NamespaceListResponse) error { return nil })
	for _, target := range []string{"/v1/vars", "/v1/namespaces"} {
		if got := call(testAPI(t, f), "GET", target, "").Body.String(); got != "[]" {
			t.Errorf("%s: %s", target, got)
		}
	}
}

func TestPretty(t *testing.T) {
	h := testAPI(t, newFake().fill())
	for target, want := range map[string]string{
		"/v1/regions":              `["global"]`,
		"/v1/regions?pretty":       "[\n    \"global\"\n]\n",
		"/v1/regions?pretty=1":     "[\n    \"global\"\n]\n",
		"/v1/regions?pretty=0":     `["global"]`,
		"/v1/regions?pretty=false": `["global"]`,
	} {
		if got := call(h, "GET", target, "").Body.String(); got != want {
			t.Errorf("%s: %q", target, got)
		}
	}
}

func TestGzip(t *testing.T) {
	f := newFake()
	big := strings.Repeat("v", 4096)
	on(f, "Variables.Read", func(a *structs.VariablesReadRequest, r *structs.VariablesReadResponse) error {
		r.Data = &structs.VariableDecrypted{Items: structs.VariableItems{"k": "v"}}
		if a.Path == "big" {
			r.Data.Items["k"] = big
		}
		return nil
	})
	h := testAPI(t, f)
	w := call(h, "GET", "/v1/var/big", "", "Accept-Encoding", "br, gzip;q=0.8")
	if w.Header().Get("Content-Encoding") != "gzip" || w.Body.Len() > 1024 {
		t.Fatalf("not compressed: %v", w.Header())
	}
	z, err := gzip.NewReader(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	var got structs.VariableDecrypted
	if err := json.NewDecoder(z).Decode(&got); err != nil || got.Items["k"] != big {
		t.Errorf("%v, %d bytes", err, len(got.Items["k"]))
	}
	for _, tc := range [][2]string{{"/v1/var/small", "gzip"}, {"/v1/var/big", "gzip;q=0"}, {"/v1/var/big", ""}} {
		if w := call(h, "GET", tc[0], "", "Accept-Encoding", tc[1]); w.Header().Get("Content-Encoding") != "" {
			t.Errorf("%v: compressed", tc)
		}
	}
}

func TestCORS(t *testing.T) {
	h := testAPI(t, newFake().fill())
	w := call(h, "GET", "/v1/vars", "", "Origin", "http://a")
	if w.Code != 200 || w.Header().Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("list: %d %v", w.Code, w.Header())
	}
	for _, tc := range []struct {
		target, method string
		allowed        string
	}{
		{"/v1/vars", "GET", "GET, HEAD"},
		{"/v1/vars", "PUT", ""},
		{"/v1/var/x", "DELETE", "GET, HEAD, PUT, DELETE"},
		{"/v1/var/x", "POST", ""},
		{"/v1/namespaces", "GET", ""},
	} {
		w := call(h, "OPTIONS", tc.target, "", "Origin", "http://a", "Access-Control-Request-Method", tc.method,
			"Access-Control-Request-Headers", "x-nomad-token")
		if got := w.Header().Get("Access-Control-Allow-Methods"); got != tc.allowed {
			t.Errorf("%s %s: %q", tc.target, tc.method, got)
		}
	}
	if w := call(h, "GET", "/v1/namespaces", "", "Origin", "http://a"); w.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Error("namespaces are open to other origins")
	}
}

func TestConfiguredHeaders(t *testing.T) {
	h := testAPI(t, newFake().fill(), func(c *Config) {
		c.HTTPAPIResponseHeaders = map[string]string{"access-control-allow-origin": "https://ui"}
	})
	for _, target := range []string{"/v1/regions", "/v1/nope"} {
		if got := call(h, "GET", target, "").Header().Get("Access-Control-Allow-Origin"); got != "https://ui" {
			t.Errorf("%s: %q", target, got)
		}
	}
}

func TestBodyLimit(t *testing.T) {
	h := testAPI(t, newFake().fill())
	body := `{"Items":{"a":"` + strings.Repeat("x", 2<<20) + `"}}`
	if w := call(h, "PUT", "/v1/var/x", body); w.Code != 413 {
		t.Errorf("known length: %d %s", w.Code, w.Body)
	}
	req := httptest.NewRequest("PUT", "/v1/var/x", io.MultiReader(strings.NewReader(body)))
	req.ContentLength = -1
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	if w.Code != 413 {
		t.Errorf("chunked: %d %s", w.Code, w.Body)
	}
}

func TestRequestsEndWithTheirClient(t *testing.T) {
	f := newFake().fill()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	testAPI(t, f).ServeHTTP(w, httptest.NewRequest("GET", "/v1/vars", nil).WithContext(ctx))
	if w.Code != http.StatusGatewayTimeout {
		t.Errorf("status %d: a write cut off at the end of the agent must not look done", w.Code)
	}
}

func TestVariableWrites(t *testing.T) {
	for _, tc := range []struct {
		method, target, body string
		want                 structs.VariablesApplyRequest
	}{
		{"PUT", "/v1/var/a/b", `{"Items":{"k":"v"}}`,
			apply(structs.VarOpSet, "default", func(v *structs.VariableDecrypted) { v.Items = structs.VariableItems{"k": "v"} })},
		{"PUT", "/v1/var/a/b?cas=0&namespace=n", `{"Items":{"k":"v"},"ModifyIndex":8}`,
			apply(structs.VarOpCAS, "n", func(v *structs.VariableDecrypted) { v.Items = structs.VariableItems{"k": "v"} })},
		{"PUT", "/v1/var/a/b?cas=5&namespace=n", `{"Namespace":"m","Items":{"k":"v"}}`,
			apply(structs.VarOpCAS, "m", func(v *structs.VariableDecrypted) {
				v.Items, v.ModifyIndex = structs.VariableItems{"k": "v"}, 5
			})},
		{"PUT", "/v1/var/a/b?lock-acquire", `{"Lock":{"LockDelay":"1s"}}`,
			apply(structs.VarOpLockAcquire, "default", func(v *structs.VariableDecrypted) {
				v.Lock = &structs.VariableLock{TTL: structs.DefaultVariableLockTTL, LockDelay: time.Second}
			})},
		{"PUT", "/v1/var/a/b?lock-release=", `{"Lock":{"ID":"i"}}`,
			apply(structs.VarOpLockRelease, "default", func(v *structs.VariableDecrypted) { v.Lock = &structs.VariableLock{ID: "i"} })},
		{"DELETE", "/v1/var/a/b", "", apply(structs.VarOpDelete, "default", func(*structs.VariableDecrypted) {})},
		{"DELETE", "/v1/var/a/b?cas=3", "", apply(structs.VarOpDeleteCAS, "default", func(v *structs.VariableDecrypted) { v.ModifyIndex = 3 })},
	} {
		f := newFake().fill()
		w := call(testAPI(t, f), tc.method, tc.target, tc.body)
		if w.Code >= 300 || w.Header().Get("X-Nomad-Index") != "44" {
			t.Fatalf("%s: %d %v %s", tc.target, w.Code, w.Header(), w.Body)
		}
		got := *f.last.(*structs.VariablesApplyRequest)
		got.WriteRequest = structs.WriteRequest{}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: %s", tc.target, diff)
		}
	}
}

func apply(op structs.VarOp, ns string, set func(*structs.VariableDecrypted)) structs.VariablesApplyRequest {
	v := &structs.VariableDecrypted{VariableMetadata: structs.VariableMetadata{Namespace: ns, Path: "a/b"}}
	set(v)
	return structs.VariablesApplyRequest{Op: op, Var: v}
}

func TestVariableConflicts(t *testing.T) {
	for _, tc := range []struct {
		name     string
		result   structs.VarOpResult
		conflict *structs.VariableDecrypted
		index    string
		has, not string
	}{
		{"readable", structs.VarOpResultConflict, variable(), "9", `"Items":{"pass"`, "null"},
		{"redacted", structs.VarOpResultRedacted, variable(), "9", `"ModifyIndex":9`, "Items"},
		{"absent", structs.VarOpResultConflict, nil, "0", `"Path":"x"`, "pass"},
	} {
		f := newFake()
		on(f, "Variables.Apply", func(_ *structs.VariablesApplyRequest, r *structs.VariablesApplyResponse) error {
			r.Result, r.Conflict, r.Index = tc.result, tc.conflict, 77
			return nil
		})
		for _, req := range [][2]string{{"PUT", `{"Items":{"a":"b"}}`}, {"DELETE", ""}} {
			w := call(testAPI(t, f), req[0], "/v1/var/x?cas=1", req[1])
			body := w.Body.String()
			if w.Code != 409 || w.Header().Get("X-Nomad-Index") != tc.index ||
				!strings.Contains(body, tc.has) || strings.Contains(body, tc.not) {
				t.Errorf("%s %s: %d %v %s", tc.name, req[0], w.Code, w.Header(), body)
			}
		}
	}
}

func TestAgentRights(t *testing.T) {
	f := newFake().fill()
	f.rights = acl.DenyAll
	h := testAPI(t, f)
	for _, target := range []string{"GET /v1/agent/self", "PUT /v1/agent/force-leave?node=n"} {
		method, path, _ := strings.Cut(target, " ")
		if w := call(h, method, path, ""); w.Code != 403 || w.Body.String() != "Permission denied" {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
	f.authErr = errs.New(errs.PermissionDenied, "ACL token not found")
	if w := call(h, "GET", "/v1/agent/self", "", "X-Nomad-Token", "x"); w.Code != 403 || w.Body.String() != "ACL token not found" {
		t.Errorf("unknown token: %d %s", w.Code, w.Body)
	}
	if f.left != "" {
		t.Error("a member was forced to leave")
	}
}

func TestAgentSelfMasksSecrets(t *testing.T) {
	w := call(testAPI(t, newFake().fill()), "GET", "/v1/agent/self", "")
	if strings.Contains(w.Body.String(), "c2VjcmV0") {
		t.Error("the gossip key is shown")
	}
	self := decode[struct {
		Config struct{ Region, Datacenter, NodeName string } `json:"config"`
		Member struct{ Name, Addr string }                   `json:"member"`
		Stats  map[string]map[string]string                  `json:"stats"`
	}](t, w)
	if self.Config.Region != "global" || self.Config.Datacenter != "dc1" || self.Member.Addr != "127.0.0.1" ||
		self.Stats["raft"]["state"] != "Leader" {
		t.Errorf("%+v", self)
	}
}

func TestHealthFollowsTheServer(t *testing.T) {
	f := newFake()
	f.ready = errors.New("no leader")
	if w := call(testAPI(t, f), "GET", "/v1/agent/health", ""); w.Code != 500 ||
		w.Body.String() != `{"server":{"ok":false,"message":"no leader"}}` || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestMetrics(t *testing.T) {
	h := testAPI(t, newFake())
	m := decode[map[string]any](t, call(h, "GET", "/v1/metrics", ""))
	for _, key := range []string{"Timestamp", "Gauges", "Points", "Counters", "Samples"} {
		if m[key] == nil {
			t.Errorf("%s is missing: %v", key, m)
		}
	}
	w := call(h, "GET", "/v1/metrics?format=prometheus", "")
	if !strings.Contains(w.Body.String(), "go_goroutines") || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
		t.Errorf("prometheus: %v %.100s", w.Header(), w.Body)
	}
	off := testAPI(t, newFake(), func(c *Config) { c.Telemetry.PrometheusMetrics = false })
	if w := call(off, "GET", "/v1/metrics?format=prometheus", ""); w.Code != 415 {
		t.Errorf("prometheus off: %d", w.Code)
	}
}

func TestRegionsAreListedWhateverRegionIsAskedFor(t *testing.T) {
	f := newFake().fill()
	w := call(testAPI(t, f), "GET", "/v1/regions?region=mars", "")
	if got := f.last.(*structs.GenericRequest).Region; w.Code != 200 || got != "" {
		t.Errorf("status %d, asked region %q", w.Code, got)
	}
}
