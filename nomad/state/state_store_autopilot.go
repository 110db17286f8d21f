package state

import (
	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/nomad/structs"
)

// autopilotKey is that of the one row.
var autopilotKey = Key{ID: "config"}

// Autopilot is the table of the one row that says how dead servers are told and removed.
var Autopilot = newTable("autopilot-config", structs.AutopilotSnapshot,
	func(*structs.AutopilotConfig) Key { return autopilotKey },
	func(a *acl.ACL, _ *structs.AutopilotConfig) bool { return a.AllowOperatorRead() },
	noEvents[structs.AutopilotConfig]()).notSearched()

// SetAutopilotConfig replaces the settings and returns the name of the row, nothing
// when CAS asked for other settings than there are.
func (s *StateStore) SetAutopilotConfig(index uint64, r *structs.AutopilotRequest) (wrote []string, err error) {
	if err := r.Config.Validate(); err != nil {
		return nil, err
	}
	err = s.write(index, "", func(tx *Txn) error {
		row, before := r.Config.Copy(), Autopilot.read(tx, autopilotKey)
		row.CreateIndex, row.ModifyIndex = tx.opIndex, tx.opIndex
		modified := uint64(0)
		if before != nil {
			row.CreateIndex, modified = before.CreateIndex, before.ModifyIndex
		}
		if r.CAS && r.Config.ModifyIndex != modified {
			return nil
		}
		Autopilot.put(tx, row)
		wrote = []string{autopilotKey.ID}
		return nil
	})
	return wrote, err
}

// AutopilotConfig returns the settings, nil before the first leader wrote them.
func (sn *Snapshot) AutopilotConfig(ws memdb.WatchSet) *structs.AutopilotConfig {
	return Autopilot.get(sn, ws, autopilotKey)
}
