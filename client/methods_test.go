package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/client"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/structs"
)

// linked starts a server and an agent with a link.
func linked(t *testing.T, dir string, change ...func(*client.Config)) (*nomad.Server, *client.Client) {
	t.Helper()
	l := listen(t, "127.0.0.1:0")
	s := server(t, l)
	c := start(t, dir, []string{l.Addr().String()}, change...)
	eventually(t, "ready", isReady(t, s, c))
	eventually(t, "linked", func() bool { return call(t, s, c.NodeID(), "Node.Ping", `{}`, nil) == nil })
	return s, c
}

// call calls a method over the link, and returns the failure if it failed.
func call(t *testing.T, s *nomad.Server, id, method, args string, reply any) *structs.NodeCallFailure {
	t.Helper()
	var r structs.NodeCallResponse
	err := s.RPC(context.Background(), "NodeLink.Call", &structs.NodeCallRequest{NodeID: id, Method: method, Body: json.RawMessage(args)}, &r)
	if err != nil {
		t.Fatal(err)
	}
	if r.Failure == nil && reply != nil {
		if err := json.Unmarshal(r.Result, reply); err != nil {
			t.Fatalf("%s: %v in %s", method, err, r.Result)
		}
	}
	return r.Failure
}

func TestMethodsOverTheLink(t *testing.T) {
	s, c := linked(t, t.TempDir())
	var export client.ExportReply
	if f := call(t, s, c.NodeID(), "Node.Export", `{}`, &export); f != nil || export.Node.ID != c.NodeID() || export.Metadata.Static["rack"] != "r1" {
		t.Errorf("%+v %+v", f, export)
	}
	for method, tc := range map[string]struct{ args, want string }{
		"Node.Version":      {`{}`, `"Version":"9.9.9"`},
		"ClientStats.Stats": {`{}`, `"Uptime":`},
		"Node.SyncStatus":   {`{"Index":1}`, `"Behind":false`},
		"Node.NotifyChange": {`{"Kind":"node","Index":1}`, `"Pending":[]`},
	} {
		var raw json.RawMessage
		if f := call(t, s, c.NodeID(), method, tc.args, &raw); f != nil || !strings.Contains(string(raw), tc.want) {
			t.Errorf("%s: %+v, %s", method, f, raw)
		}
	}
	for method, args := range map[string]string{
		"Node.NotifyChange": `{}`, "Node.Apply": `{"Kind":"drain"}`, "Op.Status": `{"OperationID":"x"}`,
		"Agent.Profile": `{"Kind":"cmdline"}`, "Agent.Host": `{}`,
	} {
		if f := call(t, s, c.NodeID(), method, args, nil); f == nil || f.Help == "" || f.Kind == "server" {
			t.Errorf("%s %s: %+v", method, args, f)
		}
	}
	// news of a kind of tomorrow is no error
	if f := call(t, s, c.NodeID(), "Node.NotifyChange", `{"Kind":"weather"}`, nil); f != nil {
		t.Errorf("%+v", f)
	}
	var version client.VersionReply
	if f := call(t, s, c.NodeID(), "Node.Version", `{}`, &version); f != nil || version.Protocol != nodelink.NewestVersion {
		t.Errorf("%+v %+v", f, version)
	}
	for _, m := range nodelink.Methods {
		if version.Methods[m.Name] != m.Revision {
			t.Errorf("the agent does not serve revision %d of %s", m.Revision, m.Name)
		}
	}
	var identity client.IdentityReply
	eventually(t, "an identity, once the servers have a key", func() bool { return call(t, s, c.NodeID(), "Node.Identity", `{"Rotate":true}`, &identity) == nil })
	if !identity.Rotated || identity.Claims["nomad_node_id"] != c.NodeID() {
		t.Errorf("%+v", identity)
	}
}

func TestProfilesNeedDebuggingWithoutAccessControl(t *testing.T) {
	s, c := linked(t, t.TempDir(), func(c *client.Config) { c.EnableDebug = true })
	var host structs.AgentHostResponse
	if f := call(t, s, c.NodeID(), "Agent.Host", `{}`, &host); f != nil || host.AgentID != c.NodeID() || host.HostData.Environment["PATH"] == "" || len(host.HostData.Network) == 0 {
		t.Errorf("%+v %+v", f, host)
	}
	var p client.ProfileReply
	if f := call(t, s, c.NodeID(), "Agent.Profile", `{"Kind":"lookup","Name":"goroutine","Debug":1}`, &p); f != nil || !bytes.Contains(p.Payload, []byte("goroutine profile")) {
		t.Errorf("%+v %s", f, p.Payload)
	}
}

// apply asks for a change and waits for its end.
func apply(t *testing.T, s *nomad.Server, id, args string) client.Operation {
	t.Helper()
	var reply client.ApplyReply
	if f := call(t, s, id, "Node.Apply", args, &reply); f != nil {
		t.Fatalf("%s: %+v", args, f)
	}
	var op client.Operation
	eventually(t, "the operation ends", func() bool {
		f := call(t, s, id, "Op.Status", `{"OperationID":"`+reply.OperationID+`"}`, &op)
		return f == nil && (op.Status == client.OperationSucceeded || op.Status == client.OperationFailed)
	})
	return op
}

func TestChangesOverTheLink(t *testing.T) {
	dir := t.TempDir()
	s, c := linked(t, dir)
	op := apply(t, s, c.NodeID(), `{"Kind":"eligibility","Eligible":false,"Cause":{"User":"ann","Message":"disk"}}`)
	if op.Status != client.OperationSucceeded || op.Cause.User != "ann" || op.Cause.Message != "disk" || op.Cause.Caller == "" {
		t.Errorf("%+v", op)
	}
	if n := stored(t, s, c.NodeID()); n.SchedulingEligibility != structs.NodeSchedulingIneligible {
		t.Errorf("the node is %s", n.SchedulingEligibility)
	}
	if op := apply(t, s, c.NodeID(), `{"Kind":"drain","Drain":{"Deadline":1000000000},"Cause":{"User":"ann"}}`); op.Status != client.OperationSucceeded {
		t.Errorf("%+v", op)
	}
	if d := stored(t, s, c.NodeID()).LastDrain; d == nil || d.Meta["user"] != "ann" {
		t.Errorf("the drain is %+v", d)
	}
	if op := apply(t, s, c.NodeID(), `{"Kind":"metadata","Metadata":{"color":"blue"}}`); op.Status != client.OperationSucceeded {
		t.Errorf("%+v", op)
	}
	eventually(t, "the servers know", func() bool { return stored(t, s, c.NodeID()).Meta["color"] == "blue" })
	if err := c.Shutdown(); err != nil {
		t.Error(err)
	}
	again := start(t, dir, c.Servers())
	eventually(t, "the operation is remembered", func() bool {
		var late client.Operation
		f := call(t, s, again.NodeID(), "Op.Status", `{"OperationID":"`+op.ID+`"}`, &late)
		return f == nil && late.Status == client.OperationSucceeded && late.Cause == op.Cause
	})
	if op := apply(t, s, again.NodeID(), `{"Kind":"gc"}`); op.Status != client.OperationSucceeded {
		t.Errorf("%+v", op)
	}
	if f := call(t, s, again.NodeID(), "Op.Status", `{"OperationID":"`+op.ID+`"}`, nil); f == nil || f.Kind != "missing" {
		t.Errorf("an operation that was collected: %+v", f)
	}
}

func TestFilesOfTheStateDirectoryOnly(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	for path, text := range map[string]string{filepath.Join(dir, "note"): "hello", filepath.Join(outside, "secret"): "never shown"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"out": filepath.Join(outside, "secret"), "up": "../" + filepath.Base(outside) + "/secret", "dir": outside, "alias": "secret-id"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	s, c := linked(t, dir)
	var files client.FilesReply
	if f := call(t, s, c.NodeID(), "FS.List", `{"Path":"/"}`, &files); f != nil || len(files.Files) < 5 {
		t.Errorf("%+v %+v", f, files)
	}
	var data client.DataReply
	if f := call(t, s, c.NodeID(), "FS.Read", `{"Path":"note","Offset":1,"Limit":3}`, &data); f != nil || string(data.Data) != "ell" || data.EOF {
		t.Errorf("%+v %q", f, data.Data)
	}
	var stream bytes.Buffer
	if _, err := s.StreamNode(t.Context(), &structs.NodeCallRequest{NodeID: c.NodeID(), Method: "FS.Stream", Body: []byte(`{"Path":"note"}`)}, &stream); err != nil || stream.String() != "hello" {
		t.Errorf("%v %q", err, stream.String())
	}
	for _, path := range []string{"../" + filepath.Base(outside) + "/secret", "/../x", "out", "up", "dir", "dir/secret", "secret-id", "./secret-id", "identity.jwt", "alias", ".hidden", "a\u0000b"} {
		body, _ := json.Marshal(client.FileRequest{Path: path})
		for _, method := range []string{"FS.Read", "FS.Stat", "FS.List"} {
			if f := call(t, s, c.NodeID(), method, string(body), nil); f == nil || f.Kind != "denied" && f.Kind != "missing" {
				t.Errorf("%s %q: %+v", method, path, f)
			}
		}
	}
	if f := call(t, s, c.NodeID(), "FS.Read", `{"Path":"."}`, nil); f == nil || f.Kind != "user" {
		t.Errorf("a directory is read: %+v", f)
	}
}

// logReader ends a stream once it has seen a text.
type logReader struct {
	mu   sync.Mutex
	text string
	want string
	end  context.CancelFunc
}

func (l *logReader) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text += string(b)
	if strings.Contains(l.text, l.want) {
		l.end()
	}
	return len(b), nil
}

func TestLogIsFollowedAtAnotherLevel(t *testing.T) {
	s, c := linked(t, t.TempDir(), func(c *client.Config) {
		c.Logger = hclog.NewInterceptLogger(&hclog.LoggerOptions{Level: hclog.Error, Output: &bytes.Buffer{}})
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := &logReader{want: "a change of the node was asked for", end: cancel}
	done := make(chan error, 1)
	go func() {
		_, err := s.StreamNode(ctx, &structs.NodeCallRequest{NodeID: c.NodeID(), Method: "Agent.Monitor", Body: []byte(`{"LogLevel":"info"}`)}, r)
		done <- err
	}()
	eventually(t, "the log shows a change", func() bool {
		call(t, s, c.NodeID(), "Node.Apply", `{"Kind":"gc"}`, nil)
		return ctx.Err() != nil
	})
	<-done
}

// The servers ask the agent for its identity, and have it get a new one.
func TestIdentityOfANode(t *testing.T) {
	s, c := linked(t, t.TempDir())
	ask := &structs.NodeSpecificRequest{NodeID: c.NodeID()}
	get := func() map[string]any {
		t.Helper()
		var reply structs.NodeIdentityResponse
		if err := s.RPC(context.Background(), "NodeIdentity.Get", ask, &reply); err != nil {
			t.Fatal(err)
		}
		return reply.Claims
	}
	eventually(t, "the servers signed an identity", func() bool { return get()["nomad_node_id"] == c.NodeID() })
	before := get()["jti"]
	if err := s.RPC(context.Background(), "NodeIdentity.Renew", ask, &structs.NodeIdentityRenewResponse{}); err != nil {
		t.Fatal(err)
	}
	if after := get(); after["jti"] == before || before == nil || after["nomad_node_id"] != c.NodeID() {
		t.Errorf("renewed: %v after %v", after, before)
	}
	for _, method := range []string{"NodeIdentity.Get", "NodeIdentity.Renew"} {
		if err := s.RPC(context.Background(), method, &structs.NodeSpecificRequest{NodeID: "other"}, &structs.NodeIdentityRenewResponse{}); err == nil {
			t.Errorf("%s of a node that is not there: no error", method)
		}
	}
}
