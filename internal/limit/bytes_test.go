package limit

import (
	"errors"
	"sync"
	"testing"

	"github.com/cairn-project/cairn/internal/errs"
)

func TestBytesAreBounded(t *testing.T) {
	b := NewBytes(100)
	one, two := Hold{Of: b}, Hold{Of: b}
	if !one.Grow(60) || !two.Grow(40) {
		t.Fatal("refused within the budget")
	}
	if two.Grow(1) || one.Grow(1) {
		t.Error("took more than there is")
	}
	if b.Used() != 100 || b.Refused() != 2 {
		t.Errorf("%d used, %d refused", b.Used(), b.Refused())
	}
	two.Release()
	two.Release()
	if !one.Grow(1000) {
		t.Error("a request that is alone was refused: it never could be taken")
	}
	if two.Grow(1) {
		t.Error("another one got in beside it")
	}
	one.Release()
	if !two.Grow(100) || b.Used() != 100 {
		t.Errorf("%d used at the end", b.Used())
	}
	var e *errs.Error
	if err := b.Err(); !errors.As(err, &e) || e.Code != errs.Busy || e.RetryAfter <= 0 {
		t.Errorf("refused with %v", err)
	}
}

func TestBytesWithoutABound(t *testing.T) {
	for _, b := range []*Bytes{nil, NewBytes(0)} {
		h, other := Hold{Of: b}, Hold{Of: b}
		if !h.Grow(1<<40) || !other.Grow(1<<40) {
			t.Error("refused")
		}
		h.Release()
		other.Release()
		if b.Used() != 0 || b.Refused() != 0 {
			t.Errorf("%d used, %d refused", b.Used(), b.Refused())
		}
	}
}

func TestBytesAtOnce(t *testing.T) {
	b := NewBytes(1000)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 2000 {
				h := Hold{Of: b}
				h.Grow(90)
				h.Grow(90)
				h.Release()
			}
		})
	}
	wg.Wait()
	if b.Used() != 0 {
		t.Errorf("%d bytes were lost", b.Used())
	}
}
