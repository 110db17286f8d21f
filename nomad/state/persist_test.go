package state

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// fill sets every field below v to something that is not zero and differs from
// field to field.
func fill(v reflect.Value, n *int) {
	*n++
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(time.Unix(int64(*n), int64(*n)).UTC()))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), n)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 9 { // so many that the order of a map would show
			key, val := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(key, n)
			fill(val, n)
			v.SetMapIndex(key, val)
		}
	case reflect.String:
		v.SetString(fmt.Sprintf("text-%d", *n))
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n) * 1000)
	case reflect.Float64:
		v.SetFloat(float64(*n) + 0.5)
	case reflect.Uint8, reflect.Uint16, reflect.Uint64:
		v.SetUint(uint64(*n%200 + 1))
	case reflect.Bool:
		v.SetBool(true)
	default:
		panic("cannot fill a " + v.Type().String())
	}
}

// filler puts rows whose every field is set into a table.
type filler interface {
	fillRows(tx *Txn, n *int)
	rowsOf(sn *Snapshot) []any
}

func (t *Table[T]) fillRows(tx *Txn, n *int) {
	for range 40 {
		row := new(T)
		fill(reflect.ValueOf(row).Elem(), n)
		t.put(tx, row)
	}
}

func (t *Table[T]) rowsOf(sn *Snapshot) []any {
	var out []any
	for row := range t.scan(sn, everything, Key{}, false) {
		out = append(out, row)
	}
	return out
}

// filled is a store in which every table has rows with every field set.
func filled(t testing.TB) *testStore {
	s := newStore(t)
	n := 0
	s.Batch(func(b *StateStore) {
		for _, table := range persisted() {
			must(t, b.txn.op(b.NextIndex(), "", func(tx *Txn) error {
				table.(filler).fillRows(tx, &n)
				return nil
			}))
		}
	})
	return s
}

func TestSnapshotIsAFixedPoint(t *testing.T) {
	s := filled(t)
	first := s.persist()
	back := restored(t, first)
	if second := back.persist(); !bytes.Equal(first, second) {
		t.Fatal("persist, restore, persist gives other bytes")
	}
	for _, table := range persisted() {
		name := table.describe().Name
		want, got := table.(filler).rowsOf(s.Snapshot()), table.(filler).rowsOf(back.Snapshot())
		if single := name == Cluster.Name() || name == Autopilot.Name() || name == aclBootstraps.Name(); len(want) < 40 && !single || len(want) == 0 {
			t.Errorf("table %s has %d rows", name, len(want))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("table %s: %s", name, diff)
		}
		if a, b := s.Snapshot().TableIndex(name), back.Snapshot().TableIndex(name); a != b || a == 0 {
			t.Errorf("index of table %s is %d, was %d", name, b, a)
		}
	}
	if back.LatestIndex() != s.LatestIndex() {
		t.Errorf("index is %d, was %d", back.LatestIndex(), s.LatestIndex())
	}
	for range 10 {
		if !bytes.Equal(first, s.persist()) {
			t.Fatal("the same view persists as other bytes")
		}
	}
}

// TestCopiesShareNothing checks the Copy of every row type.
func TestCopiesShareNothing(t *testing.T) {
	n := 0
	for _, row := range []any{&structs.Namespace{}, &structs.VariableEncrypted{}, &structs.VariablesQuota{}, &structs.RootKey{},
		&structs.ACLPolicy{}, &structs.ACLToken{}, &structs.ACLRole{}, &structs.ACLAuthMethod{}, &structs.ACLBindingRule{}, &structs.OneTimeToken{}} {
		fill(reflect.ValueOf(row).Elem(), &n)
		c := reflect.ValueOf(row).MethodByName("Copy").Call(nil)[0]
		if diff := cmp.Diff(row, c.Interface()); diff != "" {
			t.Error(diff)
		}
		if at := shared(reflect.ValueOf(row), c, fmt.Sprintf("%T", row)); at != "" {
			t.Errorf("%s is shared with the copy", at)
		}
	}
}

// shared returns the path to memory that a and b have in common, "" for none.
func shared(a, b reflect.Value, path string) string {
	switch a.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice:
		if a.Pointer() == b.Pointer() && a.Pointer() != 0 {
			return path
		}
	}
	switch a.Kind() {
	case reflect.Pointer:
		return shared(a.Elem(), b.Elem(), path)
	case reflect.Struct:
		for i := range a.NumField() {
			if at := shared(a.Field(i), b.Field(i), path+"."+a.Type().Field(i).Name); at != "" {
				return at
			}
		}
	case reflect.Slice:
		for i := range a.Len() {
			if at := shared(a.Index(i), b.Index(i), path+"[]"); at != "" {
				return at
			}
		}
	}
	return ""
}

func TestRestoreRefuses(t *testing.T) {
	good := filled(t).persist()
	header := func(h snapshotHeader) []byte {
		b, err := appendRow(nil, &h)
		must(t, err)
		return b
	}
	record := func(b []byte, st structs.SnapshotType, v any) []byte {
		b, err := appendRow(append(b, byte(st)), v)
		must(t, err)
		return b
	}
	start := func() []byte { return header(snapshotHeader{Version: 1, Index: 5}) }
	def := &structs.Namespace{Name: "default"}
	zero := &structs.VariableEncrypted{VariableMetadata: structs.VariableMetadata{Namespace: "a\x00b", Path: "c"}}
	end := func(b []byte, rows uint64) []byte { return record(b, snapshotEnd, &snapshotTrailer{rows}) }
	for name, tc := range map[string]struct {
		in    []byte
		about string
	}{
		"nothing":               {nil, "header"},
		"text":                  {[]byte("hello"), "header"},
		"a newer version":       {end(header(snapshotHeader{Version: 2}), 0), "version 2"},
		"no end":                {good[:len(good)-8], "cut"},
		"half":                  {good[:len(good)/2], "cut"},
		"a lost row":            {end(record(start(), structs.NamespaceSnapshot, def), 2), "1 records of 2"},
		"an unknown type":       {end(record(start(), 90, def), 1), "type 90"},
		"two rows of one key":   {end(record(record(start(), structs.NamespaceSnapshot, def), structs.NamespaceSnapshot, def), 2), "two rows"},
		"a row repeated later":  {end(record(record(record(start(), structs.NamespaceSnapshot, def), structs.NamespaceSnapshot, &structs.Namespace{Name: "a"}), structs.NamespaceSnapshot, def), 3), "two rows"},
		"a secret repeated":     {end(record(record(start(), structs.ACLTokenSnapshot, &structs.ACLToken{AccessorID: "a", SecretID: "s"}), structs.ACLTokenSnapshot, &structs.ACLToken{AccessorID: "b", SecretID: "s"}), 2), "two rows of one value"},
		"a zero byte":           {end(record(start(), structs.VariablesSnapshot, zero), 1), "zero byte"},
		"no default namespace":  {end(start(), 0), "default"},
		"a tail":                {append(bytes.Clone(good), 0), "follow"},
		"a row that is no map":  {append(start(), byte(structs.VariablesSnapshot), 0x01), "record 1"},
		"a row that is too big": {append(start(), byte(structs.VariablesSnapshot), 0xdb, 0xff, 0xff, 0xff, 0xff), "larger"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			s.set("default", "mine", "x")
			before, abandon := s.persist(), s.AbandonCh()
			refused(t, s.Restore(bytes.NewReader(tc.in)), errs.Invalid, tc.about)
			_, err := Check(opening(tc.in))
			refused(t, err, errs.Invalid, tc.about)
			if !bytes.Equal(before, s.persist()) || abandon != s.AbandonCh() {
				t.Error("a refused snapshot left a trace")
			}
		})
	}
	t.Run("a reader that fails", func(t *testing.T) {
		broken := io.MultiReader(bytes.NewReader(good[:100]), iotest.ErrReader(errors.New("disk on fire")))
		refused(t, newStore(t).Restore(broken), errs.Invalid, "disk on fire")
	})
}

// opening gives a snapshot from its beginning.
func opening(b []byte) func() (io.Reader, error) {
	return func() (io.Reader, error) { return bytes.NewReader(b), nil }
}

func TestACheckTellsTheRootKeys(t *testing.T) {
	s := newStore(t)
	for i := range 2*batchRows + 1 {
		s.set("default", fmt.Sprintf("path/%05d", i), "x")
	}
	s.rootKey("key-2", structs.RootKeyStateActive)
	s.rootKey("key-1", structs.RootKeyStateActive)
	ordered := s.persist()
	header, err := appendRow(nil, &snapshotHeader{Version: 1, Index: 9})
	must(t, err)
	mixed := header
	for _, r := range []struct {
		st structs.SnapshotType
		v  any
	}{
		{structs.NamespaceSnapshot, &structs.Namespace{Name: "default"}},
		{structs.RootKeySnapshot, slices.Collect(s.Snapshot().RootKeys(nil))[1]},
		{structs.RootKeySnapshot, slices.Collect(s.Snapshot().RootKeys(nil))[0]},
		{snapshotEnd, &snapshotTrailer{3}},
	} {
		mixed, err = appendRow(append(mixed, byte(r.st)), r.v)
		must(t, err)
	}
	want := slices.Collect(s.Snapshot().RootKeys(nil))
	for name, b := range map[string][]byte{"in order": ordered, "in another order": mixed} {
		keys, err := Check(opening(b))
		must(t, err)
		if diff := cmp.Diff(want, keys); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if _, err := Check(func() (io.Reader, error) { return nil, io.ErrClosedPipe }); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a snapshot that cannot be opened: %v", err)
	}
}

// The rows of a snapshot are stored behind those that are decoded.
func TestRestoreNamesTheFirstBadRowOfMany(t *testing.T) {
	row := func(b []byte, name string) []byte {
		b, err := appendRow(append(b, byte(structs.NamespaceSnapshot)), &structs.Namespace{Name: name})
		must(t, err)
		return b
	}
	many, err := appendRow(nil, &snapshotHeader{Version: 1, Index: 9})
	must(t, err)
	for i := range 20 * batchRows {
		if i == 100 {
			many = row(many, "n00042")
		}
		many = row(many, fmt.Sprintf("n%05d", i))
	}
	for name, in := range map[string][]byte{
		"cut soon after it": many[:120*len(row(nil, "n00000"))],
		"cut much later":    many,
		"followed by text":  append(bytes.Clone(many), "text"...),
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			before := s.persist()
			refused(t, s.Restore(bytes.NewReader(in)), errs.Invalid, "record 101: table \"namespaces\" has two rows of the key")
			if !bytes.Equal(before, s.persist()) {
				t.Error("a refused snapshot left a trace")
			}
		})
	}
}

func TestRestoreOfManyRowsLosesNone(t *testing.T) {
	s := newStore(t)
	for i := range 3*batchRows + 1 {
		s.set("default", fmt.Sprintf("path/%05d", i), strings.Repeat("x", i))
	}
	want := s.persist()
	if got := restored(t, want); !bytes.Equal(want, got.persist()) {
		t.Error("a restored store persists otherwise")
	}
}

func TestRestoreSkipsWhatItMay(t *testing.T) {
	b, err := appendRow(nil, &snapshotHeader{Version: 1, Index: 9, Tables: []string{"namespaces", "moons"}})
	must(t, err)
	for _, r := range []struct {
		st structs.SnapshotType
		v  any
	}{
		{structs.IndexSnapshot, &indexRow{"moons", 4}},
		{structs.NamespaceSnapshot, &structs.Namespace{Name: "zeta"}},
		{skippable | 90, map[string]any{"Name": []string{"io", "europa"}}},
		{structs.NamespaceSnapshot, &structs.Namespace{Name: "default"}},
		{snapshotEnd, &snapshotTrailer{4}},
	} {
		b, err = appendRow(append(b, byte(r.st)), r.v)
		must(t, err)
	}
	s := restored(t, b)
	if got := names(s.Snapshot().Namespaces(nil, "")); !cmp.Equal(got, []string{"default", "zeta"}) {
		t.Errorf("namespaces %v", got)
	}
}

func TestRestoreInSmallPieces(t *testing.T) {
	want := filled(t).persist()
	s := newStore(t)
	must(t, s.Restore(iotest.OneByteReader(bytes.NewReader(want))))
	if !bytes.Equal(want, s.persist()) {
		t.Error("a slow reader gives another state")
	}
}

func TestRestoreWakesEverybody(t *testing.T) {
	other := filled(t).persist()
	s := newStore(t)
	s.set("default", "a", "x")
	old, abandon := s.Snapshot(), s.AbandonCh()
	row, list, late := memdb.NewWatchSet(), memdb.NewWatchSet(), memdb.NewWatchSet()
	old.Variable(row, "default", "a")
	old.Namespaces(list, "")
	events := len(s.events)
	must(t, s.Restore(bytes.NewReader(other)))
	old.Variable(late, "default", "a")
	if !fired(row) || !fired(list) || !fired(late) {
		t.Errorf("row %v, list %v, late %v", fired(row), fired(list), fired(late))
	}
	select {
	case <-abandon:
	default:
		t.Error("AbandonCh stays open")
	}
	select {
	case <-s.AbandonCh():
		t.Error("the new AbandonCh is closed")
	default:
	}
	if old.Variable(nil, "default", "a") == nil {
		t.Error("the old view lost its rows")
	}
	if len(s.events) != events {
		t.Error("a restore gave events")
	}
	next := s.LatestIndex() + 1
	if m := s.set("default", "after", "x"); m.ModifyIndex != next {
		t.Errorf("the index goes on at %d, want %d", m.ModifyIndex, next)
	}
}

func TestPersistReportsTheWriter(t *testing.T) {
	if err := filled(t).Snapshot().Persist(failing{}); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("got %v", err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestRegistry(t *testing.T) {
	types, seen := map[structs.SnapshotType]string{}, map[string]bool{}
	for _, info := range Tables() {
		if other := types[info.SnapshotType]; other != "" || seen[info.Name] {
			t.Errorf("table %s repeats a number or name (%s)", info.Name, other)
		}
		types[info.SnapshotType], seen[info.Name] = info.Name, true
		switch info.SnapshotType {
		case structs.IndexSnapshot, snapshotEnd:
			t.Errorf("table %s has the number of a record of another sort", info.Name)
		}
		if info.SnapshotType&skippable != 0 || info.EventVisible == nil {
			t.Errorf("table %s is declared wrongly", info.Name)
		}
	}
	for name, want := range map[string]structs.SnapshotType{
		"namespaces": 64, "variables": 22, "variables_quota": 23, "root_keys": 30, "acl_policy": 11, "acl_token": 12,
		"acl_roles": 25, "acl_auth_methods": 26, "acl_binding_rules": 27, "one_time_token": 96, "acl_bootstrap": 97,
	} {
		if types[want] != name {
			t.Errorf("rows of type %d are %q, want %q", want, types[want], name)
		}
	}
}

func FuzzRestore(f *testing.F) {
	f.Add(persist(f, New(nil, nil)))
	s := newStore(f)
	s.namespaces("a")
	s.rootKey("key-1", structs.RootKeyStateActive)
	s.set("a", "app/db", "x")
	s.apply(locked(variable(structs.VarOpLockAcquire, "default", "lock", ""), "id"))
	f.Add(s.persist())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		s := New(nil, nil)
		err := s.Restore(bytes.NewReader(b))
		if _, checked := Check(opening(b)); (err == nil) != (checked == nil) {
			t.Fatalf("restored: %v, checked: %v", err, checked)
		}
		if err != nil {
			if s.LatestIndex() != 1 {
				t.Fatal("a refused snapshot left a trace")
			}
			return
		}
		first := persist(t, s)
		again := New(nil, nil)
		must(t, again.Restore(bytes.NewReader(first)))
		if !bytes.Equal(first, persist(t, again)) {
			t.Fatal("persist, restore, persist gives other bytes")
		}
	})
}
