package structs

// ClusterMetadata is what the servers of one region know about themselves as a
// whole. It is set once, by the first leader.
type ClusterMetadata struct {
	// ClusterID is a UUID; servers whose stores carry different ones never join.
	ClusterID string
	// CreateTime is in Unix nanoseconds.
	CreateTime int64
	// Copies is the ID of the authoritative region's cluster, "" before the first copy.
	Copies      string
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

// ClusterCopiesRequest notes which cluster is copied. Before is the one that was noted
// last, "" for none.
type ClusterCopiesRequest struct {
	ClusterID string
	Before    string
	WriteRequest
}

// ReplicationAcceptRequest has a region copy the cluster that the authoritative region
// is now, although it copied another one before.
type ReplicationAcceptRequest struct {
	WriteRequest
}

// ReplicationAcceptResponse tells which cluster that is.
type ReplicationAcceptResponse struct {
	// ClusterID is copied from now on, Before was until now.
	ClusterID string
	Before    string
	WriteMeta
}
