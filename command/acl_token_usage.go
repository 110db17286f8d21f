package command

import (
	"encoding/json"
	"time"

	"github.com/hashicorp/nomad/api"
)

// tokenStub is a token in a list, with what only our servers tell.
type tokenStub struct {
	api.ACLTokenListStub
	LastUsedTime *time.Time `json:",omitempty"`
}

// tokenInfo is a token with what only our servers tell.
type tokenInfo struct {
	api.ACLToken
	LastUsedTime *time.Time
}

// MarshalJSON writes both parts as one object.
func (t tokenInfo) MarshalJSON() ([]byte, error) {
	b, err := json.Marshal(&t.ACLToken)
	if err != nil || t.LastUsedTime == nil {
		return b, err
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(b, &fields); err != nil {
		return nil, err
	}
	if fields["LastUsedTime"], err = json.Marshal(t.LastUsedTime); err != nil {
		return nil, err
	}
	return json.Marshal(fields)
}

// UnmarshalJSON is the reverse of MarshalJSON.
func (t *tokenInfo) UnmarshalJSON(b []byte) error {
	var used struct{ LastUsedTime *time.Time }
	if err := json.Unmarshal(b, &used); err != nil {
		return err
	}
	t.LastUsedTime = used.LastUsedTime
	return json.Unmarshal(b, &t.ACLToken)
}

// fetchTokens lists tokens.
func fetchTokens(c *api.Client, q *api.QueryOptions) ([]*tokenStub, error) {
	var list []*tokenStub
	_, err := c.Raw().Query("/v1/acl/tokens", &list, q)
	return list, err
}

// fetchTokenInfo reads the token with the accessor; "self" is the caller's own.
func fetchTokenInfo(c *api.Client, id string, q *api.QueryOptions) (*tokenInfo, error) {
	var t tokenInfo
	if _, err := c.Raw().Query("/v1/acl/token/"+id, &t, q); err != nil {
		return nil, err
	}
	return &t, nil
}

// tokenUsage is what the servers remember of the use of tokens.
type tokenUsage struct {
	// Since is from when on no use is missing, unless servers are in NotHeard.
	Since    time.Time
	LastUsed map[string]time.Time
	NotHeard []string
}

// lastUse shows when a token was last used.
func lastUse(t *time.Time) string {
	if t == nil || t.IsZero() {
		return "unknown"
	}
	return wallTime(*t)
}
