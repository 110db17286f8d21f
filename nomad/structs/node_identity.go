package structs

import "encoding/json"

// UnmarshalJSON reads TTL as text or as an integer of nanoseconds.
func (r *ACLCreateClientIntroductionTokenRequest) UnmarshalJSON(b []byte) error {
	var raw struct {
		TTL                any
		NodeName, NodePool string
	}
	err := json.Unmarshal(b, &raw)
	if err == nil {
		r.NodeName, r.NodePool = raw.NodeName, raw.NodePool
		r.TTL, err = jsonDuration("TTL", raw.TTL)
	}
	return err
}

// NodeIdentityResponse has the claims of a node's signed identity, not the identity
// itself; nil before the first one.
type NodeIdentityResponse struct {
	Claims map[string]any
}

// NodeIdentityRenewResponse answers that a node asked for a new identity.
type NodeIdentityRenewResponse struct{}
