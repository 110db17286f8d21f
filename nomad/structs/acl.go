package structs

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/cairn-project/cairn/internal/errs"
)

// Bounds of ACL objects. Names, descriptions and names of tokens follow the
// public API; the others keep one object from filling the log.
const (
	maxACLDescription = 256
	maxACLTokenName   = 256
	maxACLRules       = 1 << 20
	maxACLLinks       = 256
	maxACLBatch       = 1024
)

// ACLAnonymousPolicy is the policy of callers without a token; it need not exist.
const ACLAnonymousPolicy = "anonymous"

// aclName is the form of the names of policies, roles and auth methods.
var aclName = regexp.MustCompile(`^[a-zA-Z0-9-]{1,128}$`)

const aclNameText = "must be 1 to 128 letters, digits and dashes"

// problemList collects everything wrong with an object.
type problemList []errs.Erratum

func (l *problemList) add(field, format string, args ...any) {
	*l = append(*l, errs.Erratum{Field: field, Msg: fmt.Sprintf(format, args...)})
}

// name checks a name that is required.
func (l *problemList) name(field, name string) {
	if !aclName.MatchString(name) {
		l.add(field, "invalid name %q: %s", clip(name), aclNameText)
	}
}

func (l *problemList) description(text string) {
	if n := len([]rune(text)); n > maxACLDescription {
		l.add("Description", "description has %d characters, more than %d", n, maxACLDescription)
	}
}

// clip shortens text that is quoted in an error.
func clip(s string) string {
	const most = 150
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// isUUID reports whether s is a UUID in its plain form of 36 characters.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case c < '0' || c > '9' && c < 'A' || c > 'F' && c < 'a' || c > 'f':
			return false
		}
	}
	return true
}

// batchError refuses an empty or too large list of what.
func batchError(n int, what string) error {
	switch {
	case n == 0:
		return invalidf("must specify at least one %s", what)
	case n > maxACLBatch:
		return invalidf("%d objects in one request are more than %d: send several requests", n, maxACLBatch)
	}
	return nil
}

// uuidErrors checks IDs that must be there.
func uuidErrors(field string, ids []string) []errs.Erratum {
	var l problemList
	for _, id := range ids {
		if !isUUID(id) {
			l.add(field, "%q is not a UUID", clip(id))
		}
	}
	return l
}

// ACLPolicy grants rights to the tokens, roles and workloads that name it.
type ACLPolicy struct {
	// Name is 1 to 128 letters, digits and dashes.
	Name string
	// Description is for people, at most 256 characters.
	Description string
	// Rules is the source, HCL or JSON; package acl parses it.
	Rules string
	// JobACL gives the policy to workloads too, nil for none.
	JobACL *JobACL
	// Hash is a digest of the contents, see SetHash.
	Hash []byte

	CreateIndex uint64
	ModifyIndex uint64
}

// JobACL says which workloads a policy applies to. Each part narrows the one before; ""
// means any. A group needs a job, a task needs a group.
type JobACL struct {
	Namespace string
	JobID     string
	Group     string
	Task      string
}

// ACLPolicyListStub is a policy without its rules.
type ACLPolicyListStub struct {
	Name        string
	Description string
	JobACL      *JobACL
	Hash        []byte

	CreateIndex uint64
	ModifyIndex uint64
}

// Copy returns a deep copy; nil gives nil.
func (p *ACLPolicy) Copy() *ACLPolicy {
	if p == nil {
		return nil
	}
	c := *p
	c.Hash = slices.Clone(p.Hash)
	c.JobACL = p.JobACL.Copy()
	return &c
}

// Copy returns a copy; nil gives nil.
func (j *JobACL) Copy() *JobACL {
	if j == nil {
		return nil
	}
	c := *j
	return &c
}

// Stub returns what lists show. It shares memory with p.
func (p *ACLPolicy) Stub() *ACLPolicyListStub {
	return &ACLPolicyListStub{p.Name, p.Description, p.JobACL, p.Hash, p.CreateIndex, p.ModifyIndex}
}

// SetHash sets Hash to the digest of everything that a writer sets, and returns it.
func (p *ACLPolicy) SetHash() []byte {
	h := newContentHash()
	h.text(p.Name, p.Description, p.Rules)
	if h.flag(p.JobACL != nil); p.JobACL != nil {
		h.text(p.JobACL.Namespace, p.JobACL.JobID, p.JobACL.Group, p.JobACL.Task)
	}
	p.Hash = h.sum()
	return p.Hash
}

// problems returns everything wrong with the policy, its rules' meaning aside.
func (p *ACLPolicy) problems() []errs.Erratum {
	var l problemList
	l.name("Name", p.Name)
	l.description(p.Description)
	switch {
	case p.Rules == "":
		l.add("Rules", "policy %q has no rules", clip(p.Name))
	case len(p.Rules) > maxACLRules:
		l.add("Rules", "the rules of policy %q have %d bytes, more than %d: split it", clip(p.Name), len(p.Rules), maxACLRules)
	}
	if j := p.JobACL; j != nil {
		if j.Namespace == "" {
			l.add("JobACL.Namespace", "a policy for workloads needs their namespace")
		}
		if j.Group != "" && j.JobID == "" {
			l.add("JobACL.JobID", "a policy for a group needs its job")
		}
		if j.Task != "" && j.Group == "" {
			l.add("JobACL.Group", "a policy for a task needs its group")
		}
	}
	return l
}

// Validate returns every problem at once. The caller parses the rules.
func (p *ACLPolicy) Validate() error { return errataError("invalid policy", p.problems()) }

// ACLPolicyUpsertRequest creates or updates policies, all or none.
type ACLPolicyUpsertRequest struct {
	Policies []*ACLPolicy
	WriteRequest
}

// Validate returns every problem of the request at once. The caller parses the rules.
func (r *ACLPolicyUpsertRequest) Validate() error {
	if err := batchError(len(r.Policies), "policy"); err != nil {
		return err
	}
	var all []errs.Erratum
	for _, p := range r.Policies {
		if p == nil {
			return invalidf("a policy is null")
		}
		all = append(all, p.problems()...)
	}
	return errataError("invalid policy", all)
}

// ACLPolicyDeleteRequest deletes policies by name, all or none.
type ACLPolicyDeleteRequest struct {
	Names []string
	WriteRequest
}

// Validate refuses a request that names nothing.
func (r *ACLPolicyDeleteRequest) Validate() error { return batchError(len(r.Names), "policy") }

// ACLPolicyListRequest lists the policies that the caller may see.
type ACLPolicyListRequest struct {
	// Own selects those that the caller holds; a management token holds all.
	Own bool
	QueryOptions
}

// ACLPolicyListResponse answers ACLPolicyListRequest in order of name.
type ACLPolicyListResponse struct {
	Policies []*ACLPolicyListStub
	QueryMeta
}

// ACLPolicySpecificRequest reads one policy.
type ACLPolicySpecificRequest struct {
	Name string
	QueryOptions
}

// SingleACLPolicyResponse answers ACLPolicySpecificRequest; nil means absent.
type SingleACLPolicyResponse struct {
	Policy *ACLPolicy
	QueryMeta
}

// ACLPolicySetRequest reads several policies, for node agents and the leaders of
// other regions.
type ACLPolicySetRequest struct {
	Names []string
	QueryOptions
}

// ACLPolicySetResponse answers ACLPolicySetRequest; absent names are left out.
type ACLPolicySetResponse struct {
	Policies map[string]*ACLPolicy
	QueryMeta
}
