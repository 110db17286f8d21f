package structs

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
)

// The node pools that always exist and never change. Every node is in the pool
// NodePoolAll, besides the one it names.
const (
	NodePoolAll     = "all"
	NodePoolDefault = "default"
)

// DefaultNodeIdentityTTL is how long an identity of a node is valid unless its
// pool says otherwise.
const DefaultNodeIdentityTTL = 24 * time.Hour

var nodePoolName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,128}$`)

// NodePool is a named set of nodes. A node is in exactly one beside NodePoolAll.
type NodePool struct {
	// Name is 1 to 128 letters, digits, dashes and underscores.
	Name string
	// Description is for people, at most 256 characters.
	Description string
	// Meta is free for the users.
	Meta map[string]string
	// NodeIdentityTTL is how long the identities of the pool's nodes are valid;
	// the store replaces 0 by DefaultNodeIdentityTTL. In JSON it is text.
	NodeIdentityTTL time.Duration
	// SchedulerConfiguration is stored as given, nil for none.
	SchedulerConfiguration *NodePoolSchedulerConfiguration

	// CreateIndex and ModifyIndex are logical indexes.
	CreateIndex uint64
	ModifyIndex uint64
}

// NodePoolSchedulerConfiguration says how work is placed on the nodes of a pool.
type NodePoolSchedulerConfiguration struct {
	// SchedulerAlgorithm is "binpack" or "spread", "" for that of the cluster.
	SchedulerAlgorithm string
	// MemoryOversubscriptionEnabled is nil for what the cluster has.
	MemoryOversubscriptionEnabled *bool
}

// BuiltinNodePools returns the pools that always exist, fresh ones each time.
func BuiltinNodePools() []*NodePool {
	return []*NodePool{
		{Name: NodePoolAll, Description: "Node pool with all nodes in the cluster.", NodeIdentityTTL: DefaultNodeIdentityTTL},
		{Name: NodePoolDefault, Description: "Default node pool.", NodeIdentityTTL: DefaultNodeIdentityTTL},
	}
}

// IsBuiltinNodePool reports whether the pool of the name always exists.
func IsBuiltinNodePool(name string) bool { return name == NodePoolAll || name == NodePoolDefault }

// ValidateNodePoolName refuses what no pool can be called.
func ValidateNodePoolName(name string) error {
	if !nodePoolName.MatchString(name) {
		return invalidf("invalid name %q: must be 1 to 128 letters, digits, dashes and underscores", name)
	}
	return nil
}

// Copy returns a deep copy; nil gives nil.
func (n *NodePool) Copy() *NodePool {
	if n == nil {
		return nil
	}
	c := *n
	c.Meta = maps.Clone(n.Meta)
	if s := n.SchedulerConfiguration; s != nil {
		c.SchedulerConfiguration = &NodePoolSchedulerConfiguration{s.SchedulerAlgorithm, clonePointer(s.MemoryOversubscriptionEnabled)}
	}
	return &c
}

// clonePointer returns a pointer to a copy of a plain value; nil gives nil.
func clonePointer[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

// problems returns everything wrong with the pool.
func (n *NodePool) problems() []errs.Erratum {
	var out []errs.Erratum
	add := func(bad bool, field, format string, args ...any) {
		if bad {
			out = append(out, errs.Erratum{Field: field, Msg: fmt.Sprintf(format, args...)})
		}
	}
	add(!nodePoolName.MatchString(n.Name), "Name", "invalid name %q: must be 1 to 128 letters, digits, dashes and underscores", n.Name)
	add(IsBuiltinNodePool(n.Name), "Name", "modifying node pool %q is not allowed: it is built in", n.Name)
	add(len(n.Description) > maxDescription, "Description", "description longer than %d characters", maxDescription)
	add(n.NodeIdentityTTL < 0, "NodeIdentityTTL", "node identity TTL must not be negative")
	if s := n.SchedulerConfiguration; s != nil {
		known := s.SchedulerAlgorithm == "" || s.SchedulerAlgorithm == "binpack" || s.SchedulerAlgorithm == "spread"
		add(!known, "SchedulerConfiguration", "unknown scheduler algorithm %q: must be binpack or spread", s.SchedulerAlgorithm)
	}
	return out
}

// plainNodePool has the fields of NodePool and none of its methods.
type plainNodePool NodePool

// MarshalJSON writes NodeIdentityTTL as text such as "24h0m0s", "" for none.
func (n NodePool) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		plainNodePool
		NodeIdentityTTL string
	}{plainNodePool(n), durationText(n.NodeIdentityTTL)})
}

// UnmarshalJSON reads NodeIdentityTTL as text or as an integer of nanoseconds.
func (n *NodePool) UnmarshalJSON(b []byte) error {
	raw := struct {
		*plainNodePool
		NodeIdentityTTL any
	}{plainNodePool: (*plainNodePool)(n)}
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	var err error
	n.NodeIdentityTTL, err = jsonDuration("NodeIdentityTTL", raw.NodeIdentityTTL)
	return err
}

// NodePoolUpsertRequest creates or updates node pools, all or none.
type NodePoolUpsertRequest struct {
	NodePools []*NodePool
	WriteRequest
}

// Validate returns every problem of the request at once.
func (r *NodePoolUpsertRequest) Validate() error {
	if len(r.NodePools) == 0 {
		return invalidf("must specify at least one node pool")
	}
	var all []errs.Erratum
	for _, n := range r.NodePools {
		if n == nil {
			return invalidf("a node pool is null")
		}
		all = append(all, n.problems()...)
	}
	return errataError("invalid node pool", all)
}

// NodePoolDeleteRequest deletes node pools by name, all or none.
type NodePoolDeleteRequest struct {
	Names []string
	WriteRequest
}

// Validate returns what no store could accept.
func (r *NodePoolDeleteRequest) Validate() error {
	if len(r.Names) == 0 {
		return invalidf("must specify at least one node pool to delete")
	}
	for _, name := range r.Names {
		if IsBuiltinNodePool(name) {
			return invalidf("deleting node pool %q is not allowed: it is built in", name)
		}
	}
	return nil
}

// NodePoolListRequest lists node pools.
type NodePoolListRequest struct {
	QueryOptions
}

// NodePoolListResponse answers NodePoolListRequest in order of name.
type NodePoolListResponse struct {
	NodePools []*NodePool
	QueryMeta
}

// NodePoolSpecificRequest reads one node pool.
type NodePoolSpecificRequest struct {
	Name string
	QueryOptions
}

// SingleNodePoolResponse answers NodePoolSpecificRequest; nil means absent.
type SingleNodePoolResponse struct {
	NodePool *NodePool
	QueryMeta
}

// NodePoolNodesRequest lists the nodes of a pool.
type NodePoolNodesRequest struct {
	Name   string
	Fields *NodeStubFields
	QueryOptions
}

// NodePoolNodesResponse answers NodePoolNodesRequest in order of ID.
type NodePoolNodesResponse struct {
	Nodes []*NodeListStub
	QueryMeta
}

// NodePoolJobsRequest lists the jobs of a pool.
type NodePoolJobsRequest struct {
	Name   string
	Fields *JobStubFields
	QueryOptions
}

// JobStubFields says what a list of jobs tells beside the usual.
type JobStubFields struct{ Meta bool }

// NodePoolJobsResponse answers NodePoolJobsRequest.
type NodePoolJobsResponse struct {
	Jobs []*JobListStub
	QueryMeta
}

// JobListStub is a job as lists show it.
type JobListStub struct {
	ID        string
	Namespace string
	Name      string
	Status    string

	// CreateIndex and ModifyIndex are logical indexes.
	CreateIndex uint64
	ModifyIndex uint64
}
