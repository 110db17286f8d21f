package acl

import (
	"encoding/json"
	"strconv"
	"strings"
)

// unquote decodes a string that has its quotes. The escapes are those of JSON
// (RFC 8259) or of HCL, which are those of Go.
func unquote(raw string, asJSON bool) (string, bool) {
	if !strings.ContainsRune(raw, '\\') && !hasControl(raw) {
		return raw[1 : len(raw)-1], true
	}
	var out string
	if asJSON {
		err := json.Unmarshal([]byte(raw), &out)
		return out, err == nil
	}
	out, err := strconv.Unquote(raw)
	return out, err == nil
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' })
}
