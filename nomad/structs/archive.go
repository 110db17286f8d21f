package structs

import "github.com/cairn-project/cairn/internal/errs"

// SnapshotSaveRequest asks for an archive of the state. The stream's answer follows, and
// then the archive.
type SnapshotSaveRequest struct {
	// Passed is how many servers have passed it on.
	Passed int
	QueryOptions
}

// SnapshotSaveResponse comes before an archive, or instead of it. One without a checksum
// and an error says that the archive is being made.
type SnapshotSaveResponse struct {
	// SnapshotChecksum is "sha-256=" and the sum of the archive in base64, Size its bytes.
	SnapshotChecksum string
	Size             int64
	Error            *SnapshotError
	QueryMeta
}

// SnapshotRestoreRequest has an archive take the place of the state. The archive follows,
// once the server has said that it may, in pieces led by their length, an empty one as the last.
type SnapshotRestoreRequest struct {
	// OtherRegion takes an archive of a region of another name.
	OtherRegion bool
	// Passed is how many servers have passed it on.
	Passed int
	WriteRequest
}

// SnapshotRestoreResponse is a message about a restore: that the archive may be sent, that
// the work goes on, or how it ended.
type SnapshotRestoreResponse struct {
	Send  bool
	Done  bool
	Error *SnapshotError
	// Before is the logical index of the state that was replaced, ArchiveIndex that of
	// the archive as it was saved. Index is where the cluster goes on, above both.
	Before       uint64
	ArchiveIndex uint64
	QueryMeta
}

// SnapshotError is why there is no archive or no restore, as servers tell each other.
type SnapshotError struct {
	Code     errs.Code
	Message  string
	Executed errs.Executed
}

// NewSnapshotError returns what servers tell each other of err, nil for none.
func NewSnapshotError(err error) *SnapshotError {
	if err == nil {
		return nil
	}
	e := errs.From(err, "")
	return &SnapshotError{Code: e.Code, Message: e.Error(), Executed: e.Executed}
}

// Err is the error again; nil gives nil.
func (e *SnapshotError) Err() error {
	if e == nil {
		return nil
	}
	return &errs.Error{Code: e.Code, Msg: e.Message, Executed: e.Executed}
}

// ArchiveChunkRequest holds a piece of an archive. The pieces stay in the log, where
// ArchiveRestoreRequest finds them again: nothing is kept of them elsewhere.
type ArchiveChunkRequest struct {
	// ID is of the archive. Seq counts its pieces from 0 on; the first one makes the
	// pieces of any other archive worthless.
	ID   string
	Seq  uint64
	Data []byte
}

// ArchiveRestoreRequest has the archive, of which the log holds all pieces, take the
// place of the state. Drop makes the pieces worthless instead.
type ArchiveRestoreRequest struct {
	ID     string
	Chunks uint64
	// Sum is the SHA-256 of the archive.
	Sum  []byte
	Drop bool
}

// Validate returns what is wrong with a piece.
func (r *ArchiveChunkRequest) Validate() error {
	if r.ID == "" || len(r.Data) == 0 {
		return invalidf("a piece of an archive needs an ID and data")
	}
	return nil
}
