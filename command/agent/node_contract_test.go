package agent

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"
	sdkapi "github.com/hashicorp/nomad/api"
	"github.com/hashicorp/nomad/api/contexts"

	"github.com/cairn-project/cairn/nomad/structs"
)

// TestSDKNodes drives the registry of nodes through the public Go SDK.
func TestSDKNodes(t *testing.T) {
	c := DefaultDevConfig()
	c.Client.Enabled = false // the node of this agent is not what is looked at
	c.NodeName, c.Ports = "n1", PortsConfig{}
	a, err := Start(c, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Stop(false) })
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
	sdkPools(t, client)
	id := sdkRegister(t, a, "gpu")
	sdkSearch(t, client, id)
	sdkNodes(t, client, id)
	sdkIntroduction(t, client)
}

func sdkSearch(t *testing.T, client *sdkapi.Client, id string) {
	t.Helper()
	got, _, err := client.Search().PrefixSearch(strings.ToUpper(id[:7]), contexts.All, nil)
	if err != nil || !slices.Contains(got.Matches[contexts.Nodes], id) {
		t.Errorf("%+v %v", got, err)
	}
	fuzzy, _, err := client.Search().FuzzySearch("ORK", contexts.Nodes, nil)
	named := func(m sdkapi.FuzzyMatch) bool { return m.ID == "worker" && slices.Equal(m.Scope, []string{id}) }
	if err != nil || !slices.ContainsFunc(fuzzy.Matches[contexts.Nodes], named) {
		t.Errorf("%+v %v", fuzzy, err)
	}
}

// sdkRegister makes a node ready as its agent would.
func sdkRegister(t *testing.T, a *Agent, pool string) string {
	t.Helper()
	n := &structs.Node{ID: uuid.NewString(), SecretID: uuid.NewString(), Name: "worker", Datacenter: "dc1", NodePool: pool, HTTPAddr: "10.0.0.1:4646",
		Attributes: map[string]string{"os.name": "linux"}, NodeResources: &structs.NodeResources{Memory: structs.NodeMemoryResources{MemoryMB: 512}}}
	w := structs.WriteRequest{AuthToken: n.SecretID}
	var reply structs.NodeUpdateResponse
	err := errors.Join(
		a.server.RPC(context.Background(), "Node.Register", &structs.NodeRegisterRequest{Node: n, WriteRequest: w}, &reply),
		a.server.RPC(context.Background(), "Node.UpdateStatus", &structs.NodeUpdateStatusRequest{NodeID: n.ID, Status: "ready", WriteRequest: w}, &reply))
	if err != nil {
		t.Fatal(err)
	}
	return n.ID
}

func sdkStatus(err error) int {
	var status sdkapi.UnexpectedResponseError
	if errors.As(err, &status) {
		return status.StatusCode()
	}
	return 0
}

func sdkPools(t *testing.T, client *sdkapi.Client) {
	t.Helper()
	pools := client.NodePools()
	if _, err := pools.Register(&sdkapi.NodePool{Name: "gpu", Description: "d", Meta: map[string]string{"a": "b"}, NodeIdentityTTL: time.Hour}, nil); err != nil {
		t.Fatal(err)
	}
	got, qm, err := pools.Info("gpu", nil)
	if err != nil || got.Description != "d" || got.Meta["a"] != "b" || got.NodeIdentityTTL != time.Hour || qm.LastIndex == 0 {
		t.Errorf("%+v %+v %v", got, qm, err)
	}
	if all, _, err := pools.List(&sdkapi.QueryOptions{Filter: `Name != "all"`}); err != nil || len(all) != 2 || all[0].Name != "default" {
		t.Errorf("%v %v", all, err)
	}
	if some, _, err := pools.PrefixList("gp", nil); err != nil || len(some) != 1 {
		t.Errorf("%v %v", some, err)
	}
	page, qm, err := pools.List(&sdkapi.QueryOptions{PerPage: 2})
	if err != nil || len(page) != 2 || qm.NextToken != "gpu" {
		t.Errorf("%v %+v %v", page, qm, err)
	}
	if _, err := pools.Delete("default", nil); sdkStatus(err) != 400 {
		t.Errorf("delete a built-in pool: %v", err)
	}
	if _, err := pools.Register(&sdkapi.NodePool{Name: "all"}, nil); sdkStatus(err) != 400 {
		t.Errorf("change a built-in pool: %v", err)
	}
	if _, _, err := pools.Info("nowhere", nil); sdkStatus(err) != 404 {
		t.Errorf("an absent pool: %v", err)
	}
}

func sdkNodes(t *testing.T, client *sdkapi.Client, id string) {
	t.Helper()
	nodes := client.Nodes()
	list, qm, err := nodes.List(&sdkapi.QueryOptions{Params: map[string]string{"resources": "true", "os": "true"}})
	if err != nil || len(list) != 1 || list[0].ID != id || list[0].Status != "ready" || list[0].NodeResources.Memory.MemoryMB != 512 ||
		list[0].Attributes["os.name"] != "linux" || qm.LastIndex == 0 {
		t.Fatalf("%+v %+v %v", list, qm, err)
	}
	if some, _, err := nodes.PrefixList(id[:5]); err != nil || len(some) != 1 {
		t.Errorf("%v %v", some, err)
	}
	if none, _, err := nodes.List(&sdkapi.QueryOptions{Filter: `SecretID != ""`}); err != nil || len(none) != 0 {
		t.Errorf("a filter finds secrets: %v %v", none, err)
	}
	if in, _, err := client.NodePools().ListNodes("gpu", nil); err != nil || len(in) != 1 {
		t.Errorf("%v %v", in, err)
	}
	if _, err := client.NodePools().Delete("gpu", nil); err == nil {
		t.Error("a pool in use was deleted")
	}
	drained, err := nodes.UpdateDrainOpts(id, &sdkapi.DrainOptions{DrainSpec: &sdkapi.DrainSpec{Deadline: time.Hour}, Meta: map[string]string{"message": "disk"}}, nil)
	if err != nil || drained.NodeModifyIndex == 0 {
		t.Fatal(drained, err)
	}
	n, _, err := nodes.Info(id, nil)
	if err != nil || n.Drain || n.LastDrain == nil || n.LastDrain.Status != sdkapi.DrainStatusComplete || n.LastDrain.Meta["message"] != "disk" ||
		n.SchedulingEligibility != sdkapi.NodeSchedulingIneligible || len(n.Events) == 0 {
		t.Errorf("drained: %+v %v", n, err)
	}
	if out, err := nodes.ToggleEligibility(id, true, nil); err != nil || out.NodeModifyIndex == 0 {
		t.Error(out, err)
	}
	if allocs, _, err := nodes.Allocations(id, nil); err != nil || len(allocs) != 0 {
		t.Errorf("%v %v", allocs, err)
	}
	if eval, _, err := nodes.ForceEvaluate(id, nil); err != nil || eval != "" {
		t.Errorf("%q %v", eval, err)
	}
	if _, err := nodes.Stats(id, nil); err == nil {
		t.Error("a node that is not connected told its use")
	}
	if out, _, err := nodes.Purge(id, nil); err != nil || out.NodeModifyIndex == 0 {
		t.Error(out, err)
	}
	if _, _, err := nodes.Info(id, nil); sdkStatus(err) != 404 {
		t.Errorf("a purged node: %v", err)
	}
	if _, err := client.NodePools().Delete("gpu", nil); err != nil {
		t.Error(err)
	}
}

func sdkIntroduction(t *testing.T, client *sdkapi.Client) {
	t.Helper()
	identity := client.ACLIdentity()
	var out *sdkapi.ACLIdentityClientIntroductionTokenResponse
	var err error
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) { // until there is a root key
		if out, _, err = identity.CreateClientIntroductionToken(&sdkapi.ACLIdentityClientIntroductionTokenRequest{TTL: time.Minute, NodeName: "w"}, nil); err == nil {
			break
		}
	}
	if err != nil || !isJWT(out.JWT) {
		t.Errorf("%+v %v", out, err)
	}
	if _, _, err := identity.CreateClientIntroductionToken(&sdkapi.ACLIdentityClientIntroductionTokenRequest{TTL: time.Hour}, nil); sdkStatus(err) != 400 {
		t.Errorf("too long a token: %v", err)
	}
}
