package e2e

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// step is one operation on one variable: a write of a value that no other
// operation writes, or a read when the value is "".
type step struct{ path, value string }

// registers is what a set of variables may do: a read gives the last write.
var registers = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byPath := map[string][]porcupine.Operation{}
		for _, op := range history {
			path := op.Input.(step).path
			byPath[path] = append(byPath[path], op)
		}
		var out [][]porcupine.Operation
		for _, ops := range byPath {
			out = append(out, ops)
		}
		return out
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		if in := input.(step); in.value != "" {
			return true, in.value
		}
		return state == output, state
	},
	DescribeOperation: func(input, output any) string {
		if in := input.(step); in.value != "" {
			return "put " + in.path + " " + in.value
		}
		return fmt.Sprintf("get %s: %v", input.(step).path, output)
	},
}

// history records operations. Times are nanoseconds since its start.
type history struct {
	start time.Time
	mu    sync.Mutex
	ops   []porcupine.Operation // guarded by mu
	open  []porcupine.Operation // guarded by mu: writes of which nobody knows how they ended
}

func (h *history) now() int64 { return int64(time.Since(h.start)) }

// operate runs random operations against random servers until stop is closed.
func (h *history) operate(client int, servers []*agent, stop chan struct{}) {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		in := step{path: fmt.Sprintf("lin/%d", rand.IntN(3))}
		if rand.IntN(2) == 0 {
			in.value = fmt.Sprintf("%d-%d", client, n)
		}
		h.run(client, servers[rand.IntN(len(servers))], in)
		time.Sleep(time.Duration(rand.IntN(10)) * time.Millisecond)
	}
}

func (h *history) run(client int, a *agent, in step) {
	op := porcupine.Operation{ClientId: client, Input: in, Call: h.now()}
	var err error
	if in.value != "" {
		_, err = a.put(in.path, in.value)
	} else {
		op.Output, err = a.read(in.path, false)
	}
	op.Return = h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case err == nil:
		h.ops = append(h.ops, op)
	case in.value != "":
		h.open = append(h.open, op)
	}
}

// complete returns the history with those open writes that somebody saw. They
// may have happened at any time after their call; the ones that nobody saw may
// as well never have happened.
func (h *history) complete() []porcupine.Operation {
	seen := map[any]bool{}
	for _, op := range h.ops {
		if op.Input.(step).value == "" {
			seen[op.Output] = true
		}
	}
	end := h.now()
	out := h.ops
	for _, op := range h.open {
		if seen[op.Input.(step).value] {
			op.Return = end
			out = append(out, op)
		}
	}
	return out
}

// Clients that write and read through all servers, while leaders die and
// freeze, see one history in which every operation has its moment.
func TestHistoryIsLinearizable(t *testing.T) {
	c := newCluster(t, nil)
	h := &history{start: time.Now()}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() { h.operate(i, c.servers, stop) })
	}
	for range 2 {
		time.Sleep(time.Second)
		old := c.leader()
		old.freeze()
		c.leader(old)
		time.Sleep(500 * time.Millisecond)
		old.resume()

		time.Sleep(time.Second)
		old = c.leader()
		old.kill()
		c.leader(old)
		old.start()
		old.ready()
	}
	time.Sleep(time.Second)
	close(stop)
	wg.Wait()

	ops := h.complete()
	t.Logf("%d operations, %d open writes", len(ops), len(h.open))
	if len(ops) < 500 {
		t.Errorf("only %d operations: the test saw next to nothing", len(ops))
	}
	switch result, info := porcupine.CheckOperationsVerbose(registers, ops, 2*time.Minute); result {
	case porcupine.Illegal:
		t.Errorf("the history is not linearizable, see %s", picture(t, info))
	case porcupine.Unknown:
		t.Error("the history could not be checked in time")
	}
}

// picture draws the history where it outlives the test.
func picture(t *testing.T, info porcupine.LinearizationInfo) string {
	t.Helper()
	path := write(t, t.ArtifactDir(), "history.html", "")
	if err := porcupine.VisualizePath(registers, info, path); err != nil {
		t.Error(err)
	}
	return path
}
