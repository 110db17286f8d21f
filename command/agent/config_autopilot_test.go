package agent

import (
	"strings"
	"testing"
)

func TestAutopilotBlock(t *testing.T) {
	for block, want := range map[string]string{
		`min_quorum = -1`:                   "autopilot.min_quorum: must not be negative",
		`max_trailing_logs = 0`:             "autopilot.max_trailing_logs: must be positive",
		`server_stabilization_time = "-1s"`: "autopilot.server_stabilization_time: must not be negative",
		`last_contact_threshold = "0s"`:     "autopilot.last_contact_threshold: must be a positive duration",
		`enable_redundancy_zones = true`:    "autopilot.enable_redundancy_zones: is not supported by this build; remove it",
		`disable_upgrade_migration = true`:  "autopilot.disable_upgrade_migration: is not supported by this build; remove it",
		`enable_custom_upgrades = true`:     "autopilot.enable_custom_upgrades: is not supported by this build; remove it",
		`enable_custom_upgrades = false`:    "",
		`server_stabilization_time = "0s"`:  "",
	} {
		c, unused, problems := parse(t, "data_dir = \"/d\"\nserver { enabled = true }\nautopilot {\n"+block+"\n}")
		if problems != "" || len(unused) > 0 {
			t.Fatalf("%s: %s %v", block, problems, unused)
		}
		err := c.Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", block, err)
		}
	}
}
