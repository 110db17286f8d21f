package structs

import (
	"slices"
	"time"

	"github.com/hashicorp/go-bexpr"

	"github.com/cairn-project/cairn/internal/errs"
)

// What a binding rule gives to a login.
const (
	ACLBindingRuleBindTypeRole       = "role"
	ACLBindingRuleBindTypePolicy     = "policy"
	ACLBindingRuleBindTypeManagement = "management"
)

// maxSelector bounds a selector, in bytes; go-bexpr bounds its own steps.
const maxSelector = 4 << 10

// ACLBindingRule turns the claims of a login into rights.
type ACLBindingRule struct {
	// ID is a UUID, set by the leader.
	ID          string
	Description string
	// AuthMethod names the method whose logins it is for; it cannot change.
	AuthMethod string
	// Selector is a go-bexpr expression over value.* and list.*, "" for every login.
	Selector string
	// BindType is role, policy or management.
	BindType string
	// BindName is the role or policy, and may hold ${value.x}; "" for management.
	BindName string
	// Hash is a digest of the contents, see SetHash.
	Hash []byte

	CreateTime  time.Time
	ModifyTime  time.Time
	CreateIndex uint64
	ModifyIndex uint64
}

// ACLBindingRuleListStub is what lists show of a binding rule.
type ACLBindingRuleListStub struct {
	ID          string
	Description string
	AuthMethod  string
	Hash        []byte

	CreateIndex uint64
	ModifyIndex uint64
}

// Copy returns a deep copy; nil gives nil.
func (r *ACLBindingRule) Copy() *ACLBindingRule {
	if r == nil {
		return nil
	}
	c := *r
	c.Hash = slices.Clone(r.Hash)
	return &c
}

// Stub returns what lists show.
func (r *ACLBindingRule) Stub() *ACLBindingRuleListStub {
	return &ACLBindingRuleListStub{r.ID, r.Description, r.AuthMethod, r.Hash, r.CreateIndex, r.ModifyIndex}
}

// Canonicalize fills in times. Only the leader calls it.
func (r *ACLBindingRule) Canonicalize(now time.Time) {
	if r.CreateTime.IsZero() {
		r.CreateTime = now.UTC()
	}
	r.ModifyTime = now.UTC()
}

// SetHash sets Hash to the digest of everything that a writer sets, and returns it.
func (r *ACLBindingRule) SetHash() []byte {
	h := newContentHash()
	h.text(r.ID, r.Description, r.AuthMethod, r.Selector, r.BindType, r.BindName)
	r.Hash = h.sum()
	return r.Hash
}

func (r *ACLBindingRule) problems() []errs.Erratum {
	var l problemList
	if r.ID != "" && !isUUID(r.ID) {
		l.add("ID", "binding rule ID %q is not a UUID", clip(r.ID))
	}
	l.description(r.Description)
	l.name("AuthMethod", r.AuthMethod)
	switch r.BindType {
	case ACLBindingRuleBindTypeRole, ACLBindingRuleBindTypePolicy:
		if r.BindName == "" {
			l.add("BindName", "a binding to a %s needs its name", r.BindType)
		}
	case ACLBindingRuleBindTypeManagement:
		if r.BindName != "" {
			l.add("BindName", "a binding to management takes no name")
		}
	default:
		l.add("BindType", "bind type %q must be %s, %s or %s", clip(r.BindType),
			ACLBindingRuleBindTypeRole, ACLBindingRuleBindTypePolicy, ACLBindingRuleBindTypeManagement)
	}
	if len(r.BindName) > maxACLTokenName {
		l.add("BindName", "the name has %d bytes, more than %d", len(r.BindName), maxACLTokenName)
	} else if msg := checkTemplate(r.BindName); msg != "" {
		l.add("BindName", "%s", msg)
	}
	if msg := checkSelector(r.Selector); msg != "" {
		l.add("Selector", "%s", msg)
	}
	return l
}

// checkSelector returns what is wrong with a selector, "" for nothing.
func checkSelector(s string) string {
	switch {
	case s == "":
		return ""
	case len(s) > maxSelector:
		return "the selector is too long"
	}
	if _, err := bexpr.CreateEvaluator(s); err != nil {
		return "the selector does not parse: " + clip(err.Error())
	}
	return ""
}

// Validate returns every problem at once. Whether the auth method exists, the caller checks.
func (r *ACLBindingRule) Validate() error { return errataError("invalid binding rule", r.problems()) }

// ACLBindingRulesUpsertRequest creates or updates binding rules, all or none.
type ACLBindingRulesUpsertRequest struct {
	ACLBindingRules []*ACLBindingRule
	// AllowMissingAuthMethods is set by replication, which may see rules first.
	AllowMissingAuthMethods bool
	WriteRequest
}

// Validate returns every problem of the request at once.
func (r *ACLBindingRulesUpsertRequest) Validate() error {
	if err := batchError(len(r.ACLBindingRules), "binding rule"); err != nil {
		return err
	}
	var all []errs.Erratum
	for _, rule := range r.ACLBindingRules {
		if rule == nil {
			return invalidf("a binding rule is null")
		}
		all = append(all, rule.problems()...)
	}
	return errataError("invalid binding rule", all)
}

// ACLBindingRulesUpsertResponse answers ACLBindingRulesUpsertRequest with the rules as stored.
type ACLBindingRulesUpsertResponse struct {
	ACLBindingRules []*ACLBindingRule
	WriteMeta
}

// ACLBindingRulesDeleteRequest deletes binding rules, all or none.
type ACLBindingRulesDeleteRequest struct {
	ACLBindingRuleIDs []string
	WriteRequest
}

// Validate returns every problem of the request at once.
func (r *ACLBindingRulesDeleteRequest) Validate() error {
	if err := batchError(len(r.ACLBindingRuleIDs), "binding rule"); err != nil {
		return err
	}
	return errataError("invalid binding rule", uuidErrors("ACLBindingRuleIDs", r.ACLBindingRuleIDs))
}

// ACLBindingRulesDeleteResponse answers ACLBindingRulesDeleteRequest.
type ACLBindingRulesDeleteResponse struct {
	WriteMeta
}

// ACLBindingRulesListRequest lists binding rules.
type ACLBindingRulesListRequest struct {
	QueryOptions
}

// ACLBindingRulesListResponse answers ACLBindingRulesListRequest.
type ACLBindingRulesListResponse struct {
	ACLBindingRules []*ACLBindingRuleListStub
	QueryMeta
}

// ACLBindingRulesRequest reads several binding rules, for the leaders of other regions.
type ACLBindingRulesRequest struct {
	ACLBindingRuleIDs []string
	QueryOptions
}

// ACLBindingRulesResponse answers ACLBindingRulesRequest; absent IDs are left out.
type ACLBindingRulesResponse struct {
	ACLBindingRules map[string]*ACLBindingRule
	QueryMeta
}

// ACLBindingRuleRequest reads one binding rule.
type ACLBindingRuleRequest struct {
	ACLBindingRuleID string
	QueryOptions
}

// ACLBindingRuleResponse answers ACLBindingRuleRequest; nil means absent.
type ACLBindingRuleResponse struct {
	ACLBindingRule *ACLBindingRule
	QueryMeta
}
