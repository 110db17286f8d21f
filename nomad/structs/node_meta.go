package structs

// NodeMetaApplyRequest changes the metadata of a node; its agent answers. It embeds
// QueryOptions because it does not enter the Raft log.
type NodeMetaApplyRequest struct {
	NodeID string
	// Meta sets keys; nil hides one of the configuration and forgets any other.
	Meta map[string]*string
	QueryOptions
}

// NodeMetaResponse is the metadata of a node.
type NodeMetaResponse struct {
	// Meta is what counts: Static, overridden by Dynamic.
	Meta map[string]string
	// Dynamic was changed while the agent ran, Static is of its configuration.
	Dynamic map[string]*string
	Static  map[string]string
}
