package agent

import (
	"context"
	"sync"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
)

const (
	// briefWait is how long the servers are asked for something newer where the agent has
	// an older answer that will do.
	briefWait = 500 * time.Millisecond
	// silentPause is how long they are not asked again once they were silent for that time.
	silentPause = 5 * time.Second
)

// briefly bounds asking where memory has an answer too: the caller, who may be in a
// hurry, still has time for that one.
func briefly(ctx context.Context) (context.Context, context.CancelFunc) {
	wait := briefWait
	if at, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(at)/2)
	}
	return context.WithTimeout(ctx, wait)
}

// question is something that the agent asks the servers now and then: once at a time
// for all who wait for the answer, and to the end also when they have gone.
type question struct {
	sockets *agentSockets
	// ask keeps the answer itself. It has limit to get one.
	ask   func(context.Context) error
	limit time.Duration

	mu   sync.Mutex
	done chan struct{} // closed at the end of the one under way, nil for none; guarded by mu
	err  error         // how the last one ended; guarded by mu
}

// answered asks, unless that is under way, and waits until it is over or ctx ends.
func (q *question) answered(ctx context.Context) error {
	q.mu.Lock()
	done := q.done
	if done == nil {
		done = make(chan struct{})
		q.done = done
		q.sockets.wg.Go(func() { q.run(done) })
	}
	q.mu.Unlock()
	select {
	case <-done:
		q.mu.Lock()
		defer q.mu.Unlock()
		return q.err
	case <-ctx.Done():
		return errs.Wrap(errs.Deadline, "no server answered in time", ctx.Err())
	}
}

func (q *question) run(done chan struct{}) {
	ctx, cancel := context.WithTimeout(q.sockets.life, q.limit)
	defer cancel()
	err := q.ask(ctx)
	q.mu.Lock()
	q.err, q.done = err, nil
	q.mu.Unlock()
	close(done)
}
