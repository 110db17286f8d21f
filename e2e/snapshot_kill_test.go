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
	for round, r := range []struct {
		leads bool
		says  string
		most  time.Duration // how long the victim lives after that
	}{
		{true, saysBegin, 30 * time.Millisecond},
		{true, saysNext, 30 * time.Millisecond},
		{true, saysDone, 0},
		{false, saysBegin, 30 * time.Millisecond},
		{false, saysNext, 30 * time.Millisecond},
		{false, saysDone, 0},
	} {
		k := &killing{cluster: c, file: file, name: fmt.Sprintf("round %d: leader %v, %q", round, r.leads, r.says), round: fmt.Sprint(round)}
		k.leader = c.leader()
		k.victim, k.through = k.leader, c.others(k.leader)[0]
		if !r.leads {
			k.victim, k.through = k.through, k.leader
		}
		k.run(r.says, r.most)
		if t.Failed() {
			return
		}
	}
}

// killing is one round.
type killing struct {
	*cluster
	file, name, round       string
	leader, victim, through *agent
}

func (k *killing) run(says string, most time.Duration) {
	k.t.Helper()
	k.through.mustPut("app/db", "round "+k.round)
	k.through.mustPut("late/"+k.round, "old")
	from := k.leader // who tells how far the archive is
	if says == saysDone {
		from = k.victim
	}
	seen := strings.Count(from.out.String(), says)
	ended := make(chan int, 1)
	said := &output{}
	go func() {
		p := spawnEnv(k.t, k.dir(), said, []string{"CAIRN_ADDR=" + k.through.url("")}, "operator", "snapshot", "restore", "-yes", k.file)
		<-p.done
		ended <- p.cmd.ProcessState.ExitCode()
	}()
	for end := time.Now().Add(hang); strings.Count(from.out.String(), says) == seen; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			k.t.Fatalf("%s: it was never said; the restore said %s", k.name, said)
		}
	}
	if most > 0 {
		time.Sleep(rand.N(most))
	}
	k.victim.kill()
	code := <-ended
	k.through.mustPut("after/"+k.round, "kept")
	k.victim.start()
	k.victim.ready()
	restored := k.compare(code == 0)
	k.t.Logf("%s: the restore ended with %d, the state is the new one: %v", k.name, code, restored)
}

func (k *killing) dir() string { return filepath.Dir(k.file) }

// compare waits until all servers have the same state, and reports whether it is the new one.
func (k *killing) compare(mustBeNew bool) bool {
	k.t.Helper()
	var states []string
	eventually(k.t, k.name+": all servers have the same state", func() bool {
		states = states[:0]
		for _, a := range k.servers {
			states = append(states, k.state(a))
		}
		return states[0] == states[1] && states[0] == states[2] && strings.Contains(states[0], `"after/`+k.round+`"`)
	})
	have, err := k.through.read("app/db", false)
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
