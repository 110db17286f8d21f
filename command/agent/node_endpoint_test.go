package agent

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/cairn-project/cairn/nomad/structs"
)

func TestNodeIsShownWithoutItsSecret(t *testing.T) {
	h := testAPI(t, newFake().fill())
	w := call(h, "GET", "/v1/node/x", "")
	got := decode[map[string]any](t, w)
	if w.Code != 200 || got["ID"] != "x" || got["Drain"] != true || strings.Contains(w.Body.String(), "never-shown") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if _, shown := got["SecretID"]; shown {
		t.Error("there is a field for the secret")
	}
	if w := call(h, "GET", "/v1/node/nope", ""); w.Code != 404 || w.Body.String() != "node not found" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestNodeLists(t *testing.T) {
	f := newFake().fill()
	h := testAPI(t, f)
	for target, want := range map[string][]string{
		"/v1/nodes": {"", ""}, "/v1/nodes?os=true": {"Attributes", ""}, "/v1/nodes?resources": {"", "NodeResources"},
		"/v1/node/pool/x/nodes?os=1&resources=1": {"Attributes", "NodeResources"},
	} {
		w := call(h, "GET", target, "")
		got := decode[[]map[string]any](t, w)
		if len(got) != 1 || got[0]["Address"] != "10.0.0.1" || got[0]["Version"] != "2.0.5" {
			t.Fatalf("%s: %s", target, w.Body)
		}
		for i, field := range []string{"Attributes", "NodeResources"} {
			if _, shown := got[0][field]; shown != (want[i] != "") {
				t.Errorf("%s: %s shown %v", target, field, shown)
			}
		}
	}
	if w := call(h, "GET", "/v1/nodes?os=maybe", ""); w.Code != 400 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := call(h, "GET", "/v1/node/pool/x/nodes?prefix=a", ""); w.Code != 400 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	call(h, "GET", "/v1/nodes?prefix=ab&per_page=3&next_token=abc&filter=Name+==+%22a%22", "")
	if q := f.last.(*structs.NodeListRequest); q.Prefix != "ab" || q.PerPage != 3 || q.NextToken != "abc" || q.Filter != `Name == "a"` {
		t.Errorf("%+v", q)
	}
}

func TestNodeWrites(t *testing.T) {
	f := newFake().fill()
	h := testAPI(t, f)
	call(h, "PUT", "/v1/node/x/drain", `{"DrainSpec":{"Deadline":60000000000},"Meta":{"why":"disk"}}`)
	if q := f.last.(*structs.NodeUpdateDrainRequest); q.NodeID != "x" || q.DrainStrategy.Deadline != time.Minute || q.Meta["why"] != "disk" {
		t.Errorf("%+v", q)
	}
	call(h, "POST", "/v1/node/x/drain", `{"NodeID":"x","DrainSpec":null,"MarkEligible":true}`)
	if q := f.last.(*structs.NodeUpdateDrainRequest); q.DrainStrategy != nil || !q.MarkEligible {
		t.Errorf("%+v", q)
	}
	for _, tc := range []struct {
		method, target, body string
		code                 int
	}{
		{"PUT", "/v1/node/x/drain", "", 400}, {"PUT", "/v1/node/x/drain", `{"NodeID":"y"}`, 400},
		{"GET", "/v1/node/x/drain", "", 405}, {"PUT", "/v1/node/x/eligibility", `{"Eligibility":"eligible"}`, 200},
		{"PUT", "/v1/node/x/purge", "", 200}, {"PUT", "/v1/node//purge", "", 400}, {"PUT", "/v1/node/x/evaluate", "", 200},
		{"GET", "/v1/node/x/nothing", "", 404}, {"GET", "/v1/node/x/y/drain", "", 404},
		{"PUT", "/v1/node/pool/x", `{"Name":"y"}`, 400}, {"PUT", "/v1/node/pools", `{"Name":"y","NodeIdentityTTL":"1h"}`, 200},
		{"PUT", "/v1/acl/identity/client-introduction-token", `{"TTL":"1m"}`, 200},
	} {
		if w := call(h, tc.method, tc.target, tc.body); w.Code != tc.code {
			t.Errorf("%s %s %s: %d %s", tc.method, tc.target, tc.body, w.Code, w.Body)
		}
	}
	if q := f.last.(*structs.ACLCreateClientIntroductionTokenRequest); q.TTL != time.Minute {
		t.Errorf("%+v", q)
	}
}

func TestMetadataRoutes(t *testing.T) {
	f := newFake().fill()
	h := testAPI(t, f)
	w := call(h, "GET", "/v1/client/metadata?node_id=x", "")
	if got := decode[structs.NodeMetaResponse](t, w); got.Meta["a"] != "blue" || got.Static["b"] != "c" || len(got.Dynamic) != 2 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	w = call(h, "POST", "/v1/client/metadata", `{"NodeID":"x","Meta":{"a":null,"b":"d"}}`)
	q := f.last.(*structs.NodeMetaApplyRequest)
	if w.Code != 200 || q.NodeID != "x" || q.Meta["a"] != nil || *q.Meta["b"] != "d" || len(q.Meta) != 2 {
		t.Errorf("%d %s: %+v", w.Code, w.Body, q)
	}
	if w := call(h, "PUT", "/v1/client/metadata", `{}`); w.Code != 405 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func init() {
	read, write := `node { policy = "read" }`, `node { policy = "write" }`
	pool := func(word string) string { return `node_pool "absent" { policy = "` + word + `" }` }
	maps.Copy(accesses, map[string]access{
		"GET /v1/nodes":                                  {rules: read},
		"GET /v1/node/{id}":                              {rules: read, rest: nobodysID},
		"GET /v1/node/{id}/allocations":                  {rules: read, rest: nobodysID + "/allocations"},
		"PUT /v1/node/{id}/drain":                        {rules: write, rest: nobodysID + "/drain", body: `{}`},
		"PUT /v1/node/{id}/eligibility":                  {rules: write, rest: nobodysID + "/eligibility", body: `{"Eligibility":"eligible"}`},
		"PUT /v1/node/{id}/purge":                        {rules: write, rest: nobodysID + "/purge"},
		"PUT /v1/node/{id}/evaluate":                     {rules: write, rest: nobodysID + "/evaluate"},
		"GET /v1/client/stats":                           {rules: read, rest: "?node_id=" + nobodysID},
		"GET /v1/agent/host":                             {rules: `agent { policy = "read" }`},
		"GET /v1/agent/pprof/{name}":                     {rules: `agent { policy = "write" }`, rest: "cmdline"},
		"GET /v1/agent/monitor/export":                   {rules: `agent { policy = "read" }`},
		"GET /v1/agent/monitor":                          {rules: `agent { policy = "read" }`, rest: "?log_level=loud"},
		"GET /v1/client/metadata":                        {rules: read, rest: "?node_id=" + nobodysID},
		"POST /v1/client/metadata":                       {rules: write, rest: "?node_id=" + nobodysID, body: `{"Meta":{"a":"b"}}`},
		"GET /v1/client/identity":                        {rules: read, rest: "?node_id=" + nobodysID},
		"PUT /v1/client/identity/renew":                  {rules: write, rest: "?node_id=" + nobodysID},
		"GET /v1/node/pool/{name}/jobs":                  {rules: pool("read") + `namespace "default" { capabilities = ["list-jobs"] }`, rest: "absent/jobs"},
		"PUT /v1/system/gc":                              {rules: capability("system-gc")},
		"GET /v1/node/pools":                             {who: anyone},
		"PUT /v1/node/pools":                             {rules: pool("write"), body: `{"Name":"absent","Description":"` + strings.Repeat("x", 300) + `"}`},
		"GET /v1/node/pool/{name}":                       {rules: pool("read"), rest: "absent"},
		"PUT /v1/node/pool/{name}":                       {rules: pool("write"), rest: "absent", body: `{"Name":"absent","NodeIdentityTTL":"-1s"}`},
		"DELETE /v1/node/pool/{name}":                    {rules: pool("write"), rest: "absent"},
		"GET /v1/node/pool/{name}/nodes":                 {rules: pool("read") + read, rest: "absent/nodes"},
		"PUT /v1/acl/identity/client-introduction-token": {rules: write},
	})
}
