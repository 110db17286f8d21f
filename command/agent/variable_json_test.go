package agent

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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

// discard is a ResponseWriter that keeps nothing.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}

func BenchmarkReadVariable(b *testing.B) {
	h := testAPI(b, newFake().fill())
	req := httptest.NewRequest("GET", "/v1/var/app/db?stale", nil)
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(&discard{http.Header{}}, req)
	}
}

func BenchmarkWriteVariable(b *testing.B) {
	h := testAPI(b, newFake().fill())
	body := `{"Items":{"value":"` + strings.Repeat("x", 256) + `"}}`
	b.ReportAllocs()
	for b.Loop() {
		req := httptest.NewRequest("PUT", "/v1/var/app/db", strings.NewReader(body))
		h.ServeHTTP(&discard{http.Header{}}, req)
	}
}

func TestPlainVariablesAreParsedWithoutReflection(t *testing.T) {
	for text, plain := range map[string]bool{
		`{"Items":{"a":"b"}}`: true,
		`{"Namespace":"n","Path":"a/b","CreateIndex":0,"CreateTime":0,"ModifyIndex":12,"ModifyTime":5,"Items":{"ü":"ß","k":""}}`: true,
		" {\n\"Items\" : { } } \n":             true,
		`{}`:                                   true,
		`{"Items":{"a":"b","a":"c"}}`:          true,
		`{"items":{"a":"b"}}`:                  false,
		`{"Items":{"a":"\n"}}`:                 false,
		`{"Items":null}`:                       false,
		`{"Items":{"a":"b"}} x`:                false,
		`{"Items":{"a":"b"},}`:                 false,
		`{"Path":"a","Path":"b"}`:              false,
		`{"ModifyIndex":01}`:                   false,
		`{"ModifyIndex":1.0}`:                  false,
		`{"CreateTime":1795226889853556775}`:   true,
		`{"ModifyIndex":9999999999999999999}`:  true,
		`{"ModifyIndex":18446744073709551615}`: false,
		`{"CreateTime":9999999999999999999}`:   false,
		`{"Lock":{"TTL":"15s"}}`:               false,
		"{\"Path\":\"\xff\"}":                  false,
		``:                                     false,
		`{"Path":"a`:                           false,
	} {
		var v structs.VariableDecrypted
		if got := parseVariable([]byte(text), &v); got != plain {
			t.Errorf("%s: %t", text, got)
		}
		checkParse(t, []byte(text))
	}
}

// checkParse compares with encoding/json where the parser says it understood.
func checkParse(t *testing.T, text []byte) {
	t.Helper()
	var got, want structs.VariableDecrypted
	if !parseVariable(text, &got) {
		if diff := cmp.Diff(structs.VariableDecrypted{}, got); diff != "" {
			t.Errorf("%q: left behind %s", text, diff)
		}
		return
	}
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%q: %s", text, diff)
	}
}

func FuzzParseVariable(f *testing.F) {
	f.Add([]byte(`{"Namespace":"n","Path":"a/b","CreateIndex":7,"ModifyTime":5,"Items":{"ü":"ß","k":""}}`))
	f.Add([]byte(`{"Items":{"a":"\u0000"},"Lock":{"ID":"x"}}`))
	f.Fuzz(func(t *testing.T, text []byte) { checkParse(t, text) })
}
