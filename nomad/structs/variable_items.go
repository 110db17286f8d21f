package structs

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cairn-project/cairn/internal/errs"
)

// AppendItems appends the items as one JSON object with its keys in order: the
// plain text that is sealed. Equal items give equal bytes, and the bytes are
// the ones that encoding/json writes without escaping HTML.
func AppendItems(b []byte, items VariableItems) []byte {
	var space [16]string
	keys := space[:0]
	for k := range items {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	b = append(b, '{')
	for i, k := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = AppendJSONString(b, k)
		b = append(b, ':')
		b = AppendJSONString(b, items[k])
	}
	return append(b, '}')
}

// AppendJSONString appends s as a JSON string (RFC 8259), without escaping HTML.
func AppendJSONString(b []byte, s string) []byte {
	if !plainJSON(s) {
		return appendEscaped(b, s)
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// plainJSON reports whether s stands in a JSON string as it is.
func plainJSON(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func appendEscaped(b []byte, s string) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return append(b, `""`...)
	}
	return append(b, bytes.TrimSuffix(buf.Bytes(), []byte{'\n'})...)
}

// ParseItems reads what AppendItems wrote, or any other JSON object of strings.
func ParseItems(b []byte) (VariableItems, error) {
	if bytes.IndexByte(b, '\\') < 0 {
		if items, ok := parsePlainItems(b); ok {
			return items, nil
		}
	}
	var items VariableItems
	if err := json.Unmarshal(b, &items); err != nil {
		return nil, errs.Wrap(errs.Internal, "the stored items are damaged", err)
	}
	return items, nil
}

// parsePlainItems reads an object without escapes and white space; ok is false
// for any other. The keys and values are parts of one string.
func parsePlainItems(b []byte) (items VariableItems, ok bool) {
	if len(b) < 2 || b[0] != '{' || b[len(b)-1] != '}' || !utf8.Valid(b) {
		return nil, false
	}
	items = VariableItems{}
	rest := string(b[1 : len(b)-1])
	for len(rest) > 0 {
		var key, value string
		if key, rest, ok = cutPlainString(rest); !ok || len(rest) == 0 || rest[0] != ':' {
			return nil, false
		}
		if value, rest, ok = cutPlainString(rest[1:]); !ok {
			return nil, false
		}
		items[key] = value
		if len(rest) == 0 {
			break
		}
		if rest[0] != ',' || len(rest) == 1 {
			return nil, false
		}
		rest = rest[1:]
	}
	return items, true
}

func cutPlainString(s string) (text, rest string, ok bool) {
	if len(s) < 2 || s[0] != '"' {
		return "", "", false
	}
	return strings.Cut(s[1:], `"`)
}
