package auth

import (
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"
)

var noon = time.Date(2026, 1, 1, 12, 0, 30, 0, time.UTC)

func TestUsageKeepsTheLastMinute(t *testing.T) {
	u := NewUsage(noon)
	if u.Last("a") != nil {
		t.Error("a token that was never used was used")
	}
	u.Note("a", noon.Add(time.Hour))
	u.Note("a", noon)
	if got := u.Last("a"); got == nil || !got.Equal(noon.Add(time.Hour).Truncate(time.Minute)) {
		t.Errorf("used at %v", got)
	}
	other := NewUsage(noon.Add(-time.Hour))
	other.Note("a", noon)
	other.Note("b", noon)
	u.Merge(other.Export(0), time.Time{})
	if !u.Since().Equal(noon.Truncate(time.Minute)) {
		t.Errorf("since %v before all was merged", u.Since())
	}
	u.Merge(nil, other.Since())
	if u.Last("b") == nil || !u.Last("a").Equal(noon.Add(time.Hour).Truncate(time.Minute)) || !u.Since().Equal(other.Since()) {
		t.Errorf("merged: a %v, b %v, since %v", u.Last("a"), u.Last("b"), u.Since())
	}
	if got := u.Export(Minute(noon) + 1); len(got) != 1 || got["a"] == 0 {
		t.Errorf("exported %v", got)
	}
	u.Forget(func(accessor string) bool { return accessor == "b" })
	if u.Last("a") != nil || u.Last("b") == nil {
		t.Error("forgot the wrong one")
	}
}

func TestUsageUnderLoad(t *testing.T) {
	u := NewUsage(noon)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 1000 {
				u.Note(fmt.Sprint(i%50), noon.Add(time.Duration(w*1000+i)*time.Minute))
			}
		})
	}
	wg.Wait()
	got := u.Export(0)
	want := map[string]int64{}
	for i := range 1000 {
		want[fmt.Sprint(i%50)] = Minute(noon) + 3000 + int64(i)
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestNotingAUseAllocatesNothing(t *testing.T) {
	u := NewUsage(noon)
	u.Note("59c219c2-47e4-43f3-bb45-258fd13f59d5", noon)
	accessor := fmt.Sprint("59c219c2-47e4-43f3-bb45-", "258fd13f59d5")
	minute := 0
	if n := testing.AllocsPerRun(1000, func() {
		minute++
		u.Note(accessor, noon.Add(time.Duration(minute)*time.Minute))
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkNoteUsage(b *testing.B) {
	u := NewUsage(noon)
	for i := range 20000 {
		u.Note(fmt.Sprint("59c219c2-47e4-43f3-bb45-", i), noon)
	}
	accessor := fmt.Sprint("59c219c2-47e4-43f3-bb45-", 777)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			u.Note(accessor, noon)
		}
	})
}
