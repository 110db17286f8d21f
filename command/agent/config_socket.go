package agent

import (
	"cmp"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"

	"github.com/cairn-project/cairn/internal/drpc"
)

// AgentSocketConfig configures the sockets on which the agent answers local
// processes.
type AgentSocketConfig struct {
	Enabled bool `hcl:"enabled"`
	// Path is the socket for workloads, AdminPath the one for root and the agent's
	// user: agent.sock and admin.sock in the data directory by default, in a
	// temporary directory in dev mode.
	Path      string `hcl:"path"`
	AdminPath string `hcl:"admin_path"`
	// Mode is that of the socket for workloads, in octal, "" for 0600.
	Mode string `hcl:"mode"`
	// MaxSessionsPerUID bounds what one local user may have open on each socket.
	MaxSessionsPerUID int `hcl:"max_sessions_per_uid"`
}

func defaultAgentSocketConfig() AgentSocketConfig {
	return AgentSocketConfig{Enabled: true, MaxSessionsPerUID: drpc.DefaultConfig().MaxSessionsPerUID}
}

func (c *AgentSocketConfig) problems() []problem {
	var out []problem
	bad := func(when bool, format string, args ...any) {
		if when {
			out = append(out, problem{msg: fmt.Sprintf("rpc.agent."+format, args...)})
		}
	}
	if !c.Enabled {
		return nil
	}
	_, err := c.mode()
	bad(err != nil, "mode: %v", err)
	bad(c.Path != "" && !filepath.IsAbs(c.Path), "path %q: must be absolute", c.Path)
	bad(c.AdminPath != "" && !filepath.IsAbs(c.AdminPath), "admin_path %q: must be absolute", c.AdminPath)
	bad(c.Path != "" && filepath.Clean(c.Path) == filepath.Clean(c.AdminPath), "admin_path %q: must differ from path", c.AdminPath)
	bad(c.MaxSessionsPerUID < 1, "max_sessions_per_uid: must be at least 1")
	return out
}

// mode returns the permissions of the socket for workloads.
func (c *AgentSocketConfig) mode() (fs.FileMode, error) {
	n, err := strconv.ParseUint(cmp.Or(c.Mode, "0600"), 8, 32)
	if err != nil || n > 0o777 || n&0o600 != 0o600 {
		return 0, fmt.Errorf("%q must be octal permissions that let the owner read and write, such as 0666", c.Mode)
	}
	return fs.FileMode(n), nil
}
