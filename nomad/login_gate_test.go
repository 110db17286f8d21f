package nomad

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/cairn-project/cairn/internal/limit"
)

// The logins of one auth method, whose provider is slow, leave room for those of others.
func TestASlowProviderHoldsUpItsOwnLogins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newLoginGate()
		enter := func(method string) func() {
			t.Helper()
			leave, err := g.enter(t.Context(), method)
			if err != nil {
				t.Fatalf("%s: %v", method, err)
			}
			return leave
		}
		var inside []func()
		for range maxAskingOne {
			inside = append(inside, enter("slow"))
		}
		if _, err := g.enter(t.Context(), "slow"); !errors.Is(err, limit.ErrLate) {
			t.Errorf("one more of the slow one: %v", err)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := g.enter(gone, "slow"); !errors.Is(err, context.Canceled) {
			t.Errorf("one whose caller went away: %v", err)
		}
		inside = append(inside, enter("quick"))
		for i := len(inside); i < maxAsking; i++ {
			inside = append(inside, enter(string(rune('a'+i/maxAskingOne))))
		}
		if _, err := g.enter(t.Context(), "last"); !errors.Is(err, limit.ErrLate) {
			t.Errorf("more than may ask in all: %v", err)
		}
		for _, leave := range inside {
			leave()
		}
		if len(g.one) != 0 || g.all.Loads()[limit.Write].Running != 0 {
			t.Errorf("%d gates and %v are left", len(g.one), g.all.Loads()[limit.Write])
		}
		enter("slow")()
	})
}
