package structs

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// jsonOf is what encoding/json writes for items, without escaping HTML.
func jsonOf(t *testing.T, items VariableItems) string {
	t.Helper()
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(items); err != nil {
		t.Fatal(err)
	}
	return string(bytes.TrimSpace(buf.Bytes()))
}

func TestItemsAgreeWithJSON(t *testing.T) {
	for _, items := range []VariableItems{
		{}, {"a": "b"}, {"b": "1", "a": "2", "": "empty"}, {"quote\"": "back\\slash"},
		{"<html>": "&amp;"}, {"umlaut ü": "\u2028 line"}, {"control": "a\nb\x00c"}, {"bad": "\xff\xfe"},
		{"{\"x\":\"y\"}": ",:{}"},
	} {
		got := string(AppendItems(nil, items))
		if want := jsonOf(t, items); got != want {
			t.Errorf("items %q: wrote %s, want %s", items, got, want)
		}
		var want VariableItems
		if err := json.Unmarshal([]byte(got), &want); err != nil {
			t.Fatal(err)
		}
		back, err := ParseItems([]byte(got))
		if err != nil {
			t.Fatalf("items %q: %v", items, err)
		}
		if diff := cmp.Diff(want, back); diff != "" {
			t.Errorf("items %q (-want +got):\n%s", items, diff)
		}
	}
}

func FuzzParseItems(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":"b"}`, `{"a":"b",}`, `{"a":1}`, `{ "a" : "b" }`, `{"a":"\u00e4"}`, `{"a"}`, `{"a":"b"`, `{"a":"b","a":"c"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := ParseItems(b)
		var want VariableItems
		wantErr := json.Unmarshal(b, &want)
		if wantErr == nil && err != nil {
			t.Fatalf("%q: refused what is valid: %v", b, err)
		}
		if err == nil && wantErr == nil && len(want) > 0 && !cmp.Equal(want, got) {
			t.Fatalf("%q: got %q, want %q", b, got, want)
		}
		if err == nil {
			if _, err := ParseItems(AppendItems(nil, got)); err != nil {
				t.Fatalf("%q: cannot read what was written: %v", b, err)
			}
		}
	})
}
