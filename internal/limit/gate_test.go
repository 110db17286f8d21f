package limit

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// places returns n places for each class.
func places(n int) PerClass[int] { return PerClass[int]{n, n, n, n} }

func TestGateBoundsEachClass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(places(2))
		var full, late, in atomic.Int64
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				switch err := g.Enter(t.Context(), Write); err {
				case nil:
					in.Add(1)
					time.Sleep(maxWait + time.Second)
					g.Leave(Write)
				case ErrFull:
					full.Add(1)
				case ErrLate:
					late.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		for _, c := range []Class{Control, Read, Bulk} {
			if err := g.Enter(t.Context(), c); err != nil {
				t.Errorf("%v, while writes wait: %v", c, err)
			}
			g.Leave(c)
		}
		if w := g.Loads()[Write]; w.Running != 2 || w.Waiting != 2*waitersPerPlace {
			t.Errorf("%+v, want 2 to run and %d to wait", w, 2*waitersPerPlace)
		}
		wg.Wait()
		if in.Load() != 2 || late.Load() != 8 || full.Load() != 10 {
			t.Errorf("%d got in, %d waited too long, %d did not wait", in.Load(), late.Load(), full.Load())
		}
		if w := g.Loads()[Write]; w != (Load{Write, 0, 0, 10, 8}) {
			t.Errorf("in the end %+v", w)
		}
	})
}

func TestGateIsFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(places(1))
		if err := g.Enter(t.Context(), Read); err != nil {
			t.Fatal(err)
		}
		var order []int
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				if err := g.Enter(t.Context(), Read); err != nil {
					t.Error(err)
				}
				order = append(order, i)
				g.Leave(Read)
			})
			synctest.Wait()
		}
		g.Leave(Read)
		wg.Wait()
		for i, n := range order {
			if i != n {
				t.Fatalf("served in the order %v", order)
			}
		}
	})
}

func TestWhoGivesUpTakesNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(places(1))
		if err := g.Enter(t.Context(), Read); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := g.Enter(ctx, Read); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("gave up with %v", err)
		}
		g.Leave(Read)
		if err := g.Enter(t.Context(), Read); err != nil {
			t.Errorf("the place is free: %v", err)
		}
	})
}

func TestParkedRequestsHoldNoPlace(t *testing.T) {
	g := NewGate(places(1))
	for range 10 {
		if err := g.Enter(t.Context(), Bulk); err != nil {
			t.Fatal(err)
		}
		g.Park(Bulk)
	}
	for range 10 {
		g.Resume(Bulk)
	}
	if n := g.Loads()[Bulk].Running; n != 10 {
		t.Errorf("%d run", n)
	}
	for range 10 {
		g.Leave(Bulk)
	}
	if n := g.Loads()[Bulk].Running; n != 0 {
		t.Errorf("%d run in the end", n)
	}
}

func TestMorePlacesLetWaitersIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(places(1))
		for range 3 {
			go func() {
				if err := g.Enter(t.Context(), Write); err != nil {
					t.Error(err)
				}
			}()
		}
		synctest.Wait()
		g.Set(places(3))
		synctest.Wait()
		if w := g.Loads()[Write]; w.Running != 3 || w.Waiting != 0 {
			t.Errorf("%+v", w)
		}
	})
}

// TestNobodyIsForgotten has many come and go, none of whom may wait for ever.
func TestNobodyIsForgotten(t *testing.T) {
	g := NewGate(places(3))
	var running, most atomic.Int64
	var wg sync.WaitGroup
	for range 12 { // no more than may wait
		wg.Go(func() {
			for range 2000 {
				if err := g.Enter(t.Context(), Write); err != nil {
					t.Error(err)
					return
				}
				if n := running.Add(1); n > most.Load() {
					most.Store(n)
				}
				running.Add(-1)
				g.Leave(Write)
			}
		})
	}
	wg.Wait()
	if most.Load() > 3 {
		t.Errorf("%d at once", most.Load())
	}
	if w := g.Loads()[Write]; w != (Load{Class: Write}) {
		t.Errorf("in the end %+v", w)
	}
}
