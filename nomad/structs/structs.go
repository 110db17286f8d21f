// Package structs defines everything that crosses Raft, RPC, a snapshot or the
// event stream. Names and numbers are those of the public API and never change
// once released; testdata/wire.golden pins them.
package structs

import (
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/msgp"
)

// MessageType is the first byte of a Raft entry.
type MessageType uint8

// The request types. Append only: a number that was ever written to a log keeps
// its meaning for ever. Numbers up to 95 follow the public API; 96 to 126 are ours.
const (
	NodeRegisterRequestType          MessageType = 0
	NodeDeregisterRequestType        MessageType = 1
	NodeUpdateStatusRequestType      MessageType = 2
	NodeUpdateDrainRequestType       MessageType = 3
	ACLPolicyUpsertRequestType       MessageType = 19
	ACLPolicyDeleteRequestType       MessageType = 20
	ACLTokenUpsertRequestType        MessageType = 21
	ACLTokenDeleteRequestType        MessageType = 22
	ACLTokenBootstrapRequestType     MessageType = 23
	AutopilotRequestType             MessageType = 24
	UpsertNodeEventsType             MessageType = 25
	NodeUpdateEligibilityRequestType MessageType = 28
	BatchNodeUpdateDrainRequestType  MessageType = 29
	NodeBatchDeregisterRequestType   MessageType = 31
	ClusterMetadataRequestType       MessageType = 32
	OneTimeTokenUpsertRequestType    MessageType = 44
	OneTimeTokenDeleteRequestType    MessageType = 45
	OneTimeTokenExpireRequestType    MessageType = 46
	VarApplyStateRequestType         MessageType = 50
	WrappedRootKeysDeleteRequestType MessageType = 52
	ACLRolesUpsertRequestType        MessageType = 53
	ACLRolesDeleteByIDRequestType    MessageType = 54
	ACLAuthMethodsUpsertRequestType  MessageType = 55
	ACLAuthMethodsDeleteRequestType  MessageType = 56
	ACLBindingRulesUpsertRequestType MessageType = 57
	ACLBindingRulesDeleteRequestType MessageType = 58
	NodePoolUpsertRequestType        MessageType = 59
	NodePoolDeleteRequestType        MessageType = 60
	WrappedRootKeysUpsertRequestType MessageType = 62
	NamespaceUpsertRequestType       MessageType = 64
	NamespaceDeleteRequestType       MessageType = 65

	// BatchRequestType marks an entry that holds several entries, see AppendBatch.
	BatchRequestType MessageType = 96
	// WorkloadEventRaiseRequestType publishes an event and stores nothing.
	WorkloadEventRaiseRequestType MessageType = 97

	// 104 to 107 are of the built-in authority and the tokens to join.
	AuthorityUpsertRequestType MessageType = 104
	JoinTokenUpsertRequestType MessageType = 105
	JoinTokenDeleteRequestType MessageType = 106
	JoinTokenUseRequestType    MessageType = 107
	// ACLCheckedRequestType holds a write of access control and what it depends on.
	ACLCheckedRequestType MessageType = 108
	// OperationUpsertRequestType notes how far long work is; it may be skipped.
	OperationUpsertRequestType MessageType = 109
	// AuthorityDeleteRequestType drops an authority that signs nothing any more.
	AuthorityDeleteRequestType MessageType = 110
	// ClusterCopiesRequestType notes which cluster a region copies; it may be skipped.
	ClusterCopiesRequestType MessageType = 111
	// ArchiveChunkRequestType holds a piece of an archive, ArchiveRestoreRequestType has the
	// archive take the place of the state.
	ArchiveChunkRequestType   MessageType = 112
	ArchiveRestoreRequestType MessageType = 113
	// TaggedRequestType marks an entry that is applied once, see AppendTag.
	TaggedRequestType MessageType = 120
)

const (
	// SystemInitializationType never appears in a log. It marks store writes at
	// boot, which publish no events.
	SystemInitializationType MessageType = 127
	// IgnoreUnknownTypeFlag is OR-ed onto a type whose entry a server that does
	// not know the type may skip. Without it an unknown type stops the server.
	IgnoreUnknownTypeFlag MessageType = 128
)

// SnapshotType is the byte before each row of a snapshot of the store.
type SnapshotType uint8

// The snapshot types. Append only; numbers up to 95 follow the public API.
const (
	NodeSnapshot            SnapshotType = 0
	IndexSnapshot           SnapshotType = 2
	ACLPolicySnapshot       SnapshotType = 11
	ACLTokenSnapshot        SnapshotType = 12
	ClusterMetadataSnapshot SnapshotType = 14
	VariablesSnapshot       SnapshotType = 22
	VariablesQuotaSnapshot  SnapshotType = 23
	ACLRoleSnapshot         SnapshotType = 25
	ACLAuthMethodSnapshot   SnapshotType = 26
	ACLBindingRuleSnapshot  SnapshotType = 27
	NodePoolSnapshot        SnapshotType = 28
	RootKeySnapshot         SnapshotType = 30
	NamespaceSnapshot       SnapshotType = 64
	// From 96 on they are ours.
	OneTimeTokenSnapshot SnapshotType = 96
	ACLBootstrapSnapshot SnapshotType = 97
	AuthoritySnapshot    SnapshotType = 104
	JoinTokenSnapshot    SnapshotType = 105
	AutopilotSnapshot    SnapshotType = 106
	OperationSnapshot    SnapshotType = 109
	RequestSnapshot      SnapshotType = 120
)

// Encode returns a Raft entry: the type byte, then msg in MessagePack.
func Encode(t MessageType, msg any) ([]byte, error) {
	return AppendEntry(make([]byte, 0, SizeHint(msg)), t, msg)
}

// SizeHint is about the size of an entry of msg and its tag.
func SizeHint(msg any) int {
	if s, ok := msg.(interface{ sizeHint() int }); ok {
		return s.sizeHint()
	}
	return 256
}

// AppendEntry is Encode into the room behind b.
func AppendEntry(b []byte, t MessageType, msg any) ([]byte, error) {
	return msgp.Append(append(b, byte(t)), msg)
}

// Decode reads the MessagePack part of a Raft entry, the type byte cut off.
func Decode(body []byte, out any) error { return msgp.Unmarshal(body, out) }

// DefaultNamespace is the namespace of requests that name none; it always exists.
const DefaultNamespace = "default"

// AllNamespacesSentinel asks a list for every namespace that the caller may read.
const AllNamespacesSentinel = "*"

// MaxBlockingWait is the longest time a blocking query waits, as the public API has it.
const MaxBlockingWait = 300 * time.Second

// InternalRpcInfo marks a request that a server has forwarded already, for
// peers that do not carry a hop count in the RPC header.
type InternalRpcInfo struct {
	Forwarded bool
}

// QueryOptions are the parameters that every read takes.
type QueryOptions struct {
	// Region is the region to ask, "" for the one of the receiving server.
	Region string
	// Namespace is "" for default and "*" for all that the token may read.
	Namespace string
	// MinQueryIndex above 0 makes the read block until the index is greater.
	MinQueryIndex uint64
	// MaxQueryTime bounds the blocking, 0 for MaxBlockingWait.
	MaxQueryTime time.Duration
	// AllowStale lets any server answer from what it has.
	AllowStale bool
	// Prefix restricts a list to keys that begin with it.
	Prefix string
	// AuthToken is the secret of the caller.
	AuthToken string
	// Filter is a go-bexpr expression over the stored objects.
	Filter string
	// PerPage above 0 bounds a page; NextToken is where it begins.
	PerPage   int32
	NextToken string
	// Reverse lists in descending order.
	Reverse bool

	InternalRpcInfo
}

// QueryOpts returns the options of a read request.
func (q *QueryOptions) QueryOpts() *QueryOptions { return q }

// RequestNamespace returns the namespace asked for.
func (q *QueryOptions) RequestNamespace() string {
	if q.Namespace == "" {
		return DefaultNamespace
	}
	return q.Namespace
}

// WriteRequest are the parameters that every write takes.
type WriteRequest struct {
	// Region is the region to write to, "" for the one of the receiving server.
	Region string
	// Namespace is "" for default.
	Namespace string
	// AuthToken is the secret of the caller; it never enters the log.
	AuthToken string
	// IdempotencyToken names the request for as long as its outcome is remembered:
	// sent again by the same caller, it gets the first answer. "" makes every
	// request another one.
	IdempotencyToken string

	InternalRpcInfo
}

// WriteOpts returns the options of a write request.
func (w *WriteRequest) WriteOpts() *WriteRequest { return w }

// RequestNamespace returns the namespace asked for.
func (w *WriteRequest) RequestNamespace() string {
	if w.Namespace == "" {
		return DefaultNamespace
	}
	return w.Namespace
}

// QueryMeta is what every read answers beside its result.
type QueryMeta struct {
	// Index is the logical index of the result; pass it back to block.
	Index uint64
	// LastContact is how long ago the answering server heard from the leader.
	LastContact time.Duration
	// KnownLeader says whether the answering server knows a leader.
	KnownLeader bool
	// NextToken begins the next page, "" at the end.
	NextToken string
}

// Meta returns the meta data of a read's reply.
func (m *QueryMeta) Meta() *QueryMeta { return m }

// WriteMeta is what every write answers beside its result.
type WriteMeta struct {
	// Index is the logical index of the write.
	Index uint64
}

// WriteMetaData returns the meta data of a write's reply.
func (m *WriteMeta) WriteMetaData() *WriteMeta { return m }

// Query is a pointer to a read request.
type Query interface{ QueryOpts() *QueryOptions }

// Write is a pointer to a write request.
type Write interface{ WriteOpts() *WriteRequest }

// QueryReply is a pointer to the reply of a read.
type QueryReply interface{ Meta() *QueryMeta }

// WriteReply is a pointer to the reply of a write.
type WriteReply interface{ WriteMetaData() *WriteMeta }

// GenericRequest asks for something that needs no parameters.
type GenericRequest struct {
	QueryOptions
}

// GenericResponse answers a write that has nothing else to say.
type GenericResponse struct {
	WriteMeta
}

// invalidf returns an error that a caller can mend.
func invalidf(format string, args ...any) error { return errs.Newf(errs.Invalid, format, args...) }

// NamespaceUpsertRequest creates or updates namespaces, all or none.
type NamespaceUpsertRequest struct {
	Namespaces []*Namespace
	WriteRequest
}

// NamespaceDeleteRequest deletes namespaces by name, all or none.
type NamespaceDeleteRequest struct {
	Namespaces []string
	WriteRequest
}

// ACLCheckedRequest is a write of access control whose author may not do everything,
// or the token of a login.
type ACLCheckedRequest struct {
	// Checked is the logical index of the last change of access control that the
	// author's rights were checked after. A newer change refuses the write.
	Checked uint64
	// Login says that the rights are those that a login binds: tokens are no part of them.
	Login bool
	// Entry is the entry of the write.
	Entry []byte
}

// VarApplyStateRequest is the Raft form of a variable operation: the items are
// encrypted and times are set.
type VarApplyStateRequest struct {
	Op  VarOp
	Var *VariableEncrypted
	WriteRequest
}

// OperationUpsertRequest notes how far an operation is.
type OperationUpsertRequest struct {
	Operation *Operation
	WriteRequest
}

// WorkloadEventRaiseRequest publishes what a program on a node tells.
type WorkloadEventRaiseRequest struct {
	Event *WorkloadEvent
	WriteRequest
}

// WrappedRootKeysUpsertRequest stores a root key. An active key makes the key
// that was active before inactive.
type WrappedRootKeysUpsertRequest struct {
	WrappedRootKeys *RootKey
	WriteRequest
}

// WrappedRootKeysDeleteRequest deletes a root key that is not active.
type WrappedRootKeysDeleteRequest struct {
	KeyID string
	WriteRequest
}

// The requests of auth methods under the names that their request types have in
// the plural; the public API names the structs in the singular.
type (
	// ACLAuthMethodsUpsertRequest is the request of ACLAuthMethodsUpsertRequestType.
	ACLAuthMethodsUpsertRequest = ACLAuthMethodUpsertRequest
	// ACLAuthMethodsDeleteRequest is the request of ACLAuthMethodsDeleteRequestType.
	ACLAuthMethodsDeleteRequest = ACLAuthMethodDeleteRequest
)
