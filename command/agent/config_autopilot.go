package agent

import (
	"fmt"
	"time"

	"github.com/cairn-project/cairn/nomad/structs"
)

// AutopilotDefaults is what the first leader of a region stores as the settings of
// autopilot, see structs.AutopilotConfig. In a region that has settings it has no effect.
type AutopilotDefaults struct {
	CleanupDeadServers      bool          `hcl:"cleanup_dead_servers"`
	ServerStabilizationTime time.Duration `hcl:"server_stabilization_time"`
	LastContactThreshold    time.Duration `hcl:"last_contact_threshold"`
	MaxTrailingLogs         int           `hcl:"max_trailing_logs"`
	MinQuorum               int           `hcl:"min_quorum"`

	// What follows is there for files that set it to false.
	EnableRedundancyZones   bool `hcl:"enable_redundancy_zones"`
	DisableUpgradeMigration bool `hcl:"disable_upgrade_migration"`
	EnableCustomUpgrades    bool `hcl:"enable_custom_upgrades"`
}

func autopilotDefaults() AutopilotDefaults {
	def := structs.DefaultAutopilotConfig()
	return AutopilotDefaults{
		CleanupDeadServers: def.CleanupDeadServers, ServerStabilizationTime: def.ServerStabilizationTime,
		LastContactThreshold: def.LastContactThreshold, MaxTrailingLogs: int(def.MaxTrailingLogs), MinQuorum: int(def.MinQuorum),
	}
}

// settings returns the settings as they are stored.
func (a *AutopilotDefaults) settings() structs.AutopilotConfig {
	return structs.AutopilotConfig{
		CleanupDeadServers: a.CleanupDeadServers, ServerStabilizationTime: a.ServerStabilizationTime,
		LastContactThreshold: a.LastContactThreshold, MaxTrailingLogs: uint64(a.MaxTrailingLogs), MinQuorum: uint64(a.MinQuorum),
	}
}

func (a *AutopilotDefaults) problems() []problem {
	var out []problem
	bad := func(when bool, key, msg string) {
		if when {
			out = append(out, problem{msg: fmt.Sprintf("autopilot.%s: %s", key, msg)})
		}
	}
	const unsupported = "is not supported by this build; remove it"
	bad(a.ServerStabilizationTime < 0, "server_stabilization_time", "must not be negative")
	bad(a.LastContactThreshold <= 0, "last_contact_threshold", `must be a positive duration such as "200ms"`)
	bad(a.MaxTrailingLogs <= 0, "max_trailing_logs", "must be positive")
	bad(a.MinQuorum < 0, "min_quorum", "must not be negative")
	bad(a.EnableRedundancyZones, "enable_redundancy_zones", unsupported)
	bad(a.DisableUpgradeMigration, "disable_upgrade_migration", unsupported)
	bad(a.EnableCustomUpgrades, "enable_custom_upgrades", unsupported)
	return out
}
