package state

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/cairn-project/cairn/nomad/structs"
)

const benchKey = "9f1c7a52-38f5-4fd8-9f0a-0f3a7a3a2a11"

// benchVariable is a variable of 256 bytes of items, sealed.
func benchVariable(i int) *structs.VarApplyStateRequest {
	v := &structs.VariableEncrypted{
		VariableMetadata: structs.VariableMetadata{Namespace: "default", Path: fmt.Sprintf("app/%d/db-%07d", i%100, i), ModifyTime: 1 << 60},
		VariableData:     structs.VariableData{Data: make([]byte, 256+28+20), KeyID: benchKey},
	}
	v.Data[0], v.Data[1], v.Data[2], v.Data[3] = byte(i), byte(i>>8), byte(i>>16), byte(rand.Uint32())
	return &structs.VarApplyStateRequest{Op: structs.VarOpSet, Var: v}
}

// filledWith returns a store with n variables, written in random order.
func filledWith(b testing.TB, n int) *StateStore {
	s := New(nil, nil)
	must(b, s.UpsertRootKey(s.NextIndex(), rootKey(benchKey, structs.RootKeyStateActive)))
	order := rand.Perm(n)
	for len(order) > 0 {
		k := min(64, len(order))
		s.Batch(func(tx *StateStore) {
			for _, i := range order[:k] {
				_, err := tx.ApplyVariable(tx.NextIndex(), benchVariable(i))
				must(b, err)
			}
		})
		order = order[k:]
	}
	return s
}

// BenchmarkApply measures writes in batches of 64, per operation.
func BenchmarkApply(b *testing.B) {
	const known, batch = 100_000, 64
	run := func(name string, publish Publisher, path func(i int) int) {
		b.Run(name, func(b *testing.B) {
			s := filledWith(b, known)
			s.core.publish = publish
			reqs := make([]*structs.VarApplyStateRequest, batch)
			b.ReportAllocs()
			b.ResetTimer()
			for done := 0; done < b.N; done += batch {
				b.StopTimer()
				for i := range reqs {
					reqs[i] = benchVariable(path(done + i))
				}
				b.StartTimer()
				s.Batch(func(tx *StateStore) {
					for _, r := range reqs {
						if _, err := tx.ApplyVariable(tx.NextIndex(), r); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		})
	}
	drop := func([]structs.Event) {}
	run("insert", drop, func(i int) int { return known + i })
	run("update", drop, func(int) int { return rand.IntN(known) })
	run("update without events", nil, func(int) int { return rand.IntN(known) })
}

func BenchmarkRead(b *testing.B) {
	const known = 100_000
	s := filledWith(b, known)
	paths := make([]string, 1<<14)
	for i := range paths {
		paths[i] = benchVariable(rand.IntN(known)).Var.Path
	}
	b.Run("get", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			if s.Snapshot().Variable(nil, "default", paths[i%len(paths)]) == nil {
				b.Fatal("lost")
			}
			i++
		}
	})
	b.Run("page of 100", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			n := 0
			for range s.Snapshot().Variables(nil, VariableQuery{Namespace: "default", From: Key{"default", paths[i%len(paths)]}}) {
				if n++; n == 100 {
					break
				}
			}
			i++
		}
	})
}

// BenchmarkSnapshot measures whole snapshots; rows/s says how long a million takes.
func BenchmarkSnapshot(b *testing.B) {
	const n = 200_000
	s := filledWith(b, n)
	var buf bytes.Buffer
	must(b, s.Snapshot().Persist(&buf))
	b.Run("persist", func(b *testing.B) {
		for b.Loop() {
			must(b, s.Snapshot().Persist(io.Discard))
		}
		b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "rows/s")
	})
	b.Run("restore", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			must(b, New(nil, nil).Restore(bytes.NewReader(buf.Bytes())))
		}
		b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "rows/s")
	})
}

// BenchmarkMemory reports the heap per variable, written one by one and restored.
func BenchmarkMemory(b *testing.B) {
	const n = 100_000
	measure := func(b *testing.B, build func() *StateStore) {
		for b.Loop() {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			s := build()
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/variable")
			runtime.KeepAlive(s)
		}
	}
	b.Run("written", func(b *testing.B) { measure(b, func() *StateStore { return filledWith(b, n) }) })
	b.Run("restored", func(b *testing.B) {
		var buf bytes.Buffer
		must(b, filledWith(b, n).Snapshot().Persist(&buf))
		measure(b, func() *StateStore {
			s := New(nil, nil)
			must(b, s.Restore(bytes.NewReader(buf.Bytes())))
			return s
		})
	})
}
