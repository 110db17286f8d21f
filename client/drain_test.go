package client_test

import (
	"testing"
	"time"

	"github.com/cairn-project/cairn/client"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/structs"
)

// A node that is to be drained when its agent leaves is, before it is down.
func TestLeaveDrainsTheNode(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	s := server(t, l, func(c *nomad.Config) { c.Heartbeat.Grace = time.Hour })
	c := start(t, t.TempDir(), []string{l.Addr().String()}, func(c *client.Config) {
		c.LeaveDrain = &structs.DrainSpec{Deadline: time.Hour, IgnoreSystemJobs: true}
	})
	eventually(t, "ready", isReady(t, s, c))
	if err := c.Leave(t.Context()); err != nil {
		t.Error(err)
	}
	n := stored(t, s, c.NodeID())
	if n.Status != structs.NodeStatusDown || n.SchedulingEligibility != structs.NodeSchedulingIneligible || n.Draining() ||
		n.LastDrain == nil || n.LastDrain.Status != structs.DrainStatusComplete || n.LastDrain.Meta["message"] == "" {
		t.Errorf("the node is %s, %s, %+v", n.Status, n.SchedulingEligibility, n.LastDrain)
	}
}

// New metadata of the configuration reaches the servers, under what was changed.
func TestMetadataOfTheConfigurationChanges(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	s := server(t, l)
	c := start(t, t.TempDir(), []string{l.Addr().String()})
	eventually(t, "ready", isReady(t, s, c))
	east := "east"
	change := &structs.NodeMetaApplyRequest{NodeID: c.NodeID(), Meta: map[string]*string{"zone": &east}}
	if err := s.RPC(t.Context(), "NodeMeta.Apply", change, &structs.NodeMetaResponse{}); err != nil {
		t.Fatal(err)
	}
	if err := c.SetMeta(map[string]string{"zone": "west", "rack": "r2", "row": "9"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the servers know", func() bool {
		meta := stored(t, s, c.NodeID()).Meta
		return meta["zone"] == "east" && meta["rack"] == "r2" && meta["row"] == "9"
	})
	if err := c.SetMeta(map[string]string{"not a key": "x"}); err == nil {
		t.Error("a key that is none was taken")
	}
	if err := c.SetMeta(nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the servers know again", func() bool {
		meta := stored(t, s, c.NodeID()).Meta
		return meta["zone"] == "east" && len(meta) == 1
	})
}
