package agent

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/jsonrpc"
	"github.com/cairn-project/cairn/nomad/structs"
)

// maxOperations is how many operations that ended are remembered.
const maxOperations = 100

// maxNotes is how many of them may be notes when that pushes out what was done.
const maxNotes = maxOperations / 2

// lastWord bounds how long the servers are told that an operation has ended; an agent
// that stops waits for it.
const lastWord = 2 * time.Second

// maxToken bounds a token that a caller chose, in bytes.
const maxToken = 128

// Codes of details of calls about operations, frozen once released.
const (
	errataTokenUnknown = 6001
	errataTokenTaken   = 6002
	errataInProgress   = 6004
	errataNoOperation  = 6005
)

// operation is one long piece of work, or a step of one. Only its operations
// object touches it once it runs.
type operation struct {
	ID     string `json:"operation,omitempty"`
	Token  string `json:"token,omitempty"`
	Kind   string `json:"kind,omitempty"`
	Name   string `json:"name"`
	Caller string `json:"caller,omitempty"`
	// AccessorID is of the caller's token, Reason why it was asked for, Node what it is about.
	AccessorID string `json:"accessor_id,omitempty"`
	Reason     string `json:"reason,omitempty"`
	Node       string `json:"node,omitempty"`
	// Agent is who runs it, for what the servers keep.
	Agent string                 `json:"agent,omitempty"`
	State structs.OperationState `json:"state"`
	// Message says why it failed, or what is worth knowing.
	Message  string       `json:"message,omitempty"`
	Created  time.Time    `json:"created"`
	Finished *time.Time   `json:"finished,omitempty"`
	Steps    []*operation `json:"steps,omitempty"`
	// note is true of what only happened, and was no work.
	note bool
}

// done reports whether the state is final.
func (o *operation) done() bool { return o.State.Done() }

// clone returns a copy that shares nothing that changes.
func (o *operation) clone() *operation {
	out := *o
	out.Steps = nil
	for _, s := range o.Steps {
		out.Steps = append(out.Steps, s.clone())
	}
	return &out
}

// finish sets the outcome. Steps that never began are failed as well, so that nothing
// stays in progress for ever.
func (o *operation) finish(err error) {
	if o.done() {
		return
	}
	now := time.Now().UTC()
	o.Finished = &now
	o.State = structs.OperationSucceeded
	if err != nil {
		o.State, o.Message = structs.OperationFailed, errs.From(err, "").Error()
		switch errs.CodeOf(err) {
		case errs.Unavailable, errs.NoPath, errs.NoLeader:
			o.State = structs.OperationUnreachable
		case errs.Internal:
			o.Message = err.Error()
		}
	}
	for _, s := range o.Steps {
		if !s.done() {
			s.finish(errs.New(errs.Unavailable, "not begun"))
			s.State = structs.OperationFailed
		}
	}
}

// operations runs long work and remembers it. It is safe for concurrent use.
type operations struct {
	mu sync.Mutex
	// list holds them, oldest first.
	list []*operation
	// logger takes the panics of work.
	logger hclog.Logger
	// stopped refuses new ones.
	stopped bool
	wg      sync.WaitGroup
	// life ends when the agent stops, by end.
	life context.Context
	end  context.CancelFunc
}

func newOperations(logger hclog.Logger) *operations {
	os := &operations{logger: logger}
	os.life, os.end = context.WithCancel(context.Background())
	return os
}

// stop ends what runs and waits for it.
func (os *operations) stop() {
	os.mu.Lock()
	os.stopped = true
	os.mu.Unlock()
	os.end()
	os.wg.Wait()
}

// operationRef is what a method answers that began an operation.
type operationRef struct {
	Operation string `json:"operation"`
	Token     string `json:"token"`
}

// spec says what is to be begun.
type operationSpec struct {
	kind, name, caller string
	// token is "" for one of our making, which begins with prefix.
	token, prefix string
	// steps are queued at once, and run in this order.
	steps []string
	// tell is called when it has begun and when it has ended, nil for nobody.
	tell func(ctx context.Context, id string)
	// alone refuses a second operation of the kind while one runs, unless force is set.
	alone, force bool
}

// begin runs work on a goroutine of its own, and returns at once.
func (os *operations) begin(spec operationSpec, work func(ctx context.Context, run *operationRun) error) (operationRef, error) {
	os.mu.Lock()
	defer os.mu.Unlock()
	if len(spec.token) > maxToken {
		return operationRef{}, jsonrpc.InvalidParams("/token", "must have 128 bytes at most")
	}
	if os.stopped {
		return operationRef{}, errs.New(errs.Unavailable, "the agent is stopping")
	}
	running := 0
	for _, o := range os.list {
		if !o.done() {
			running++
		}
		if spec.token != "" && o.Token == spec.token {
			return operationRef{}, jsonrpc.Failed(jsonrpc.Detail{Code: errataTokenTaken, Field: "/token",
				Message: "the token is in use: choose another one, or none", Kind: errs.Conflict})
		}
		if spec.alone && !spec.force && o.Kind == spec.kind && !o.done() {
			return operationRef{}, jsonrpc.Failed(jsonrpc.Detail{Code: errataInProgress,
				Message: "in progress already, with token " + o.Token, Kind: errs.Conflict})
		}
	}
	if running >= maxOperations {
		e := errs.Newf(errs.Busy, "%d operations run at present: wait until one has ended", running)
		e.RetryAfter = time.Second
		return operationRef{}, e
	}
	o := &operation{ID: "op-" + randomHex(), Token: spec.token, Kind: spec.kind, Name: spec.name, Caller: spec.caller,
		State: structs.OperationRunning, Created: time.Now().UTC()}
	if o.Token == "" {
		o.Token = spec.prefix + randomHex()
	}
	for _, name := range spec.steps {
		o.Steps = append(o.Steps, &operation{Name: name, State: structs.OperationQueued, Created: o.Created})
	}
	os.addLocked(o)
	os.wg.Go(func() { os.run(o, spec.tell, work) })
	return operationRef{Operation: o.ID, Token: o.Token}, nil
}

// run does the work of an operation to its end.
func (os *operations) run(o *operation, tell func(context.Context, string), work func(context.Context, *operationRun) error) {
	if tell == nil {
		tell = func(context.Context, string) {}
	}
	tell(os.life, o.ID)
	err := os.safely(o, work)
	os.mu.Lock()
	o.finish(err)
	os.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(os.life), lastWord) // it ended, though the agent may end too
	defer cancel()
	tell(ctx, o.ID)
}

// safely runs work; a panic of it is its failure and not the end of the agent.
func (os *operations) safely(o *operation, work func(context.Context, *operationRun) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			os.logger.Error("an operation panicked", "operation", o.ID, "kind", o.Kind, "panic", p, "stack", string(debug.Stack()))
			err = errs.New(errs.Internal, "it panicked: the log of the agent says where")
		}
	}()
	return work(os.life, &operationRun{all: os, op: o})
}

// addLocked appends an operation and forgets the oldest that ended, or the oldest
// note where notes are most of what is there; os.mu is held.
func (os *operations) addLocked(o *operation) {
	if len(os.list) >= maxOperations {
		notes := 0
		for _, have := range os.list {
			if have.note {
				notes++
			}
		}
		if o.note && notes >= maxNotes {
			os.forgetLocked(func(have *operation) bool { return have.note })
		} else {
			os.forgetLocked((*operation).done)
		}
	}
	os.list = append(os.list, o)
}

// forgetLocked drops the oldest that matches; os.mu is held.
func (os *operations) forgetLocked(match func(*operation) bool) {
	if i := slices.IndexFunc(os.list, match); i >= 0 {
		os.list = slices.Delete(os.list, i, i+1)
	}
}

// note remembers something that happened, as an operation that has ended, and returns its ID.
func (os *operations) note(kind, name, caller string) string {
	o := &operation{ID: "op-" + randomHex(), Kind: kind, Name: name, Caller: caller, State: structs.OperationRunning, Created: time.Now().UTC(), note: true}
	o.finish(nil)
	os.mu.Lock()
	defer os.mu.Unlock()
	os.addLocked(o)
	return o.ID
}

// find returns copies of the newest operations that match, newest first; count 0 means all.
func (os *operations) find(match func(*operation) bool, count int) []*operation {
	os.mu.Lock()
	defer os.mu.Unlock()
	out := []*operation{}
	for _, o := range slices.Backward(os.list) {
		if match(o) {
			out = append(out, o.clone())
		}
		if count > 0 && len(out) == count {
			break
		}
	}
	return out
}

// operationRun is the work's side of an operation.
type operationRun struct {
	all *operations
	op  *operation
}

// step runs one of the steps that were queued and returns its error.
func (r *operationRun) step(i int, work func() error) error {
	r.set(func() { r.op.Steps[i].State = structs.OperationRunning })
	err := work()
	r.set(func() { r.op.Steps[i].finish(err) })
	return err
}

// note sets the message of a step that runs; an error of the step replaces it.
func (r *operationRun) note(i int, text string) { r.set(func() { r.op.Steps[i].Message = text }) }

// say sets the message of the operation.
func (r *operationRun) say(text string) { r.set(func() { r.op.Message = text }) }

func (r *operationRun) set(change func()) {
	r.all.mu.Lock()
	defer r.all.mu.Unlock()
	change()
}

func randomHex() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // crypto/rand never fails
	return hex.EncodeToString(b[:])
}
