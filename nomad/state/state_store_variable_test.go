package state

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

func TestSetVariable(t *testing.T) {
	s := newStore(t)
	req := variable(structs.VarOpSet, "default", "app/db", "first")
	first := s.apply(req)
	req.Var.Data[0] = 'X' // the caller's buffer is not the store's
	second := variable(structs.VarOpSet, "default", "app/db", "second")
	second.Var.ModifyTime = 2000
	resp := s.apply(second)

	want := &structs.VariableMetadata{Namespace: "default", Path: "app/db", CreateIndex: 2, CreateTime: 1000, ModifyIndex: 2, ModifyTime: 1000}
	if diff := cmp.Diff(want, first.Written); diff != "" {
		t.Error(diff)
	}
	want.ModifyIndex, want.ModifyTime = 3, 2000
	if diff := cmp.Diff(want, resp.Written); diff != "" || resp.Index != 3 || resp.Op != structs.VarOpSet {
		t.Error(diff, resp)
	}
	got := s.Snapshot().Variable(nil, "default", "app/db")
	if string(got.Data) != "second" || got.KeyID != "key-1" || cap(got.Data) > 8 {
		t.Errorf("stored %q (capacity %d) under key %q", got.Data, cap(got.Data), got.KeyID)
	}
	if q := s.Snapshot().VariablesQuota("default"); q.Size != 6 || q.CreateIndex != 2 || q.ModifyIndex != 3 {
		t.Errorf("quota is %+v", q)
	}
	for _, e := range s.events {
		m, ok := e.Payload.(*structs.VariableMetadata)
		if !ok || m.Path != "app/db" || m.ModifyIndex != e.Index {
			t.Errorf("event %v has the payload %+v", describe([]structs.Event{e}), e.Payload)
		}
	}
	if diff := cmp.Diff([]string{"2 Variable VariableUpdated default/app/db", "3 Variable VariableUpdated default/app/db"}, describe(s.events)); diff != "" {
		t.Error(diff)
	}
}

func TestSetIdenticalVariable(t *testing.T) {
	s := newStore(t)
	s.set("default", "a", "same")
	before := len(s.events)
	resp := s.apply(variable(structs.VarOpSet, "default", "a", "same"))
	if resp.Result != structs.VarOpResultOk || resp.Index != 2 || resp.Written.ModifyIndex != 2 {
		t.Errorf("%+v", resp)
	}
	if len(s.events) != before || s.Snapshot().TableIndex("variables") != 2 {
		t.Error("an identical write left a trace")
	}
}

func TestImpossibleVariableOperations(t *testing.T) {
	s := newStore(t)
	s.set("default", "held", "x")
	for name, tc := range map[string]struct {
		req   *structs.VarApplyStateRequest
		code  errs.Code
		about string
	}{
		"no variable":          {&structs.VarApplyStateRequest{Op: structs.VarOpSet}, errs.Invalid, "path"},
		"no path":              {variable(structs.VarOpSet, "default", "", "x"), errs.Invalid, "path"},
		"unknown operation":    {variable("shake", "default", "a", "x"), errs.Invalid, "shake"},
		"no namespace":         {variable(structs.VarOpSet, "nowhere", "a", "x"), errs.NotFound, `namespace "nowhere" not found`},
		"no namespace, cas":    {variable(structs.VarOpCAS, "nowhere", "a", "x"), errs.NotFound, "nowhere"},
		"no namespace, lock":   {locked(variable(structs.VarOpLockAcquire, "nowhere", "a", "x"), "1"), errs.NotFound, "nowhere"},
		"lock in a create":     {locked(variable(structs.VarOpSet, "default", "a", "x"), "1"), errs.Invalid, "lock"},
		"acquire without ID":   {variable(structs.VarOpLockAcquire, "default", "held", "x"), errs.Invalid, "lock ID"},
		"release of an absent": {locked(variable(structs.VarOpLockRelease, "default", "a", ""), "1"), errs.NotFound, "not found"},
	} {
		t.Run(name, func(t *testing.T) {
			before := s.persist()
			resp, err := s.ApplyVariable(s.LatestIndex(), tc.req)
			if resp != nil {
				t.Errorf("response %+v", resp)
			}
			refused(t, err, tc.code, tc.about)
			if !slices.Equal(before, s.persist()) {
				t.Error("a refused operation left a trace")
			}
		})
	}
}

// TestVariableConflicts runs every guarded operation against every state.
func TestVariableConflicts(t *testing.T) {
	const current = 7 // ModifyIndex of the row
	ops := map[string]*structs.VarApplyStateRequest{
		"set":               variable(structs.VarOpSet, "default", "a", "new"),
		"set with lock":     locked(variable(structs.VarOpSet, "default", "a", "new"), "mine"),
		"create only":       cas(variable(structs.VarOpCAS, "default", "a", "new"), 0),
		"cas":               cas(variable(structs.VarOpCAS, "default", "a", "new"), current),
		"old cas":           cas(variable(structs.VarOpCAS, "default", "a", "new"), current-1),
		"cas with lock":     locked(cas(variable(structs.VarOpCAS, "default", "a", "new"), current), "mine"),
		"delete":            variable(structs.VarOpDelete, "default", "a", ""),
		"delete with lock":  locked(variable(structs.VarOpDelete, "default", "a", ""), "mine"),
		"delete cas":        cas(variable(structs.VarOpDeleteCAS, "default", "a", ""), current),
		"old delete cas":    cas(variable(structs.VarOpDeleteCAS, "default", "a", ""), current-1),
		"delete cas absent": cas(variable(structs.VarOpDeleteCAS, "default", "a", ""), 0),
		"acquire":           locked(variable(structs.VarOpLockAcquire, "default", "a", "new"), "mine"),
		"release":           locked(variable(structs.VarOpLockRelease, "default", "a", ""), "mine"),
		"release without":   variable(structs.VarOpLockRelease, "default", "a", ""),
	}
	yes := map[string][]string{
		"absent":   {"set", "create only", "delete", "delete with lock", "delete cas absent", "acquire"},
		"unlocked": {"set", "cas", "delete", "delete cas", "acquire"},
		"mine":     {"set with lock", "cas with lock", "delete with lock", "acquire", "release"},
		"theirs":   {},
	}
	impossible := map[string][]string{"absent": {"set with lock", "release", "release without"}}
	for state, allowed := range yes {
		for name, req := range ops {
			t.Run(state+"/"+name, func(t *testing.T) {
				s := newStore(t)
				switch state {
				case "unlocked":
					_, err := s.ApplyVariable(current, variable(structs.VarOpSet, "default", "a", "old"))
					must(t, err)
				case "mine", "theirs":
					_, err := s.ApplyVariable(current, locked(variable(structs.VarOpLockAcquire, "default", "a", "old"), state))
					must(t, err)
				}
				before := s.Snapshot().Variable(nil, "default", "a")
				resp, err := s.ApplyVariable(20, req)
				if slices.Contains(impossible[state], name) {
					if err == nil {
						t.Fatalf("want an error, got %+v", resp)
					}
					return
				}
				must(t, err)
				after := s.Snapshot().Variable(nil, "default", "a")
				if slices.Contains(allowed, name) {
					if resp.Result != structs.VarOpResultOk {
						t.Fatalf("refused: %+v", resp)
					}
					if resp.Written != nil && !cmp.Equal(*resp.Written, after.VariableMetadata) {
						t.Errorf("written %+v, stored %+v", resp.Written, after.VariableMetadata)
					}
					return
				}
				if resp.Result != structs.VarOpResultConflict || resp.Conflict != before || after != before {
					t.Fatalf("want a conflict with %+v, got %+v", before, resp)
				}
				if before != nil && resp.Index != before.ModifyIndex {
					t.Errorf("conflict index is %d", resp.Index)
				}
			})
		}
	}
}

func TestVariableLock(t *testing.T) {
	s := newStore(t)
	s.set("default", "a", "items")
	created := s.apply(locked(variable(structs.VarOpLockAcquire, "default", "new", ""), "l1"))
	if created.Written.CreateIndex != 3 || created.Written.Lock.TTL != 1 {
		t.Errorf("acquire created %+v", created.Written)
	}
	got := s.apply(locked(variable(structs.VarOpLockAcquire, "default", "a", ""), "l2"))
	if row := s.Snapshot().Variable(nil, "default", "a"); string(row.Data) != "items" || row.LockID() != "l2" || got.Written.ModifyIndex != 4 {
		t.Errorf("acquire without items stored %+v", row)
	}
	if diff := cmp.Diff([]string{"default.a", "default.new"}, paths(s.Snapshot().LockedVariables())); diff != "" {
		t.Error(diff)
	}

	renew := locked(variable(structs.VarOpLockAcquire, "default", "a", ""), "l2")
	renew.Var.Lock.TTL = 99
	if r := s.apply(renew); r.Result != structs.VarOpResultOk || r.Written.Lock.TTL != 1 || r.Index != 4 {
		t.Errorf("renewal gave %+v", r)
	}
	s.apply(locked(variable(structs.VarOpSet, "default", "a", "changed"), "l2"))
	if row := s.Snapshot().Variable(nil, "default", "a"); row.LockID() != "l2" || string(row.Data) != "changed" {
		t.Errorf("a write under the lock stored %+v", row)
	}
	rel := s.apply(locked(variable(structs.VarOpLockRelease, "default", "a", ""), "l2"))
	if row := s.Snapshot().Variable(nil, "default", "a"); row.Lock != nil || string(row.Data) != "changed" || rel.Written.Lock != nil {
		t.Errorf("release stored %+v", row)
	}
	s.apply(locked(variable(structs.VarOpDelete, "default", "new", ""), "l1"))
	if left := paths(s.Snapshot().LockedVariables()); len(left) != 0 {
		t.Errorf("still locked: %v", left)
	}
	for _, e := range s.events {
		if m := e.Payload.(*structs.VariableMetadata); m.Lock != nil {
			t.Errorf("the event of index %d shows the lock", e.Index)
		}
	}
}

func TestListVariables(t *testing.T) {
	s := newStore(t)
	s.namespaces("a", "b", "c")
	all := []string{}
	for _, ns := range []string{"a", "b", "default"} {
		for _, p := range []string{"app", "app/db", "app/web", "apq", "z"} {
			s.set(ns, p, "x")
			all = append(all, ns+"."+p)
		}
	}
	inB := []string{"b.app", "b.app/db", "b.app/web", "b.apq", "b.z"}
	app := []string{"a.app", "a.app/db", "a.app/web", "b.app", "b.app/db", "b.app/web", "default.app", "default.app/db", "default.app/web"}
	for _, tc := range []struct {
		ns, prefix string
		from       Key
		want       []string
	}{
		{"*", "", Key{}, all},
		{"*", "", Key{"b", "apq"}, all[8:]},
		{"*", "", Key{"b", "missing"}, all[9:]},
		{"b", "", Key{}, inB},
		{"b", "", Key{"b", "app/x"}, inB[3:]},
		{"b", "", Key{"c", ""}, []string{}},
		{"b", "", Key{"a", "z"}, inB},
		{"b", "app", Key{}, inB[:3]},
		{"b", "app/", Key{}, inB[1:3]},
		{"b", "app", Key{"b", "app/web"}, inB[2:3]},
		{"b", "app", Key{"b", "apq"}, []string{}},
		{"c", "", Key{}, []string{}},
		{"nowhere", "", Key{}, []string{}},
		{"*", "app", Key{}, app},
		{"*", "app", Key{"b", "app/db"}, app[4:]},
		{"*", "app", Key{"b", "zz"}, app[6:]},
	} {
		q := VariableQuery{Namespace: tc.ns, Prefix: tc.prefix, From: tc.from}
		if diff := cmp.Diff(tc.want, paths(s.Snapshot().Variables(nil, q))); diff != "" {
			t.Errorf("%+v: %s", q, diff)
		}
		q.From, q.Reverse = Key{}, true
		whole := paths(s.Snapshot().Variables(nil, VariableQuery{Namespace: tc.ns, Prefix: tc.prefix}))
		if diff := cmp.Diff(reversed(whole), paths(s.Snapshot().Variables(nil, q))); diff != "" {
			t.Errorf("%+v: %s", q, diff)
		}
		for i, from := range whole { // every page, downwards
			var ns, path string
			for j := range from {
				if from[j] == '.' {
					ns, path = from[:j], from[j+1:]
					break
				}
			}
			q.From = Key{ns, path}
			if diff := cmp.Diff(reversed(whole[:i+1]), paths(s.Snapshot().Variables(nil, q))); diff != "" {
				t.Errorf("%+v: %s", q, diff)
			}
		}
	}
}

func TestVariableWatches(t *testing.T) {
	s := newStore(t)
	s.namespaces("prod")
	s.set("default", "app/db", "1")
	s.set("default", "web/db", "1")
	s.set("prod", "web/db", "1")
	watch := func(read func(sn *Snapshot, ws memdb.WatchSet)) func() bool {
		ws := memdb.NewWatchSet()
		read(s.Snapshot(), ws)
		return func() bool { return fired(ws) }
	}
	one := func(ns, path string) func(*Snapshot, memdb.WatchSet) {
		return func(sn *Snapshot, ws memdb.WatchSet) { sn.Variable(ws, ns, path) }
	}
	list := func(ns, prefix string) func(*Snapshot, memdb.WatchSet) {
		return func(sn *Snapshot, ws memdb.WatchSet) { sn.Variables(ws, VariableQuery{Namespace: ns, Prefix: prefix}) }
	}
	w := map[string]func() bool{
		"row": watch(one("default", "app/db")), "other row": watch(one("default", "web/db")),
		"absent": watch(one("default", "app/new")), "row elsewhere": watch(one("prod", "app/db")),
		"all": watch(list("*", "")), "all of a prefix": watch(list("*", "app")),
		"namespace": watch(list("default", "")), "other namespace": watch(list("prod", "")),
		"directory": watch(list("default", "app/")), "prefix": watch(list("default", "app/d")),
		"other directory": watch(list("default", "web/")), "part of a name": watch(list("default", "ap")),
	}
	check := func(when string, want ...string) {
		t.Helper()
		for name, fired := range w {
			early := name == "absent" // an absent row may wake with its neighbours
			if due := slices.Contains(want, name); fired() != due && (due || !early) {
				t.Errorf("%s: %s is %v", when, name, fired())
			}
		}
	}
	check("at first")
	before := []string{"row", "all", "all of a prefix", "namespace", "directory", "prefix", "part of a name"}
	s.set("default", "app/db", "2")
	check("after the row changed", before...)
	s.apply(variable(structs.VarOpDelete, "default", "web/db", ""))
	check("after the other was deleted", append(before, "other row", "other directory")...)
	s.set("default", "app/new", "1")
	check("after the absent came", append(before, "other row", "other directory", "absent")...)
	s.set("prod", "app/db", "1")
	check("after all", append(before, "other row", "other directory", "absent", "row elsewhere", "other namespace")...)
}

// TestWatchOfAnOldSnapshot checks that a watch set on a view that is out of date
// fires at once.
func TestWatchOfAnOldSnapshot(t *testing.T) {
	s := newStore(t)
	s.set("default", "a", "1")
	s.set("default", "b", "1")
	sn := s.Snapshot()
	s.set("default", "a", "2")
	a, b, list := memdb.NewWatchSet(), memdb.NewWatchSet(), memdb.NewWatchSet()
	sn.Variable(a, "default", "a")
	sn.Variable(b, "default", "b")
	sn.Variables(list, VariableQuery{Namespace: "default"})
	if !fired(a) || fired(b) || !fired(list) {
		t.Errorf("changed row %v, unchanged row %v, list %v", fired(a), fired(b), fired(list))
	}
}

func TestVisibility(t *testing.T) {
	s := newStore(t)
	s.set("default", "a", "1")
	s.namespaces("prod")
	v := s.Snapshot().Variable(nil, "default", "a")
	if !Variables.Visible(acl.AllowAll, v) || Variables.Visible(acl.DenyAll, v) || Variables.Visible(nil, v) {
		t.Error("the variables' rule does not follow the rights")
	}
	for _, e := range s.events {
		if !EventVisible(acl.AllowAll, &e) || EventVisible(acl.DenyAll, &e) {
			t.Errorf("%v does not follow the rights", describe([]structs.Event{e}))
		}
	}
	for _, e := range []structs.Event{{Topic: "Unknown"}, {Topic: structs.TopicVariable}, {Topic: structs.TopicNamespace, Payload: 1}, {}} {
		if EventVisible(acl.AllowAll, &e) {
			t.Errorf("%+v is shown", e)
		}
	}
}

func TestRowsOfManyPages(t *testing.T) {
	s := newStore(t)
	s.Batch(func(b *StateStore) {
		for i := range 1000 {
			_, err := b.ApplyVariable(b.NextIndex(), variable(structs.VarOpSet, "default", fmt.Sprintf("p/%04d", i*7%1000), "x"))
			must(t, err)
		}
	})
	if s.batches != 1 || len(s.events) != 1000 {
		t.Errorf("%d events in %d publications", len(s.events), s.batches)
	}
	from, seen := Key{}, 0
	for {
		page := 0
		for v := range s.Snapshot().Variables(nil, VariableQuery{Namespace: "default", Prefix: "p/", From: from}) {
			from = Key{"default", v.Path + "\x00"}
			if want := fmt.Sprintf("p/%04d", seen); v.Path != want {
				t.Fatalf("found %s, want %s", v.Path, want)
			}
			seen++
			if page++; page == 33 {
				break
			}
		}
		if page < 33 {
			break
		}
	}
	if seen != 1000 {
		t.Errorf("pages hold %d rows", seen)
	}
}
