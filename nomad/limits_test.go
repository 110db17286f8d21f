package nomad_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/limit"
	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

// few lets three writes of one payer through, and another every 1000 seconds.
var few = limit.Rate{PerSecond: 0.001, Burst: 3}

func withRates(set func(*limit.Rates)) nomadtest.Option {
	return func(c *nomad.Config) {
		c.Limits.Mode = limit.Enforcing
		set(&c.Limits.Rates)
	}
}

// counted returns the sum of a metric of n over the series with the class.
func counted(t *testing.T, n *nomadtest.Node, name string, class limit.Class) (sum float64) {
	t.Helper()
	r := prometheus.NewRegistry()
	if err := r.Register(n.Server); err != nil {
		t.Fatal(err)
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == name && l.GetName() == "class" && l.GetValue() == class.String() {
					sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
				}
			}
		}
	}
	return sum
}

func TestRequestsArePaidForOnceAndNotAtEachHop(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		c.WaitReady()
		leader, follower := c.WaitLeader(), c.Follower()
		for i := range 9 { // nobody asks for these; on the leader they are over its rate
			mustPut(t, follower, "a", fmt.Sprint(i))
		}
		if n := counted(t, leader, "cairn_rate_limit_refused_total", limit.Write); n != 0 {
			t.Errorf("the leader refused %v writes that a follower passed on", n)
		}
		for i := range 5 {
			err := follower.Charge(t.Context(), nomad.Charged{Method: "Variables.Apply", Secret: "", Remote: "192.168.0.7:4000"})
			if over := i >= 3; errors.Is(err, errs.RateLimited) != over {
				t.Errorf("write %d: %v", i, err)
			}
		}
		if err := leader.Charge(t.Context(), nomad.Charged{Method: "Variables.Apply", Secret: "", Remote: "192.168.0.7:4000"}); err != nil {
			t.Errorf("another server has not been asked yet: %v", err)
		}
		if err := follower.Charge(t.Context(), nomad.Charged{Method: "Variables.RenewLock", Secret: "", Remote: "192.168.0.7:4000"}); err != nil {
			t.Errorf("the renewal of a lock: %v", err)
		}
	}, withRates(func(r *limit.Rates) { r.PerAddress.Write = few }))
}

// stranger calls the server port of a node from a host that is no server.
func stranger(t *testing.T, c *nomadtest.Cluster, to *nomadtest.Node) func(hops int) error {
	t.Helper()
	conn, err := c.Fabric.Dial(t.Context(), "10.9.9.9:1", to.Host+":4647")
	if err != nil {
		t.Fatal(err)
	}
	if conn, err = mux.Select(t.Context(), conn, mux.ProtoRPC, nil); err != nil {
		t.Fatal(err)
	}
	client := wire.NewClient(conn, wire.DefaultLimits())
	t.Cleanup(func() { client.Close() })
	return func(hops int) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		return client.Call(ctx, "Namespace.GetNamespace", &structs.NamespaceSpecificRequest{Name: "default"}, nil, wire.CallOptions{Hops: hops})
	}
}

func TestAStrangerCannotClaimToPassCallsOn(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		call := stranger(t, c, c.WaitLeader())
		for i := range 6 {
			err := call(i % 2)
			if over := i >= 3; errors.Is(err, errs.RateLimited) != over {
				t.Errorf("call %d: %v", i, err)
			}
			var e *errs.Error
			if errors.As(err, &e) && (e.RetryAfter < time.Second || e.Executed != "") {
				t.Errorf("call %d: refused with %+v", i, e)
			}
		}
		time.Sleep(101 * time.Second)
		if err := call(0); err != nil {
			t.Errorf("after a long pause: %v", err)
		}
	}, withRates(func(r *limit.Rates) { r.PerAddress.Read = limit.Rate{PerSecond: 0.01, Burst: 3} }))
}

func TestInventedSecretsPayByAddress(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		n := c.WaitLeader()
		root := admin(t, n)
		root.policy("p", `namespace "default" { policy = "read" }`)
		one, two := root.token(client("p")), root.token(client("p"))
		charge := func(secret string) error {
			return n.Charge(t.Context(), nomad.Charged{Method: "Variables.Read", Secret: secret, Remote: "192.168.0.7:4000"})
		}
		for i := range 5 {
			for _, token := range []*structs.ACLToken{one, two} {
				if err := charge(token.SecretID); errors.Is(err, errs.RateLimited) != (i >= 3) {
					t.Errorf("read %d with %s: %v", i, token.AccessorID, err)
				}
			}
		}
		taken := 0
		for i := range 100 {
			if charge(fmt.Sprintf("5b21b9cf-6d03-4c4b-8a64-%012d", i)) == nil {
				taken++
			}
		}
		if taken != 4 { // six of the ten of the address are spent
			t.Errorf("%d reads with invented secrets, want 4", taken)
		}
	}, withACL, withRates(func(r *limit.Rates) {
		r.PerToken.Read = few
		r.PerAddress.Read = limit.Rate{PerSecond: 0.001, Burst: 10}
	}))
}

func TestLimitsChangeWhileTheServerRuns(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		n := c.WaitLeader()
		refused := func() (count int) {
			for range 10 {
				if err := n.Charge(t.Context(), nomad.Charged{Method: "Variables.List", Secret: "", Remote: "192.168.0.7:4000"}); errors.Is(err, errs.Busy) {
					count++
				}
			}
			return count
		}
		var l nomad.LimitConfig
		l.Global.Bulk = few
		for _, tc := range []struct {
			mode limit.Mode
			want int
		}{{limit.Disabled, 0}, {limit.Permissive, 0}, {limit.Enforcing, 10}, {limit.Disabled, 0}} {
			l.Mode = tc.mode
			n.SetLimits(l)
			if got := refused(); got != tc.want {
				t.Errorf("%s: %d of 10 refused, want %d", tc.mode, got, tc.want)
			}
		}
		if noticed := counted(t, n, "cairn_rate_limit_noticed_total", limit.Bulk); noticed != 7 {
			t.Errorf("%v noticed while permissive, want 7", noticed)
		}
	})
}

// Local users without a token have a share each, and none of it is that of an address.
func TestLocalUsersPayByTheirName(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		n := c.WaitLeader()
		root := admin(t, n)
		root.policy("p", `namespace "default" { policy = "read" }`)
		token := root.token(client("p"))
		for i := range 5 {
			for _, r := range []nomad.Charged{
				{Method: "Variables.Read", User: "uid 1000"},
				{Name: "ping", Class: limit.Read, User: "uid 1001", Secret: "an invented one"},
				{Method: "Variables.Read", User: "uid 1002", Secret: token.SecretID},
			} {
				if err := n.Charge(t.Context(), r); errors.Is(err, errs.RateLimited) != (i >= 3) {
					t.Errorf("read %d by %s: %v", i, r.User, err)
				}
			}
		}
		if err := n.Charge(t.Context(), nomad.Charged{Method: "Variables.Read", User: "uid 1002"}); err != nil {
			t.Errorf("who had paid with a token: %v", err)
		}
		if err := n.Charge(t.Context(), nomad.Charged{Name: "notify exit", Class: limit.Control, User: "uid 1000"}); err != nil {
			t.Errorf("what is urgent: %v", err)
		}
	}, withACL, withRates(func(r *limit.Rates) {
		r.PerToken.Read = few
		r.PerAddress.Read = limit.Rate{PerSecond: 0.001, Burst: 1}
	}))
}
