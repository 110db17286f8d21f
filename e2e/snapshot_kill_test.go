package e2e

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

// What servers say while they restore an archive.
const (
	saysBegin = "an archive goes into the log"
	saysNext  = "the archive is in the log"
	saysDone  = "an archive took the place of the state"
)

// TestKillWithinARestore kills a server while an archive is on its way through the log.
// All servers have the old state or the new one afterwards, the same, and what was
// acknowledged after it.
func TestKillWithinARestore(t *testing.T) {
	c := newCluster(t, settings{"raft_trailing_logs": 16})
	for range 1000 { // many pieces
		c.servers[0].mustPut("fill/"+uuid.NewString(), strings.Repeat(uuid.NewString(), 100))
	}
	c.servers[0].mustPut("app/db", "archive")
	file := filepath.Join(t.TempDir(), "backup.snap")
	c.servers[0].run("operator", "snapshot", "save", file)
	for round, r := range []killing{
		{leads: true, says: saysBegin, most: 30 * time.Millisecond},
		{leads: true, says: saysNext, most: 30 * time.Millisecond},
		{leads: true, says: saysDone},
		{leads: false, says: saysBegin, most: 30 * time.Millisecond},
		{leads: false, says: saysNext, most: 30 * time.Millisecond},
		{leads: false, says: saysDone},
	} {
		r.cluster, r.file = c, file
		r.name = fmt.Sprintf("round %d: leader %v, %q", round, r.leads, r.says)
		for try := 0; !r.run(fmt.Sprint(round, "-", try)); try++ {
			if try == 5 {
				t.Fatalf("%s: no restore came so far", r.name)
			}
		}
		if t.Failed() {
			return
		}
	}
}

// killing is one round.
type killing struct {
	*cluster
	file, name string
	// leads says who is killed: the server that restores, or another.
	leads bool
	says  string
	most  time.Duration // how long it lives at most after that was said
	round string
}

// run reports whether the restore came so far that somebody was killed: another server may
// lead by itself on a busy machine.
func (k *killing) run(round string) bool {
	k.t.Helper()
	k.round = round
	through := k.others(k.leader())[0]
	through.mustPut("app/db", "round "+k.round)
	through.mustPut("late/"+k.round, "old")
	heard := k.listen()
	code := make(chan int, 1)
	go func() {
		p := spawnEnv(k.t, filepath.Dir(k.file), &output{}, []string{"CAIRN_ADDR=" + through.url("")}, "operator", "snapshot", "restore", "-yes", k.file)
		<-p.done
		code <- p.cmd.ProcessState.ExitCode()
		close(code)
	}()
	victim, alive := k.await(heard, code, through), through
	killed := victim != nil
	if killed {
		time.Sleep(rand.N(k.most + 1))
		victim.kill()
		alive = k.others(victim)[0]
	}
	worked := <-code == 0
	alive.mustPut("after/"+k.round, "kept")
	if killed {
		victim.start()
		victim.ready()
	}
	restored := k.compare(alive, worked)
	k.t.Logf("%s: killed one: %v, the restore worked: %v, the state is the new one: %v", k.name, killed, worked, restored)
	return killed
}

// await returns who is to be killed, once it is time for it; nil if the restore ended before.
func (k *killing) await(heard func(*agent, string) bool, code <-chan int, through *agent) *agent {
	k.t.Helper()
	var leader *agent
	for end := time.Now().Add(hang); time.Now().Before(end); time.Sleep(time.Millisecond) {
		over := len(code) > 0 // looked at first: what was said before it is heard
		for _, a := range k.servers {
			if leader == nil && heard(a, saysBegin) {
				leader = a
			}
		}
		if leader != nil {
			victim := leader
			if !k.leads {
				victim = k.others(leader, through)[0]
			}
			from := leader
			if k.says == saysDone {
				from = victim
			}
			if heard(from, k.says) {
				return victim
			}
		}
		if over && (leader == nil || k.says != saysDone) {
			return nil
		}
	}
	return nil
}

// listen returns what tells whether a server has said something from now on.
func (k *killing) listen() func(*agent, string) bool {
	before := map[*agent]int{}
	for _, a := range k.servers {
		before[a] = len(a.out.String())
	}
	return func(a *agent, what string) bool { return strings.Contains(a.out.String()[before[a]:], what) }
}

// compare waits until all servers have the same state, and reports whether it is the new one.
func (k *killing) compare(alive *agent, mustBeNew bool) bool {
	k.t.Helper()
	var states []string
	eventually(k.t, k.name+": all servers have the same state", func() bool {
		states = states[:0]
		for _, a := range k.servers {
			states = append(states, k.state(a))
		}
		return states[0] == states[1] && states[0] == states[2] && strings.Contains(states[0], `"after/`+k.round+`"`)
	})
	have, err := alive.read("app/db", false)
	if err != nil {
		k.t.Fatal(err)
	}
	restored := have == "archive"
	if !restored && have != "round "+k.round || mustBeNew && !restored {
		k.t.Errorf("%s: app/db is %q; the restore succeeded: %v", k.name, have, mustBeNew)
	}
	if late := strings.Contains(states[0], `"late/`+k.round+`"`); late == restored {
		k.t.Errorf("%s: app/db is %q, and what was written before the restore is there: %v", k.name, have, late)
	}
	if fill := strings.Count(states[0], `"Path":"fill/`); fill != 1000 {
		k.t.Errorf("%s: %d of 1000 rows are there", k.name, fill)
	}
	return restored
}

// state returns the rows that a server has, whoever leads.
func (k *killing) state(a *agent) string {
	k.t.Helper()
	file := filepath.Join(k.t.TempDir(), "state")
	if out, code := a.try("operator", "snapshot", "save", "-stale", file); code != 0 {
		k.t.Logf("%s: %s", a.name, out)
		return a.name
	}
	return a.run("operator", "snapshot", "state", "-secrets", file)
}
