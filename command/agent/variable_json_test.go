package agent

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/cairn-project/cairn/nomad/structs"
)

// reflected returns what encoding/json writes.
func reflected(t testing.TB, v any) string {
	t.Helper()
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return buf.String()[:buf.Len()-1]
}

func checkSame(t testing.TB, v any) {
	t.Helper()
	got, ok := appendVariables(nil, v)
	if !ok {
		t.Fatalf("%T goes through reflection", v)
	}
	if want := reflected(t, v); string(got) != want {
		t.Errorf("%T:\n got %s\nwant %s", v, got, want)
	}
}

func TestVariableJSONEqualsReflection(t *testing.T) {
	many := structs.VariableItems{}
	for c := range rune(300) {
		many[string(c)] = string([]rune{c, c + 1})
	}
	odd := structs.VariableItems{"\u2028<>&": "\u2029", "bad\xff\xc3": "\xed\xa0\x80\"\\\b\f\n\r\t\x00\x7f"}
	for _, items := range []structs.VariableItems{nil, {}, odd, many} {
		v := variable()
		v.Items = items
		checkSame(t, v)
	}
	bare := &structs.VariableDecrypted{}
	checkSame(t, bare)
	checkSame(t, &bare.VariableMetadata)
	locked := variable()
	locked.Lock = &structs.VariableLock{TTL: 90 * time.Second}
	locked.CreateTime = -1
	checkSame(t, locked)
	checkSame(t, (*structs.VariableDecrypted)(nil))
	checkSame(t, (*structs.VariableMetadata)(nil))
	checkSame(t, []*structs.VariableMetadata(nil))
	checkSame(t, []*structs.VariableMetadata{})
	checkSame(t, []*structs.VariableMetadata{&locked.VariableMetadata, nil, &bare.VariableMetadata})
}

func FuzzVariableJSON(f *testing.F) {
	f.Add("ns", "a/b", "k", "v<&>\u2028\xff", uint64(3), int64(-4))
	f.Fuzz(func(t *testing.T, ns, path, k, val string, index uint64, tm int64) {
		checkSame(t, &structs.VariableDecrypted{
			VariableMetadata: structs.VariableMetadata{Namespace: ns, Path: path, CreateIndex: index, ModifyTime: tm,
				Lock: &structs.VariableLock{ID: "b5d3c7a0", TTL: time.Duration(tm)}},
			Items: structs.VariableItems{k: val, val: k},
		})
	})
}

func BenchmarkReadVariable(b *testing.B) {
	h := testAPI(b, newFake().fill())
	b.ReportAllocs()
	for b.Loop() {
		if w := call(h, "GET", "/v1/var/app/db", ""); w.Code != 200 {
			b.Fatal(w.Code)
		}
	}
}
