package errs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// mustDeclared returns the value of every constant of type Code in errs.go.
func mustDeclared(t *testing.T) []Code {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "errs.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []Code
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := spec.Type.(*ast.Ident); !ok || id.Name != "Code" || len(spec.Values) == 0 {
			return true
		}
		text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, Code(text))
		return true
	})
	return out
}

func TestTableIsTotal(t *testing.T) {
	declared, have := mustDeclared(t), Codes()
	slices.Sort(declared)
	slices.Sort(have)
	if diff := cmp.Diff(declared, have); diff != "" {
		t.Errorf("declared codes and table differ:\n%s", diff)
	}
	if len(declared) < 15 {
		t.Errorf("only %d codes found, codes are append-only", len(declared))
	}
	seen := map[[2]int]Code{}
	for _, c := range have {
		s := c.Surface()
		if s.HTTP < 400 || s.HTTP > 599 || s.JSONRPC > -32000 && s.JSONRPC != 9 && s.JSONRPC != 10 || s.JSONRPC < -32768 || s.DRPC < 2 {
			t.Errorf("%s shows as %+v", c, s)
		}
		number := [2]int{s.JSONRPC, s.Detail}
		if other, dup := seen[number]; dup {
			t.Errorf("%s and %s have the same JSON-RPC code", c, other)
		}
		seen[number] = c
	}
	if got := Code("from_the_future").Surface(); got != Internal.Surface() {
		t.Errorf("unknown code shows as %+v", got)
	}
}

func TestIsAndAs(t *testing.T) {
	cause := errors.New("disk on fire")
	err := fmt.Errorf("while saving: %w", Wrap(Busy, "try later", cause))
	if !errors.Is(err, Busy) || errors.Is(err, Internal) || !errors.Is(err, cause) {
		t.Errorf("%v: wrong identity", err)
	}
	var e *Error
	if !errors.As(err, &e) || e.Msg != "try later" {
		t.Errorf("as: %+v", e)
	}
	if !errors.Is(NotFound, NotFound) || !errors.Is(fmt.Errorf("x: %w", NotFound), NotFound) {
		t.Error("a bare code is not itself")
	}
	if got := New(Conflict, "").Error(); got != "conflict" {
		t.Errorf("text without a message: %q", got)
	}
	if err := Newf(Invalid, "field %d: %w", 7, cause); err.Error() != "field 7: disk on fire" || !errors.Is(err, cause) {
		t.Errorf("newf: %v", err)
	}
}

func TestCodeOf(t *testing.T) {
	for want, err := range map[Code]error{
		"":          nil,
		Internal:    errors.New("plain"),
		NotFound:    New(NotFound, "x"),
		NoLeader:    fmt.Errorf("a: %w", New(NoLeader, "x")),
		TooLarge:    TooLarge,
		Deadline:    fmt.Errorf("b: %w", Deadline),
		Invalid:     Wrap(Invalid, "outer", New(Busy, "inner")),
		Unsupported: errors.Join(errors.New("plain"), New(Unsupported, "x")),
	} {
		if got := CodeOf(err); got != want {
			t.Errorf("%v: code %q, want %q", err, got, want)
		}
	}
}

func TestFrom(t *testing.T) {
	if From(nil, "r1") != nil {
		t.Error("nil became an error")
	}
	coded := New(NotFound, "namespace x not found")
	if From(coded, "r1") != coded {
		t.Error("a coded error was copied")
	}
	if got := From(fmt.Errorf("region b: %w", coded.WithRetryAfter(time.Second)), "r1"); got.Code != NotFound ||
		got.Msg != "region b: namespace x not found" || got.RetryAfter != time.Second {
		t.Errorf("wrapped: %+v", got)
	}
	if coded.Msg != "namespace x not found" {
		t.Error("the original changed")
	}
	plain := errors.New("password is hunter2")
	if got := From(plain, "r1"); got.Code != Internal || got.Msg != "internal error, request r1" || !errors.Is(got, plain) {
		t.Errorf("plain: %+v", got)
	}
	if got := From(fmt.Errorf("slow: %w", Deadline), "r1"); got.Code != Deadline || got.Msg != "slow: deadline" {
		t.Errorf("bare code: %+v", got)
	}
}

func TestNotSent(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{errors.New("x"), false},
		{context.Canceled, false},
		{New(Unavailable, "x"), false},
		{Lost(ExecutedNo, "refused", nil), true},
		{fmt.Errorf("dial: %w", Lost(ExecutedNo, "refused", nil)), true},
		{Lost(ExecutedYes, "x", nil), false},
		{Lost(ExecutedUnknown, "x", nil), false},
	} {
		if got := NotSent(c.err); got != c.want {
			t.Errorf("%v: %v", c.err, got)
		}
	}
}

func TestCopiesDoNotTouchTheOriginal(t *testing.T) {
	base := New(Invalid, "bad").WithErrata(Erratum{Field: "a", Msg: "1"})
	one := base.WithErrata(Erratum{Field: "b", Msg: "2"})
	two := base.WithErrata(Erratum{Field: "c", Msg: "3"})
	if len(base.Errata) != 1 || one.Errata[1].Field != "b" || two.Errata[1].Field != "c" {
		t.Errorf("%v %v %v", base.Errata, one.Errata, two.Errata)
	}
	if base.WithRetryAfter(time.Second); base.RetryAfter != 0 {
		t.Error("retry after was set on the original")
	}
}

func TestEncodingKeepsTheMeaningAndDropsTheCause(t *testing.T) {
	in := Lost(ExecutedUnknown, "connection broke", errors.New("10.0.0.7: reset")).
		WithErrata(Erratum{Field: "Name", Msg: "empty"}).WithRetryAfter(3 * time.Second)
	raw, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out Error
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(in, &out, cmpopts.IgnoreUnexported(Error{})); diff != "" {
		t.Error(diff)
	}
	if out.Unwrap() != nil || !errors.Is(&out, Unavailable) {
		t.Errorf("after a hop: cause %v", out.Unwrap())
	}
}
