package structs

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/internal/errs"
)

func TestBatchRoundTrip(t *testing.T) {
	for name, entries := range map[string][][]byte{
		"none": {},
		"one":  {{byte(NamespaceUpsertRequestType), 1, 2}},
		"many": {{1}, bytes.Repeat([]byte{2}, 127), bytes.Repeat([]byte{3}, 128), bytes.Repeat([]byte{4}, 70_000)},
		"full": slicesOf(MaxBatchOps),
	} {
		b := AppendBatch([]byte("head"), entries)
		if !bytes.HasPrefix(b, []byte{'h', 'e', 'a', 'd', byte(BatchRequestType)}) {
			t.Fatalf("%s: begins with %x", name, b[:5])
		}
		got, err := SplitBatch(b[5:])
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(entries, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func slicesOf(n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = []byte{byte(i), byte(i >> 8)}
	}
	return out
}

func TestBatchFormatIsFrozen(t *testing.T) {
	want := []byte{96, 2, 1, 50, 3, 64, 0xff, 0}
	if got := AppendBatch(nil, [][]byte{{50}, {64, 0xff, 0}}); !bytes.Equal(got, want) {
		t.Errorf("batch is %v, want %v", got, want)
	}
}

func TestSplitBatchRefuses(t *testing.T) {
	for name, body := range map[string][]byte{
		"empty":           {},
		"no entries":      {2},
		"cut":             {1, 3, 1, 2},
		"left over":       {1, 1, 1, 2},
		"empty entry":     {1, 0},
		"endless varint":  bytes.Repeat([]byte{0x80}, 20),
		"huge count":      {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1},
		"huge length":     {1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1},
		"length overflow": {1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1},
	} {
		if got, err := SplitBatch(body); !errors.Is(err, errs.Internal) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func FuzzSplitBatch(f *testing.F) {
	f.Add(AppendBatch(nil, [][]byte{{1}, {2, 3}})[1:])
	f.Add([]byte{0})
	f.Add([]byte{1, 0x80, 0x80, 1})
	f.Fuzz(func(t *testing.T, body []byte) {
		entries, err := SplitBatch(body)
		if err != nil {
			return
		}
		again, err := SplitBatch(AppendBatch(nil, entries)[1:])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(entries, again); diff != "" {
			t.Error(diff)
		}
	})
}
