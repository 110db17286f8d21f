package agent

import (
	"fmt"
	"io/fs"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cairn-project/cairn/internal/jsonrpc"
)

// RPCConfig configures the operator node: JSON-RPC 2.0 on a socket and at /v1/rpc.
type RPCConfig struct {
	// MaxMessage is in bytes; MaxBatch and MaxDepth count elements and levels.
	MaxMessage int `hcl:"max_message"`
	MaxDepth   int `hcl:"max_depth"`
	MaxBatch   int `hcl:"max_batch"`
	// CallTimeout bounds calls that do not wait for a change.
	CallTimeout time.Duration `hcl:"call_timeout"`
	// StrictIDs refuses ids that are null or empty.
	StrictIDs bool            `hcl:"strict_ids"`
	Socket    RPCSocketConfig `hcl:"socket"`
	// Agent configures the sockets for workloads, which speak another protocol.
	Agent AgentSocketConfig `hcl:"agent"`
}

// RPCSocketConfig configures the operator node's Unix socket.
type RPCSocketConfig struct {
	Enabled bool `hcl:"enabled"`
	// Path is rpc.sock in the data directory by default, in a temporary directory in dev mode.
	Path string `hcl:"path"`
	// Mode is octal, "" for 0600, or 0666 when the socket is not restricted.
	Mode string `hcl:"mode"`
	// Group is the name or number of the group that owns the socket, "" for the process's.
	Group string `hcl:"group"`
	// Restricted keeps everyone but root and the agent's user from connecting, unless Mode says otherwise.
	Restricted bool `hcl:"restricted"`
	// Users gives local users rights: "uid:1000", "gid:27", "user:ann" or "group:ops"
	// with a list of management, policy:NAME and role:NAME.
	Users map[string]string `hcl:"users"`
}

func defaultRPCConfig() RPCConfig {
	d := jsonrpc.DefaultConfig()
	return RPCConfig{
		MaxMessage: d.MaxMessage, MaxDepth: d.MaxDepth, MaxBatch: d.MaxBatch, CallTimeout: 10 * time.Second,
		Socket: RPCSocketConfig{Enabled: true, Restricted: true}, Agent: defaultAgentSocketConfig(),
	}
}

// principal is a local user or group with the rights that the configuration gives.
type principal struct {
	// group says that id is that of a group.
	group bool
	id    uint32
	// management is all rights; policies and roles are names.
	management      bool
	policies, roles []string
}

func (c *RPCConfig) problems() []problem {
	var out []problem
	bad := func(when bool, format string, args ...any) {
		if when {
			out = append(out, problem{msg: fmt.Sprintf("rpc."+format, args...)})
		}
	}
	bad(c.MaxMessage < 1024 || c.MaxMessage > 64<<20, "max_message: must be from 1024 to %d bytes", 64<<20)
	bad(c.MaxDepth < 4 || c.MaxDepth > 1000, "max_depth: must be from 4 to 1000")
	bad(c.MaxBatch < 1 || c.MaxBatch > 100000, "max_batch: must be from 1 to 100000")
	bad(c.CallTimeout <= 0, "call_timeout: must be above zero")
	s := &c.Socket
	if !s.Enabled {
		return out
	}
	_, err := s.mode()
	bad(err != nil, "socket.mode: %v", err)
	_, err = s.gid()
	bad(err != nil, "socket.group: %v", err)
	bad(s.Path != "" && !filepath.IsAbs(s.Path), "socket.path %q: must be absolute", s.Path)
	bad(len(s.Path) > jsonrpc.MaxSocketPath, "socket.path: has %d bytes, at most %d: choose a shorter one", len(s.Path), jsonrpc.MaxSocketPath)
	_, problems := s.principals()
	for _, p := range problems {
		bad(true, "socket.users: %s", p)
	}
	return out
}

// mode returns the permissions of the socket.
func (s *RPCSocketConfig) mode() (fs.FileMode, error) {
	if s.Mode == "" {
		if s.Restricted {
			return 0o600, nil
		}
		return 0o666, nil
	}
	n, err := strconv.ParseUint(s.Mode, 8, 32)
	if err != nil || n > 0o777 || n&0o600 != 0o600 {
		return 0, fmt.Errorf("%q must be octal permissions that let the owner read and write, such as 0660", s.Mode)
	}
	return fs.FileMode(n), nil
}

// gid returns the group of the socket, -1 for the process's own.
func (s *RPCSocketConfig) gid() (int, error) {
	if s.Group == "" {
		return -1, nil
	}
	id, err := groupID(s.Group)
	return int(id), err
}

// principals returns the users and groups with rights, in order of their names,
// and every problem.
func (s *RPCSocketConfig) principals() (out []principal, problems []string) {
	names := make([]string, 0, len(s.Users))
	for name := range s.Users {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		p, err := newPrincipal(name, s.Users[name])
		if err != nil {
			problems = append(problems, err.Error())
			continue
		}
		out = append(out, p)
	}
	return out, problems
}

func newPrincipal(name, rights string) (p principal, err error) {
	kind, who, _ := strings.Cut(name, ":")
	switch kind {
	case "uid", "user":
		p.id, err = userID(who)
	case "gid", "group":
		p.group = true
		p.id, err = groupID(who)
	default:
		err = fmt.Errorf("%q must begin with uid:, user:, gid: or group:", name)
	}
	for _, r := range splitComma(rights) {
		kind, value, _ := strings.Cut(r, ":")
		switch {
		case r == "management":
			p.management = true
		case kind == "policy" && value != "":
			p.policies = append(p.policies, value)
		case kind == "role" && value != "":
			p.roles = append(p.roles, value)
		case err == nil:
			err = fmt.Errorf("%s: %q must be management, policy:NAME or role:NAME", name, r)
		}
	}
	if err == nil && !p.management && p.policies == nil && p.roles == nil {
		err = fmt.Errorf("%s: names no right: list management, policy:NAME or role:NAME", name)
	}
	return p, err
}

// userID returns the number of a user by number or name.
func userID(who string) (uint32, error) {
	if n, err := strconv.ParseUint(who, 10, 32); err == nil {
		return uint32(n), nil
	}
	u, err := user.Lookup(who)
	if err != nil {
		return 0, fmt.Errorf("user %q is not known on this machine", who)
	}
	n, err := strconv.ParseUint(u.Uid, 10, 32)
	return uint32(n), err
}

// groupID returns the number of a group by number or name.
func groupID(who string) (uint32, error) {
	if n, err := strconv.ParseUint(who, 10, 32); err == nil {
		return uint32(n), nil
	}
	g, err := user.LookupGroup(who)
	if err != nil {
		return 0, fmt.Errorf("group %q is not known on this machine", who)
	}
	n, err := strconv.ParseUint(g.Gid, 10, 32)
	return uint32(n), err
}
