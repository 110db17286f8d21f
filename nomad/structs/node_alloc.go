package structs

// Allocation is a piece of work on a node.
type Allocation struct {
	ID        string
	Namespace string
	NodeID    string
	JobID     string

	// CreateIndex and ModifyIndex are logical indexes.
	CreateIndex uint64
	ModifyIndex uint64
}

// NodeAllocsResponse lists the allocations of a node that the caller may see.
type NodeAllocsResponse struct {
	Allocs []*Allocation
	QueryMeta
}

// NodeClientAllocsResponse tells a node which allocations are its own.
type NodeClientAllocsResponse struct {
	// Allocs is the index of the last change by ID.
	Allocs map[string]uint64
	// MigrateTokens let the node fetch the data of earlier allocations, by ID.
	MigrateTokens map[string]string
	QueryMeta
}

// AllocsGetRequest reads several allocations.
type AllocsGetRequest struct {
	AllocIDs []string
	QueryOptions
}

// AllocsGetResponse answers AllocsGetRequest; absent ones are left out.
type AllocsGetResponse struct {
	Allocs []*Allocation
	QueryMeta
}
