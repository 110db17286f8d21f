package state

import (
	"errors"
	"testing"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

func TestAutopilotConfigIsReplacedByWhoKnowsIt(t *testing.T) {
	s := New(nil, nil)
	set := func(index uint64, quorum uint64, cas bool, modified uint64) bool {
		t.Helper()
		r := &structs.AutopilotRequest{Config: structs.DefaultAutopilotConfig(), CAS: cas}
		r.Config.MinQuorum, r.Config.ModifyIndex = quorum, modified
		wrote, err := s.SetAutopilotConfig(index, r)
		if err != nil {
			t.Fatal(err)
		}
		return len(wrote) > 0
	}
	if set(1, 4, true, 7) {
		t.Error("settings that there are not were replaced")
	}
	if s.Snapshot().AutopilotConfig(nil) != nil {
		t.Fatal("a refused request left a row")
	}
	if !set(2, 5, true, 0) {
		t.Error("the first settings were refused")
	}
	if set(3, 6, true, 0) || set(4, 6, true, 1) {
		t.Error("others' settings were replaced")
	}
	if got := s.Snapshot().AutopilotConfig(nil); got.MinQuorum != 5 || got.CreateIndex != 2 || got.ModifyIndex != 2 {
		t.Errorf("got %+v", got)
	}
	if !set(5, 7, true, 2) || !set(6, 8, false, 0) {
		t.Error("the known settings were not replaced")
	}
	if got := s.Snapshot().AutopilotConfig(nil); got.MinQuorum != 8 || got.CreateIndex != 2 || got.ModifyIndex != 6 {
		t.Errorf("got %+v", got)
	}
}

func TestAutopilotConfigThatCannotWorkIsRefused(t *testing.T) {
	s := New(nil, nil)
	bad := structs.AutopilotConfig{ServerStabilizationTime: -1, EnableRedundancyZones: true, DisableUpgradeMigration: true, EnableCustomUpgrades: true}
	_, err := s.SetAutopilotConfig(1, &structs.AutopilotRequest{Config: bad})
	var e *errs.Error
	if !errors.As(err, &e) || e.Code != errs.Invalid || len(e.Errata) != 6 {
		t.Fatalf("got %v", err)
	}
	if s.Snapshot().AutopilotConfig(nil) != nil {
		t.Fatal("a refused request left a row")
	}
}
