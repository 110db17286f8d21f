package load

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestRunCountsWhatEndsWithinTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		op := func() error { time.Sleep(10 * time.Millisecond); return nil }
		res := Run([]Worker{op, op}, time.Second, 2*time.Second+5*time.Millisecond)
		if res.Ops < 398 || res.Ops > 402 || res.Errors != 0 {
			t.Errorf("%d operations, %d errors", res.Ops, res.Errors)
		}
		if p := res.Latency(0.99); p != 10*time.Millisecond {
			t.Errorf("p99 %s", p)
		}
		if r := res.Rate(); r < 195 || r > 205 {
			t.Errorf("rate %f", r)
		}
	})
}

func TestRunCountsErrorsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		res := Run([]Worker{func() error { return errors.New("refused") }}, 0, time.Second)
		if res.Ops != 0 || res.Errors < 90 || res.FirstError != "refused" {
			t.Errorf("%+v", res)
		}
	})
}

func TestEachDoesAllDespiteErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls, done atomic.Int64
		op := func() error {
			if calls.Add(1)%3 == 0 {
				return errors.New("again")
			}
			done.Add(1)
			return nil
		}
		res := Each([]Worker{op, op, op}, 1000)
		if done.Load() != 1000 || res.Ops != 1000 || res.Errors == 0 {
			t.Errorf("%d done, %+v", done.Load(), res.Ops)
		}
	})
}

func TestEachGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		op := func() error { return errors.New("gone") }
		if res := Each([]Worker{op, op}, 1_000_000); res.Ops != 0 || res.FirstError != "gone" {
			t.Errorf("%d operations, %q", res.Ops, res.FirstError)
		}
	})
}

func TestQuantile(t *testing.T) {
	var v []time.Duration
	for i := range 100 {
		v = append(v, time.Duration(i+1))
	}
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 50, 0.99: 99, 1: 100} {
		if got := Quantile(v, q); got != want {
			t.Errorf("%v: %d, want %d", q, got, want)
		}
	}
	if Quantile(nil, 0.5) != 0 {
		t.Error("quantile of nothing")
	}
}

func TestMedian(t *testing.T) {
	for want, v := range map[float64][]float64{0: nil, 3: {9, 1, 3}, 2: {1, 3}} {
		if got := Median(v); got != want {
			t.Errorf("%v: %v, want %v", v, got, want)
		}
	}
}
