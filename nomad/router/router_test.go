package router

import (
	"fmt"
	"maps"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/serf/serf"
)

func goodTags() map[string]string {
	return map[string]string{
		TagRole: "nomad", TagRegion: "eu", TagDatacenter: "dc7", TagBuild: "1.9.3", TagVersion: "1", TagRaftVersion: "3",
		TagID: "5d1c", TagRPCAddr: "10.0.0.1", TagPort: "4647", TagBootstrap: "1", TagExpect: "3", TagNonVoter: "1",
		"revision": "abc",
	}
}

func goodMember() serf.Member {
	return serf.Member{Name: "s1.eu", Addr: net.IPv4(192, 168, 0, 1), Port: 4648, Tags: goodTags(), Status: serf.StatusAlive}
}

func TestParseMember(t *testing.T) {
	full := Server{ID: "5d1c", Name: "s1.eu", Region: "eu", Datacenter: "dc7", Addr: "10.0.0.1:4647", Build: "1.9.3", Version: 1,
		RaftVersion: 3, Bootstrap: true, Expect: 3, NonVoter: true, Status: serf.StatusAlive}
	with := func(change func(*Server)) Server {
		s := full
		change(&s)
		return s
	}
	for name, tc := range map[string]struct {
		set   map[string]string // "-" deletes the tag
		alter func(*serf.Member)
		want  Server // the zero Server for a refusal
	}{
		"everything":           {want: full},
		"optional tags absent": {set: map[string]string{TagBootstrap: "-", TagExpect: "-", TagNonVoter: "-"}, want: with(func(s *Server) { s.Bootstrap, s.Expect, s.NonVoter = false, 0, false })},
		"gossip address":       {set: map[string]string{TagRPCAddr: "-"}, want: with(func(s *Server) { s.Addr = "192.168.0.1:4647" })},
		"IPv6":                 {set: map[string]string{TagRPCAddr: "fd00::1"}, want: with(func(s *Server) { s.Addr = "[fd00::1]:4647" })},
		"region with dots":     {set: map[string]string{TagRegion: "eu.west"}, alter: func(m *serf.Member) { m.Name = "s.1.eu.west" }, want: with(func(s *Server) { s.Region, s.Name = "eu.west", "s.1.eu.west" })},
		"failed":               {alter: func(m *serf.Member) { m.Status = serf.StatusFailed }, want: with(func(s *Server) { s.Status = serf.StatusFailed })},
		"other role":           {set: map[string]string{TagRole: "consul"}},
		"no tags":              {alter: func(m *serf.Member) { m.Tags = nil }},
		"no region":            {set: map[string]string{TagRegion: "-"}},
		"name of elsewhere":    {alter: func(m *serf.Member) { m.Name = "s1.us" }},
		"name without node":    {alter: func(m *serf.Member) { m.Name = ".eu" }},
		"no id":                {set: map[string]string{TagID: "-"}},
		"no port":              {set: map[string]string{TagPort: "-"}},
		"port of words":        {set: map[string]string{TagPort: "http"}},
		"port too large":       {set: map[string]string{TagPort: "65536"}},
		"expect of words":      {set: map[string]string{TagExpect: "many"}},
		"expect negative":      {set: map[string]string{TagExpect: "-1"}},
		"no address at all":    {set: map[string]string{TagRPCAddr: "-"}, alter: func(m *serf.Member) { m.Addr = nil }},
	} {
		t.Run(name, func(t *testing.T) {
			m := goodMember()
			for k, v := range tc.set {
				if m.Tags[k] = v; v == "-" {
					delete(m.Tags, k)
				}
			}
			if tc.alter != nil {
				tc.alter(&m)
			}
			got, ok := ParseMember(m)
			if ok != (tc.want != Server{}) {
				t.Errorf("ok is %v", ok)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzParseMember(f *testing.F) {
	f.Add("s1.eu", "port", "4647")
	f.Add("s1.eu", "expect", "99999999999999999999")
	f.Add(".", "region", "")
	f.Add("s1.eu", "rpc_addr", "[::1%\x00]:1:2")
	f.Fuzz(func(t *testing.T, name, tag, value string) {
		m := goodMember()
		m.Name = name
		m.Tags[tag] = value
		s, ok := ParseMember(m)
		if !ok {
			return
		}
		if s.Region == "" || s.ID == "" {
			t.Errorf("accepted %+v", s)
		}
		if _, _, err := net.SplitHostPort(s.Addr); err != nil {
			t.Errorf("accepted the address %q: %v", s.Addr, err)
		}
	})
}

func srv(n int, region string, status serf.MemberStatus) Server {
	return Server{ID: fmt.Sprintf("id%d", n), Name: fmt.Sprintf("s%d.%s", n, region), Region: region,
		Addr: fmt.Sprintf("10.0.0.%d:4647", n), Build: "1.2.3", Status: status}
}

// picks returns whom Pick chooses in many tries.
func picks(r *Router, region string) map[string]bool {
	seen := make(map[string]bool)
	for range 500 {
		if s, ok := r.Pick(region); ok {
			seen[s.ID] = true
		}
	}
	return seen
}

func TestServersComeAndGo(t *testing.T) {
	r := New()
	r.Update(srv(2, "eu", serf.StatusAlive))
	r.Update(srv(1, "eu", serf.StatusAlive))
	r.Update(srv(3, "ap", serf.StatusAlive))
	if diff := cmp.Diff([]string{"ap", "eu"}, r.Regions()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Server{srv(1, "eu", serf.StatusAlive), srv(2, "eu", serf.StatusAlive)}, r.InRegion("eu")); diff != "" {
		t.Error(diff)
	}

	moved := srv(1, "eu", serf.StatusFailed)
	moved.Addr, moved.ID = "10.9.9.9:1", "new"
	r.Update(moved)
	if _, ok := r.ByAddr("10.0.0.1:4647"); ok {
		t.Error("the old address is still known")
	}
	if _, ok := r.ByID("id1"); ok {
		t.Error("the old ID is still known")
	}
	if s, ok := r.ByAddr("10.9.9.9:1"); !ok || s != moved {
		t.Errorf("by address: %+v", s)
	}
	if s, ok := r.ByID("new"); !ok || s != moved {
		t.Errorf("by ID: %+v", s)
	}

	r.Remove("s3.ap", "ap")
	r.Remove("s3.ap", "ap")
	r.Remove("s1.eu", "nowhere")
	if diff := cmp.Diff([]string{"eu"}, r.Regions()); diff != "" {
		t.Error(diff)
	}
	if _, ok := r.ByID("id3"); ok || len(r.InRegion("ap")) != 0 {
		t.Error("a removed server is still known")
	}
}

func TestTwoNamesOneServer(t *testing.T) {
	r := New()
	old, renamed := srv(1, "eu", serf.StatusFailed), srv(1, "eu", serf.StatusAlive)
	renamed.Name = "renamed.eu"
	r.Update(renamed)
	r.Update(old)
	if s, _ := r.ByID("id1"); s.Name != renamed.Name {
		t.Errorf("the dead entry %q hides the live one", s.Name)
	}
	r.Remove(renamed.Name, "eu")
	if s, _ := r.ByAddr(old.Addr); s.Name != old.Name {
		t.Errorf("the remaining entry is not found: %+v", s)
	}
	r.Update(renamed)
	r.Remove(old.Name, "eu")
	if s, _ := r.ByID("id1"); s.Name != renamed.Name {
		t.Error("removing the dead entry removed the live one")
	}
}

func TestPick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New()
		if _, ok := r.Pick("eu"); ok {
			t.Error("picked from nobody")
		}
		for n, status := range []serf.MemberStatus{serf.StatusAlive, serf.StatusAlive, serf.StatusFailed, serf.StatusLeaving, serf.StatusLeft, serf.StatusAlive} {
			r.Update(srv(n, "eu", status))
		}
		r.Update(srv(9, "us", serf.StatusAlive))
		expect := func(when string, ids ...string) {
			t.Helper()
			want := make(map[string]bool)
			for _, id := range ids {
				want[id] = true
			}
			if got := picks(r, "eu"); !maps.Equal(got, want) {
				t.Errorf("%s: picked %v, want %v", when, got, want)
			}
		}
		expect("at first", "id0", "id1", "id5")
		r.MarkFailed("10.0.0.0:4647")
		expect("one failed", "id1", "id5")
		r.MarkOK("10.0.0.0:4647")
		expect("it answered", "id0", "id1", "id5")
		for _, n := range []int{0, 1, 5} {
			r.MarkFailed(srv(n, "", 0).Addr)
		}
		expect("all failed", "id0", "id1", "id5")
		r.MarkOK(srv(1, "", 0).Addr)
		expect("one is back", "id1")
		time.Sleep(2 * firstAvoid)
		expect("later", "id0", "id1", "id5")
		r.MarkFailed("unknown:1")
		if len(r.failed) > 3 {
			t.Error("addresses that nobody has are kept")
		}
	})
}

// A server that goes on to fail is tried less and less often, and like any other
// once it has answered or gossip says that it is back.
func TestFailuresBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New()
		s := srv(0, "eu", serf.StatusAlive)
		r.Update(s)
		r.Update(srv(1, "eu", serf.StatusAlive))
		avoided := func() time.Duration {
			r.MarkFailed(s.Addr)
			start := time.Now()
			for r.Avoided() > 0 {
				if time.Sleep(100 * time.Millisecond); time.Since(start) < time.Second {
					r.MarkFailed(s.Addr) // calls that were under way
				}
			}
			return time.Since(start)
		}
		within := func(got, about time.Duration) {
			t.Helper()
			if got < about/2 || got > 3*about/2+100*time.Millisecond {
				t.Errorf("avoided for %v, want about %v", got, about)
			}
		}
		for about := firstAvoid; about < maxAvoid; about *= 2 {
			within(avoided(), about)
		}
		within(avoided(), maxAvoid)
		within(avoided(), maxAvoid)
		r.MarkOK(s.Addr)
		within(avoided(), firstAvoid)
		r.MarkFailed(s.Addr)
		gone := s
		gone.Status = serf.StatusFailed
		r.Update(gone)
		r.Update(s)
		if got := picks(r, "eu"); !got["id0"] || r.Avoided() != 0 {
			t.Errorf("picked %v after gossip said that it is back", got)
		}
		r.MarkFailed(s.Addr)
		s.Build = "1.2.4"
		r.Update(s)
		if got := picks(r, "eu"); got["id0"] {
			t.Error("other news about a failed server made it good again")
		}
	})
}

func TestPickPrefersLessLoad(t *testing.T) {
	r := New()
	load := map[string]int{}
	r.Balance(func(addr string) int { return load[addr] })
	for n := range 4 {
		s := srv(n, "eu", serf.StatusAlive)
		r.Update(s)
		load[s.Addr] = n
	}
	chosen := map[string]int{}
	for range 2000 {
		s, _ := r.Pick("eu")
		chosen[s.ID]++
	}
	// of two that differ the lesser: 1/2, 1/3, 1/6, never
	if chosen["id3"] != 0 || chosen["id0"] < chosen["id1"] || chosen["id1"] < chosen["id2"] || chosen["id2"] == 0 {
		t.Errorf("chosen %v", chosen)
	}
	// with calls that stay, the load is spread
	clear(load)
	for range 4000 {
		s, _ := r.Pick("eu")
		load[s.Addr]++
	}
	for addr, n := range load {
		if n < 980 || n > 1020 {
			t.Errorf("%s has %d of 4000 calls", addr, n)
		}
	}
}

func TestMeetsMinimumVersion(t *testing.T) {
	server := func(n int, region, build string, status serf.MemberStatus) Server {
		s := srv(n, region, status)
		s.Build = build
		return s
	}
	r := New()
	for _, s := range []Server{
		server(1, "eu", "1.9.0", serf.StatusAlive), server(2, "eu", "v1.10.0-rc.1+meta", serf.StatusAlive), server(3, "eu", "1.2.0", serf.StatusFailed),
		server(4, "eu", "0.1.0", serf.StatusLeft), server(5, "us", "1.8", serf.StatusAlive), server(6, "xx", "garbage", serf.StatusAlive),
		server(7, "down", "2.0.0", serf.StatusFailed),
	} {
		r.Update(s)
	}
	for _, tc := range []struct {
		region, min  string
		ignoreFailed bool
		want         bool
	}{
		{"eu", "1.9.0", true, true},
		{"eu", "1.9.0-dev", true, true},
		{"eu", "1.9.1", true, false},
		{"eu", "1.9.0", false, false},
		{"eu", "1.2.0", false, true},
		{"us", "1.8.0", true, true},
		{"us", "1.8.1", true, false},
		{AllRegions, "0.0.1", true, false}, // for the garbage
		{"xx", "0.0.1", true, false},
		{"eu", "not a version", true, false},
		{"down", "1.0.0", true, false},
		{"down", "1.0.0", false, true},
		{"nowhere", "0.0.1", true, false},
	} {
		if got := r.MeetsMinimumVersion(tc.region, tc.min, tc.ignoreFailed); got != tc.want {
			t.Errorf("%q at least %s, ignoring failed %v: got %v", tc.region, tc.min, tc.ignoreFailed, got)
		}
	}
	r.Remove("s6.xx", "xx")
	if !r.MeetsMinimumVersion(AllRegions, "1.8.0", true) {
		t.Error("all live servers run 1.8.0 or more")
	}
}

func TestConcurrentUse(t *testing.T) {
	r := New()
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for range 200 {
				s := srv(n, "eu", serf.StatusAlive)
				r.Update(s)
				r.MarkFailed(s.Addr)
				r.Pick("eu")
				r.MarkOK(s.Addr)
				r.MeetsMinimumVersion(AllRegions, "1.0.0", false)
				r.InRegion("eu")
				r.Remove(s.Name, "eu")
			}
		})
	}
	wg.Wait()
	if len(r.regions)+len(r.byID)+len(r.byAddr)+len(r.failed) != 0 {
		t.Error("something of removed servers is kept")
	}
}
