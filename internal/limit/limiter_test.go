package limit

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func named(token string) func() string { return func() string { return token } }

// admitted returns how many of n requests are taken now.
func admitted(l *Limiter, n int, c Class, who Payer) (taken int) {
	for range n {
		if r := l.Take(c, who); r == nil || !r.Enforced {
			taken++
		}
	}
	return taken
}

func TestBurstThenRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Rates
		r.Mode = Enforcing
		r.Global.Write = Rate{PerSecond: 10, Burst: 5}
		l := New(r)
		if n := admitted(l, 20, Write, Payer{}); n != 5 {
			t.Errorf("a burst of %d, want 5", n)
		}
		refusal := l.Take(Write, Payer{})
		if refusal == nil || refusal.Wait != 100*time.Millisecond || refusal.Scope != Global {
			t.Fatalf("refused with %+v, want to wait 100ms", refusal)
		}
		time.Sleep(refusal.Wait)
		if n := admitted(l, 20, Write, Payer{}); n != 1 {
			t.Errorf("after the wait %d, want 1", n)
		}
		time.Sleep(time.Hour)
		if n := admitted(l, 20, Write, Payer{}); n != 5 {
			t.Errorf("a burst of %d after a long pause, want 5", n)
		}
		if n := admitted(l, 20, Read, Payer{}); n != 20 {
			t.Errorf("%d reads, though only writes have a bound", n)
		}
	})
}

func TestOverAdmissionIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Rates
		r.Mode = Enforcing
		r.Global.Read = Rate{PerSecond: 100, Burst: 10}
		l := New(r)
		var taken atomic.Int64
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				for range 1000 { // a second at ten times the rate
					if l.Take(Read, Payer{}) == nil {
						taken.Add(1)
					}
					time.Sleep(time.Millisecond)
				}
			})
		}
		wg.Wait()
		if n := taken.Load(); n < 108 || n > 110 {
			t.Errorf("%d in a second, want the burst of 10 and 100", n)
		}
	})
}

func TestModes(t *testing.T) {
	var r Rates
	r.PerAddress.Read = Rate{PerSecond: 0.001, Burst: 1}
	who := Payer{Address: ip("10.0.0.1")}
	for _, tc := range []struct {
		mode             Mode
		taken            int
		refused, noticed uint64
	}{{"", 5, 0, 0}, {Disabled, 5, 0, 0}, {Permissive, 5, 0, 4}, {Enforcing, 1, 4, 0}} {
		r.Mode = tc.mode
		l := New(r)
		if n := admitted(l, 5, Read, who); n != tc.taken {
			t.Errorf("%q takes %d, want %d", tc.mode, n, tc.taken)
		}
		for _, c := range l.Counts() {
			want := Count{Scope: c.Scope, Class: c.Class}
			if c.Scope == PerAddress && c.Class == Read {
				want.Refused, want.Noticed = tc.refused, tc.noticed
			}
			if c != want {
				t.Errorf("%q counts %+v, want %+v", tc.mode, c, want)
			}
		}
	}
}

func TestSetTakesEffectAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Rates
		l := New(r)
		if l.On() {
			t.Error("on without a mode")
		}
		r.Mode = Enforcing
		r.Global.Write = Rate{PerSecond: 1, Burst: 2}
		l.Set(r)
		if n := admitted(l, 9, Write, Payer{}); n != 2 || !l.On() {
			t.Errorf("%d after limits were set, want 2", n)
		}
		r.Global.Write.Burst = 4
		l.Set(r)
		if n := admitted(l, 9, Write, Payer{}); n != 2 {
			t.Errorf("%d more with a burst of 4 of which 2 are spent, want 2", n)
		}
		l.Set(Rates{})
		if n := admitted(l, 9, Write, Payer{}); n != 9 {
			t.Errorf("%d of 9 after limits were taken away", n)
		}
	})
}

func TestPayersAreApart(t *testing.T) {
	var r Rates
	r.Mode = Enforcing
	r.PerAddress.Write = Rate{PerSecond: 0.001, Burst: 2}
	r.PerToken.Write = Rate{PerSecond: 0.001, Burst: 1}
	l := New(r)
	for _, tc := range []struct {
		who   Payer
		taken int
		scope Scope
	}{
		{Payer{Address: ip("10.0.0.1"), Token: named("a")}, 1, PerToken},
		{Payer{Address: ip("10.0.0.1"), Token: named("b")}, 1, PerAddress}, // what a's refusals took of the address was given back
		{Payer{Address: ip("10.0.0.1"), Token: named("c")}, 0, PerAddress},
		{Payer{Address: ip("10.0.0.2"), Token: named("a")}, 0, PerToken},
		{Payer{Address: ip("::ffff:10.0.0.3")}, 2, PerAddress},
		{Payer{Address: ip("10.0.0.3")}, 0, PerAddress},
		{Payer{Address: ip("2001:db8::1")}, 2, PerAddress},
		{Payer{Address: ip("2001:db8::ffff:1")}, 0, PerAddress},
		{Payer{Address: ip("2001:db8:0:1::1")}, 2, PerAddress},
	} {
		if n := admitted(l, 4, Write, tc.who); n != tc.taken {
			t.Errorf("%v: %d, want %d", tc.who.Address, n, tc.taken)
		}
		if refusal := l.Take(Write, tc.who); refusal == nil || refusal.Scope != tc.scope || refusal.Payer == "" {
			t.Errorf("%v: refused with %+v, want scope %v", tc.who.Address, refusal, tc.scope)
		}
	}
	if n := admitted(l, 4, Write, Payer{}); n != 4 {
		t.Errorf("%d of 4 without an address or a token", n)
	}
}

func TestATokenIsLookedUpLast(t *testing.T) {
	var r Rates
	r.Mode = Enforcing
	r.PerAddress.Read = Rate{PerSecond: 0.001, Burst: 3}
	r.PerToken.Read = Rate{PerSecond: 1000}
	l := New(r)
	asked := 0
	who := Payer{Address: ip("10.0.0.1"), Token: func() string { asked++; return "" }}
	admitted(l, 100, Read, who)
	if asked != 3 {
		t.Errorf("asked for the token %d times, want 3: an address over its rate must cost nothing", asked)
	}
}

func TestInventedPayersTakeBoundedMemory(t *testing.T) {
	var r Rates
	r.Mode = Enforcing
	r.PerAddress.Read = Rate{PerSecond: 1}
	l := New(r)
	for i := range 100_000 {
		l.Take(Read, Payer{Address: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})})
	}
	if n := l.addresses.len(); n > accountShards*accountsPerShard || n < accountsPerShard {
		t.Errorf("%d payers are remembered", n)
	}
}

func TestProblems(t *testing.T) {
	var r Rates
	r.Mode, r.PerToken.Write, r.Global.Bulk = Permissive, Rate{PerSecond: 1, Burst: 1}, Rate{PerSecond: MaxPerSecond, Burst: MaxBurst}
	if p := r.Problems(); p != nil {
		t.Error(p)
	}
	r = Rates{Mode: "on"}
	r.PerAddress.Control, r.PerToken.Read, r.Global.Bulk = Rate{PerSecond: -1}, Rate{PerSecond: 1, Burst: -1}, Rate{Burst: 1}
	all := fmt.Sprint(r.Problems())
	for _, want := range []string{`mode "on"`, "per_address.control.rate", "per_token.read.burst", "global.bulk.burst"} {
		if !strings.Contains(all, want) {
			t.Errorf("nothing about %s in %s", want, all)
		}
	}
}

func BenchmarkTake(b *testing.B) {
	var on Rates
	on.Mode = Enforcing
	on.PerAddress.Read, on.PerToken.Read, on.Global.Read = Rate{PerSecond: MaxPerSecond}, Rate{PerSecond: MaxPerSecond}, Rate{PerSecond: MaxPerSecond}
	for name, r := range map[string]Rates{"disabled": {}, "enforcing": on} {
		b.Run(name, func(b *testing.B) {
			l, token := New(r), named("a")
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					l.Take(Read, Payer{Address: netip.IPv6LinkLocalAllRouters(), Token: token})
				}
			})
		})
	}
}
