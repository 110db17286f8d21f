package jsonrpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/cairn-project/cairn/internal/errs"
)

// schema checks parameters.
type schema struct {
	compiled *jsonschema.Schema
	// absent is true when parameters may be left out: an empty object or array fits.
	absent bool
}

// noLoader refuses what a schema refers to outside of itself: a schema may come
// from a local program and must not make the agent read files or call others.
type noLoader struct{}

// Load implements jsonschema.URLLoader.
func (noLoader) Load(url string) (any, error) {
	return nil, errs.Newf(errs.Invalid, "refers to %s: a schema stands for itself", url)
}

// schemaURL names each schema before its compiler. A name that is no URL would become
// a file of the working directory, which cannot be found when that has a blank.
const schemaURL = "schema:///schema.json"

// compileSchema returns nil for a nil schema, which everything fits.
func compileSchema(raw json.RawMessage) (*schema, error) {
	if raw == nil {
		return nil, nil
	}
	if err := checkMessage(raw, 64); err != nil {
		return nil, err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	if err := checkNumbers(doc); err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(noLoader{})
	if err := c.AddResource(schemaURL, doc); err != nil {
		return nil, err
	}
	compiled, err := c.Compile(schemaURL)
	if err != nil {
		return nil, err
	}
	s := &schema{compiled: compiled}
	s.absent = compiled.Validate(map[string]any{}) == nil || compiled.Validate([]any{}) == nil
	return s, nil
}

// check returns nil for parameters that fit, and else every problem at once.
func (s *schema) check(params json.RawMessage) *Error {
	if s == nil || (params == nil && s.absent) {
		return nil
	}
	if values(params) > maxValues {
		return tooLarge(CodeTooLarge, "the parameters have too many values", maxValues)
	}
	var value any = map[string]any{}
	if params != nil {
		var err error
		if value, err = jsonschema.UnmarshalJSON(bytes.NewReader(params)); err != nil {
			return InvalidParams("", err.Error())
		}
	}
	if err := checkNumbers(value); err != nil {
		return InvalidParams("", err.Error())
	}
	err := s.compiled.Validate(value)
	if err == nil {
		return nil
	}
	var v *jsonschema.ValidationError
	if !errors.As(err, &v) {
		return InvalidParams("", err.Error())
	}
	out := InvalidParams("", "")
	out.Data = schemaDetails(v)
	return out
}

// maxDetails bounds what is said about the parameters of one call.
const maxDetails = 32

// schemaDetails lists the innermost problems: those around them only say that
// there are some.
func schemaDetails(v *jsonschema.ValidationError) []Detail {
	var out []Detail
	var walk func(v *jsonschema.ValidationError)
	walk = func(v *jsonschema.ValidationError) {
		for _, c := range v.Causes {
			walk(c)
		}
		if len(v.Causes) > 0 || len(out) == maxDetails {
			return
		}
		out = append(out, Detail{Code: ErrataParams, Message: leafText(v), Field: pointer(v.InstanceLocation)})
	}
	walk(v)
	return out
}

// leafText is what a problem says, without the places that the library puts in front.
func leafText(v *jsonschema.ValidationError) string {
	unit := v.BasicOutput()
	if unit.Error != nil {
		return unit.Error.String()
	}
	for _, u := range unit.Errors {
		if u.Error != nil {
			return u.Error.String()
		}
	}
	return "does not fit the schema"
}

// pointer writes a place as RFC 6901 has it.
func pointer(path []string) string {
	var b strings.Builder
	escape := strings.NewReplacer("~", "~0", "/", "~1")
	for _, p := range path {
		b.WriteByte('/')
		b.WriteString(escape.Replace(p))
	}
	return b.String()
}

// maxValues bounds what a check holds in memory: a value of two bytes takes some hundred then.
const maxValues = 1 << 18

// values returns how many elements and members a JSON value has on all levels, give or take the empty ones.
func values(raw []byte) int {
	n, quoted := 1, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ',' || c == '[' || c == '{'):
			n++
		}
	}
	return n
}

// Numbers are compared exactly, which costs memory in the size of the exponent.
const (
	maxNumber   = 1000
	maxExponent = 1000
)

// checkNumbers refuses numbers that cost too much to compare.
func checkNumbers(v any) error {
	switch v := v.(type) {
	case map[string]any:
		for _, x := range v {
			if err := checkNumbers(x); err != nil {
				return err
			}
		}
	case []any:
		for _, x := range v {
			if err := checkNumbers(x); err != nil {
				return err
			}
		}
	case json.Number:
		if len(v) > maxNumber || exponent(string(v)) > maxExponent {
			return fmt.Errorf("a number has at most %d digits and an exponent of at most %d", maxNumber, maxExponent)
		}
	}
	return nil
}

// exponent returns the size of a number's exponent.
func exponent(n string) int {
	_, exp, found := strings.Cut(strings.ToLower(n), "e")
	if !found {
		return 0
	}
	e, err := strconv.Atoi(exp)
	if err != nil {
		return math.MaxInt
	}
	return max(e, -e)
}
