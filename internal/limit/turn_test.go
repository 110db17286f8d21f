package limit

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

func TestTurnsAreAsManyAsProcessors(t *testing.T) {
	var running, most atomic.Int64
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			end, err := Turn(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			defer end()
			n := running.Add(1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			runtime.Gosched()
			running.Add(-1)
		})
	}
	wg.Wait()
	if n := most.Load(); n > int64(cap(turns)) {
		t.Errorf("%d turns at once, want %d", n, cap(turns))
	}
}

func TestNobodyWaitsForATurnInVain(t *testing.T) {
	for range cap(turns) {
		end, err := Turn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer end()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Turn(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
