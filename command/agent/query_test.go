package agent

import (
	"net/url"
	"slices"
	"testing"
)

func FuzzParseQuery(f *testing.F) {
	for _, raw := range []string{"", "stale", "stale=", "a=b&a=c&d", "&&a==b&", "a=%20&b=+", "a;b", "%zz", "=x", "a&b&c&d&e&f&g&h&i&j&k&l&m&n&o&p&q"} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := parseQuery(raw)
		want, wantErr := url.ParseQuery(raw)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%q: error %v, net/url %v", raw, err, wantErr)
		}
		if err != nil {
			return
		}
		n := 0
		for name, values := range want {
			n += len(values)
			if !got.Has(name) || got.Get(name) != values[0] || !slices.Equal(got.all(name), values) {
				t.Errorf("%q: %q is %q, net/url %q", raw, name, got.all(name), values)
			}
		}
		if len(got) != n || got.Has(raw+"x") != want.Has(raw+"x") {
			t.Errorf("%q: %v, net/url %v", raw, got, want)
		}
	})
}
