package nomadtest

import (
	"fmt"
	"io"
	"log"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/serf"
)

// serfMember starts one member of a serf pool with the profile that servers use.
func serfMember(t *testing.T, fab *Fabric, n int) (*serf.Serf, <-chan serf.Event) {
	t.Helper()
	events := make(chan serf.Event, 256)
	cfg := serf.DefaultConfig()
	cfg.Init()
	cfg.NodeName = fmt.Sprintf("s%d.global", n)
	cfg.Tags = map[string]string{"role": "nomad"}
	cfg.EventCh = events
	cfg.Logger = log.New(io.Discard, "", 0)
	cfg.MemberlistConfig = memberlist.DefaultWANConfig()
	cfg.MemberlistConfig.Logger = cfg.Logger
	cfg.MemberlistConfig.Transport = fab.Transport(gossipAddr(n))
	s, err := serf.Create(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s, events
}

func gossipAddr(n int) string { return fmt.Sprintf("10.0.0.%d:4648", n) }

// status returns what s believes of member n.
func status(s *serf.Serf, n int) serf.MemberStatus {
	for _, m := range s.Members() {
		if m.Name == fmt.Sprintf("s%d.global", n) {
			return m.Status
		}
	}
	return serf.StatusNone
}

func TestSerfSeesFailureLeaveAndReturn(t *testing.T) {
	inFabric(t, func(t *testing.T, fab *Fabric) {
		var ss []*serf.Serf
		for n := 1; n <= 3; n++ {
			s, events := serfMember(t, fab, n)
			go func() {
				for {
					select {
					case <-events:
					case <-s.ShutdownCh():
						return
					}
				}
			}()
			defer s.Shutdown()
			ss = append(ss, s)
		}
		for _, s := range ss[1:] {
			if _, err := s.Join([]string{gossipAddr(1)}, true); err != nil {
				t.Fatal(err)
			}
		}
		all := func(n int, want serf.MemberStatus) func() bool {
			return func() bool { return status(ss[0], n) == want && status(ss[1], n) == want }
		}
		eventually(t, "member 3 is alive to all", all(3, serf.StatusAlive))
		fab.Isolate(gossipAddr(3))
		eventually(t, "member 3 failed", all(3, serf.StatusFailed))
		fab.HealAll()
		eventually(t, "member 3 came back", all(3, serf.StatusAlive))
		if err := ss[2].Leave(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "member 3 left", all(3, serf.StatusLeft))
		time.Sleep(time.Minute)
	})
}
