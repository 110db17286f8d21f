package acl

import (
	"strings"
	"testing"
)

func TestUnknownCapabilitiesAreGuessed(t *testing.T) {
	for src, want := range map[string]string{
		`namespace "a" { capabilities = ["submit-jobs"] }`:                             `did you mean "submit-job"?`,
		`namespace "a" { capabilities = ["raed-job"] }`:                                `did you mean "read-job"?`,
		`namespace "a" { capabilities = ["x"] }`:                                       `must be one of deny, list-jobs`,
		`operator { capabilities = ["acl-tokn-read"] }`:                                `did you mean "acl-token-read"?`,
		`node { policy = "raed" }`:                                                     `must be one of deny, read, write`,
		`namespace "a" { capabilities = ["` + strings.Repeat("read-job", 100) + `"] }`: `must be one of deny`,
	} {
		if _, err := Parse(src); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", src, err, want)
		}
	}
	if _, err := DenyAll.Explain(Operation{Kind: KindNamespace, Name: "a", Capability: "submit-jobs"}); err == nil || !strings.Contains(err.Error(), `did you mean "submit-job"?`) {
		t.Errorf("explained: %v", err)
	}
}
