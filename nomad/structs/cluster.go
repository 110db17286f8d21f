package structs

// ClusterMetadata is what the servers of one region know about themselves as a
// whole. It is set once, by the first leader.
type ClusterMetadata struct {
	// ClusterID is a UUID; servers whose stores carry different ones never join.
	ClusterID string
	// CreateTime is in Unix nanoseconds.
	CreateTime  int64
	CreateIndex uint64
	ModifyIndex uint64
}

// Copy returns a copy; nil gives nil.
func (c *ClusterMetadata) Copy() *ClusterMetadata {
	if c == nil {
		return nil
	}
	out := *c
	return &out
}

// ClusterMetadataRequest sets the metadata of a cluster that has none.
type ClusterMetadataRequest struct {
	ClusterID  string
	CreateTime int64
	WriteRequest
}
