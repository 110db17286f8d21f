package autopilot_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cairn-project/cairn/nomad/autopilot"
	"github.com/cairn-project/cairn/nomad/structs"
)

var epoch = time.Unix(1_000_000, 0)

// answer is one of a server that has all of the log.
func answer() *structs.RaftStatsResponse {
	return &structs.RaftStatsResponse{LastContact: 5 * time.Millisecond, LastTerm: 3, LastIndex: 1000}
}

// look returns a look at n live voters, the first of which leads.
func look(at time.Duration, n int) *autopilot.Look {
	l := &autopilot.Look{Time: epoch.Add(at), LastTerm: 3, LastIndex: 1000}
	for i := range n {
		l.Peers = append(l.Peers, autopilot.Peer{ID: fmt.Sprint(i), Name: fmt.Sprint("s", i), Status: autopilot.StatusAlive, Voter: true, Leader: i == 0, Answer: answer()})
	}
	return l
}

func kill(l *autopilot.Look, ids ...int) *autopilot.Look {
	for _, i := range ids {
		l.Peers[i].Status, l.Peers[i].Answer = autopilot.StatusFailed, nil
	}
	return l
}

func config() *structs.AutopilotConfig {
	c := structs.DefaultAutopilotConfig()
	return &c
}

func TestHealthOfAServer(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*autopilot.Peer)
		healthy bool
	}{
		"as it should be":                   {func(*autopilot.Peer) {}, true},
		"failed in gossip":                  {func(p *autopilot.Peer) { p.Status = autopilot.StatusFailed }, false},
		"leaving":                           {func(p *autopilot.Peer) { p.Status = "leaving" }, false},
		"unknown to gossip":                 {func(p *autopilot.Peer) { p.Status = autopilot.StatusUnknown }, false},
		"hangs":                             {func(p *autopilot.Peer) { p.Answer = nil }, false},
		"contact at the threshold":          {func(p *autopilot.Peer) { p.Answer.LastContact = 200 * time.Millisecond }, true},
		"contact long ago":                  {func(p *autopilot.Peer) { p.Answer.LastContact = 201 * time.Millisecond }, false},
		"no contact ever":                   {func(p *autopilot.Peer) { p.Answer.LastContact = -1 }, false},
		"another term":                      {func(p *autopilot.Peer) { p.Answer.LastTerm = 2 }, false},
		"as far behind as allowed":          {func(p *autopilot.Peer) { p.Answer.LastIndex = 750 }, true},
		"too far behind":                    {func(p *autopilot.Peer) { p.Answer.LastIndex = 749 }, false},
		"ahead of the look":                 {func(p *autopilot.Peer) { p.Answer.LastIndex = 1001 }, true},
		"a leader does not wait for itself": {func(p *autopilot.Peer) { p.Leader, p.Answer.LastContact = true, time.Hour }, true},
	} {
		t.Run(name, func(t *testing.T) {
			l := look(0, 3)
			c.change(&l.Peers[2])
			got := autopilot.New().Note(config(), l)
			if got.Servers[2].Healthy != c.healthy || got.Healthy != c.healthy {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestHealthOfTheWhole(t *testing.T) {
	l := kill(look(0, 6), 4)
	l.Peers[5].Voter = false
	got := autopilot.New().Note(config(), l)
	if got.Healthy || got.Leader != "0" || got.FailureTolerance != 1 || !slices.Equal(got.Voters, []string{"0", "1", "2", "3", "4"}) {
		t.Errorf("got %+v", got)
	}
	if got = autopilot.New().Note(config(), kill(look(0, 4), 2, 3)); got.FailureTolerance != 0 {
		t.Errorf("tolerance %d with two of four", got.FailureTolerance)
	}
}

func TestLastAnswerIsKept(t *testing.T) {
	p := autopilot.New()
	first := p.Note(config(), look(0, 3)).Servers[2]
	if !first.StableSince.Equal(epoch) || first.LastContact != 5*time.Millisecond {
		t.Errorf("at first %+v", first)
	}
	got := p.Note(config(), kill(look(2*time.Second, 3), 2)).Servers[2]
	if got.LastIndex != 1000 || got.LastTerm != 3 || got.LastContact != 2005*time.Millisecond || !got.StableSince.Equal(epoch.Add(2*time.Second)) {
		t.Errorf("after its end %+v", got)
	}
	got = p.Note(config(), kill(look(4*time.Second, 3), 2)).Servers[2]
	if got.LastContact != 4005*time.Millisecond || !got.StableSince.Equal(epoch.Add(2*time.Second)) {
		t.Errorf("later %+v", got)
	}
}

// removable notes the looks and returns what may be removed after the last.
func removable(p *autopilot.Pilot, conf *structs.AutopilotConfig, looks ...*autopilot.Look) string {
	for i, l := range looks {
		if i > 0 { // the leader looks every two seconds and sees what it saw
			for between := looks[i-1].Time.Add(2 * time.Second); between.Before(l.Time); between = between.Add(2 * time.Second) {
				same := *looks[i-1]
				same.Time = between
				p.Note(conf, &same)
			}
		}
		p.Note(conf, l)
	}
	peer, _ := p.Removable(conf, looks[len(looks)-1])
	if peer == nil {
		return ""
	}
	return peer.ID
}

func TestWhoIsRemoved(t *testing.T) {
	at := func(s int) time.Duration { return time.Duration(s) * time.Second }
	for name, c := range map[string]struct {
		conf  func(*structs.AutopilotConfig)
		looks []*autopilot.Look
		want  string
	}{
		"nobody of three":          {looks: []*autopilot.Look{kill(look(0, 3), 2), kill(look(at(60), 3), 2)}},
		"the dead of four":         {looks: []*autopilot.Look{kill(look(0, 4), 2), kill(look(at(10), 4), 2)}, want: "2"},
		"not yet":                  {looks: []*autopilot.Look{kill(look(0, 4), 2), kill(look(at(9), 4), 2)}},
		"not after a sign of life": {looks: []*autopilot.Look{kill(look(0, 4), 2), look(at(5), 4), kill(look(at(6), 4), 2), kill(look(at(15), 4), 2)}},
		"the longest dead first":   {looks: []*autopilot.Look{kill(look(0, 5), 3), kill(look(at(5), 5), 1, 3), kill(look(at(20), 5), 1, 3)}, want: "3"},
		"two of three if told so": {conf: func(c *structs.AutopilotConfig) { c.MinQuorum = 0 },
			looks: []*autopilot.Look{kill(look(0, 3), 2), kill(look(at(10), 3), 2)}, want: "2"},
		"nobody while that is off": {conf: func(c *structs.AutopilotConfig) { c.CleanupDeadServers = false },
			looks: []*autopilot.Look{kill(look(0, 4), 2), kill(look(at(60), 4), 2)}},
		"nobody without a majority": {conf: func(c *structs.AutopilotConfig) { c.MinQuorum = 0 },
			looks: []*autopilot.Look{kill(look(0, 4), 2, 3), kill(look(at(60), 4), 2, 3)}},
	} {
		t.Run(name, func(t *testing.T) {
			conf := config()
			if c.conf != nil {
				c.conf(conf)
			}
			if got := removable(autopilot.New(), conf, c.looks...); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestOneSignOfLifeIsEnough(t *testing.T) {
	for name, change := range map[string]func(*autopilot.Peer){
		"answers":             func(p *autopilot.Peer) { p.Answer = answer() },
		"alive in gossip":     func(p *autopilot.Peer) { p.Status = autopilot.StatusAlive },
		"leaves on its own":   func(p *autopilot.Peer) { p.Status = "leaving" },
		"has left on its own": func(p *autopilot.Peer) { p.Status = "left" },
		"leads":               func(p *autopilot.Peer) { p.Leader = true },
	} {
		first, last := kill(look(0, 5), 3), kill(look(time.Hour, 5), 3)
		change(&first.Peers[3])
		change(&last.Peers[3])
		if got := removable(autopilot.New(), config(), first, last); got != "" {
			t.Errorf("%s: %q is removed", name, got)
		}
	}
	first, last := kill(look(0, 5), 3), kill(look(time.Hour, 5), 3)
	first.Peers[3].Status, last.Peers[3].Status = autopilot.StatusUnknown, autopilot.StatusUnknown
	if got := removable(autopilot.New(), config(), first, last); got != "3" {
		t.Errorf("one that gossip does not know: %q is removed", got)
	}
}

func TestDeadWithoutAVoteAlwaysGoes(t *testing.T) {
	first, last := kill(look(0, 4), 2, 3), kill(look(time.Minute, 4), 2, 3)
	first.Peers[3].Voter, last.Peers[3].Voter = false, false
	if got := removable(autopilot.New(), config(), first, last); got != "3" {
		t.Errorf("%q is removed", got)
	}
}

func TestPauseBetweenRemovals(t *testing.T) {
	p := autopilot.New()
	first := kill(look(0, 6), 4, 5)
	if got := removable(p, config(), first, kill(look(10*time.Second, 6), 4, 5)); got != "4" {
		t.Fatalf("first %q", got)
	}
	p.Removed(epoch.Add(10 * time.Second))
	for _, c := range []struct {
		seconds int
		want    string
	}{{12, ""}, {16, ""}, {19, ""}, {20, "5"}} {
		l := kill(look(time.Duration(c.seconds)*time.Second, 6), 5)
		l.Peers = slices.Delete(l.Peers, 4, 5)
		if got := removable(p, config(), l); got != c.want {
			t.Errorf("after %d s %q", c.seconds, got)
		}
	}
}

func TestPausedLeaderCountsOnlyWhatItSaw(t *testing.T) {
	p := autopilot.New()
	for _, c := range []struct {
		seconds int
		want    string
	}{{0, ""}, {600, ""}, {602, ""}, {604, ""}, {606, "3"}} {
		l := kill(look(time.Duration(c.seconds)*time.Second, 5), 3)
		if got := removable(p, config(), l); got != c.want {
			t.Errorf("after %d s %q", c.seconds, got)
		}
	}
}

// TestNoRemovalEndangersTheRest removes whatever may be removed under random failures.
func TestNoRemovalEndangersTheRest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		conf := config()
		conf.MinQuorum = rapid.Uint64Range(0, 5).Draw(t, "min quorum")
		n := rapid.IntRange(1, 9).Draw(t, "servers")
		voter := make([]bool, n)
		for i := range voter {
			voter[i] = i == 0 || rapid.IntRange(0, 4).Draw(t, "voter") > 0
		}
		gone, lastSign := map[string]bool{}, make([]time.Time, n)
		p, last := autopilot.New(), time.Time{}
		for i := range lastSign {
			lastSign[i] = epoch
		}
		for s := 0; s < 120; s += 2 {
			all := look(time.Duration(s)*time.Second, n)
			l := &autopilot.Look{Time: all.Time, LastTerm: all.LastTerm, LastIndex: all.LastIndex}
			voters, live := 0, 0
			for i := range all.Peers {
				peer := all.Peers[i]
				if gone[peer.ID] {
					continue
				}
				peer.Voter = voter[i]
				if i > 0 {
					peer.Status = rapid.SampledFrom([]string{"alive", "failed", "failed", "failed", "none"}).Draw(t, "status")
					if rapid.IntRange(0, 5).Draw(t, "answers") > 0 {
						peer.Answer = nil
					}
				}
				if peer.Status == "alive" || peer.Answer != nil {
					lastSign[i] = l.Time
				}
				if peer.Voter {
					voters++
				}
				if peer.Voter && peer.Status == "alive" && peer.Answer != nil {
					live++
				}
				l.Peers = append(l.Peers, peer)
			}
			p.Note(conf, l)
			victim, _ := p.Removable(conf, l)
			if victim == nil {
				continue
			}
			i := slices.IndexFunc(all.Peers, func(o autopilot.Peer) bool { return o.ID == victim.ID })
			switch {
			case victim.Leader:
				t.Fatal("the leader")
			case l.Time.Sub(lastSign[i]) < conf.ServerStabilizationTime:
				t.Fatalf("%s was seen %s ago", victim.ID, l.Time.Sub(lastSign[i]))
			case !last.IsZero() && l.Time.Sub(last) < autopilot.RemovalPause:
				t.Fatal("two at once")
			case victim.Voter && uint64(voters-1) < conf.MinQuorum:
				t.Fatalf("%d voters remain", voters-1)
			case victim.Voter && live < (voters-1)/2+1:
				t.Fatalf("%d live of %d that remain", live, voters-1)
			}
			gone[victim.ID], last = true, l.Time
			p.Removed(l.Time)
		}
	})
}
