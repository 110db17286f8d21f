package jsonrpc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"slices"
)

// expectation is what a case says about the answer.
type expectation struct {
	Kind  string            `json:"kind"`
	Items []json.RawMessage `json:"items"`
	Close bool              `json:"close"`
	HTTP  int               `json:"http"`
	answerExpectation
	items []answerExpectation
}

type answerExpectation struct {
	ID            json.RawMessage            `json:"id"`
	IDRaw         *string                    `json:"id_raw"`
	Result        json.RawMessage            `json:"result"`
	ResultRaw     *string                    `json:"result_raw"`
	ResultLen     *int                       `json:"result_len"`
	ResultHas     map[string][]string        `json:"result_has"`
	ResultEntries []map[string]any           `json:"result_entries"`
	Error         *errorExpectation          `json:"error"`
	Note          any                        `json:"note"` // for readers
	members       map[string]json.RawMessage // of the answer being checked
}

type errorExpectation struct {
	Code   int   `json:"code"`
	Errata []int `json:"errata"`
}

// strict decodes raw and refuses members that the runner would ignore.
func strict(raw []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}

func parseExpectation(raw []byte) (*expectation, error) {
	var e expectation
	if err := strict(raw, &e); err != nil {
		return nil, err
	}
	if !slices.Contains([]string{"none", "single", "batch"}, e.Kind) {
		return nil, fmt.Errorf("unknown kind %q", e.Kind)
	}
	for _, raw := range e.Items {
		var item answerExpectation
		if err := strict(raw, &item); err != nil {
			return nil, err
		}
		e.items = append(e.items, item)
	}
	return &e, nil
}

// check returns the first way in which an answer is not the expected one.
func (e *expectation) check(got received) error {
	if got.status != 0 {
		want := http.StatusOK
		if e.HTTP != 0 {
			want = e.HTTP
		} else if e.Kind == "none" {
			want = http.StatusNoContent
		}
		if got.status != want {
			return fmt.Errorf("status %d, want %d: %s", got.status, want, got.body)
		}
	}
	if e.Close && !got.closed {
		return fmt.Errorf("the connection was not closed")
	}
	if e.Kind == "none" {
		if len(got.body) != 0 {
			return fmt.Errorf("answered %q, want nothing", got.body)
		}
		return nil
	}
	body, ok := bytes.CutSuffix(got.body, []byte("\n"))
	if !ok || bytes.ContainsRune(body, '\n') {
		return fmt.Errorf("answer is not one line: %q", got.body)
	}
	if e.Kind == "single" {
		return e.answerExpectation.check(body)
	}
	var answers []json.RawMessage
	if err := json.Unmarshal(body, &answers); err != nil {
		return fmt.Errorf("no batch: %w: %s", err, body)
	}
	if len(answers) != len(e.items) {
		return fmt.Errorf("%d answers, want %d: %s", len(answers), len(e.items), body)
	}
	for i := range answers {
		if err := e.items[i].check(answers[i]); err != nil {
			return fmt.Errorf("answer %d: %w", i, err)
		}
	}
	return nil
}

func (e answerExpectation) check(raw []byte) error {
	if err := json.Unmarshal(raw, &e.members); err != nil {
		return fmt.Errorf("%w: %s", err, raw)
	}
	if string(e.members["jsonrpc"]) != `"2.0"` {
		return fmt.Errorf("jsonrpc is wrong: %s", raw)
	}
	id, ok := e.members["id"]
	switch {
	case !ok:
		return fmt.Errorf("no id: %s", raw)
	case e.IDRaw != nil && string(id) != *e.IDRaw:
		return fmt.Errorf("id %s, want exactly %s", id, *e.IDRaw)
	case e.ID != nil && !sameJSON(id, e.ID):
		return fmt.Errorf("id %s, want %s", id, e.ID)
	}
	result, hasResult := e.members["result"]
	failure, hasError := e.members["error"]
	if hasResult == hasError {
		return fmt.Errorf("not exactly one of result and error: %s", raw)
	}
	if e.Error != nil {
		if !hasError {
			return fmt.Errorf("no error, want %d: %s", e.Error.Code, raw)
		}
		return e.Error.check(failure)
	}
	if !hasResult {
		return fmt.Errorf("no result: %s", raw)
	}
	return e.checkResult(result)
}

func (e answerExpectation) checkResult(result json.RawMessage) error {
	var compact bytes.Buffer
	if err := json.Compact(&compact, result); err != nil {
		return err
	}
	switch {
	case e.Result != nil && !sameJSON(result, e.Result):
		return fmt.Errorf("result %s, want %s", result, e.Result)
	case e.ResultRaw != nil && compact.String() != *e.ResultRaw:
		return fmt.Errorf("result %s, want exactly %s", result, *e.ResultRaw)
	case e.ResultLen != nil && compact.Len() != *e.ResultLen:
		return fmt.Errorf("result has %d bytes, want %d", compact.Len(), *e.ResultLen)
	}
	for list, names := range e.ResultHas {
		var members map[string][]string
		if err := json.Unmarshal(result, &members); err != nil {
			return err
		}
		if members[list] == nil {
			return fmt.Errorf("result has no list %q: %s", list, result)
		}
		for _, name := range names {
			if !slices.Contains(members[list], name) {
				return fmt.Errorf("%q does not contain %q: %s", list, name, result)
			}
		}
	}
	return e.checkEntries(result)
}

// checkEntries looks in result.methods for objects that have all stated members.
func (e answerExpectation) checkEntries(result json.RawMessage) error {
	if e.ResultEntries == nil {
		return nil
	}
	var have struct {
		Methods []map[string]json.RawMessage `json:"methods"`
	}
	if err := json.Unmarshal(result, &have); err != nil {
		return err
	}
	for _, want := range e.ResultEntries {
		if !slices.ContainsFunc(have.Methods, func(m map[string]json.RawMessage) bool {
			for k, v := range want {
				raw, _ := json.Marshal(v)
				if m[k] == nil || !sameJSON(m[k], raw) {
					return false
				}
			}
			return true
		}) {
			return fmt.Errorf("no entry %v in %s", want, result)
		}
	}
	return nil
}

func (e *errorExpectation) check(raw json.RawMessage) error {
	var got struct {
		Code    json.Number
		Message string
		Data    json.RawMessage
	}
	if err := json.Unmarshal(raw, &got); err != nil {
		return fmt.Errorf("%w: %s", err, raw)
	}
	if got.Code.String() != fmt.Sprint(e.Code) || got.Message == "" {
		return fmt.Errorf("error %s, want code %d and a message", raw, e.Code)
	}
	if e.Errata == nil {
		return nil
	}
	var data []struct{ Code int }
	if err := json.Unmarshal(got.Data, &data); err != nil {
		return fmt.Errorf("data: %w: %s", err, raw)
	}
	codes := []int{}
	for _, d := range data {
		codes = append(codes, d.Code)
	}
	if !slices.Equal(codes, e.Errata) {
		return fmt.Errorf("errata %v, want %v", codes, e.Errata)
	}
	return nil
}

// sameJSON compares values with their types. Numbers are compared exactly.
func sameJSON(a, b json.RawMessage) bool {
	var x, y any
	if strict(a, &x) != nil || strict(b, &y) != nil {
		return false
	}
	return sameValue(x, y)
}

func sameValue(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for k := range a {
			if _, has := b[k]; !has || !sameValue(a[k], b[k]) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, sameValue)
	case json.Number:
		b, ok := b.(json.Number)
		x, okX := new(big.Rat).SetString(a.String())
		y, okY := new(big.Rat).SetString(b.String())
		return ok && okX && okY && x.Cmp(y) == 0
	}
	return a == b
}
