package structs

import (
	"encoding/json"
	"time"
)

// durationText returns d as text, "" for none.
func durationText(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

// plainToken has the fields of ACLToken and none of its methods.
type plainToken ACLToken

// MarshalJSON writes ExpirationTTL as text such as "1h0m0s", "" for none.
func (t ACLToken) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		plainToken
		ExpirationTTL string
	}{plainToken(t), durationText(t.ExpirationTTL)})
}

// ACLTokenInfo is a token as readers of one token see it.
type ACLTokenInfo struct {
	ACLToken
	// LastUsedTime is as in ACLTokenListStub.
	LastUsedTime *time.Time `json:",omitempty"`
}

// MarshalJSON writes the fields of the token and the last use as one object.
func (i ACLTokenInfo) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		plainToken
		ExpirationTTL string
		LastUsedTime  *time.Time `json:",omitempty"`
	}{plainToken(i.ACLToken), durationText(i.ExpirationTTL), i.LastUsedTime})
}

// UnmarshalJSON reads ExpirationTTL as text or as an integer of nanoseconds.
func (t *ACLToken) UnmarshalJSON(b []byte) error {
	raw := struct {
		*plainToken
		ExpirationTTL any
	}{plainToken: (*plainToken)(t)}
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	var err error
	t.ExpirationTTL, err = jsonDuration("ExpirationTTL", raw.ExpirationTTL)
	return err
}

// plainAuthMethod has the fields of ACLAuthMethod and none of its methods.
type plainAuthMethod ACLAuthMethod

// MarshalJSON writes MaxTokenTTL as text, "" for none.
func (m ACLAuthMethod) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		plainAuthMethod
		MaxTokenTTL string
	}{plainAuthMethod(m), durationText(m.MaxTokenTTL)})
}

// UnmarshalJSON reads MaxTokenTTL as text or as an integer of nanoseconds.
func (m *ACLAuthMethod) UnmarshalJSON(b []byte) error {
	raw := struct {
		*plainAuthMethod
		MaxTokenTTL any
	}{plainAuthMethod: (*plainAuthMethod)(m)}
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	var err error
	m.MaxTokenTTL, err = jsonDuration("MaxTokenTTL", raw.MaxTokenTTL)
	return err
}

// plainAuthConfig has the fields of ACLAuthMethodConfig and none of its methods.
type plainAuthConfig ACLAuthMethodConfig

// MarshalJSON writes the leeways as text, "" for none.
func (c ACLAuthMethodConfig) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		plainAuthConfig
		ExpirationLeeway, NotBeforeLeeway, ClockSkewLeeway string
	}{plainAuthConfig(c), durationText(c.ExpirationLeeway), durationText(c.NotBeforeLeeway), durationText(c.ClockSkewLeeway)})
}

// UnmarshalJSON reads the leeways as text or as integers of nanoseconds.
func (c *ACLAuthMethodConfig) UnmarshalJSON(b []byte) error {
	raw := struct {
		*plainAuthConfig
		ExpirationLeeway, NotBeforeLeeway, ClockSkewLeeway any
	}{plainAuthConfig: (*plainAuthConfig)(c)}
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	var err1, err2, err3 error
	c.ExpirationLeeway, err1 = jsonDuration("ExpirationLeeway", raw.ExpirationLeeway)
	c.NotBeforeLeeway, err2 = jsonDuration("NotBeforeLeeway", raw.NotBeforeLeeway)
	c.ClockSkewLeeway, err3 = jsonDuration("ClockSkewLeeway", raw.ClockSkewLeeway)
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			return err
		}
	}
	return nil
}
