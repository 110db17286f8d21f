package wire

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/msgp"
)

// codedPrefix starts the text of an error that carries an HTTP status; the
// status, a comma and the message follow. It is a convention of the public API.
const codedPrefix = "RPC Error:: "

// statusCodes maps the statuses that plain peers attach back to codes.
var statusCodes = map[int]errs.Code{
	400: errs.Invalid,
	401: errs.Unauthenticated,
	403: errs.PermissionDenied,
	404: errs.NotFound,
	409: errs.Conflict,
	412: errs.PreconditionFailed,
	413: errs.TooLarge,
	422: errs.Invalid,
	429: errs.RateLimited,
	501: errs.Unsupported,
	503: errs.Busy,
	504: errs.Deadline,
}

// plainSuffixes are texts without a status that peers match by suffix, because
// forwarding puts text in front. All are lower case here.
var plainSuffixes = []struct {
	suffix string
	code   errs.Code
}{
	{"permission denied", errs.PermissionDenied},
	{"acl token not found", errs.PermissionDenied},
	{"acl token expired", errs.PermissionDenied},
	{"no cluster leader", errs.NoLeader},
	{"no path to region", errs.NoPath},
}

// unknownMethod starts the text with which net/rpc refuses a method it lacks.
const unknownMethod = "rpc: can't find "

// UnknownMethod is the error of a call to a method that is not there, in the
// words of net/rpc, by which older callers know it.
func UnknownMethod(method string) *errs.Error {
	return errs.New(errs.Unsupported, unknownMethod+"method "+method)
}

// plainText is the Error field that a plain net/rpc peer sees. Codes whose text
// such peers match by suffix go without a status.
func plainText(err *errs.Error) string {
	if err == nil {
		return ""
	}
	msg := err.Error()
	switch err.Code {
	case errs.Invalid, errs.NotFound, errs.Conflict, errs.PreconditionFailed,
		errs.TooLarge, errs.RateLimited, errs.Busy:
		return codedPrefix + strconv.Itoa(err.Code.Surface().HTTP) + "," + msg
	}
	if msg == "" {
		return string(errs.Internal)
	}
	return msg
}

// fromPlainText gives a code to the text of a plain peer.
func fromPlainText(text string) *errs.Error {
	if _, rest, ok := strings.Cut(text, codedPrefix); ok {
		if status, msg, ok := strings.Cut(rest, ","); ok {
			if n, err := strconv.Atoi(status); err == nil {
				code, known := statusCodes[n]
				if !known {
					code = errs.Internal
				}
				return errs.New(code, msg)
			}
		}
	}
	lower := strings.ToLower(text)
	for _, p := range plainSuffixes {
		if strings.HasSuffix(lower, p.suffix) {
			return errs.New(p.code, text)
		}
	}
	if strings.Contains(text, unknownMethod) {
		return errs.New(errs.Unsupported, text)
	}
	return errs.New(errs.Internal, text)
}

// appendError writes the error with its code; empty fields are left out.
func appendError(b []byte, err *errs.Error) []byte {
	n := 2
	for _, present := range []bool{len(err.Errata) > 0, err.RetryAfter > 0, err.Executed != ""} {
		if present {
			n++
		}
	}
	b = msgp.AppendMapHeader(b, n)
	b = msgp.AppendString(msgp.AppendField(b, "Code"), string(err.Code))
	b = msgp.AppendString(msgp.AppendField(b, "Msg"), err.Msg)
	if len(err.Errata) > 0 {
		b = msgp.AppendArrayHeader(msgp.AppendField(b, "Errata"), len(err.Errata))
		for _, e := range err.Errata {
			b = msgp.AppendMapHeader(b, 2)
			b = msgp.AppendString(msgp.AppendField(b, "Field"), e.Field)
			b = msgp.AppendString(msgp.AppendField(b, "Msg"), e.Msg)
		}
	}
	if err.RetryAfter > 0 {
		b = msgp.AppendDuration(msgp.AppendField(b, "RetryAfter"), err.RetryAfter)
	}
	if err.Executed != "" {
		b = msgp.AppendString(msgp.AppendField(b, "Executed"), string(err.Executed))
	}
	return b
}

func parseError(r *msgp.Reader) *errs.Error {
	if r.TryNil() {
		return nil
	}
	e := &errs.Error{}
	for n := r.MapHeader(); n > 0 && r.Err() == nil; n-- {
		switch string(r.StringKey()) {
		case "Code":
			e.Code = errs.Code(r.String())
		case "Msg":
			e.Msg = r.String()
		case "Errata":
			e.Errata = parseErrata(r)
		case "RetryAfter":
			e.RetryAfter = max(0, r.Duration())
		case "Executed":
			e.Executed = errs.Executed(r.String())
		default:
			r.Skip()
		}
	}
	if e.Code == "" {
		e.Code = errs.Internal
	}
	return e
}

func parseErrata(r *msgp.Reader) []errs.Erratum {
	var out []errs.Erratum
	for n := r.ArrayHeader(); n > 0 && r.Err() == nil; n-- {
		var e errs.Erratum
		for m := r.MapHeader(); m > 0 && r.Err() == nil; m-- {
			switch string(r.StringKey()) {
			case "Field":
				e.Field = r.String()
			case "Msg":
				e.Msg = r.String()
			default:
				r.Skip()
			}
		}
		out = append(out, e)
	}
	return out
}

// coded returns the error that a handler's err is sent as, and whether err is a
// fault of ours whose cause belongs in the log. id names the request in both.
func coded(err error, id string) (e *errs.Error, fault bool) {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		if c := errs.CodeOf(err); c == errs.Internal {
			return errs.Wrap(errs.Deadline, "the call ran out of time", err), false
		}
	}
	e = errs.From(err, id)
	return e, e.Code == errs.Internal
}

// newRequestID names a call whose peer gave no name.
func newRequestID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, it ends the program instead
	return hex.EncodeToString(b[:])
}
