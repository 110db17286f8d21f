package jsonrpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// nothing is the result of a method that returns none.
var nothing = json.RawMessage(`"success"`)

var errEncode = errors.New("cannot encode")

// encodeResult returns v as JSON without white space. Numbers and escapes of a
// json.RawMessage are kept as they are.
func encodeResult(v any) (out json.RawMessage, err error) {
	defer func() {
		if p := recover(); p != nil {
			out, err = nil, fmt.Errorf("%w: %v", errEncode, p)
		}
	}()
	raw, isRaw := v.(json.RawMessage)
	if v == nil || (isRaw && raw == nil) {
		return nothing, nil
	}
	if isRaw && !utf8.Valid(raw) {
		return nil, fmt.Errorf("%w: result is not UTF-8", errEncode)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("%w: %w", errEncode, err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

const (
	answerHead  = `{"jsonrpc":"2.0",`
	successHead = answerHead + `"result":`
)

// success is the answer with a result.
func success(id, result json.RawMessage) []byte {
	out := make([]byte, 0, len(answerHead)+len(result)+len(id)+20)
	out = append(append(out, successHead...), result...)
	return appendID(out, id)
}

// failure is the answer with an error.
func failure(id json.RawMessage, e *Error) []byte {
	raw, err := encodeResult(e)
	if err != nil { // an Error consists of text and numbers
		raw = json.RawMessage(fmt.Sprintf(`{"code":%d,"message":"error"}`, e.Code))
	}
	out := make([]byte, 0, len(answerHead)+len(raw)+len(id)+20)
	out = append(append(out, answerHead+`"error":`...), raw...)
	return appendID(out, id)
}

// appendID ends an answer with the id as it was sent, null if it is not known.
func appendID(out []byte, id json.RawMessage) []byte {
	out = append(out, `,"id":`...)
	if id == nil {
		id = json.RawMessage("null")
	}
	return append(append(out, id...), '}')
}

// joinBatch makes an array of the answers; nil when there is none, since an
// empty array is never sent.
func joinBatch(answers [][]byte) []byte {
	size := 2
	for _, a := range answers {
		size += len(a) + 1
	}
	out := make([]byte, 0, size)
	for _, a := range answers {
		if a == nil {
			continue
		}
		if out = append(out, ','); len(out) == 1 {
			out[0] = '['
		}
		out = append(out, a...)
	}
	if len(out) == 0 {
		return nil
	}
	return append(out, ']')
}
