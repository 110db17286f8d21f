package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

func init() {
	read, write := `node { policy = "read" }`, `node { policy = "write" }`
	maps.Copy(accesses, map[string]access{
		"GET /v1/node/link/{version}": {who: blind, rest: "2"},
		"GET /v1/node/port":           {who: blind},
		"GET /v1/node/links":          {rules: read},
		"GET /v1/node/{id}/link":      {rules: read, rest: nobodysID + "/link"},
		"DELETE /v1/node/{id}/link":   {rules: write, rest: nobodysID + "/link"},
	})
	for _, m := range nodelink.Methods {
		kind, policy, _ := strings.Cut(m.Rule, ":")
		route := "PUT /v1/node/{id}/call/"
		if m.Class == nodelink.Stream {
			route = "GET /v1/node/{id}/stream/"
		}
		_, after, _ := strings.Cut(route, "{id}")
		accesses[route+m.Name] = access{rules: fmt.Sprintf("%s { policy = %q }", kind, policy), rest: nobodysID + after + m.Name}
	}
}

// callHTTP calls a method of a node over HTTP and returns the status and the body.
func callHTTP(t *testing.T, method, url string, body []byte) (*http.Response, []byte) {
	t.Helper()
	resp, b := askHTTP(t, method, url, body)
	return resp, bytes.TrimSpace(b)
}

// askHTTP is callHTTP with the body as it is.
func askHTTP(t *testing.T, method, url string, body []byte) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, b
}

// An agent that only gets out over HTTP is linked by a WebSocket on the HTTP port,
// and is called over HTTP.
func TestLinkOverHTTP(t *testing.T) {
	c := DefaultDevConfig()
	c.Client.Enabled = false // the node of this agent is not what is looked at
	c.NodeName, c.Ports = "n1", PortsConfig{}
	a, err := Start(c, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Stop(false) })
	base := "http://" + a.HTTPAddr()
	n := &structs.Node{ID: uuid.NewString(), SecretID: uuid.NewString(), Name: "worker", Datacenter: "dc1", LinkInstance: uuid.NewString()}
	reg := &structs.NodeRegisterRequest{Node: n, WriteRequest: structs.WriteRequest{AuthToken: n.SecretID}}
	var reply structs.NodeUpdateResponse
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if err = a.server.RPC(t.Context(), "Node.Register", reg, &reply); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	up, handlers := make(chan struct{}, 1), nomadtest.LinkHandlers()
	battery := handlers["FS.Stream"]
	handlers["FS.Stream"] = func(ctx context.Context, c *nodelink.Call) (any, error) {
		if !strings.Contains(string(c.Body), "endless") {
			return battery(ctx, c)
		}
		if _, err := c.Write([]byte("data")); err != nil {
			return nil, err
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	agent, err := nodelink.NewAgent(nodelink.AgentConfig{Handlers: handlers, Hello: func() nodelink.Hello {
		return nodelink.Hello{Region: "global", NodeID: n.ID, Secret: n.SecretID, Epoch: reply.LinkEpoch, Instance: n.LinkInstance, Build: "1", Kinds: nomadtest.LinkKinds}
	}})
	if err != nil {
		t.Fatal(err)
	}
	d := nodelink.Dialer{Agent: agent, OnState: func(s nodelink.State) {
		if s.Up {
			up <- struct{}{}
		}
	}, Dial: func(ctx context.Context) (mux.Session, error) {
		return nodelink.DialWebSocket(ctx, base, nil, mux.SessionConfig{})
	}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); d.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	<-up
	nomadtest.LinkBattery(t, 2, func(ctx context.Context, r *nodelink.Request, w io.Writer) (json.RawMessage, error) {
		var resp *http.Response
		var b []byte
		if w != nil {
			resp, b = askHTTP(t, "GET", base+"/v1/node/"+n.ID+"/stream/"+r.Method+"?argument="+url.QueryEscape(string(r.Body)), nil)
		} else {
			resp, b = callHTTP(t, "POST", base+"/v1/node/"+n.ID+"/call/"+r.Method, r.Body)
		}
		switch {
		case resp.StatusCode == 200 && w != nil: // what comes after the data has no place over HTTP
			if _, err := w.Write(b); err != nil {
				return nil, err
			}
			return a.server.(*nomad.Server).StreamNode(ctx, &structs.NodeCallRequest{NodeID: n.ID, Method: r.Method, Body: r.Body, Trace: r.Trace}, io.Discard)
		case resp.StatusCode == 200:
			return b, nil
		}
		f := new(nodelink.Failure)
		if err := json.Unmarshal(b, f); err != nil || f.HTTPStatus() != resp.StatusCode {
			t.Errorf("%d %s", resp.StatusCode, b)
		}
		if before, _, found := strings.Cut(f.Help, " under trace "); found {
			f.Help = before + " under trace t" // it was made up on the way
		}
		return nil, f
	})
	linkSurface(t, base, n.ID, up)
	brokenStream(t, base, n.ID, up)
}

// brokenStream has a stream break off after data: it must not look complete.
func brokenStream(t *testing.T, base, id string, up <-chan struct{}) {
	t.Helper()
	resp, err := http.Get(base + "/v1/node/" + id + "/stream/FS.Stream?argument=" + url.QueryEscape(`{"Path":"endless"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadFull(resp.Body, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	if r, b := callHTTP(t, "DELETE", base+"/v1/node/"+id+"/link", nil); r.StatusCode != 200 {
		t.Errorf("%s", b)
	}
	if rest, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("after %q it ended as if that was all", rest)
	}
	<-up
}

// linkSurface lists, reads and ends the link of a node.
func linkSurface(t *testing.T, base, id string, up <-chan struct{}) {
	t.Helper()
	var all nodeLinkReply
	if _, b := callHTTP(t, "GET", base+"/v1/node/links", nil); json.Unmarshal(b, &all) != nil || len(all.Links) != 1 || all.Links[0].Transport != "websocket" {
		t.Errorf("%s", b)
	}
	var one structs.NodeLinkInfo
	if _, b := callHTTP(t, "GET", base+"/v1/node/"+id+"/link", nil); json.Unmarshal(b, &one) != nil || one.NodeID != id || one.Protocol != 2 {
		t.Errorf("%s", b)
	}
	if resp, b := callHTTP(t, "DELETE", base+"/v1/node/"+id+"/link", nil); resp.StatusCode != 200 {
		t.Errorf("%s", b)
	}
	<-up // it dials again
	for target, want := range map[string]int{
		"/v1/node/" + nobodysID + "/call/Node.Ping": 404, "/v1/node/" + nobodysID + "/link": 404,
		"/v1/node/" + id + "/call/Node.Nothing": 404, "/v1/node/" + id + "/call/Node.Ping?timeout=soon": 400,
	} {
		method := "POST"
		if strings.HasSuffix(target, "/link") {
			method = "GET"
		}
		if resp, b := callHTTP(t, method, base+target, nil); resp.StatusCode != want {
			t.Errorf("%s: %d %s", target, resp.StatusCode, b)
		}
	}
	if resp, b := callHTTP(t, "POST", base+"/v1/node/"+id+"/call/Node.Ping", []byte("{")); resp.StatusCode != 400 {
		t.Errorf("%d %s", resp.StatusCode, b)
	}
	for version, want := range map[string]int{"0": 410, "99": 501, "x": 400, "2": 426} {
		if resp, b := callHTTP(t, "GET", base+nodelink.WebSocketPath+version, nil); resp.StatusCode != want {
			t.Errorf("version %s: %d %s, want %d", version, resp.StatusCode, b, want)
		}
	}
	_, err := nodelink.DialWebSocket(t.Context(), base+"/nowhere", nil, mux.SessionConfig{})
	if r := new(nodelink.Refusal); err == nil || errors.As(err, &r) {
		t.Error(err)
	}
}
