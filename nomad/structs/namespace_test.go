package structs

import (
	"errors"
	"strings"
	"testing"

	"github.com/cairn-project/cairn/internal/errs"
)

func TestNamespaceNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"default":                true,
		"a":                      true,
		"Team-7":                 true,
		strings.Repeat("x", 128): true,
		strings.Repeat("x", 129): false,
		"":                       false,
		"*":                      false,
		"a_b":                    false,
		"a b":                    false,
		"a/b":                    false,
		"ü":                      false,
		"a\n":                    false,
	} {
		err := (&NamespaceUpsertRequest{Namespaces: []*Namespace{{Name: name}}}).Validate()
		if (err == nil) != ok || (!ok && !errors.Is(err, errs.Invalid)) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestNamespaceUpsertTellsEveryProblem(t *testing.T) {
	r := &NamespaceUpsertRequest{Namespaces: []*Namespace{
		{Name: "good", Description: strings.Repeat("x", 256)},
		{Name: "bad name", Description: strings.Repeat("x", 257)},
		{Name: ""},
	}}
	var e *errs.Error
	if err := r.Validate(); !errors.As(err, &e) || len(e.Errata) != 3 {
		t.Errorf("got %v, want three errata", err)
	}
	for _, r := range []*NamespaceUpsertRequest{{}, {Namespaces: []*Namespace{nil}}} {
		if err := r.Validate(); !errors.Is(err, errs.Invalid) {
			t.Errorf("%v: %v", r.Namespaces, err)
		}
	}
}

func TestNamespaceDelete(t *testing.T) {
	for _, c := range []struct {
		names []string
		ok    bool
	}{{nil, false}, {[]string{"a", "b"}, true}, {[]string{"a", "default"}, false}} {
		if err := (&NamespaceDeleteRequest{Namespaces: c.names}).Validate(); (err == nil) != c.ok {
			t.Errorf("%v: %v", c.names, err)
		}
	}
}
