package pool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/internal/wire"
)

// pinged keeps what Config.Pinged was told last.
type pinged struct {
	mu   sync.Mutex
	n    int
	last error
}

func (p *pinged) note(_ string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n, p.last = p.n+1, err
}

func (p *pinged) get() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n, p.last
}

func TestKeptAddressesAreDialedAhead(t *testing.T) {
	inPool(t, Config{Ping: "Echo"}, func(t *testing.T, p *Pool, s *server) {
		p.Keep([]string{addr})
		if got := p.Stats(); got != (Stats{Cold: 1}) {
			t.Errorf("before: %+v", got)
		}
		time.Sleep(2 * firstRedial)
		synctest.Wait()
		if got := p.Stats(); got != (Stats{Conns: 1, Dials: 1}) {
			t.Errorf("after the first dial: %+v", got)
		}
		p.Keep([]string{addr}) // again is nothing new
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := p.Stats(); got != (Stats{Conns: 1, Dials: 1}) {
			t.Errorf("after an hour without calls: %+v", got)
		}
		if err := echo(t, p, t.Context()); err != nil {
			t.Error(err)
		}
		if dials, _ := s.count(""); dials != 1 {
			t.Errorf("%d dials, want a call to find the connection there", dials)
		}
		p.Keep(nil)
		time.Sleep(2 * p.cfg.IdleTimeout)
		synctest.Wait()
		if got := p.Stats(); got.Conns != 0 || got.Dials != 1 {
			t.Errorf("no longer kept: %+v", got)
		}
	})
}

// Pings come often enough that the port does not take a connection for silent, and
// its server not for idle.
func TestPingsBeatTheTimeoutsOfThePeer(t *testing.T) {
	p := New(Config{})
	defer p.Close()
	if most := p.cfg.IdleTimeout / 3 * 3 / 2; most >= p.cfg.IdleTimeout || most >= wire.DefaultLimits().IdleTimeout {
		t.Errorf("up to %v between pings", most)
	}
	if unusedTimeout >= mux.DefaultSilenceTimeout {
		t.Errorf("a connection may be unused for %v", unusedTimeout)
	}
}

func TestALostConnectionIsWarmAgainBeforeItIsNeeded(t *testing.T) {
	for name, lose := range map[string]func(*Pool, *server){
		"peer hangs up": func(_ *Pool, s *server) { s.hangUp() },
		"retired":       func(p *Pool, _ *server) { p.Retire(addr) },
		"dropped":       func(p *Pool, _ *server) { p.Drop(addr) },
	} {
		t.Run(name, func(t *testing.T) {
			inPool(t, Config{Ping: "Echo"}, func(t *testing.T, p *Pool, s *server) {
				p.Keep([]string{addr})
				time.Sleep(2 * firstRedial)
				synctest.Wait()
				for range 3 {
					lose(p, s)
					synctest.Wait()
					if got := p.Stats(); got.Cold != 1 {
						t.Fatalf("after the loss: %+v", got)
					}
					time.Sleep(2 * firstRedial)
					synctest.Wait()
					if got := p.Stats(); got.Cold != 0 || got.Conns != 1 {
						t.Fatalf("a second later: %+v", got)
					}
				}
			})
		})
	}
}

func TestAnUnreachableAddressIsTriedLessAndLessOften(t *testing.T) {
	told := &pinged{}
	inPool(t, Config{Ping: "Echo", Pinged: told.note}, func(t *testing.T, p *Pool, s *server) {
		var mu sync.Mutex
		down := true
		s.refuse = func(int) error {
			mu.Lock()
			defer mu.Unlock()
			if down {
				return syscall.ECONNREFUSED
			}
			return nil
		}
		p.Keep([]string{addr})
		time.Sleep(time.Minute)
		synctest.Wait()
		first, _ := s.count("")
		if _, err := told.get(); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("told of %v", err)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		all, _ := s.count("")
		if first < 4 || first > 12 || all-first < 13 || all-first > 42 {
			t.Errorf("%d tries in the first minute, %d in the next ten", first, all-first)
		}
		if got := p.Stats(); int(got.Failed) != all || got.Cold != 1 {
			t.Errorf("%+v after %d dials", got, all)
		}
		mu.Lock()
		down = false
		mu.Unlock()
		time.Sleep(2 * maxRedial)
		synctest.Wait()
		if _, err := told.get(); err != nil || p.Stats().Cold != 0 {
			t.Errorf("when it is back: %v, %+v", err, p.Stats())
		}
	})
}

// A peer that stands still keeps its connections; calls must not go there for ever.
func TestAConnectionWithoutAnswersIsRetired(t *testing.T) {
	told := &pinged{}
	inPool(t, Config{Ping: "Silent", Pinged: told.note}, func(t *testing.T, p *Pool, s *server) {
		p.Keep([]string{addr})
		time.Sleep(2*firstRedial + p.cfg.DialTimeout)
		synctest.Wait()
		n, err := told.get()
		if n != 1 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("told %d times, of %v", n, err)
		}
		close(s.release)
		time.Sleep(time.Minute)
		synctest.Wait()
		if _, err := told.get(); err != nil || p.Stats().Cold != 0 {
			t.Errorf("when it answers: %v, %+v", err, p.Stats())
		}
		if dials, _ := s.count(""); dials != 2 {
			t.Errorf("%d dials, want a second one", dials)
		}
	})
}

// An error is an answer, too.
func TestARefusedPingKeepsTheConnection(t *testing.T) {
	told := &pinged{}
	inPool(t, Config{Ping: "Fail", Pinged: told.note}, func(t *testing.T, p *Pool, s *server) {
		p.Keep([]string{addr})
		time.Sleep(time.Hour)
		synctest.Wait()
		if n, err := told.get(); err != nil || n < 60 {
			t.Errorf("told %d times, of %v", n, err)
		}
		if dials, _ := s.count(""); dials != 1 {
			t.Errorf("%d dials", dials)
		}
	})
}

func TestServersDoNotDialAllAtOnce(t *testing.T) {
	var mu sync.Mutex
	at := map[time.Time]int{}
	inPool(t, Config{Ping: "Echo"}, func(t *testing.T, p *Pool, s *server) {
		s.before = func(context.Context) error {
			mu.Lock()
			defer mu.Unlock()
			at[time.Now()]++
			return nil
		}
		var addrs []string
		for n := range 100 {
			addrs = append(addrs, fmt.Sprintf("10.0.0.%d:4647", n))
		}
		p.Keep(addrs)
		time.Sleep(2 * firstRedial)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if len(at) < 90 || p.Stats().Conns != 100 {
			t.Errorf("%d addresses were dialed at %d times", p.Stats().Conns, len(at))
		}
	})
}

func TestOutstandingCountsCalls(t *testing.T) {
	inPool(t, Config{}, func(t *testing.T, p *Pool, s *server) {
		if n := p.Outstanding(addr); n != 0 {
			t.Errorf("%d calls at an unknown address", n)
		}
		done := block(p, t.Context(), 20)
		if n := p.Outstanding(addr); n != 20 || p.Stats().Calls != 20 {
			t.Errorf("%d outstanding, %+v", n, p.Stats())
		}
		close(s.release)
		for range 20 {
			<-done
		}
		if n := p.Outstanding(addr); n != 0 || p.Stats().Calls != 0 {
			t.Errorf("%d outstanding at the end", n)
		}
	})
}
