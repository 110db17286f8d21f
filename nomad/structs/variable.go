package structs

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
)

// DefaultMaxVariableSize is the limit for the keys and values of one variable, in bytes.
const DefaultMaxVariableSize = 64 << 10

// Bounds and defaults of variable locks.
const (
	MinVariableLockTTL       = 10 * time.Second
	MaxVariableLockTTL       = 24 * time.Hour
	DefaultVariableLockTTL   = 15 * time.Second
	DefaultVariableLockDelay = 15 * time.Second
)

// VarOp is an operation on one variable.
type VarOp string

// The operations. VarOpLockAcquire with the ID of the held lock renews it.
const (
	VarOpSet         VarOp = "set"
	VarOpDelete      VarOp = "delete"
	VarOpDeleteCAS   VarOp = "delete-cas"
	VarOpCAS         VarOp = "cas"
	VarOpLockAcquire VarOp = "lock-acquire"
	VarOpLockRelease VarOp = "lock-release"
)

// VarOpResult says how an operation ended.
type VarOpResult string

// The results. VarOpResultRedacted is a conflict with a variable that the
// caller may not read.
const (
	VarOpResultOk       VarOpResult = "ok"
	VarOpResultConflict VarOpResult = "conflict"
	VarOpResultRedacted VarOpResult = "conflict-redacted"
	VarOpResultError    VarOpResult = "error"
)

// VariableMetadata is what a variable shows without its items.
type VariableMetadata struct {
	Namespace   string
	Path        string
	CreateIndex uint64
	// CreateTime and ModifyTime are Unix nanoseconds, taken by the leader.
	CreateTime  int64
	ModifyIndex uint64
	ModifyTime  int64
	// Lock is nil when nobody holds the variable.
	Lock *VariableLock `json:",omitempty"`
}

// VariableLock is the lock held on a variable.
type VariableLock struct {
	// ID is the secret of the holder, a UUID.
	ID string
	// TTL is how long the holder may be silent.
	TTL time.Duration
	// LockDelay is how long after a loss the variable stays locked.
	LockDelay time.Duration
}

// VariableItems are the keys and values of a variable.
type VariableItems map[string]string

// VariableData is the encrypted part of a variable.
type VariableData struct {
	// Data is the sealed JSON of the items, nonce first.
	Data []byte
	// KeyID is the root key that sealed it.
	KeyID string
}

// VariableEncrypted is a variable as it is stored and replicated.
type VariableEncrypted struct {
	VariableMetadata
	VariableData
}

// VariableDecrypted is a variable as its readers see it.
type VariableDecrypted struct {
	VariableMetadata
	Items VariableItems
}

// Size returns the bytes of all keys and values.
func (vi VariableItems) Size() int {
	n := 0
	for k, v := range vi {
		n += len(k) + len(v)
	}
	return n
}

// Copy returns a deep copy.
func (m VariableMetadata) Copy() VariableMetadata {
	if m.Lock != nil {
		l := *m.Lock
		m.Lock = &l
	}
	return m
}

// LockID returns the ID of the lock held, "" when there is none.
func (m *VariableMetadata) LockID() string {
	if m.Lock == nil {
		return ""
	}
	return m.Lock.ID
}

// Copy returns a deep copy; nil gives nil.
func (v *VariableEncrypted) Copy() *VariableEncrypted {
	if v == nil {
		return nil
	}
	return &VariableEncrypted{v.VariableMetadata.Copy(), VariableData{slices.Clone(v.Data), v.KeyID}}
}

// Copy returns a deep copy; nil gives nil.
func (v *VariableDecrypted) Copy() *VariableDecrypted {
	if v == nil {
		return nil
	}
	return &VariableDecrypted{v.VariableMetadata.Copy(), maps.Clone(v.Items)}
}

// maxVariablePath bounds a path, in bytes.
const maxVariablePath = 128

// plainPath reports whether path is made of the letters that a path may have.
func plainPath(path string) bool {
	for i := range len(path) {
		switch c := path[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '_', c == '~', c == '/':
		default:
			return false
		}
	}
	return len(path) <= maxVariablePath
}

var (
	variableRoot = regexp.MustCompile(`^nomad/(jobs(/.+)?|job-templates/[^/]+|sentinel(/.*)?)$`)
)

// ValidateVariablePath returns why path may not be written, nil if it may.
func ValidateVariablePath(path string) error {
	if path == "" {
		return invalidf("variable requires a path")
	}
	if clean := strings.Trim(path, "/"); clean != path {
		return invalidf("invalid path %q: must not begin or end with a slash, write %q", path, clean)
	}
	if !plainPath(path) {
		return invalidf("invalid path %q: must be 1 to 128 letters, digits, '-', '_', '~' and '/'", path)
	}
	if strings.Contains(path, "//") {
		return invalidf("invalid path %q: must not contain an empty segment", path)
	}
	if root, _, _ := strings.Cut(path, "/"); root == "nomad" && !variableRoot.MatchString(path) {
		return invalidf(`only paths at "nomad/jobs" or "nomad/jobs/[…]", "nomad/job-templates/<name>" and "nomad/sentinel/[…]" may be written below "nomad"; %q is reserved`, path)
	}
	return nil
}

// Validate returns every problem of a lock that somebody asks for.
func (l *VariableLock) problems() []errs.Erratum {
	var out []errs.Erratum
	if l.TTL < MinVariableLockTTL || l.TTL > MaxVariableLockTTL {
		out = append(out, errs.Erratum{Field: "Lock.TTL",
			Msg: fmt.Sprintf("lock TTL %s must be between %s and %s", l.TTL, MinVariableLockTTL, MaxVariableLockTTL)})
	}
	if l.LockDelay < 0 || l.LockDelay > MaxVariableLockTTL {
		out = append(out, errs.Erratum{Field: "Lock.LockDelay",
			Msg: fmt.Sprintf("lock delay %s must be between 0s and %s", l.LockDelay, MaxVariableLockTTL)})
	}
	return out
}

// lockJSON is the public form of a lock, with durations as text.
type lockJSON struct {
	ID        string `json:",omitempty"`
	TTL       string
	LockDelay string
}

// MarshalJSON writes the durations as text such as "15s".
func (l VariableLock) MarshalJSON() ([]byte, error) {
	return json.Marshal(lockJSON{l.ID, l.TTL.String(), l.LockDelay.String()})
}

// UnmarshalJSON reads durations as text or as integers of nanoseconds.
func (l *VariableLock) UnmarshalJSON(b []byte) error {
	var raw struct {
		ID             string
		TTL, LockDelay any
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	var err1, err2 error
	l.ID = raw.ID
	l.TTL, err1 = jsonDuration("TTL", raw.TTL)
	l.LockDelay, err2 = jsonDuration("LockDelay", raw.LockDelay)
	return errors.Join(err1, err2)
}

func jsonDuration(field string, v any) (time.Duration, error) {
	switch d := v.(type) {
	case nil:
		return 0, nil
	case float64:
		if math.Abs(d) > math.MaxInt64/2 {
			return 0, fmt.Errorf("%s: %g nanoseconds are out of range", field, d)
		}
		return time.Duration(d), nil
	case string:
		if d == "" {
			return 0, nil
		}
		out, err := time.ParseDuration(d)
		if err != nil {
			return 0, fmt.Errorf("%s: %q is not a duration such as \"15s\"", field, d)
		}
		return out, nil
	}
	return 0, fmt.Errorf("%s must be a duration such as \"15s\"", field)
}

// VariablesApplyRequest runs one operation on one variable.
type VariablesApplyRequest struct {
	Op  VarOp
	Var *VariableDecrypted
	WriteRequest
}

// RequestNamespace returns the namespace the operation touches: the one in the
// variable, else the one of the request.
func (r *VariablesApplyRequest) RequestNamespace() string {
	if r.Var != nil && r.Var.Namespace != "" {
		return r.Var.Namespace
	}
	return r.WriteRequest.RequestNamespace()
}

// Validate returns every problem of the request; maxSize bounds keys and values together.
func (r *VariablesApplyRequest) Validate(maxSize int) error {
	if r.Var == nil {
		return invalidf("variable is missing")
	}
	if r.RequestNamespace() == AllNamespacesSentinel {
		return invalidf(`can not target wildcard ("*") namespace`)
	}
	if err := ValidateVariablePath(r.Var.Path); err != nil {
		return err
	}
	switch r.Op {
	case VarOpSet, VarOpCAS:
		return r.validateItems(maxSize, true)
	case VarOpLockAcquire:
		return r.validateAcquire(maxSize)
	case VarOpLockRelease:
		if len(r.Var.Items) > 0 {
			return invalidf("items must be empty when a lock is released")
		}
		if r.Var.LockID() == "" {
			return invalidf("releasing a lock requires the lock ID")
		}
	case VarOpDelete, VarOpDeleteCAS:
	default:
		return invalidf("unknown variable operation %q", r.Op)
	}
	return nil
}

func (r *VariablesApplyRequest) validateItems(maxSize int, required bool) error {
	if required && len(r.Var.Items) == 0 {
		return invalidf("empty variables are invalid: give at least one item")
	}
	if n := r.Var.Items.Size(); n > maxSize {
		return invalidf("variables are limited to %d bytes in total size, this one has %d", maxSize, n)
	}
	return nil
}

func (r *VariablesApplyRequest) validateAcquire(maxSize int) error {
	if r.Var.Lock == nil {
		return invalidf("acquiring a lock requires the lock's TTL and delay")
	}
	if err := errataError("invalid lock", r.Var.Lock.problems()); err != nil {
		return err
	}
	return r.validateItems(maxSize, false)
}

// VariablesApplyResponse answers VariablesApplyRequest.
type VariablesApplyResponse struct {
	Op     VarOp
	Result VarOpResult
	// Error says why when Result is VarOpResultError.
	Error string
	// Conflict is the current variable when Result is a conflict: with items
	// only if the caller may read it.
	Conflict *VariableDecrypted
	// Output is the variable as written, nil after a delete.
	Output *VariableDecrypted
	WriteMeta
}

// IsConflict reports whether somebody else's state stood in the way.
func (r *VariablesApplyResponse) IsConflict() bool {
	return r.Result == VarOpResultConflict || r.Result == VarOpResultRedacted
}

// VarApplyStateResponse is what the store answers to VarApplyStateRequest.
type VarApplyStateResponse struct {
	Op     VarOp
	Result VarOpResult
	// Error is set when Result is VarOpResultError; it has a code.
	Error error `codec:"-"`
	// Conflict is the row that stood in the way, nil when its absence did.
	Conflict *VariableEncrypted
	// Written is the meta data of the row as stored, nil after a delete.
	Written *VariableMetadata
	WriteMeta
}

// VariablesListRequest lists the meta data of variables.
type VariablesListRequest struct {
	QueryOptions
}

// VariablesListResponse answers VariablesListRequest in order of namespace and path.
type VariablesListResponse struct {
	Data []*VariableMetadata
	QueryMeta
}

// VariablesReadRequest reads one variable.
type VariablesReadRequest struct {
	Path string
	QueryOptions
}

// VariablesReadResponse answers VariablesReadRequest; nil means absent.
type VariablesReadResponse struct {
	Data *VariableDecrypted
	QueryMeta
}

// VariablesRenewLockRequest keeps a lock for another TTL.
type VariablesRenewLockRequest struct {
	Path   string
	LockID string
	WriteRequest
}

// VariablesRenewLockResponse answers VariablesRenewLockRequest.
type VariablesRenewLockResponse struct {
	VarMeta *VariableMetadata
	WriteMeta
}

// VariablesQuota counts the encrypted bytes of one namespace.
type VariablesQuota struct {
	Namespace string
	// Size is in bytes of sealed data.
	Size        int64
	CreateIndex uint64
	ModifyIndex uint64
}

// Copy returns a copy; nil gives nil.
func (q *VariablesQuota) Copy() *VariablesQuota {
	if q == nil {
		return nil
	}
	c := *q
	return &c
}
