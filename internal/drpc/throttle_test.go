package drpc

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestLinesOfAUserHideNobody: each user has a line a second, however much another one
// has to be told of, and what is remembered of users is bounded.
func TestLinesOfAUserHideNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines throttles
		expect := func(what string, uid, skipped int, ok bool) {
			t.Helper()
			if n, logs := lines.allow(uid); n != skipped || logs != ok {
				t.Errorf("%s: %d left out, logs %t, want %d and %t", what, n, logs, skipped, ok)
			}
		}
		expect("the first line of one", 1, 0, true)
		for range 1000 {
			expect("too soon", 1, 0, false)
		}
		expect("somebody else", 2, 0, true)
		time.Sleep(time.Second)
		expect("a second later", 1, 1000, true)
		expect("a second later, somebody else", 2, 0, true)
		for uid := range 10 * maxThrottled {
			lines.allow(100 + uid)
		}
		if n := len(lines.byUID); n > maxThrottled {
			t.Errorf("%d users are remembered", n)
		}
		expect("one more of many shares a line", 1_000_000, 0, false)
		time.Sleep(time.Second)
		expect("quiet users made room", 1_000_001, 0, true)
		expect("and they share no line any more", 1_000_002, 0, true)
	})
}
