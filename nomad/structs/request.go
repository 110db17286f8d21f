package structs

import (
	"encoding/binary"
	"strings"

	"github.com/cairn-project/cairn/internal/errs"
)

// RequestID names a write over all its tries. The zero value names none.
type RequestID [16]byte

// IsZero reports whether id names no request.
func (id RequestID) IsZero() bool { return id == RequestID{} }

// RequestTag makes of an entry of the log one that is applied once.
type RequestTag struct {
	ID RequestID
	// Time is the leader's clock in Unix seconds: the store ages by it.
	Time int64
	// Base is a logical index at which no try of the request was applied, 0 for
	// StampBase to set.
	Base uint64
}

// baseAt is where the base is in a tagged entry.
const baseAt = 1 + len(RequestID{})

// AppendTag appends what precedes the type byte of a tagged entry. The format is
// frozen: TaggedRequestType, the ID, the base as a big-endian uint64, the time as a
// uvarint.
func AppendTag(b []byte, tag *RequestTag) []byte {
	b = append(b, byte(TaggedRequestType))
	b = append(b, tag.ID[:]...)
	b = binary.BigEndian.AppendUint64(b, tag.Base)
	return binary.AppendUvarint(b, uint64(tag.Time))
}

// StampBase sets the base of an entry of AppendTag that has none yet. Entries
// without a tag are left as they are.
func StampBase(entry []byte, base uint64) {
	if MessageType(entry[0]) != TaggedRequestType {
		return
	}
	if at := entry[baseAt : baseAt+8]; binary.BigEndian.Uint64(at) == 0 {
		binary.BigEndian.PutUint64(at, base)
	}
}

// CutTag returns the tag of an entry and the entry behind it, with its own type
// byte. An entry without a tag is returned as it is.
func CutTag(entry []byte) (tag RequestTag, rest []byte, err error) {
	if len(entry) == 0 || MessageType(entry[0]) != TaggedRequestType {
		return tag, entry, nil
	}
	if len(entry) < baseAt+8 {
		return tag, nil, errBadTag
	}
	copy(tag.ID[:], entry[1:])
	tag.Base = binary.BigEndian.Uint64(entry[baseAt:])
	seconds, n := binary.Uvarint(entry[baseAt+8:])
	rest = entry[baseAt+8+max(n, 0):]
	if n <= 0 || seconds > maxTagTime || len(rest) == 0 || tag.ID.IsZero() {
		return RequestTag{}, nil, errBadTag
	}
	tag.Time = int64(seconds)
	return tag, rest, nil
}

// maxTagTime is far beyond any clock, so that ages do not overflow.
const maxTagTime = 1 << 40

var errBadTag = errs.New(errs.Internal, "tagged entry: bad tag")

// RequestRecord is the outcome of one request as a snapshot has it. Records are
// in the order in which they were applied.
type RequestRecord struct {
	// ID has no bytes in the first record, which stands for all that were dropped.
	ID []byte
	// Time is that of the tag, in the first record the newest of all.
	Time int64
	// Index is where the request was applied, in the first record the newest of
	// those that were dropped.
	Index uint64
	// Code is "" for a request that succeeded.
	Code   errs.Code
	Msg    string
	Errata []errs.Erratum
	// Variable is what the store answered to an operation on a variable.
	Variable *VarApplyStateResponse
	// Rows names the rows that the request wrote, where its answer shows them.
	Rows []string
}

// RowWriter is a request whose answer shows rows that it wrote: with their names
// the answer can be told again.
type RowWriter interface{ WrittenRows() []string }

// WrittenRows returns the accessors.
func (r *ACLTokenUpsertRequest) WrittenRows() []string {
	return rowNames(r.Tokens, func(t *ACLToken) string { return t.AccessorID })
}

// WrittenRows returns the accessor.
func (r *ACLTokenBootstrapRequest) WrittenRows() []string {
	return rowNames([]*ACLToken{r.Token}, func(t *ACLToken) string { return t.AccessorID })
}

// WrittenRows returns the accessor that the one-time token is for.
func (r *OneTimeTokenUpsertRequest) WrittenRows() []string {
	return rowNames([]*OneTimeToken{r.OneTimeToken}, func(t *OneTimeToken) string { return t.AccessorID })
}

// WrittenRows returns the accessors whose one-time tokens are used up.
func (r *OneTimeTokenDeleteRequest) WrittenRows() []string { return r.AccessorIDs }

// WrittenRows returns the IDs.
func (r *ACLRolesUpsertRequest) WrittenRows() []string {
	return rowNames(r.ACLRoles, func(role *ACLRole) string { return role.ID })
}

// WrittenRows returns the names.
func (r *ACLAuthMethodUpsertRequest) WrittenRows() []string {
	return rowNames(r.AuthMethods, func(m *ACLAuthMethod) string { return m.Name })
}

// WrittenRows returns the IDs.
func (r *ACLBindingRulesUpsertRequest) WrittenRows() []string {
	return rowNames(r.ACLBindingRules, func(rule *ACLBindingRule) string { return rule.ID })
}

// WrittenRows returns the ID.
func (r *AuthorityUpsertRequest) WrittenRows() []string {
	return rowNames([]*Authority{r.Authority}, func(a *Authority) string { return a.ID })
}

// WrittenRows returns the ID.
func (r *JoinTokenUpsertRequest) WrittenRows() []string {
	return rowNames([]*JoinToken{r.JoinToken}, func(t *JoinToken) string { return t.ID })
}

// rowNames returns the names of rows, in memory of their own.
func rowNames[T any](rows []*T, name func(*T) string) []string {
	out := make([]string, 0, len(rows))
	for _, row := range rows {
		if row != nil {
			out = append(out, strings.Clone(name(row)))
		}
	}
	return out
}
