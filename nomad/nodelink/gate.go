package nodelink

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// ClassLimit bounds the calls of a class that an agent has at once.
type ClassLimit struct {
	// Running calls run, Waiting ones wait for that; more are told to come back.
	Running, Waiting int
}

// Limits bounds what an agent does at once, over all of its links.
type Limits struct {
	Read, Write, Stream ClassLimit
	// MaxMessage is the largest argument in bytes.
	MaxMessage int
}

// DefaultLimits returns the limits of an agent unless told otherwise.
func DefaultLimits() Limits {
	return Limits{Read: ClassLimit{32, 128}, Write: ClassLimit{8, 32}, Stream: ClassLimit{16, 0}, MaxMessage: DefaultMaxMessage}
}

// gate lets the calls of a class in.
type gate struct {
	class   Class
	running chan struct{}
	waiting atomic.Int64
	limit   ClassLimit
	refused atomic.Uint64
}

func newGate(class Class, limit ClassLimit) *gate {
	return &gate{class: class, limit: limit, running: make(chan struct{}, max(1, limit.Running))}
}

// busyRetry is when a call that was told to come back may do so.
const busyRetry = time.Second

// enter takes a place, for leave to give back, or says that all are taken.
func (g *gate) enter(ctx context.Context) *Failure {
	select {
	case g.running <- struct{}{}:
		return nil
	default:
	}
	if g.waiting.Add(1) > int64(g.limit.Waiting) {
		g.waiting.Add(-1)
		g.refused.Add(1)
		return &Failure{Outcome: Refused, Kind: Busy, RetryAfter: busyRetry,
			Help: fmt.Sprintf("the node is busy with %d calls that %s: try again later", g.limit.Running, g.class)}
	}
	defer g.waiting.Add(-1)
	select {
	case g.running <- struct{}{}:
		return nil
	case <-ctx.Done():
		return late(ctx)
	}
}

func (g *gate) leave() { <-g.running }
