package structs

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/internal/errs"
)

func TestVariablePaths(t *testing.T) {
	for path, ok := range map[string]bool{
		"a":                          true,
		"app/db":                     true,
		"A-Z_0~9/x":                  true,
		strings.Repeat("p", 128):     true,
		strings.Repeat("p", 129):     false,
		"":                           false,
		"/a":                         false,
		"/":                          false,
		"a/":                         false,
		"a//b":                       false,
		"a.b":                        false,
		"a b":                        false,
		"a@b":                        false,
		"ä":                          false,
		"a\n":                        false,
		"nomad":                      false,
		"nomad/":                     false,
		"nomad/x":                    false,
		"nomad/job":                  false,
		"nomad/jobs":                 true,
		"nomad/jobs/web":             true,
		"nomad/jobs/web/group/task":  true,
		"nomad/jobs/":                false,
		"nomad/jobsx":                false,
		"nomad/job-templates":        false,
		"nomad/job-templates/one":    true,
		"nomad/job-templates/one/mo": false,
		"nomad/sentinel":             true,
		"nomad/sentinel/x/y":         true,
		"nomad/sentinelx":            false,
		"nomads":                     true,
		"Nomad/x":                    true,
		"a/nomad/x":                  true,
	} {
		err := ValidateVariablePath(path)
		if (err == nil) != ok || (!ok && !errors.Is(err, errs.Invalid)) {
			t.Errorf("%q: %v", path, err)
		}
	}
}

func TestVariablesApplyValidate(t *testing.T) {
	const limit = 20
	lock := func(id string, ttl, delay time.Duration) *VariableLock {
		return &VariableLock{ID: id, TTL: ttl, LockDelay: delay}
	}
	items := VariableItems{"key": "value"}
	for name, c := range map[string]struct {
		op    VarOp
		items VariableItems
		lock  *VariableLock
		ok    bool
	}{
		"set":                    {VarOpSet, items, nil, true},
		"cas":                    {VarOpCAS, items, nil, true},
		"set nothing":            {VarOpSet, nil, nil, false},
		"cas nothing":            {VarOpCAS, VariableItems{}, nil, false},
		"set at the limit":       {VarOpSet, VariableItems{"12345": strings.Repeat("x", 15)}, nil, true},
		"set over the limit":     {VarOpSet, VariableItems{"12345": strings.Repeat("x", 16)}, nil, false},
		"keys count too":         {VarOpSet, VariableItems{strings.Repeat("k", 21): ""}, nil, false},
		"delete":                 {VarOpDelete, nil, nil, true},
		"delete-cas":             {VarOpDeleteCAS, nil, nil, true},
		"unknown":                {"swap", items, nil, false},
		"none":                   {"", items, nil, false},
		"acquire":                {VarOpLockAcquire, nil, lock("", 15*time.Second, 0), true},
		"acquire with items":     {VarOpLockAcquire, items, lock("", 15*time.Second, 0), true},
		"acquire over the limit": {VarOpLockAcquire, VariableItems{"k": strings.Repeat("x", 20)}, lock("", 15*time.Second, 0), false},
		"acquire without lock":   {VarOpLockAcquire, items, nil, false},
		"TTL at minimum":         {VarOpLockAcquire, nil, lock("", 10*time.Second, 0), true},
		"TTL below minimum":      {VarOpLockAcquire, nil, lock("", 10*time.Second-1, 0), false},
		"TTL at maximum":         {VarOpLockAcquire, nil, lock("", 24*time.Hour, 0), true},
		"TTL above maximum":      {VarOpLockAcquire, nil, lock("", 24*time.Hour+1, 0), false},
		"negative delay":         {VarOpLockAcquire, nil, lock("", 15*time.Second, -1), false},
		"release":                {VarOpLockRelease, nil, lock("id", 0, 0), true},
		"release without ID":     {VarOpLockRelease, nil, lock("", 0, 0), false},
		"release without lock":   {VarOpLockRelease, nil, nil, false},
		"release with items":     {VarOpLockRelease, items, lock("id", 0, 0), false},
	} {
		r := &VariablesApplyRequest{Op: c.op, Var: &VariableDecrypted{
			VariableMetadata: VariableMetadata{Path: "app/db", Lock: c.lock}, Items: c.items}}
		if err := r.Validate(limit); (err == nil) != c.ok || (!c.ok && !errors.Is(err, errs.Invalid)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVariablesApplyTarget(t *testing.T) {
	apply := func(inVar, inRequest string) *VariablesApplyRequest {
		return &VariablesApplyRequest{Op: VarOpDelete, WriteRequest: WriteRequest{Namespace: inRequest},
			Var: &VariableDecrypted{VariableMetadata: VariableMetadata{Namespace: inVar, Path: "p"}}}
	}
	for want, r := range map[string]*VariablesApplyRequest{
		"default": apply("", ""), "request": apply("", "request"), "var": apply("var", "request")} {
		if got := r.RequestNamespace(); got != want {
			t.Errorf("namespace %q, want %q", got, want)
		}
	}
	for name, r := range map[string]*VariablesApplyRequest{
		"wildcard in the variable": apply("*", ""), "wildcard in the request": apply("", "*"), "no variable": {Op: VarOpDelete}} {
		if err := r.Validate(1); !errors.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLockJSON(t *testing.T) {
	in := VariableLock{ID: "7c1d", TTL: 90 * time.Second, LockDelay: 15 * time.Second}
	raw, err := json.Marshal(in)
	if err != nil || string(raw) != `{"ID":"7c1d","TTL":"1m30s","LockDelay":"15s"}` {
		t.Errorf("encodes as %s, %v", raw, err)
	}
	for text, want := range map[string]VariableLock{
		string(raw):                          in,
		`{}`:                                 {},
		`{"TTL":"15s"}`:                      {TTL: 15 * time.Second},
		`{"TTL":15000000000,"LockDelay":""}`: {TTL: 15 * time.Second},
		`{"TTL":null,"ID":"x"}`:              {ID: "x"},
	} {
		var got VariableLock
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
	for _, text := range []string{`{"TTL":"soon"}`, `{"LockDelay":true}`, `{"TTL":[1]}`, `7`} {
		var got VariableLock
		if err := json.Unmarshal([]byte(text), &got); err == nil {
			t.Errorf("%s gives %+v", text, got)
		}
	}
}

func FuzzLockJSON(f *testing.F) {
	f.Add(`{"ID":"x","TTL":"15s","LockDelay":1}`)
	f.Add(`{"TTL":1e300}`)
	f.Fuzz(func(t *testing.T, text string) {
		var a, b VariableLock
		if json.Unmarshal([]byte(text), &a) != nil {
			return
		}
		raw, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, &b); err != nil || a != b {
			t.Errorf("%q: %+v became %+v, %v", text, a, b, err)
		}
	})
}
