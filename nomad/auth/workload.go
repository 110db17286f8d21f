package auth

import (
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/nomad/structs"
)

// DefaultAudience is the audience of identities that are meant for the API of
// the cluster. Those for other services are refused here.
const DefaultAudience = "nomadproject.io"

// WorkloadClaims are the claims of a workload identity, by the names of the public API.
type WorkloadClaims struct {
	Namespace    string `json:"nomad_namespace"`
	JobID        string `json:"nomad_job_id"`
	AllocationID string `json:"nomad_allocation_id"`
	Task         string `json:"nomad_task"`
	Service      string `json:"nomad_service"`
	// Subject is region:namespace:job:group:workload:identity.
	Subject  string       `json:"sub"`
	Audience jwt.Audience `json:"aud"`
	ID       string       `json:"jti"`
}

// group returns the task group, which only the subject tells; "" if it does not.
// Names may hold colons: the parts are found from what is known, and where that
// leaves a doubt, no group can be taken for another.
func (c *WorkloadClaims) group() string {
	_, rest, ok := strings.Cut(c.Subject, ":"+c.Namespace+":"+c.JobID+":")
	if !ok {
		return ""
	}
	if c.Task == "" {
		parts := strings.Split(rest, ":")
		if len(parts) != 3 {
			return ""
		}
		return parts[0]
	}
	return rest[:max(0, strings.LastIndex(rest, ":"+c.Task+":"))]
}

// workload returns the caller with a JWT, be it a workload or a node.
func (r *Resolver) workload(store Store, token string) (*Identity, error) {
	all := new(signedClaims)
	if err := r.config.Verify(token, all); err != nil || !slices.Contains(all.Audience, DefaultAudience) {
		return nil, ErrBadIdentity
	}
	if id, err := r.machine(store, all); id != nil || err != nil {
		return id, err
	}
	claims := &all.WorkloadClaims
	if claims.Namespace == "" || claims.JobID == "" {
		return nil, ErrBadIdentity
	}
	var policies []*structs.ACLPolicy
	var names []string
	group := claims.group()
	for p := range store.WorkloadACLPolicies(nil) {
		if p.JobACL != nil && applies(p.JobACL, claims, group) {
			policies, names = append(policies, p), append(names, p.Name)
		}
	}
	rights, err := r.Compile(policies)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	rights = rights.WithWorkload(acl.Workload{Namespace: claims.Namespace, JobID: claims.JobID, Group: group, Task: claims.Task})
	id := &Identity{ACL: rights, Workload: claims, Policies: names}
	if all.Expiry != nil {
		id.Expires = all.Expiry.Time()
	}
	return id, nil
}

// applies reports whether a policy for workloads is for this one.
func applies(j *structs.JobACL, c *WorkloadClaims, group string) bool {
	match := func(want, have string) bool { return want == "" || want == have }
	return j.Namespace == c.Namespace && match(j.JobID, c.JobID) && match(j.Group, group) && match(j.Task, c.Task)
}
