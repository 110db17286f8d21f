package agent

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
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

// minGzip is the size in bytes from which compression pays.
const minGzip = 1024

// Header values shared by all replies. They are never changed.
var (
	jsonType  = []string{"application/json"}
	textType  = []string{"text/plain; charset=utf-8"}
	valueYes  = []string{"true"}
	valueNo   = []string{"false"}
	valueZero = []string{"0"}

	valueClose   = []string{"close"}
	valueNosniff = []string{"nosniff"}
)

// statusError answers with a status that no error code stands for.
type statusError struct {
	status int
	msg    string
}

// Error returns the body of the reply.
func (e *statusError) Error() string { return e.msg }

// setIndex sets the header that tells the index of a result.
func (r *request) setIndex(index uint64) {
	r.values[0] = strconv.FormatUint(index, 10)
	r.w.Header()["X-Nomad-Index"] = r.values[0:1:1]
}

// setQueryMeta sets the headers of a read.
func (r *request) setQueryMeta(m *structs.QueryMeta) {
	h := r.w.Header()
	r.setIndex(m.Index)
	h["X-Nomad-Knownleader"] = valueNo
	if m.KnownLeader {
		h["X-Nomad-Knownleader"] = valueYes
	}
	h["X-Nomad-Lastcontact"] = valueZero
	if ms := m.LastContact.Milliseconds(); ms > 0 {
		h["X-Nomad-Lastcontact"] = []string{strconv.FormatInt(ms, 10)}
	}
	if m.NextToken != "" {
		h["X-Nomad-Nexttoken"] = []string{m.NextToken}
	}
}

// writeJSON answers with v, or with an empty body when v is nothing.
func (r *request) writeJSON(status int, v any) error {
	if _, ok := v.(nothing); ok {
		r.w.WriteHeader(status)
		return nil
	}
	buf := bodies.Get().(*bytes.Buffer)
	defer putBuffer(buf)
	if err := r.inTurn(isLong(v), func() error { return encodeJSON(buf, v) }); err != nil {
		return err
	}
	if len(r.query) > 0 && r.pretty() {
		var out bytes.Buffer
		if err := json.Indent(&out, buf.Bytes(), "", "    "); err != nil {
			return errs.Newf(errs.Internal, "indenting the reply: %w", err)
		}
		out.WriteByte('\n')
		r.writeBody(status, jsonType, out.Bytes())
		return nil
	}
	r.writeBody(status, jsonType, buf.Bytes())
	return nil
}

// longReply is the length of a list, and longBody that of a body in bytes, from
// which work on it waits for its turn.
const (
	longReply = 256
	longBody  = 64 << 10
)

func isLong(v any) bool {
	list := reflect.ValueOf(v)
	return list.Kind() == reflect.Slice && list.Len() >= longReply
}

// inTurn does work, after it has waited for its turn if it is much.
func (r *request) inTurn(much bool, work func() error) error {
	if much {
		end, err := limit.Turn(r.Context())
		if err != nil {
			return err
		}
		defer end()
	}
	return work()
}

// encodeJSON writes v without a newline at the end and without escaping HTML.
func encodeJSON(buf *bytes.Buffer, v any) error {
	if b, ok := appendVariables(buf.AvailableBuffer(), v); ok {
		buf.Write(b)
		return nil
	}
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return errs.Newf(errs.Internal, "encoding the reply: %w", err)
	}
	buf.Truncate(buf.Len() - 1)
	return nil
}

// writeBody sends b, compressed when that pays and the client accepts it. A
// client that went away is no error.
func (r *request) writeBody(status int, mediaType []string, b []byte) {
	h := r.w.Header()
	h["Content-Type"] = mediaType
	if len(b) >= minGzip {
		h.Add("Vary", "Accept-Encoding")
		if acceptsGzip(r.Header) {
			h.Set("Content-Encoding", "gzip")
			r.w.WriteHeader(status)
			r.writeGzip(b)
			return
		}
	}
	r.values[1] = strconv.Itoa(len(b))
	h["Content-Length"] = r.values[1:2:2]
	r.w.WriteHeader(status)
	_, _ = r.w.Write(b)
}

var gzips = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed)
	return z
}}

// writeGzip compresses a long body before it sends any of it: the client may be slow.
func (r *request) writeGzip(b []byte) {
	if len(b) < longBody {
		compress(r.w, b)
		return
	}
	buf := bodies.Get().(*bytes.Buffer)
	defer putBuffer(buf)
	if r.inTurn(true, func() error { compress(buf, b); return nil }) == nil {
		_, _ = r.w.Write(buf.Bytes())
	}
}

func compress(w io.Writer, b []byte) {
	z := gzips.Get().(*gzip.Writer)
	defer gzips.Put(z)
	z.Reset(w)
	_, _ = z.Write(b)
	_ = z.Close()
}

// acceptsGzip reads Accept-Encoding (RFC 9110, section 12.5.3).
func acceptsGzip(h http.Header) bool {
	for _, line := range h["Accept-Encoding"] {
		for coding := range strings.SplitSeq(line, ",") {
			name, weight, _ := strings.Cut(strings.TrimSpace(coding), ";")
			if name = strings.TrimSpace(name); !strings.EqualFold(name, "gzip") && name != "*" {
				continue
			}
			q, ok := strings.CutPrefix(strings.TrimSpace(weight), "q=")
			if v, err := strconv.ParseFloat(q, 64); ok && err == nil && v == 0 {
				return false
			}
			return true
		}
	}
	return false
}

// writeError answers with an error: its text alone, as plain text.
func (r *request) writeError(err error) {
	var plain *statusError
	if errors.As(err, &plain) {
		r.writeText(plain.status, plain.msg)
		return
	}
	id := ""
	if errs.CodeOf(err) == errs.Internal {
		id = requestID()
	}
	e := errs.From(err, id)
	if e.Code == errs.Internal && r.Context().Err() == nil {
		r.api.logger.Error("request failed", "method", r.Method, "path", r.URL.Path, "error", err, "reply", e.Msg)
	}
	h := r.w.Header()
	h["X-Cairn-Error"] = []string{string(e.Code)}
	if e.RetryAfter > 0 {
		r.setRetryAfter(e.RetryAfter)
	}
	if e.Executed != "" {
		h["X-Cairn-Executed"] = []string{string(e.Executed)}
	}
	r.writeText(e.Code.Surface().HTTP, e.Error())
}

// setRetryAfter sets the header that says when to try again, in whole seconds, so
// that no wait becomes none.
func (r *request) setRetryAfter(d time.Duration) {
	r.w.Header()["Retry-After"] = []string{strconv.FormatInt(int64(math.Ceil(d.Seconds())), 10)}
}

func (r *request) writeText(status int, msg string) {
	h := r.w.Header()
	if msg != "" {
		h["Content-Type"] = textType
		h["X-Content-Type-Options"] = valueNosniff
	}
	r.w.WriteHeader(status)
	_, _ = io.WriteString(r.w, msg)
}

// requestID names a failed request in the log and in the reply.
func requestID() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // crypto/rand never fails
	return hex.EncodeToString(b[:])
}
