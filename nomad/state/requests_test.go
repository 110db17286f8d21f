package state

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

func testTag(n int, at int64) *structs.RequestTag {
	return &structs.RequestTag{ID: structs.RequestID{1, byte(n), byte(n >> 8), byte(n >> 16)}, Time: at, Base: 1}
}

// try runs a write of a variable as the FSM does, once for each tag.
func try(s *StateStore, tag *structs.RequestTag, op structs.VarOp, path string, index uint64) (o Outcome, again bool) {
	s.Batch(func(b *StateStore) {
		at := b.NextIndex()
		row := &structs.VariableEncrypted{
			VariableMetadata: structs.VariableMetadata{Namespace: "default", Path: path, ModifyIndex: index},
			VariableData:     structs.VariableData{Data: fmt.Append(nil, tag.ID), KeyID: "k"},
		}
		if o, again = b.FirstOutcome(tag, row); again {
			return
		}
		v, err := b.ApplyVariable(at, &structs.VarApplyStateRequest{Op: op, Var: row})
		o = Outcome{Index: at, Variable: v, Err: err}
		b.KeepOutcome(tag, o)
	})
	return o, again
}

func TestRequestIsAppliedOnce(t *testing.T) {
	s := New(nil, nil)
	first, again := try(s, testTag(1, 100), structs.VarOpCAS, "app/db", 0)
	if again || first.Variable.Result != structs.VarOpResultOk {
		t.Fatalf("the first try gave %+v, %v", first.Variable, again)
	}
	second, again := try(s, testTag(1, 101), structs.VarOpCAS, "app/db", 0)
	if !again || !cmp.Equal(first, second) {
		t.Fatalf("the second try gave\n%+v\nnot\n%+v", second.Variable, first.Variable)
	}
	lost, _ := try(s, testTag(2, 102), structs.VarOpCAS, "app/db", 0)
	if lost.Variable.Result != structs.VarOpResultConflict {
		t.Fatalf("another request gave %+v", lost.Variable)
	}
	if o, _ := try(s, testTag(2, 103), structs.VarOpCAS, "app/db", 0); !cmp.Equal(o, lost) {
		t.Fatalf("the conflict became %+v", o.Variable)
	}
	bad, _ := try(s, testTag(3, 104), structs.VarOp("odd"), "app/db", 0)
	o, again := try(s, testTag(3, 104), structs.VarOpSet, "app/db", 0)
	if !again || !errors.Is(o.Err, errs.Invalid) || o.Err.Error() != bad.Err.Error() {
		t.Fatalf("the error %v became %v", bad.Err, o.Err)
	}
	if o, known := s.Snapshot().Outcome(testTag(1, 0).ID); !known || o.Index != first.Index {
		t.Fatalf("the view has %+v, %v", o, known)
	}
	if _, known := s.Snapshot().Outcome(structs.RequestID{9}); known {
		t.Fatal("the view knows a request that was never made")
	}
}

func TestOldRequestsAreForgottenAndNotAppliedAgain(t *testing.T) {
	for _, c := range []struct {
		name string
		fill func(s *StateStore)
	}{
		{"by number", func(s *StateStore) {
			for i := range maxOutcomes {
				try(s, testTag(i+2, 100), structs.VarOpSet, "other", 0)
			}
		}},
		{"by age", func(s *StateStore) { try(s, testTag(2, 101+maxOutcomeAge), structs.VarOpSet, "other", 0) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := New(nil, nil)
			try(s, testTag(1, 100), structs.VarOpSet, "app/db", 0)
			c.fill(s)
			before := s.Snapshot().Variable(nil, "default", "app/db").ModifyIndex
			o, _ := try(s, testTag(1, 100), structs.VarOpSet, "app/db", 0)
			if !errors.Is(o.Err, errs.Deadline) || s.Snapshot().Variable(nil, "default", "app/db").ModifyIndex != before {
				t.Fatalf("a late try gave %+v", o)
			}
			fresh := testTag(1<<20, 100)
			fresh.Base = s.LatestIndex()
			if o, again := try(s, fresh, structs.VarOpSet, "app/db", 0); again || o.Err != nil {
				t.Fatalf("a new request gave %+v", o)
			}
			if n := s.core.requests.next - s.core.requests.first; n > maxOutcomes || n != uint64(len(s.core.requests.at)) {
				t.Fatalf("%d outcomes are kept, %d are found", n, len(s.core.requests.at))
			}
		})
	}
}

func TestOutcomesAreInTheSnapshot(t *testing.T) {
	s := New(nil, nil)
	for i := range 3 * chunkSize {
		try(s, testTag(i, 100+int64(i)/9), []structs.VarOp{structs.VarOpSet, structs.VarOpCAS, structs.VarOpDelete, "odd"}[i%4], fmt.Sprint("app/", i%7), 0)
	}
	view := s.Snapshot()
	try(s, testTag(1<<20, 5000), structs.VarOpSet, "app/after", 0) // drops all of them
	var one, two bytes.Buffer
	if err := view.Persist(&one); err != nil {
		t.Fatal(err)
	}
	other := New(nil, nil)
	if err := other.Restore(bytes.NewReader(one.Bytes())); err != nil {
		t.Fatal(err)
	}
	if err := other.Snapshot().Persist(&two); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Fatal("a snapshot that was restored gives another one")
	}
	for i := range 3 * chunkSize {
		o, again := try(other, testTag(i, 100), structs.VarOpSet, "app/again", 0)
		if !again {
			t.Fatalf("request %d is applied again after a restore: %+v", i, o)
		}
	}
	if other.Snapshot().Variable(nil, "default", "app/again") != nil {
		t.Fatal("a known request wrote")
	}
	var three bytes.Buffer
	if err := s.Snapshot().Persist(&three); err != nil {
		t.Fatal(err)
	}
	if err := other.Restore(bytes.NewReader(three.Bytes())); err != nil {
		t.Fatal(err)
	}
	if o, _ := try(other, testTag(1, 101), structs.VarOpSet, "app/again", 0); !errors.Is(o.Err, errs.Deadline) {
		t.Fatalf("a forgotten request gave %+v after a restore", o)
	}
}

func TestNamesOfRowsAreBounded(t *testing.T) {
	s := New(nil, nil)
	keep := func(n, size int) {
		s.Batch(func(b *StateStore) {
			name := string(bytes.Repeat([]byte{'a' + byte(n%26)}, size))
			b.KeepOutcome(testTag(n, 100), Outcome{Index: b.NextIndex(), Rows: []string{name, name}})
		})
	}
	keep(1, 10)
	if o, known := s.Snapshot().Outcome(testTag(1, 0).ID); !known || len(o.Rows) != 2 || o.Rows[0] != "bbbbbbbbbb" {
		t.Fatalf("kept %+v", o)
	}
	for n := range 10 {
		keep(n+2, maxOutcomeRows/8)
	}
	if w := s.core.requests; w.rows > maxOutcomeRows || w.next-w.first != 4 {
		t.Fatalf("%d bytes of names of %d requests are kept", w.rows, w.next-w.first)
	}
	var snapshot bytes.Buffer
	if err := s.Snapshot().Persist(&snapshot); err != nil {
		t.Fatal(err)
	}
	other := New(nil, nil)
	if err := other.Restore(&snapshot); err != nil {
		t.Fatal(err)
	}
	if got, want := other.core.requests.rows, s.core.requests.rows; got != want {
		t.Fatalf("%d bytes are kept after a restore, %d before", got, want)
	}
	keep(20, maxOutcomeRows) // more than is kept of all
	if o, again := try(s, testTag(20, 100), structs.VarOpSet, "app/db", 0); !again || !errors.Is(o.Err, errs.Deadline) {
		t.Fatalf("a request too large to remember gave %+v", o)
	}
}
