package agent

import (
	"bytes"
	"context"
	"flag"
	"io"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

var update = flag.Bool("update", false, "write docs/openapi.json")

const documentFile = "../../docs/openapi.json"

func TestOpenAPIDocumentIsCurrent(t *testing.T) {
	doc := openAPI(routes())
	if *update {
		if err := os.WriteFile(documentFile, doc, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(documentFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(doc, kept) {
		t.Errorf("%s is stale: go test ./command/agent -run OpenAPI -update", documentFile)
	}
	if got := call(testAPI(t, newFake()), "GET", "/v1/openapi.json", "").Body.Bytes(); !bytes.Equal(got, doc) {
		t.Error("/v1/openapi.json answers something else")
	}
}

func loadDocument(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(openAPI(routes()))
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(context.Background(), openapi3.IsOpenAPI31OrLater()); err != nil {
		t.Fatal(err)
	}
	return doc
}

// samples holds the rest of the path, the query and the body that make each
// route succeed.
var samples = map[string][2]string{
	"PUT /v1/namespace":                         {"", `{"Name":"x"}`},
	"GET /v1/namespace/{name}":                  {"default", ""},
	"PUT /v1/namespace/{name}":                  {"x", `{"Name":"x"}`},
	"DELETE /v1/namespace/{name}":               {"x", ""},
	"PUT /v1/node/{id}/drain":                   {"", `{"DrainSpec":{"Deadline":1,"IgnoreSystemJobs":true}}`},
	"PUT /v1/node/{id}/eligibility":             {"", `{"Eligibility":"eligible"}`},
	"GET /v1/var/{path...}":                     {"app/db", ""},
	"PUT /v1/var/{path...}":                     {"app/db", `{"Items":{"a":"b"},"Lock":{"ID":"x","TTL":"20s"}}`},
	"DELETE /v1/var/{path...}":                  {"app/db", ""},
	"PUT /v1/operator/autopilot/configuration":  {"?cas=4", `{"CleanupDeadServers":true,"LastContactThreshold":"200ms","MaxTrailingLogs":250}`},
	"DELETE /v1/operator/raft/peer":             {"?id=a", ""},
	"PUT /v1/operator/replication/accept":       {"", ""},
	"PUT /v1/operator/authority/rotate":         {"", ""},
	"PUT /v1/operator/join-token":               {"", `{"Role":"server","TTL":"1h"}`},
	"DELETE /v1/operator/join-token/{id}":       {"x", ""},
	"PUT /v1/operator/raft/transfer-leadership": {"?id=a", ""},
	"GET /v1/node/link/{version}":               {"99", ""},
	"PUT /v1/agent/join":                        {"?address=a", ""},
	"PUT /v1/agent/force-leave":                 {"?node=a", ""},
	"PUT /v1/rpc":                               {"", `{"jsonrpc":"2.0","id":1,"method":"ping"}`},
	"PUT /v1/agent/servers":                     {"?address=a", ""},
	"GET /v1/agent/host":                        {"?node_id=x", ""},
	"GET /v1/agent/pprof/{name}":                {"x?node_id=x", ""},
	"GET /v1/agent/monitor/export":              {"?on_disk=true&node_id=x", ""},
	"GET /v1/agent/monitor":                     {"?node_id=x", ""},
	"PUT /v1/agent/keyring/install":             {"", `{"Key":"a"}`},
	"PUT /v1/agent/keyring/use":                 {"", `{"Key":"a"}`},
	"PUT /v1/agent/keyring/remove":              {"", `{"Key":"a"}`},
}

// TestOpenAPIDescribesEveryReply calls every route and checks request and reply
// against the document.
func TestOpenAPIDescribesEveryReply(t *testing.T) {
	doc := loadDocument(t)
	h := testAPI(t, newFake().fill())
	for _, r := range routes() {
		for _, method := range strings.Fields(r.methods) {
			t.Run(method+" "+r.pattern, func(t *testing.T) {
				key := strings.Replace(method, "POST", "PUT", 1) + " " + r.pattern
				sample := samples[key]
				base, name, _ := strings.Cut(r.pattern, "{")
				if _, suffix, _ := strings.Cut(name, "}"); suffix != "" {
					base += "x" + suffix
				}
				checkReply(t, doc, h, &r, method, base+sample[0], sample[1])
			})
		}
	}
}

// What a route does not look at is not offered to those who generate clients.
func TestOpenAPIOffersListParametersWhereTheyWork(t *testing.T) {
	doc := loadDocument(t)
	for path, want := range map[string]string{
		"/v1/vars": "prefix per_page next_token filter reverse", "/v1/namespaces": "prefix filter",
		"/v1/var/{path}": "", "/v1/namespace/{name}": "", "/.well-known/jwks.json": "",
	} {
		var got []string
		for _, p := range listParams {
			if doc.Paths.Find(path).Get.Parameters.GetByInAndName("query", p.name) != nil {
				got = append(got, p.name)
			}
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s offers %q, want %q", path, s, want)
		}
	}
}

func TestOpenAPIDescribesErrors(t *testing.T) {
	doc := loadDocument(t)
	f := newFake().fill()
	h := testAPI(t, f)
	for _, tc := range []struct{ method, pattern, target, body string }{
		{"GET", "/v1/namespace/{name}", "/v1/namespace/nope", ""},
		{"GET", "/v1/var/{path...}", "/v1/var/nope", ""},
		{"GET", "/v1/vars", "/v1/vars?index=x", ""},
		{"PUT", "/v1/namespace", "/v1/namespace", ""},
		{"GET", "/v1/agent/health", "/v1/agent/health?type=client", ""},
	} {
		i := slices.IndexFunc(routes(), func(r route) bool {
			return r.pattern == tc.pattern && strings.Contains(r.methods, tc.method)
		})
		checkReply(t, doc, h, &routes()[i], tc.method, tc.target, tc.body)
	}
}

func checkReply(t *testing.T, doc *openapi3.T, h *api, r *route, method, target, body string) {
	t.Helper()
	w := call(h, method, target, body)
	path := strings.ReplaceAll(r.pattern, "...}", "}")
	item := doc.Paths.Find(path)
	if item == nil || item.GetOperation(method) == nil {
		t.Fatalf("%s %s is not in the document", method, path)
	}
	req := httptest.NewRequest(method, target, strings.NewReader(body))
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	params := map[string]string{}
	if base, name, ok := strings.Cut(path, "{"); ok {
		name, suffix, _ := strings.Cut(name, "}")
		params[name] = strings.TrimSuffix(strings.TrimPrefix(req.URL.Path, base), suffix)
	}
	in := &openapi3filter.RequestValidationInput{
		Request: req, PathParams: params,
		Route:   &routers.Route{Spec: doc, Path: path, PathItem: item, Method: method, Operation: item.GetOperation(method)},
		Options: &openapi3filter.Options{MultiError: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
	}
	if w.Code < 300 {
		if err := openapi3filter.ValidateRequest(context.Background(), in); err != nil {
			t.Errorf("request: %v", err)
		}
	}
	if in.Route.Operation.Responses.Status(w.Code) == nil {
		t.Fatalf("status %d is not in the document: %s", w.Code, w.Body)
	}
	err := openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: w.Code, Header: w.Header(),
		Body:    io.NopCloser(bytes.NewReader(w.Body.Bytes())),
		Options: &openapi3filter.Options{MultiError: true, IncludeResponseStatus: true},
	})
	if err != nil {
		t.Errorf("reply %d %s: %v", w.Code, w.Body, err)
	}
}
