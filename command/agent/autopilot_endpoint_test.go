package agent

import (
	"errors"
	"testing"
	"time"

	sdkapi "github.com/hashicorp/nomad/api"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

func TestUnhealthyServersAnswer429WithTheirHealth(t *testing.T) {
	f := newFake().fill()
	var asked structs.QueryOptions
	on(f, "Operator.ServerHealth", func(a *structs.GenericRequest, r *structs.OperatorHealthReply) error {
		asked = a.QueryOptions
		r.Servers, r.Voters = []structs.ServerHealth{{ID: "a", LastContact: 3 * time.Second}}, []string{"a"}
		return nil
	})
	w := call(testAPI(t, f), "GET", "/v1/operator/autopilot/health?region=mars", "")
	got := decode[structs.OperatorHealthReply](t, w)
	if w.Code != 429 || got.Healthy || len(got.Servers) != 1 || got.Servers[0].LastContact != 3*time.Second || asked.Region != "mars" {
		t.Errorf("%d %s, asked %+v", w.Code, w.Body, asked)
	}
	on(f, "Operator.ServerHealth", func(*structs.GenericRequest, *structs.OperatorHealthReply) error {
		return errs.New(errs.Unavailable, "not yet")
	})
	if w := call(testAPI(t, f), "GET", "/v1/operator/autopilot/health", ""); w.Code != errs.Unavailable.Surface().HTTP || w.Body.String() != "not yet" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// sdkAutopilot is the contract with the public Go SDK.
func sdkAutopilot(t *testing.T, client *sdkapi.Client) {
	op := client.Operator()
	var conf *sdkapi.AutopilotConfiguration
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		var err error
		if conf, _, err = op.AutopilotGetConfiguration(nil); err == nil {
			break // the leader has stored the first settings
		}
		var status sdkapi.UnexpectedResponseError
		if !errors.As(err, &status) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	want := sdkapi.AutopilotConfiguration{CleanupDeadServers: true, LastContactThreshold: 200 * time.Millisecond, MaxTrailingLogs: 250,
		MinQuorum: 3, ServerStabilizationTime: 10 * time.Second, CreateIndex: conf.CreateIndex, ModifyIndex: conf.ModifyIndex}
	if *conf != want || conf.CreateIndex == 0 || conf.ModifyIndex != conf.CreateIndex {
		t.Errorf("the first settings are %+v", conf)
	}
	// A machine with little time to give makes contact old: that is not what is asked here.
	conf.CleanupDeadServers, conf.LastContactThreshold = false, time.Minute
	if _, err := op.AutopilotSetConfiguration(conf, nil); err != nil {
		t.Fatal(err)
	}
	if done, _, err := op.AutopilotCASConfiguration(conf, nil); err != nil || done {
		t.Errorf("settings of before were replaced: %v, %v", done, err)
	}
	now, qm, err := op.AutopilotGetConfiguration(nil)
	if err != nil || now.CleanupDeadServers || now.ModifyIndex <= conf.ModifyIndex || now.CreateIndex != conf.CreateIndex || qm.LastIndex != now.ModifyIndex {
		t.Fatalf("got %+v, %+v, %v", now, qm, err)
	}
	now.MinQuorum = 5
	if done, wm, err := op.AutopilotCASConfiguration(now, nil); err != nil || !done || wm.LastIndex <= now.ModifyIndex {
		t.Errorf("got %v, %+v, %v", done, wm, err)
	}
	now.EnableRedundancyZones = true
	if _, err := op.AutopilotSetConfiguration(now, nil); err == nil {
		t.Error("a setting that is not supported was taken")
	}
	h, _, err := op.AutopilotServerHealth(nil)
	if err != nil || !h.Healthy || h.FailureTolerance != 0 || len(h.Servers) != 1 || len(h.Voters) != 1 {
		t.Fatalf("got %+v, %v", h, err)
	}
	if s := h.Servers[0]; s.ID != h.Leader || s.SerfStatus != "alive" || !s.Leader || !s.Voter || !s.Healthy || s.Name != "n1.global" ||
		s.LastIndex == 0 || s.LastTerm == 0 || s.Version == "" || s.StableSince.IsZero() {
		t.Errorf("got %+v", s)
	}
}
