package nomad

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// slowLog stands in for raft: an entry is on disk after a tenth of a second and
// answered after a second.
type slowLog struct {
	appended chan struct{}
	mu       sync.Mutex
	entries  [][][]byte // the writes of each entry
	err      error      // of every entry
	forever  bool       // no entry is ever answered
}

type slowFuture struct {
	log *slowLog
	n   int
}

func (l *slowLog) propose(entry []byte, _ time.Duration) raft.ApplyFuture {
	writes := [][]byte{entry}
	if structs.MessageType(entry[0]) == structs.BatchRequestType {
		split, err := structs.SplitBatch(entry[1:])
		if err != nil {
			panic(err)
		}
		writes = split
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, writes)
	if l.err == nil && !l.forever {
		time.AfterFunc(100*time.Millisecond, func() { l.appended <- struct{}{} })
	}
	return &slowFuture{l, len(writes)}
}

func (f *slowFuture) Error() error {
	time.Sleep(time.Second)
	if f.log.forever {
		time.Sleep(time.Hour)
	}
	return f.log.err
}
func (f *slowFuture) Index() uint64 { return 1 }
func (f *slowFuture) Response() any {
	out := make([]opResult, f.n)
	for i := range out {
		out[i].index = uint64(i + 1)
	}
	return out
}

// withProposer runs fn beside a proposer on log.
func withProposer(t *testing.T, log *slowLog, grouped bool, fn func(p *proposer, stop func())) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		log.appended = make(chan struct{}, 1)
		p := newProposer(log.propose, func() bool { return grouped }, log.appended, ctx.Done())
		ended := make(chan struct{})
		go func() { p.run(ctx); close(ended) }()
		fn(p, cancel)
		cancel()
		<-ended
	})
}

// submitAll submits the writes at once and returns their errors.
func submitAll(ctx context.Context, p *proposer, writes [][]byte) []error {
	out := make([]error, len(writes))
	var wg sync.WaitGroup
	for i, w := range writes {
		wg.Go(func() { _, out[i] = p.submit(ctx, w) })
	}
	wg.Wait()
	return out
}

func writesOf(n, size int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = make([]byte, size)
		copy(out[i], fmt.Sprintf("\x01%d", i))
	}
	return out
}

func TestConcurrentWritesShareEntries(t *testing.T) {
	for name, tc := range map[string]struct {
		n, size    int
		grouped    bool
		min, max   int // entries
		mostWrites int
	}{
		"many small":        {1000, 100, true, 4, 12, structs.MaxBatchOps},
		"few large":         {64, 64 << 10, true, 13, 30, 5},
		"old servers about": {20, 100, false, 20, 20, 1},
	} {
		t.Run(name, func(t *testing.T) {
			log := &slowLog{}
			withProposer(t, log, tc.grouped, func(p *proposer, _ func()) {
				for _, err := range submitAll(context.Background(), p, writesOf(tc.n, tc.size)) {
					if err != nil {
						t.Errorf("a write failed: %v", err)
					}
				}
			})
			seen := map[string]bool{}
			for _, e := range log.entries {
				if len(e) > tc.mostWrites {
					t.Errorf("an entry holds %d writes", len(e))
				}
				for _, w := range e {
					seen[string(w)] = true
				}
			}
			if len(seen) != tc.n {
				t.Errorf("%d of %d writes were proposed", len(seen), tc.n)
			}
			if n := len(log.entries); n < tc.min || n > tc.max {
				t.Errorf("%d entries, want %d to %d", n, tc.min, tc.max)
			}
		})
	}
}

func TestFailedEntrySaysWhetherItMayBeApplied(t *testing.T) {
	for cause, want := range map[error]struct {
		code     errs.Code
		executed errs.Executed
	}{
		raft.ErrNotLeader:                    {errs.NoLeader, errs.ExecutedNo},
		raft.ErrLeadershipTransferInProgress: {errs.NoLeader, errs.ExecutedNo},
		raft.ErrEnqueueTimeout:               {errs.Busy, errs.ExecutedNo},
		raft.ErrLeadershipLost:               {errs.Unavailable, errs.ExecutedUnknown},
		raft.ErrRaftShutdown:                 {errs.Unavailable, errs.ExecutedUnknown},
		raft.ErrAbortedByRestore:             {errs.Unavailable, errs.ExecutedUnknown},
		errors.New("disk full"):              {errs.Unavailable, errs.ExecutedUnknown},
	} {
		withProposer(t, &slowLog{err: cause}, true, func(p *proposer, _ func()) {
			for _, err := range submitAll(context.Background(), p, writesOf(5, 10)) {
				var e *errs.Error
				if !errors.As(err, &e) || e.Code != want.code || e.Executed != want.executed {
					t.Errorf("%v: got %v, %+v", cause, err, e)
				}
			}
		})
	}
}

func TestCallerWhoLeavesLearnsThatTheWriteMayBeApplied(t *testing.T) {
	withProposer(t, &slowLog{forever: true}, true, func(p *proposer, _ func()) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		// One in flight, the queue full, the rest without a place.
		outcomes := map[errs.Executed]int{}
		for _, err := range submitAll(ctx, p, writesOf(2+2*structs.MaxBatchOps+cap(p.queue)+50, 10)) {
			var e *errs.Error
			if !errors.As(err, &e) || e.Code != errs.Deadline {
				t.Fatalf("got %v", err)
			}
			outcomes[e.Executed]++
		}
		if outcomes[errs.ExecutedNo] == 0 || outcomes[errs.ExecutedUnknown] < cap(p.queue) {
			t.Fatalf("outcomes %v", outcomes)
		}
	})
}

func TestStopAnswersWhoWaits(t *testing.T) {
	withProposer(t, &slowLog{forever: true}, true, func(p *proposer, stop func()) {
		time.AfterFunc(5*time.Second, stop)
		start := time.Now()
		for _, err := range submitAll(context.Background(), p, writesOf(50, 10)) {
			if !errors.Is(err, errs.Unavailable) || errs.NotSent(err) {
				t.Fatalf("got %v", err)
			}
		}
		if took := time.Since(start); took > 6*time.Second {
			t.Fatalf("answered after %v", took)
		}
		if _, err := p.submit(context.Background(), []byte{1}); err == nil {
			t.Fatal("took a write after the stop")
		}
	})
}

func TestNextGroupGoesOutWhenTheLogIsFree(t *testing.T) {
	log := &slowLog{}
	withProposer(t, log, true, func(p *proposer, _ func()) {
		var wg sync.WaitGroup
		write := func() {
			wg.Go(func() {
				if _, err := p.submit(context.Background(), []byte{1}); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		entries := func() int {
			log.mu.Lock()
			defer log.mu.Unlock()
			return len(log.entries)
		}
		write()
		write()
		write()
		if n := entries(); n != 1 {
			t.Fatalf("%d entries while the first is on its way to the disk", n)
		}
		time.Sleep(150 * time.Millisecond)
		synctest.Wait()
		if n := entries(); n != 2 || len(log.entries[1]) != 2 {
			t.Fatalf("%d entries once the first is on disk, want a second one with both writes", n)
		}
		wg.Wait()
	})
}
