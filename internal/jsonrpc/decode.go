package jsonrpc

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// NotDecoded is the error for parameters that fit their schema and not the type that
// they are decoded into, such as 3.0 or 1e400 for an integer. err is that of
// encoding/json; what it calls types and fields in Go is not told.
func NotDecoded(params json.RawMessage, err error) *Error {
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		return InvalidParams("", err.Error())
	}
	got := strings.TrimPrefix(wrong.Value, "number ")
	return InvalidParams(place(params, strings.Split(wrong.Field, ".")), fmt.Sprintf("must be %s, not %s", wanted(wrong.Type), got))
}

// place turns the path of a field into a JSON pointer, as far as objects lead to it:
// the path names no places in lists, but structs that JSON knows nothing of.
func place(params json.RawMessage, path []string) string {
	var found []string
	v := params
	for _, name := range path {
		var members map[string]json.RawMessage
		if json.Unmarshal(v, &members) != nil {
			break
		}
		if next, ok := members[name]; ok {
			found, v = append(found, name), next
		}
	}
	return pointer(found)
}

// wanted says what a Go type takes.
func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		top := uint64(1)<<(t.Bits()-1) - 1
		return fmt.Sprintf("a whole number without fraction and exponent from -%d to %d", top+1, top)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return fmt.Sprintf("a whole number without fraction and exponent from 0 to %d", ^uint64(0)>>(64-t.Bits()))
	case reflect.Float32, reflect.Float64:
		return fmt.Sprintf("a number that fits in %d bits", t.Bits())
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "a list"
	}
	return "an object"
}
