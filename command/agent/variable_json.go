package agent

import (
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/cairn-project/cairn/nomad/structs"
)

// appendVariables appends the JSON of variables without reflection, as they
// are what the API serves most. It reports false for any other type. The bytes
// are those of encoding/json without HTML escapes.
func appendVariables(b []byte, v any) ([]byte, bool) {
	switch v := v.(type) {
	case *structs.VariableDecrypted:
		if v == nil {
			return append(b, "null"...), true
		}
		return appendVariable(b, v), true
	case *structs.VariableMetadata:
		if v == nil {
			return append(b, "null"...), true
		}
		return append(appendMetadata(append(b, '{'), v), '}'), true
	case []*structs.VariableMetadata:
		return appendMetadataList(b, v), true
	}
	return b, false
}

func appendMetadataList(b []byte, list []*structs.VariableMetadata) []byte {
	if list == nil {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for i, m := range list {
		if i > 0 {
			b = append(b, ',')
		}
		if m == nil {
			b = append(b, "null"...)
			continue
		}
		b = append(appendMetadata(append(b, '{'), m), '}')
	}
	return append(b, ']')
}

func appendVariable(b []byte, v *structs.VariableDecrypted) []byte {
	b = appendMetadata(append(b, '{'), &v.VariableMetadata)
	b = append(b, `,"Items":`...)
	if v.Items == nil {
		return append(b, "null}"...)
	}
	var room [16]string
	keys := room[:0]
	for k := range v.Items {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	b = append(b, '{')
	for i, k := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, k), ':')
		b = appendString(b, v.Items[k])
	}
	return append(b, "}}"...)
}

// appendMetadata appends the fields without the braces.
func appendMetadata(b []byte, m *structs.VariableMetadata) []byte {
	b = appendString(append(b, `"Namespace":`...), m.Namespace)
	b = appendString(append(b, `,"Path":`...), m.Path)
	b = strconv.AppendUint(append(b, `,"CreateIndex":`...), m.CreateIndex, 10)
	b = strconv.AppendInt(append(b, `,"CreateTime":`...), m.CreateTime, 10)
	b = strconv.AppendUint(append(b, `,"ModifyIndex":`...), m.ModifyIndex, 10)
	b = strconv.AppendInt(append(b, `,"ModifyTime":`...), m.ModifyTime, 10)
	if l := m.Lock; l != nil {
		b = append(b, `,"Lock":{`...)
		if l.ID != "" {
			b = append(appendString(append(b, `"ID":`...), l.ID), ',')
		}
		b = appendString(append(b, `"TTL":`...), l.TTL.String())
		b = appendString(append(b, `,"LockDelay":`...), l.LockDelay.String())
		b = append(b, '}')
	}
	return b
}

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string (RFC 8259). Broken UTF-8 becomes
// U+FFFD, and U+2028 and U+2029 are escaped for JavaScript.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			b = appendEscape(append(b, s[start:i]...), c)
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			b = append(append(b, s[start:i]...), `\ufffd`...)
			start = i + size
		case r == '\u2028' || r == '\u2029':
			b = append(append(b, s[start:i]...), `\u202`...)
			b = append(b, hexDigits[r&0xf])
			start = i + size
		}
		i += size
	}
	return append(append(b, s[start:]...), '"')
}

func appendEscape(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\b':
		return append(b, `\b`...)
	case '\f':
		return append(b, `\f`...)
	case '\n':
		return append(b, `\n`...)
	case '\r':
		return append(b, `\r`...)
	case '\t':
		return append(b, `\t`...)
	}
	return append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
}
