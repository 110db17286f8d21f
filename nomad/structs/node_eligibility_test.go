package structs

import (
	"strings"
	"testing"
	"time"
)

func TestEligibilityRequest(t *testing.T) {
	later := time.Date(2030, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600))
	for name, c := range map[string]struct {
		r    NodeUpdateEligibilityRequest
		want string
	}{
		"eligible":    {NodeUpdateEligibilityRequest{Eligibility: "eligible", Reason: "back"}, ""},
		"ineligible":  {NodeUpdateEligibilityRequest{Eligibility: "ineligible", Reason: "disk", Until: later}, ""},
		"word":        {NodeUpdateEligibilityRequest{Eligibility: "maybe"}, "must be eligible or ineligible"},
		"long reason": {NodeUpdateEligibilityRequest{Eligibility: "ineligible", Reason: strings.Repeat("x", MaxNodeReason+1)}, "1025 bytes"},
		"bytes":       {NodeUpdateEligibilityRequest{Eligibility: "ineligible", Reason: "\xff"}, "not UTF-8"},
		"until":       {NodeUpdateEligibilityRequest{Eligibility: "eligible", Until: later}, "only a node that is made ineligible"},
		"far":         {NodeUpdateEligibilityRequest{Eligibility: "ineligible", Until: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}, "too far away"},
	} {
		if err := c.r.Validate(); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	i := (&NodeUpdateEligibilityRequest{Eligibility: "ineligible", Until: later}).Ineligibility()
	if want := time.Date(2030, 1, 2, 2, 4, 6, 0, time.UTC); i.Until != want {
		t.Errorf("until %s, not %s", i.Until, want)
	}
	if i := (&NodeUpdateEligibilityRequest{Eligibility: "eligible", Reason: "back"}).Ineligibility(); i != nil {
		t.Errorf("an eligible node has %+v", i)
	}
}

func TestParseUntil(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Time{"90m": now.Add(90 * time.Minute), "2031-01-01T00:00:00+02:00": time.Date(2030, 12, 31, 22, 0, 0, 0, time.UTC)} {
		if got, err := ParseUntil(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "tomorrow", "0s", "-1h", "2031-01-01"} {
		if got, err := ParseUntil(text, now); err == nil {
			t.Errorf("%q was taken as %s", text, got)
		}
	}
}
