package nodelink

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/cairn-project/cairn/internal/mux"
)

// The pauses between two dials: they double from the first to the longest, each
// with jitter; after a refusal they begin higher.
const (
	minPause        = 200 * time.Millisecond
	maxPause        = 30 * time.Second
	minRefusedPause = 2 * time.Second
	maxRefusedPause = 5 * time.Minute
)

// State is how the link of an agent is.
type State struct {
	// Up is true while a server has the link; Welcome is what it said.
	Up      bool
	Welcome Welcome
	// Err is why the link is not up, a *Refusal where a server said so. The agent is
	// degraded and goes on dialling.
	Err error
	// Since is when it became so.
	Since time.Time
}

// Dialer keeps a link of an agent to some server up.
type Dialer struct {
	// Agent serves the calls.
	Agent *Agent
	// Dial opens a session to the next server of the agent's choice, for instance
	// with DialPort or DialWebSocket.
	Dial func(ctx context.Context) (mux.Session, error)
	// OnState is told of every change, one at a time; it may be nil.
	OnState func(State)
	// Again ends a pause: what was refused may be taken now. It may be nil.
	Again <-chan struct{}
}

// Run dials until ctx ends.
func (d *Dialer) Run(ctx context.Context) {
	pause := minPause
	for ctx.Err() == nil {
		up, err := d.once(ctx)
		if ctx.Err() != nil {
			return
		}
		d.tell(State{Err: err, Since: time.Now()})
		var wait time.Duration
		wait, pause = nextPause(err, up, pause)
		select {
		case <-ctx.Done():
			return
		case <-d.Again:
			pause = minPause
		case <-time.After(wait):
		}
	}
}

// once dials and serves until the link ends; up tells whether there was one.
func (d *Dialer) once(ctx context.Context) (up bool, err error) {
	s, err := d.Dial(ctx)
	if err != nil {
		return false, err
	}
	err = d.Agent.Serve(ctx, s, func(w Welcome) {
		up = true
		d.tell(State{Up: true, Welcome: w, Since: time.Now()})
	})
	return up, err
}

func (d *Dialer) tell(s State) {
	if d.OnState != nil {
		d.OnState(s)
	}
}

// nextPause returns how long to wait before the next dial, and what to double
// after it fails too.
func nextPause(err error, up bool, last time.Duration) (wait, next time.Duration) {
	if up {
		last = minPause
	}
	longest := maxPause
	if r := new(Refusal); errors.As(err, &r) {
		switch {
		case r.Reason == MaxAge:
			return jitter(minPause), minPause
		case r.Reason == Leaving:
			if up { // others take the agent at once
				return jitter(minPause), minPause
			}
		case r.Reason == Kicked && up && r.RetryAfter > 0: // by an operator: nothing is wrong, and no newer link is in its place
			return jitter(r.RetryAfter), minPause
		default:
			longest, last = maxRefusedPause, max(last, minRefusedPause)
		}
		last = min(longest, max(last, r.RetryAfter))
	}
	return jitter(last), min(2*last, longest)
}

// jitter returns half to one and a half of d.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }
