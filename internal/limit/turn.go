package limit

import (
	"context"
	"runtime"

	"github.com/cairn-project/cairn/internal/errs"
)

// turns has a place for each processor.
var turns = make(chan struct{}, runtime.GOMAXPROCS(0))

// Turn waits for one of as many turns as there are processors, and returns the
// function that ends it; the error says that ctx ended before. Work that keeps a processor
// busy for milliseconds, such as encoding a long list, is done in turns: when hundreds of
// goroutines do it at once, those that must answer within milliseconds, Raft's
// first of all, wait behind all of them. Who has a turn neither waits for anything nor
// asks for another.
func Turn(ctx context.Context) (end func(), err error) {
	select {
	case turns <- struct{}{}:
		return endTurn, nil
	default:
	}
	select {
	case turns <- struct{}{}:
		return endTurn, nil
	case <-ctx.Done():
		return nil, errs.Gone(ctx.Err())
	}
}

func endTurn() { <-turns }
