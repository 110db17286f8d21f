package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/limit"
	"github.com/cairn-project/cairn/nomad/structs"
)

// request is one HTTP call on its way through a route.
type request struct {
	*http.Request
	api *api
	w   http.ResponseWriter
	// rest is what the variable segment of the pattern matched.
	rest string
	// query is nil when the URL has none.
	query query
	// held is what the request has of the budget of all.
	held limit.Hold
	// values back the header values of the reply that differ each time.
	values [2]string
}

// has reports whether a query parameter is present, with or without a value.
func (r *request) has(name string) bool { return r.query.Has(name) }

// secret returns the caller's token, "" for none.
func (r *request) secret() string {
	if v := r.Header["X-Nomad-Token"]; len(v) > 0 && v[0] != "" {
		return strings.TrimSpace(v[0])
	}
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	return ""
}

// flag reads a boolean parameter: present without a value means true.
func (r *request) flag(name string) (bool, error) {
	if !r.has(name) {
		return false, nil
	}
	v := r.query.Get(name)
	if v == "" {
		return true, nil
	}
	on, err := strconv.ParseBool(v)
	if err != nil {
		return false, errs.Newf(errs.Invalid, "Invalid %s: %q is not a boolean", name, v)
	}
	return on, nil
}

// pretty reports whether the caller wants indented JSON.
func (r *request) pretty() bool {
	on, err := r.flag("pretty")
	return on || err != nil
}

// readOptions fills the parameters that all reads take.
func (r *request) readOptions(q *structs.QueryOptions) error {
	q.AuthToken = r.secret()
	if len(r.query) == 0 {
		return nil
	}
	q.Region = r.query.Get("region")
	q.Namespace = r.query.Get("namespace")
	q.Prefix = r.query.Get("prefix")
	q.Filter = r.query.Get("filter")
	q.NextToken = r.query.Get("next_token")
	var err error
	if q.AllowStale, err = r.flag("stale"); err != nil {
		return err
	}
	if q.Reverse, err = r.flag("reverse"); err != nil {
		return err
	}
	return r.readNumbers(q)
}

func (r *request) readNumbers(q *structs.QueryOptions) error {
	if v := r.query.Get("index"); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			return errs.New(errs.Invalid, "Invalid index")
		}
		q.MinQueryIndex = n
	}
	if v := r.query.Get("wait"); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil || d < 0 {
			return errs.New(errs.Invalid, "Invalid wait time")
		}
		q.MaxQueryTime = min(d, structs.MaxBlockingWait)
	}
	if v := r.query.Get("per_page"); v != "" {
		n, err := strconv.ParseInt(v, 10, 32)
		if err != nil || n < 0 || n > math.MaxInt32 {
			return errs.Newf(errs.Invalid, "Invalid per_page: %q is not a number from 0 to %d", v, math.MaxInt32)
		}
		q.PerPage = int32(n)
	}
	return nil
}

// writeOptions fills the parameters that all writes take.
func (r *request) writeOptions(w *structs.WriteRequest) {
	w.AuthToken = r.secret()
	if len(r.query) == 0 {
		return
	}
	w.Region = r.query.Get("region")
	w.Namespace = r.query.Get("namespace")
	w.IdempotencyToken = r.query.Get("idempotency_token")
}

// bodies holds buffers for request bodies and replies.
var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// maxPooled is the size in bytes above which a buffer is left to the collector.
const maxPooled = 1 << 20

func putBuffer(b *bytes.Buffer) {
	if b.Cap() <= maxPooled {
		b.Reset()
		bodies.Put(b)
	}
}

// errEmptyBody is what decodeBody returns, as it is, when there is no body.
var errEmptyBody error = errs.New(errs.Invalid, "Request body is empty")

// decodeBody reads the body as JSON into v, which must not keep references
// into the bytes it is decoded from.
func (r *request) decodeBody(v any) error {
	buf := bodies.Get().(*bytes.Buffer)
	defer putBuffer(buf)
	if err := r.readBody(buf); err != nil {
		return err
	}
	if plain, ok := v.(*structs.VariableDecrypted); ok && parseVariable(buf.Bytes(), plain) {
		return nil
	}
	if len(bytes.TrimSpace(buf.Bytes())) == 0 {
		return errEmptyBody
	}
	if err := json.Unmarshal(buf.Bytes(), v); err != nil {
		return errs.New(errs.Invalid, "invalid JSON in request body: "+jsonProblem(buf.Bytes(), err))
	}
	return nil
}

// jsonProblem says what is wrong with a body in the words of JSON, not of Go.
func jsonProblem(body []byte, err error) string {
	var wrongType *json.UnmarshalTypeError
	if errors.As(err, &wrongType) {
		field := wrongType.Field
		switch {
		case field == "":
			field = "the body"
		case wrongType.Type.Kind() == reflect.String && field == "Items":
			return "every value of Items must be a string, not a JSON " + wrongType.Value
		}
		return field + " must not be a JSON " + wrongType.Value
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		at := min(int(syntax.Offset), len(body))
		line := 1 + bytes.Count(body[:at], []byte{'\n'})
		return "line " + strconv.Itoa(line) + ": " + syntax.Error()
	}
	return err.Error()
}
