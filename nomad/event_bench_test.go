package nomad

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cairn-project/cairn/nomad/structs"
)

// BenchmarkWritesWithSubscribers measures writes of 64 callers while others follow
// the events, of these writes or of another topic.
func BenchmarkWritesWithSubscribers(b *testing.B) {
	for _, n := range []int{0, 1, 1000} {
		for _, topic := range []structs.Topic{structs.TopicNode, structs.TopicVariable} {
			if n == 0 && topic == structs.TopicNode {
				continue
			}
			b.Run(fmt.Sprintf("%d of %s", n, topic), func(b *testing.B) {
				s := startLone(b)
				waitForKeys(b, s)
				ctx, cancel := context.WithCancel(b.Context())
				var followers sync.WaitGroup
				var lines atomic.Int64
				for range n {
					followers.Go(func() { followAgain(ctx, s, topic, &lines) })
				}
				for s.broker.Stats().Subscriptions < n {
					time.Sleep(time.Millisecond)
				}
				writeVariables(b, s)
				b.ReportMetric(float64(s.broker.Stats().Lost), "lost")
				cancel()
				followers.Wait()
			})
		}
	}
}

// followAgain follows a topic, and subscribes anew whenever it fell behind.
func followAgain(ctx context.Context, s *Server, topic structs.Topic, chunks *atomic.Int64) {
	r := &structs.EventStreamRequest{Topics: map[structs.Topic][]string{topic: nil}}
	for ctx.Err() == nil {
		_ = s.StreamEvents(ctx, r, func([]byte) error { chunks.Add(1); return nil })
	}
}

func writeVariables(b *testing.B, s *Server) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	var before, after syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	b.ResetTimer()
	for range 64 {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				v := &structs.VariableDecrypted{VariableMetadata: structs.VariableMetadata{Path: fmt.Sprint("app/", i%1000)}, Items: structs.VariableItems{"v": fmt.Sprint(i)}}
				if err := s.RPC(b.Context(), "Variables.Apply", &structs.VariablesApplyRequest{Op: structs.VarOpSet, Var: v}, &structs.VariablesApplyResponse{}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	cpu := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	b.ReportMetric(float64(cpu)/float64(b.N), "cpu-ns/op")
}
