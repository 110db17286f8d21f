package nomad

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// failHeartbeats fails as many heartbeats to a peer as Raft does in that time.
func failHeartbeats(l hclog.Logger, peer raft.ServerAddress, lasts time.Duration) {
	for range lasts / (300 * time.Millisecond) {
		l.Error("failed to heartbeat to", "peer", peer, "error", errors.New("connection refused"))
		time.Sleep(300 * time.Millisecond)
	}
}

func TestRaftRepeatsItselfLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		parent := hclog.New(&hclog.LoggerOptions{Output: &out, Level: hclog.Info})
		l := newRaftLog(parent.Named("raft"))
		lines := func() int { defer out.Reset(); return strings.Count(out.String(), "\n") }

		failHeartbeats(l, "10.0.0.1:4647", time.Hour)
		last := out.String()[strings.LastIndex(strings.TrimSpace(out.String()), "\n")+1:]
		if n := lines(); n < 60 || n > 80 {
			t.Errorf("an hour without a peer took %d lines, want about one a minute", n)
		}
		if !strings.Contains(last, "left_out=199") && !strings.Contains(last, "left_out=200") {
			t.Errorf("the last line does not tell of those left out: %s", last)
		}
		failHeartbeats(l, "10.0.0.2:4647", 300*time.Millisecond)
		l.Error("failed to appendEntries to", "peer", "10.0.0.1:4647")
		if n := lines(); n != 2 {
			t.Errorf("two lines about something else: %d were logged", n)
		}
		time.Sleep(repeatsOver + time.Millisecond)
		failHeartbeats(l, "10.0.0.1:4647", 300*time.Millisecond)
		if n := lines(); n != 1 {
			t.Error("what came after a silence was left out")
		}
	})
}

func TestRaftTellsWhatIsNoRepetition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		parent := hclog.New(&hclog.LoggerOptions{Output: &out, Level: hclog.Info})
		l := newRaftLog(parent)
		lines := func() int { defer out.Reset(); return strings.Count(out.String(), "\n") }

		for range 10 {
			l.Info("updating configuration", "command", "AddVoter")
		}
		if n := lines(); n != 10 {
			t.Errorf("%d of ten changes were logged", n)
		}
		for range 100 { // an election that nobody wins
			l.Warn("Election timeout reached, restarting election")
			l.Info("entering candidate state", "node", "Node at 10.0.0.2:4647 [Candidate]", "term", 3)
			time.Sleep(500 * time.Millisecond)
		}
		if n := lines(); n < 10 || n > 20 {
			t.Errorf("fifty seconds of elections took %d lines", n)
		}
		parent.SetLevel(hclog.Debug)
		failHeartbeats(l, "10.0.0.1:4647", 30*time.Second)
		if n := lines(); n != 100 {
			t.Errorf("at level debug %d of 100 lines were logged", n)
		}
	})
}

func TestRaftLogRemembersNoMoreThanItsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := newRaftLog(hclog.New(&hclog.LoggerOptions{Output: &out}))
		for i := range 3 * maxRepeats {
			l.Error("failed", "peer", fmt.Sprint(i))
		}
		if n := strings.Count(out.String(), "\n"); n != 3*maxRepeats || len(l.repeats) > maxRepeats {
			t.Errorf("%d lines, %d remembered", n, len(l.repeats))
		}
		time.Sleep(repeatsOver + time.Millisecond)
		l.Error("failed", "peer", "another")
		if len(l.repeats) != 1 {
			t.Errorf("%d lines are remembered that are over", len(l.repeats))
		}
	})
}
