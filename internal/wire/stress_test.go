package wire

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
)

func TestManyCallers(t *testing.T) {
	near, far := tcpPair(t)
	serve(t, decoding, Limits{MaxInFlight: 8}, far)
	c := NewClient(near, Limits{})
	defer c.Close()
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for j := range 50 {
				in := pingArgs{Region: strconv.Itoa(i), Value: uint64(j)}
				if j%10 == 0 {
					in.AuthToken = strings.Repeat("x", 40_000) // not gathered with others
				}
				var out pingArgs
				if err := c.Call(t.Context(), "A.B", &in, &out, CallOptions{}); err != nil || in != out {
					t.Errorf("caller %d, call %d: %v", i, j, err)
				}
			}
		})
	}
	wg.Wait()
	if n := c.Pending(); n != 0 {
		t.Errorf("%d calls pending", n)
	}
}

// Callers that give up at random and a connection that breaks in the middle:
// every call ends, right or with a reason, and a call that claims not to have
// been sent never ran.
func TestCallersGiveUpAndTheConnectionBreaks(t *testing.T) {
	for round := range 10 {
		near, far := tcpPair(t)
		var ran sync.Map
		s := serve(t, func(ctx context.Context, c *Call) (any, error) {
			ran.Store(c.RequestID, true)
			if rand.IntN(4) == 0 {
				<-ctx.Done()
			}
			return c.Body, nil
		}, Limits{MaxInFlight: 8}, far)
		c := NewClient(near, Limits{})
		var calls atomic.Int64
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				for j := range 50 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(3000))*time.Microsecond)
					id := strconv.Itoa(i) + "." + strconv.Itoa(j)
					var out Raw
					err := c.Call(ctx, "A.B", id, &out, CallOptions{RequestID: id})
					cancel()
					switch {
					case err == nil && !strings.HasSuffix(string(out), id):
						t.Errorf("%s got the answer %q", id, out)
					case err != nil && !errors.Is(err, errs.Deadline) && !errors.Is(err, errs.Unavailable):
						t.Errorf("%s: %v", id, err)
					}
					if _, yes := ran.Load(id); yes && errs.NotSent(err) {
						t.Errorf("%s ran although it was not sent: %v", id, err)
					}
					if calls.Add(1) == 400 && round%2 == 0 {
						_ = far.Close()
					}
				}
			})
		}
		wg.Wait()
		if n := c.Pending(); n != 0 {
			t.Errorf("%d calls pending", n)
		}
		_ = c.Close()
		<-s.done
		if n := s.InFlight(); n != 0 {
			t.Errorf("%d calls in flight", n)
		}
	}
}
