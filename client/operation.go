package client

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/cairn-project/cairn/internal/errs"
)

// fileOperations keeps the last operations.
const fileOperations = "operations.json"

// maxOperations is how many operations are kept; the oldest that has ended goes first.
// maxUnfinished of them may wait or run.
const (
	maxOperations = 100
	maxUnfinished = 20
)

// Cause is who asked for a change and why.
type Cause struct {
	User    string
	Message string
	// Caller is the accessor ID of the token, filled in by the server.
	Caller string `json:",omitempty"`
}

// OperationStatus is how far an operation is.
type OperationStatus string

// The states of an operation.
const (
	OperationQueued    OperationStatus = "queued"
	OperationRunning   OperationStatus = "running"
	OperationSucceeded OperationStatus = "succeeded"
	OperationFailed    OperationStatus = "failed"
)

// ended reports whether nothing more will happen.
func (s OperationStatus) ended() bool { return s == OperationSucceeded || s == OperationFailed }

// Operation is a change of the node that was asked for.
type Operation struct {
	ID      string
	Kind    string
	Cause   Cause
	Status  OperationStatus
	Created time.Time
	// Ended is zero until then. Result and Error say how it ended.
	Ended  time.Time
	Result string `json:",omitempty"`
	Error  string `json:",omitempty"`
}

// operations runs changes one after another and remembers the last ones on disk. It
// is safe for concurrent use.
type operations struct {
	dir   *stateDir
	queue chan queuedOperation

	mu sync.Mutex
	// list is guarded by mu, the oldest first.
	list []Operation
}

type queuedOperation struct {
	id  string
	run func(context.Context) (string, error)
}

// loadOperations reads what was asked for before. What had not ended then is failed:
// nobody knows how far it came.
func loadOperations(dir *stateDir) (*operations, error) {
	o := &operations{dir: dir, queue: make(chan queuedOperation, maxUnfinished)}
	b, err := dir.read(fileOperations)
	if err != nil {
		return nil, fmt.Errorf("reading the node's operations: %w", err)
	}
	if len(b) == 0 {
		return o, nil
	}
	if o.list, err = parseOperations(b); err != nil {
		return nil, fmt.Errorf("%s is damaged: remove it, the agent starts with no operations then: %w", dir.file(fileOperations), err)
	}
	for i := range o.list {
		if op := &o.list[i]; !op.Status.ended() {
			op.Status, op.Ended = OperationFailed, time.Now().UTC()
			op.Error = "the agent ended before this did: see how the node is, and apply it again"
		}
	}
	return o, nil
}

// parseOperations reads the file of the operations.
func parseOperations(b []byte) (list []Operation, err error) {
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, err
	}
	for _, op := range list {
		if uuid.Validate(op.ID) != nil {
			return nil, fmt.Errorf("%q is no ID of an operation", op.ID)
		}
	}
	return list[max(0, len(list)-maxOperations):], nil
}

// begin queues a change and returns its ID once that is on disk.
func (o *operations) begin(kind string, cause Cause, run func(context.Context) (string, error)) (string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	unfinished := 0
	for _, op := range o.list {
		if !op.Status.ended() {
			unfinished++
		}
	}
	if unfinished >= maxUnfinished {
		return "", errs.Newf(errs.Busy, "%d operations of the node have not ended yet: wait for one of them", unfinished).WithRetryAfter(time.Second)
	}
	next := append(slices.Clone(o.list), Operation{ID: uuid.NewString(), Kind: kind, Cause: cause, Status: OperationQueued, Created: time.Now().UTC()})
	if over := len(next) - maxOperations; over > 0 {
		next = slices.DeleteFunc(next, func(op Operation) bool {
			over--
			return over >= 0 && op.Status.ended()
		})
	}
	if err := o.storeLocked(next); err != nil {
		return "", err
	}
	id := next[len(next)-1].ID
	o.queue <- queuedOperation{id, run} // there is room for all that have not ended
	return id, nil
}

// storeLocked writes the list and takes it over.
func (o *operations) storeLocked(list []Operation) error {
	b, err := json.Marshal(list)
	if err != nil {
		return err
	}
	if err := o.dir.write(fileOperations, b); err != nil {
		return err
	}
	o.list = list
	return nil
}

// update changes one operation on disk and in memory; if the disk fails only there.
func (o *operations) update(id string, change func(*Operation)) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	next := slices.Clone(o.list)
	i := slices.IndexFunc(next, func(op Operation) bool { return op.ID == id })
	if i < 0 {
		return nil
	}
	change(&next[i])
	err := o.storeLocked(next)
	o.list = next
	return err
}

// get returns an operation.
func (o *operations) get(id string) (Operation, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := slices.IndexFunc(o.list, func(op Operation) bool { return op.ID == id })
	if i < 0 {
		return Operation{}, errs.Newf(errs.NotFound, "the node has no operation %q: it keeps the last %d", id, maxOperations)
	}
	return o.list[i], nil
}

// all returns the operations, the oldest first.
func (o *operations) all() []Operation {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.list)
}

// operationTimeout bounds one operation.
const operationTimeout = time.Minute

// run does what is queued until ctx ends. report is told of what the disk did not take.
func (o *operations) run(ctx context.Context, report func(error)) {
	for {
		select {
		case <-ctx.Done():
			return
		case q := <-o.queue:
			o.one(ctx, q, report)
		}
	}
}

func (o *operations) one(ctx context.Context, q queuedOperation, report func(error)) {
	tell := func(change func(*Operation)) {
		if err := o.update(q.id, change); err != nil {
			report(err)
		}
	}
	tell(func(op *Operation) { op.Status = OperationRunning })
	limited, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	result, err := q.run(limited)
	tell(func(op *Operation) {
		op.Status, op.Result, op.Ended = OperationSucceeded, result, time.Now().UTC()
		if err != nil {
			op.Status, op.Error = OperationFailed, err.Error()
		}
	})
}

// forget drops the operations that have ended.
func (o *operations) forget() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.storeLocked(slices.DeleteFunc(slices.Clone(o.list), func(op Operation) bool { return op.Status.ended() }))
}
