package nomad_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

// namedDebugger tells which server it looks into.
type namedDebugger string

func (d namedDebugger) DescribeHost(context.Context) (*structs.AgentHostResponse, error) {
	return &structs.AgentHostResponse{HostData: &structs.HostData{OS: string(d), Network: []map[string]string{{"name": "lo"}},
		Disk: map[string]structs.DiskUsage{"/": {DiskMB: 2, UsedMB: 1}}}}, nil
}

func (d namedDebugger) TakeProfile(_ context.Context, r *structs.AgentProfileRequest) (*structs.AgentProfileResponse, error) {
	return &structs.AgentProfileResponse{Payload: []byte(string(d) + " " + r.ReqType + " " + r.Profile), HTTPHeaders: map[string]string{"Content-Type": "x"}}, nil
}

func (d namedDebugger) FollowLog(ctx context.Context, options json.RawMessage, w io.Writer) (json.RawMessage, error) {
	if _, err := io.WriteString(w, string(d)+" "+string(options)); err != nil {
		return nil, err
	}
	if string(options) == `"wait"` {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return json.RawMessage(`{"Dropped":0}`), nil
}

func (d namedDebugger) ExportLog(_ context.Context, options json.RawMessage, w io.Writer) (json.RawMessage, error) {
	_, err := io.WriteString(w, "before: "+string(d)+" "+string(options))
	return json.RawMessage(`{"Bytes":1}`), err
}

func debuggers(enabled bool) nomadtest.Option {
	return func(c *nomad.Config) { c.Debugger, c.EnableDebug = namedDebugger(c.NodeName), enabled }
}

// Every server looks into any other, by ID, by name and as the leader.
func TestLookIntoAnotherServer(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		for _, from := range c.Nodes {
			for meant, want := range map[string]*nomadtest.Node{"": from, "s1": c.Nodes[0], "s2.global": c.Nodes[1], c.Nodes[2].NodeID(): c.Nodes[2], "leader": c.WaitLeader()} {
				target, name := structs.AgentTarget{ServerID: meant}, nameOf(want)
				var host structs.AgentHostResponse
				if err := from.RPC(t.Context(), "Agent.Host", &structs.AgentHostRequest{AgentTarget: target}, &host); err != nil || host.HostData.OS != name ||
					host.AgentID != want.NodeID() || host.HostData.Disk["/"].UsedMB != 1 || host.HostData.Network[0]["name"] != "lo" {
					t.Errorf("%q by %s: %+v, %v", meant, nameOf(from), host, err)
				}
				var profile structs.AgentProfileResponse
				ask := &structs.AgentProfileRequest{ReqType: "lookup", Profile: "heap", AgentTarget: target}
				if err := from.RPC(t.Context(), "Agent.Profile", ask, &profile); err != nil || string(profile.Payload) != name+" lookup heap" || profile.HTTPHeaders["Content-Type"] != "x" {
					t.Errorf("%q by %s: %+v, %v", meant, nameOf(from), profile, err)
				}
				if meant == "" {
					continue
				}
				var log strings.Builder
				q := &structs.NodeCallRequest{ServerID: meant, Method: "Agent.Monitor", Body: json.RawMessage(`{}`)}
				if end, err := from.StreamNode(t.Context(), q, &log); err != nil || log.String() != name+" {}" || string(end) != `{"Dropped":0}` {
					t.Errorf("%q by %s: %q, %s, %v", meant, nameOf(from), log.String(), end, err)
				}
				log.Reset()
				q.Method = "Agent.MonitorExport"
				if end, err := from.StreamNode(t.Context(), q, &log); err != nil || log.String() != "before: "+name+" {}" || string(end) != `{"Bytes":1}` {
					t.Errorf("%q by %s: %q, %s, %v", meant, nameOf(from), log.String(), end, err)
				}
			}
		}
	}, debuggers(true))
}

// stopWriter ends a context at the first write.
type stopWriter func()

func (w stopWriter) Write(b []byte) (int, error) { w(); return len(b), nil }

func TestLookIntoAServerThatIsNotThere(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		from := c.WaitLeader()
		ask := func(id string) error {
			return from.RPC(t.Context(), "Agent.Host", &structs.AgentHostRequest{AgentTarget: structs.AgentTarget{ServerID: id}}, &structs.AgentHostResponse{})
		}
		if err := ask("s9"); !errors.Is(err, errs.NotFound) || !strings.Contains(err.Error(), "s1.global, s2.global, s3.global") {
			t.Errorf("no such server: %v", err)
		}
		if err := ask("s1"); !errors.Is(err, errs.PermissionDenied) {
			t.Errorf("without enable_debug: %v", err)
		}
		for _, q := range []*structs.NodeCallRequest{{ServerID: "s1", Method: "FS.Stream"}, {Method: "Agent.Monitor"}} {
			if _, err := from.StreamNode(t.Context(), q, io.Discard); !errors.Is(err, errs.Invalid) {
				t.Errorf("%+v: %v", q, err)
			}
		}
		// a log that is followed elsewhere ends with the one who follows it
		ctx, cancel := context.WithCancel(t.Context())
		q := &structs.NodeCallRequest{ServerID: nameOf(c.Follower()), Method: "Agent.Monitor", Body: json.RawMessage(`"wait"`)}
		if _, err := from.StreamNode(ctx, q, stopWriter(cancel)); err == nil {
			t.Error("it did not end")
		}
	}, debuggers(false))
}
