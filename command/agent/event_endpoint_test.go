package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	sdkapi "github.com/hashicorp/nomad/api"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

func init() {
	accesses["GET /v1/event/stream"] = access{rules: `node { policy = "read" }`, rest: "?topic=Node&topic=Absent"}
}

func TestEventStreamRequests(t *testing.T) {
	f := newFake()
	h := testAPI(t, f)
	w := call(h, "GET", "/v1/event/stream?topic=Node:a&topic=Node:b:c&topic=Variable&index=7&namespace=*&region=mars", "", "X-Nomad-Token", "secret")
	want := &structs.EventStreamRequest{Index: 7, QueryOptions: structs.QueryOptions{Namespace: "*", Region: "mars", AuthToken: "secret"},
		Topics: map[structs.Topic][]string{structs.TopicNode: {"a", "b:c"}, structs.TopicVariable: {"*"}}}
	if diff := cmp.Diff(want, f.last); diff != "" {
		t.Error(diff)
	}
	if got := w.Body.String(); w.Code != 200 || got != "{}\n"+`{"Error":{"Code":"unavailable","Message":"the end","NextIndex":0}}`+"\n" {
		t.Errorf("%d %q", w.Code, got)
	}
	if h := w.Header(); h.Get("Content-Type") != "application/json" || h.Get("Cache-Control") != "no-cache" {
		t.Errorf("headers %v", h)
	}
	if w := call(h, "GET", "/v1/event/stream", ""); w.Code != 200 || f.last.(*structs.EventStreamRequest).Topics != nil {
		t.Errorf("%d, topics %v", w.Code, f.last)
	}
	for query, text := range map[string]string{"topic=": "topic", "topic=:a": "topic", "topic=Node:": "topic", "index=x": "Invalid index", "index=-1": "Invalid index",
		strings.Repeat("topic=Node:a&", 1025): "1024"} {
		if w := call(h, "GET", "/v1/event/stream?"+query, ""); w.Code != 400 || !strings.Contains(w.Body.String(), text) {
			t.Errorf("%.20s: %d %q", query, w.Code, w.Body)
		}
	}
	f.authErr = errs.New(errs.PermissionDenied, "Permission denied")
	if w := call(h, "GET", "/v1/event/stream", ""); w.Code != 403 || w.Body.String() != "Permission denied" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}

// nextEvent returns the next event of the SDK's stream.
func nextEvent(t *testing.T, from <-chan *sdkapi.Events) sdkapi.Event {
	t.Helper()
	select {
	case e := <-from:
		if e == nil || e.Err != nil || len(e.Events) != 1 || e.Index != e.Events[0].Index {
			t.Fatalf("%+v", e)
		}
		return e.Events[0]
	case <-time.After(30 * time.Second):
		t.Fatal("no event came")
	}
	return sdkapi.Event{}
}

// TestSDKEvents follows the events of a real agent through the public Go SDK.
func TestSDKEvents(t *testing.T) {
	a, client := aclAgent(t, aclOn+"\n\nclient {\n  enabled = false\n}")
	root, _, err := client.ACLTokens().Bootstrap(nil)
	if err != nil {
		t.Fatal(err)
	}
	client.SetSecretID(root.SecretID)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	follow := func(index uint64, topics map[sdkapi.Topic][]string) <-chan *sdkapi.Events {
		t.Helper()
		out, err := client.EventStream().Stream(ctx, topics, index, &sdkapi.QueryOptions{Namespace: "*"})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	pools := follow(0, map[sdkapi.Topic][]string{sdkapi.TopicNodePool: {"gpu"}})
	nodes := follow(0, map[sdkapi.Topic][]string{sdkapi.TopicNode: {"*"}})
	if _, err := client.NodePools().Register(&sdkapi.NodePool{Name: "cpu"}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := client.NodePools().Register(&sdkapi.NodePool{Name: "gpu", Description: "<d>", NodeIdentityTTL: time.Hour, Meta: map[string]string{"a": "b"}}, nil); err != nil {
		t.Fatal(err)
	}
	e := nextEvent(t, pools)
	if p, err := e.NodePool(); err != nil || e.Type != "NodePoolUpserted" || e.Key != "gpu" || p.Description != "<d>" || p.Meta["a"] != "b" || p.NodeIdentityTTL != time.Hour {
		t.Errorf("%+v %+v %v", e, p, err)
	}
	id := sdkRegister(t, a, "gpu")
	e = nextEvent(t, nodes)
	n, err := e.Node()
	if err != nil || e.Type != "NodeRegistration" || e.Key != id || n.ID != id || n.Status != "initializing" || n.NodePool != "gpu" ||
		n.NodeResources.Memory.MemoryMB != 512 || len(n.Events) != 1 || n.Events[0].Timestamp.IsZero() {
		t.Errorf("%+v %+v %v", e, n, err)
	}
	e = nextEvent(t, nodes)
	if n, err := e.Node(); err != nil || n.Status != "ready" {
		t.Errorf("%+v %+v %v", e, n, err)
	}
	again := nextEvent(t, follow(e.Index, map[sdkapi.Topic][]string{sdkapi.TopicNode: nil}))
	if secret, shown := e.Payload["Node"].(map[string]any)["SecretID"]; shown && secret != "" {
		t.Error("the event shows a secret")
	}
	if diff := cmp.Diff(e, again); diff != "" {
		t.Errorf("from its index: %s", diff)
	}
	sdkACLEvents(t, client, follow)
	var status sdkapi.UnexpectedResponseError
	client.SetSecretID("")
	if _, err := client.EventStream().Stream(ctx, nil, 0, nil); !errors.As(err, &status) || status.StatusCode() != 403 {
		t.Errorf("without a token: %v", err)
	}
}

func sdkACLEvents(t *testing.T, client *sdkapi.Client, follow func(uint64, map[sdkapi.Topic][]string) <-chan *sdkapi.Events) {
	t.Helper()
	roles := follow(0, map[sdkapi.Topic][]string{"ACLRole": {"ops"}, "ACLPolicy": {"web"}})
	if _, err := client.ACLPolicies().Upsert(&sdkapi.ACLPolicy{Name: "web", Rules: `node { policy = "read" }`}, nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := client.ACLRoles().Create(&sdkapi.ACLRole{Name: "ops", Policies: []*sdkapi.ACLRolePolicyLink{{Name: "web"}}}, nil); err != nil {
		t.Fatal(err)
	}
	object := func(e sdkapi.Event, name string) map[string]any {
		t.Helper()
		m, ok := e.Payload[name].(map[string]any)
		if !ok || len(e.Payload) != 1 {
			t.Fatalf("%s has the payload %v", e.Topic, e.Payload)
		}
		return m
	}
	if p := object(nextEvent(t, roles), "ACLPolicy"); p["Name"] != "web" {
		t.Errorf("policy %v", p)
	}
	if r := object(nextEvent(t, roles), "ACLRole"); r["Name"] != "ops" {
		t.Errorf("role %v", r)
	}
	made, _, err := client.ACLTokens().Create(&sdkapi.ACLToken{Type: "client", Name: "ada", Policies: []string{"web"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	tokens := follow(0, map[sdkapi.Topic][]string{"ACLToken": {made.AccessorID}})
	if token := object(nextEvent(t, tokens), "ACLToken"); token["Name"] != "ada" || token["SecretID"] != "" {
		t.Errorf("token %v", token)
	}
	if _, err := client.ACLTokens().Delete(made.AccessorID, nil); err != nil {
		t.Fatal(err)
	}
	if e := nextEvent(t, tokens); e.Type != "ACLTokenDeleted" || object(e, "ACLToken")["AccessorID"] != made.AccessorID {
		t.Errorf("%+v", e)
	}
}

// TestEventStreamOfAStoppingAgent reads the wire: the stream says why it ends.
func TestEventStreamOfAStoppingAgent(t *testing.T) {
	c := DefaultDevConfig()
	c.Client.Enabled, c.NodeName, c.Ports = false, "n1", PortsConfig{}
	a, err := Start(c, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get("http://" + a.HTTPAddr() + "/v1/event/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	if !lines.Scan() || lines.Text() != "{}" {
		t.Fatalf("the first line is %q, %v", lines.Text(), lines.Err())
	}
	stopped := make(chan error, 1)
	go func() { stopped <- a.Stop(false) }()
	var last structs.EventStreamLine
	for lines.Scan() {
		last = structs.EventStreamLine{}
		if err := json.Unmarshal(lines.Bytes(), &last); err != nil {
			t.Fatal(err)
		}
	}
	if last.Error == nil || last.Error.Code != errs.Unavailable || lines.Err() != nil {
		t.Errorf("the last line is %+v, %v", last, lines.Err())
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}
