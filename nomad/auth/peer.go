package auth

import (
	"strconv"
	"strings"

	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/cairn-project/cairn/nomad/structs"
)

// PeerClaims are the claims of a process that the agent of its node vouches for.
// They carry no job, so no server takes them for a workload: whoever wants to give
// rights to local users does it with an auth method and binding rules.
type PeerClaims struct {
	jwt.Claims
	NodeID   string `json:"cairn_node_id"`
	NodeName string `json:"cairn_node_name,omitempty"`
	Region   string `json:"cairn_region"`
	UID      int    `json:"cairn_uid"`
	GID      int    `json:"cairn_gid"`
	PID      int    `json:"cairn_pid"`
}

// PeerSubject returns the subject of a process: peer:region:node:ID:uid:N:gid:N:pid:N.
// How it begins keeps it apart from the subjects that resolvers look for.
func PeerSubject(region string, p *structs.PeerIdentity) string {
	return strings.Join([]string{"peer", region, "node", p.NodeID, "uid", strconv.Itoa(p.UID), "gid", strconv.Itoa(p.GID), "pid", strconv.Itoa(p.PID)}, ":")
}
