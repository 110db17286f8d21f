package agent

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	sdkapi "github.com/hashicorp/nomad/api"
)

// sdk starts a real agent and returns a client of the public SDK.
func sdk(t *testing.T) *sdkapi.Client {
	t.Helper()
	c := DefaultDevConfig()
	c.Client.Enabled = false // the node of this agent is not what is looked at
	c.NodeName, c.Ports = "n1", PortsConfig{}
	a, err := Start(c, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Stop(false); err != nil {
			t.Error(err)
		}
	})
	client, err := sdkapi.NewClient(&sdkapi.Config{Address: "http://" + a.HTTPAddr()})
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if h, err := client.Agent().Health(); err == nil && h.Server.Ok {
			break
		} else if time.Now().After(deadline) {
			t.Fatal("no leader: ", err)
		}
	}
	return client
}

// TestSDK drives a real agent through the public Go SDK.
func TestSDK(t *testing.T) {
	client := sdk(t)
	t.Run("namespaces", func(t *testing.T) { sdkNamespaces(t, client) })
	t.Run("variables", func(t *testing.T) { sdkVariables(t, client) })
	t.Run("locks", func(t *testing.T) { sdkLocks(t, client) })
	t.Run("autopilot", func(t *testing.T) { sdkAutopilot(t, client) })
	t.Run("agent", func(t *testing.T) { sdkAgent(t, client) })
	t.Run("snapshots", func(t *testing.T) { sdkSnapshots(t, client) })
}

func sdkSnapshots(t *testing.T, client *sdkapi.Client) {
	put := func(value string) {
		if _, _, err := client.Variables().Update(&sdkapi.Variable{Path: "saved", Items: sdkapi.VariableItems{"v": value}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	put("old")
	for _, stale := range []bool{false, true} {
		in, err := client.Operator().Snapshot(&sdkapi.QueryOptions{AllowStale: stale})
		if err != nil {
			t.Fatal(err)
		}
		archive, err := io.ReadAll(in) // the SDK checks the Digest
		if err := errors.Join(err, in.Close()); err != nil {
			t.Fatal(err)
		}
		put("new")
		for range 2 { // a restore can be repeated
			meta, err := client.Operator().SnapshotRestore(bytes.NewReader(archive), nil)
			if err != nil || meta.LastIndex == 0 {
				t.Fatalf("%+v, %v", meta, err)
			}
			got, qm, err := client.Variables().Read("saved", nil)
			if err != nil || got.Items["v"] != "old" || qm.LastIndex != meta.LastIndex || got.ModifyIndex >= meta.LastIndex {
				t.Errorf("%+v at %d after a restore at %d, %v", got, qm.LastIndex, meta.LastIndex, err)
			}
		}
		_, err = client.Operator().SnapshotRestore(bytes.NewReader(archive[:len(archive)-20]), nil)
		var status sdkapi.UnexpectedResponseError
		if !errors.As(err, &status) || status.StatusCode() != 400 || !strings.Contains(err.Error(), "cut short") {
			t.Errorf("an archive that was cut: %v", err)
		}
	}
}

func sdkNamespaces(t *testing.T, client *sdkapi.Client) {
	ns := client.Namespaces()
	if _, err := ns.Register(&sdkapi.Namespace{Name: "team", Description: "d", Meta: map[string]string{"a": "b"}}, nil); err != nil {
		t.Fatal(err)
	}
	got, qm, err := ns.Info("team", nil)
	if err != nil || got.Description != "d" || got.Meta["a"] != "b" || qm.LastIndex == 0 || !qm.KnownLeader {
		t.Errorf("%+v %+v %v", got, qm, err)
	}
	all, _, err := ns.List(nil)
	if err != nil || len(all) != 2 {
		t.Errorf("%v %v", all, err)
	}
	if _, err := ns.Delete("team", nil); err != nil {
		t.Error(err)
	}
	_, _, err = ns.Info("team", nil)
	var status sdkapi.UnexpectedResponseError
	if !errors.As(err, &status) || status.StatusCode() != 404 || !strings.Contains(err.Error(), "not found") {
		t.Errorf("deleted namespace: %v", err)
	}
	if _, err := ns.Register(&sdkapi.Namespace{Name: "no spaces"}, nil); err == nil {
		t.Error("a bad name was accepted")
	}
}

func sdkVariables(t *testing.T, client *sdkapi.Client) {
	vars := client.Variables()
	v, _, err := vars.Create(&sdkapi.Variable{Path: "app/db", Items: sdkapi.VariableItems{"user": "web"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"app/db", "/app/db/"} {
		got, qm, err := vars.Read(path, nil)
		if err != nil || got.Items["user"] != "web" || got.ModifyIndex != v.ModifyIndex || qm.LastIndex != v.ModifyIndex {
			t.Errorf("%s: %+v %+v %v", path, got, qm, err)
		}
	}
	if _, qm, err := vars.Read("nope", nil); !errors.Is(err, sdkapi.ErrVariablePathNotFound) || qm.LastIndex == 0 {
		t.Errorf("absent: %+v %v", qm, err)
	}
	stale := *v
	stale.ModifyIndex = 1
	_, _, err = vars.CheckedUpdate(&stale, nil)
	var conflict sdkapi.ErrCASConflict
	if !errors.As(err, &conflict) || conflict.Conflict.ModifyIndex != v.ModifyIndex || conflict.Conflict.Items["user"] != "web" {
		t.Errorf("conflict: %v", err)
	}
	if _, err := vars.CheckedDelete("app/db", 1, nil); !errors.As(err, &conflict) {
		t.Errorf("checked delete: %v", err)
	}
	for _, path := range []string{"app/a", "app/b", "app/c"} {
		if _, _, err := vars.Create(&sdkapi.Variable{Path: path, Items: sdkapi.VariableItems{"k": "v"}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	var paths []string
	q := &sdkapi.QueryOptions{Prefix: "app/", PerPage: 2}
	for {
		page, qm, err := vars.List(q)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range page {
			paths = append(paths, m.Path)
		}
		if q.NextToken = qm.NextToken; q.NextToken == "" {
			break
		}
	}
	if got := strings.Join(paths, " "); got != "app/a app/b app/c app/db" {
		t.Errorf("pages: %s", got)
	}
	if _, err := vars.Delete("app/db", nil); err != nil {
		t.Error(err)
	}
}

func sdkLocks(t *testing.T, client *sdkapi.Client) {
	vars := client.Variables()
	v := &sdkapi.Variable{Path: "lead", Items: sdkapi.VariableItems{"who": "me"}, Lock: &sdkapi.VariableLock{TTL: "15s", LockDelay: "15s"}}
	held, _, err := vars.AcquireLock(v, nil)
	if err != nil || held.Lock == nil || held.LockID() == "" {
		t.Fatal(held, err)
	}
	if _, _, err := vars.AcquireLock(v, nil); err == nil {
		t.Error("the lock was given twice")
	}
	if _, _, err := vars.RenewLock(held, nil); err != nil {
		t.Errorf("renew: %v", err)
	}
	var conflict sdkapi.ErrCASConflict
	if _, _, err := vars.CheckedUpdate(&sdkapi.Variable{Path: "lead", Items: sdkapi.VariableItems{"who": "you"}}, nil); !errors.As(err, &conflict) {
		t.Errorf("write past the lock: %v", err)
	}
	release := &sdkapi.Variable{Path: "lead", Lock: &sdkapi.VariableLock{ID: held.LockID()}}
	if _, _, err := vars.ReleaseLock(release, nil); err != nil {
		t.Errorf("release: %v", err)
	}
}

func sdkAgent(t *testing.T, client *sdkapi.Client) {
	if leader, err := client.Status().Leader(); err != nil || leader == "" {
		t.Errorf("leader %q %v", leader, err)
	}
	if peers, err := client.Status().Peers(); err != nil || len(peers) != 1 {
		t.Errorf("peers %v %v", peers, err)
	}
	if regions, err := client.Regions().List(); err != nil || len(regions) != 1 || regions[0] != "global" {
		t.Errorf("regions %v %v", regions, err)
	}
	if region, err := client.Agent().Region(); err != nil || region != "global" {
		t.Errorf("region %q %v", region, err)
	}
	if dc, err := client.Agent().Datacenter(); err != nil || dc != "dc1" {
		t.Errorf("datacenter %q %v", dc, err)
	}
	if m, err := client.Agent().Members(); err != nil || len(m.Members) != 1 || m.Members[0].Status != "alive" || m.ServerRegion != "global" {
		t.Errorf("members %+v %v", m, err)
	}
	if raft, err := client.Operator().RaftGetConfiguration(nil); err != nil || len(raft.Servers) != 1 || !raft.Servers[0].Leader {
		t.Errorf("raft %+v %v", raft, err)
	}
	if m, _, err := client.Operator().MetricsSummary(nil); err != nil || !slices.ContainsFunc(m.Gauges, func(g sdkapi.GaugeValue) bool { return g.Name == "cairn_raft_is_leader" && g.Value == 1 }) {
		t.Errorf("metrics %+v %v", m, err)
	}
	if n, err := client.Agent().Join("127.0.0.1:1"); err == nil {
		t.Errorf("joined %d dead servers", n)
	}
}
