package structs

// SystemRequest asks for some upkeep of the store.
type SystemRequest struct {
	WriteRequest
}
