package nomad

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/internal/msgp"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/structs"
)

// What is passed on with another wait is the same in all else.
func TestWaitOfAnEncodedQueryIsReplaced(t *testing.T) {
	for _, asked := range []time.Duration{0, 1, time.Second, structs.MaxBlockingWait} {
		for _, rest := range []time.Duration{1, time.Millisecond, time.Hour} {
			want := structs.VariablesReadRequest{Path: "app/db", QueryOptions: structs.QueryOptions{
				Region: "mars", AuthToken: "t", Namespace: "ns", MinQueryIndex: 3, MaxQueryTime: asked}}
			body, err := msgp.Append(nil, &want)
			if err != nil {
				t.Fatal(err)
			}
			before := string(body)
			var got structs.VariablesReadRequest
			if err := msgp.Unmarshal(withWait(body, rest), &got); err != nil {
				t.Fatal(err)
			}
			want.MaxQueryTime = rest
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%v for %v: %s", rest, asked, diff)
			}
			if string(body) != before {
				t.Error("the body itself was changed")
			}
		}
	}
	for _, body := range []string{"\x80", "\x81\xa6Region\xa1x", "\x82\xacMaxQueryTime", "\x82\xacMaxQueryTime\x01\xa1", "", "\xc0"} {
		if got := withWait(wire.Raw(body), time.Second); string(got) != body {
			t.Errorf("%q became %q", body, got)
		}
	}
	twice := wire.Raw("\x83\xadMinQueryIndex\x01\xacMaxQueryTime\x01\xacMaxQueryTime\x02")
	if r, err := scanRouting(withWait(twice, time.Minute)); err != nil || r.blocking != longestWait(1, time.Minute) {
		t.Errorf("a field that comes twice: %v, %v", r.blocking, err)
	}
}
