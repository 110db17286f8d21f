package structs

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
)

// AutopilotConfig says when a server counts as healthy, and which dead ones the leader
// removes from the Raft peers.
type AutopilotConfig struct {
	// CleanupDeadServers has dead servers removed at all.
	CleanupDeadServers bool
	// ServerStabilizationTime is how long a server must have been dead without a break
	// before it is removed.
	ServerStabilizationTime time.Duration
	// LastContactThreshold is how long a healthy server may be without word of the leader.
	LastContactThreshold time.Duration
	// MaxTrailingLogs is how many entries of the log a healthy server may be behind.
	MaxTrailingLogs uint64
	// MinQuorum is how many voters the removal of a dead one must leave, the dead
	// included, 0 for any number.
	MinQuorum uint64

	// What follows is known by its name alone and must be false.
	EnableRedundancyZones   bool
	DisableUpgradeMigration bool
	EnableCustomUpgrades    bool

	CreateIndex uint64
	ModifyIndex uint64
}

// DefaultAutopilotConfig returns the settings of a region that was told none. With its
// MinQuorum three servers of which one dies stay three until another takes its place.
func DefaultAutopilotConfig() AutopilotConfig {
	return AutopilotConfig{
		CleanupDeadServers: true, ServerStabilizationTime: 10 * time.Second,
		LastContactThreshold: 200 * time.Millisecond, MaxTrailingLogs: 250, MinQuorum: 3,
	}
}

// Copy returns a copy; nil gives nil.
func (c *AutopilotConfig) Copy() *AutopilotConfig {
	if c == nil {
		return nil
	}
	out := *c
	return &out
}

// Validate returns every problem of the settings at once.
func (c *AutopilotConfig) Validate() error {
	var errata []errs.Erratum
	bad := func(when bool, field, msg string) {
		if when {
			errata = append(errata, errs.Erratum{Field: field, Msg: field + " " + msg})
		}
	}
	const unsupported = "is not supported: leave it out or set it to false"
	bad(c.ServerStabilizationTime < 0, "ServerStabilizationTime", "must not be negative")
	bad(c.LastContactThreshold <= 0, "LastContactThreshold", "must be a positive duration such as 200ms")
	bad(c.MaxTrailingLogs == 0, "MaxTrailingLogs", "must be positive")
	bad(c.EnableRedundancyZones, "EnableRedundancyZones", unsupported)
	bad(c.DisableUpgradeMigration, "DisableUpgradeMigration", unsupported)
	bad(c.EnableCustomUpgrades, "EnableCustomUpgrades", unsupported)
	return errataError("invalid autopilot configuration", errata)
}

// plainAutopilotConfig has the fields of AutopilotConfig and none of its methods.
type plainAutopilotConfig AutopilotConfig

// MarshalJSON writes the durations as text such as "200ms".
func (c AutopilotConfig) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		plainAutopilotConfig
		ServerStabilizationTime, LastContactThreshold string
	}{plainAutopilotConfig(c), c.ServerStabilizationTime.String(), c.LastContactThreshold.String()})
}

// UnmarshalJSON reads the durations as text or as integers of nanoseconds.
func (c *AutopilotConfig) UnmarshalJSON(b []byte) error {
	raw := struct {
		*plainAutopilotConfig
		ServerStabilizationTime, LastContactThreshold any
	}{plainAutopilotConfig: (*plainAutopilotConfig)(c)}
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	var err1, err2 error
	c.ServerStabilizationTime, err1 = jsonDuration("ServerStabilizationTime", raw.ServerStabilizationTime)
	c.LastContactThreshold, err2 = jsonDuration("LastContactThreshold", raw.LastContactThreshold)
	return errors.Join(err1, err2)
}

// AutopilotRequest replaces the settings, with CAS only those of
// Config.ModifyIndex, 0 for none yet.
type AutopilotRequest struct {
	Config AutopilotConfig
	CAS    bool
	WriteRequest
}

// AutopilotSetConfigResponse tells whether the settings were replaced.
type AutopilotSetConfigResponse struct {
	// Updated is false when others have changed the settings that CAS asked for.
	Updated bool
	WriteMeta
}

// AutopilotConfigResponse shows the settings.
type AutopilotConfigResponse struct {
	Config *AutopilotConfig
	QueryMeta
}

// RaftStatsResponse is what a server says of its log.
type RaftStatsResponse struct {
	// LastContact is how long ago the server heard of a leader, 0 for the leader itself
	// and -1 for a server that never did.
	LastContact time.Duration
	// LastTerm and LastIndex are those of the last entry of its log.
	LastTerm  uint64
	LastIndex uint64
}

// ServerHealth is the health of a Raft peer, as the leader sees it.
type ServerHealth struct {
	ID   string
	Name string
	// Address is that of the server port.
	Address string
	// SerfStatus is what gossip says: alive, leaving, left, failed, or none for a server
	// that gossip does not know.
	SerfStatus string
	Version    string
	Leader     bool
	// LastContact is how long ago the server heard of the leader. LastContact, LastTerm
	// and LastIndex of a server that does not answer are those of its last answer.
	LastContact time.Duration
	LastTerm    uint64
	LastIndex   uint64
	Healthy     bool
	Voter       bool
	// StableSince is when Healthy changed last while this leader looked.
	StableSince time.Time
}

// plainServerHealth has the fields of ServerHealth and none of its methods.
type plainServerHealth ServerHealth

// MarshalJSON writes LastContact as text such as "15ms".
func (h ServerHealth) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		plainServerHealth
		LastContact string
	}{plainServerHealth(h), h.LastContact.String()})
}

// UnmarshalJSON reads LastContact as text or as an integer of nanoseconds.
func (h *ServerHealth) UnmarshalJSON(b []byte) error {
	raw := struct {
		*plainServerHealth
		LastContact any
	}{plainServerHealth: (*plainServerHealth)(h)}
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	var err error
	h.LastContact, err = jsonDuration("LastContact", raw.LastContact)
	return err
}

// OperatorHealthReply is the health of all Raft peers of a region.
type OperatorHealthReply struct {
	// Healthy says that every server is.
	Healthy bool
	// FailureTolerance is how many healthy voters may be lost before nothing can be
	// written any more.
	FailureTolerance int
	Servers          []ServerHealth
	// Leader is the ID of the leader, Voters has the IDs of all that have a vote.
	Leader string
	Voters []string
}
