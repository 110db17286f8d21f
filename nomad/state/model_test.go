package state

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cairn-project/cairn/nomad/structs"
)

// op is one operation of a random history; run returns what a caller learns.
type op func(s *StateStore) string

func drawOp(t *rapid.T) op {
	ns := rapid.SampledFrom([]string{"default", "a", "b", "nowhere"}).Draw(t, "ns")
	key := rapid.SampledFrom([]string{"k1", "k2", "k3"}).Draw(t, "key")
	if rapid.IntRange(0, 2).Draw(t, "area") == 0 {
		return drawACLOp(t)
	}
	if rapid.IntRange(0, 3).Draw(t, "nodes") == 0 {
		return drawNodeOp(t)
	}
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0:
		other := rapid.SampledFrom([]string{"a", "b", "c", ""}).Draw(t, "other")
		return func(s *StateStore) string { return fmt.Sprint(s.UpsertNamespaces(s.NextIndex(), upsert("c", other))) }
	case 1:
		other := rapid.SampledFrom([]string{"a", "b", "c", "default"}).Draw(t, "other")
		return func(s *StateStore) string { return fmt.Sprint(s.DeleteNamespaces(s.NextIndex(), remove("c", other))) }
	case 2:
		state := rapid.SampledFrom([]structs.RootKeyState{structs.RootKeyStateActive, structs.RootKeyStateInactive}).Draw(t, "state")
		return func(s *StateStore) string { return fmt.Sprint(s.UpsertRootKey(s.NextIndex(), rootKey(key, state))) }
	case 3:
		return func(s *StateStore) string {
			return fmt.Sprint(s.DeleteRootKey(s.NextIndex(), &structs.WrappedRootKeysDeleteRequest{KeyID: key}))
		}
	}
	kind := rapid.SampledFrom([]structs.VarOp{structs.VarOpSet, structs.VarOpCAS, structs.VarOpDelete, structs.VarOpDeleteCAS,
		structs.VarOpLockAcquire, structs.VarOpLockRelease}).Draw(t, "op")
	r := variable(kind, ns, fmt.Sprintf("p/%02d", rapid.IntRange(0, 12).Draw(t, "path")), "")
	r.Var.Data = rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, "data")
	r.Var.KeyID = key
	r.Var.ModifyIndex = uint64(rapid.IntRange(0, 30).Draw(t, "expected"))
	if rapid.Bool().Draw(t, "with lock") {
		locked(r, rapid.SampledFrom([]string{"l1", "l2"}).Draw(t, "lock"))
	}
	return func(s *StateStore) string {
		resp, err := s.ApplyVariable(s.NextIndex(), r)
		if err != nil {
			return err.Error()
		}
		return fmt.Sprintf("%s %d %v %v", resp.Result, resp.Index, resp.Written, resp.Conflict)
	}
}

// drawACLOp draws from few objects, so that names, secrets and links meet.
func drawACLOp(t *rapid.T) op {
	pick := func(what string) int { return rapid.IntRange(1, 3).Draw(t, what) }
	n, m, text := pick("n"), pick("m"), rapid.SampledFrom([]string{"x", "y"}).Draw(t, "text")
	at := time.Unix(int64(rapid.IntRange(0, 3).Draw(t, "at")), 0).UTC()
	run := func(write func(s *StateStore, index uint64) error) op {
		return func(s *StateStore) string { return fmt.Sprint(write(s, s.NextIndex())) }
	}
	switch rapid.IntRange(0, 9).Draw(t, "acl kind") {
	case 0:
		return run(func(s *StateStore, i uint64) error {
			return s.UpsertACLPolicies(i, &structs.ACLPolicyUpsertRequest{Policies: []*structs.ACLPolicy{policy(id(n), text), policy(id(m), "x")}})
		})
	case 1:
		return run(func(s *StateStore, i uint64) error {
			return s.DeleteACLPolicies(i, &structs.ACLPolicyDeleteRequest{Names: []string{id(n)}})
		})
	case 2, 3:
		list := rolesOf(role(id(n), text, id(m)), role(id(m), text+"z", id(n)))
		list.AllowMissingPolicies = at.Unix() > 0
		return run(func(s *StateStore, i uint64) error { return s.UpsertACLRoles(i, list) })
	case 4:
		return run(func(s *StateStore, i uint64) error {
			return s.DeleteACLRolesByID(i, &structs.ACLRolesDeleteByIDRequest{ACLRoleIDs: []string{id(n), id(m)}})
		})
	case 5:
		return run(func(s *StateStore, i uint64) error {
			return s.DeleteACLTokens(i, &structs.ACLTokenDeleteRequest{AccessorIDs: []string{id(n), id(m)}})
		})
	case 6:
		return run(func(s *StateStore, i uint64) error { return s.BootstrapACLTokens(i, bootstrap(n, uint64(m))) })
	case 7:
		one := &structs.OneTimeToken{AccessorID: id(n), OneTimeSecretID: text, ExpiresAt: at}
		return run(func(s *StateStore, i uint64) error {
			return s.UpsertOneTimeToken(i, &structs.OneTimeTokenUpsertRequest{OneTimeToken: one})
		})
	case 8:
		return run(func(s *StateStore, i uint64) error {
			return s.ExpireOneTimeTokens(i, &structs.OneTimeTokenExpireRequest{Timestamp: at})
		})
	}
	one, two := expiring(linked(token(n), structs.ACLTokenRoleLink{Name: text}), at), token(m)
	one.SecretID, two.SecretID = text, fmt.Sprint(m)
	return run(func(s *StateStore, i uint64) error { return s.UpsertACLTokens(i, tokensOf(two, one)) })
}

// checkACL checks that every index of the tokens and roles has what the rows say.
func checkACL(t *rapid.T, sn *Snapshot) {
	all, expire := 0, 0
	for row := range ACLTokens.scan(sn, everything, Key{}, false) {
		all++
		if row.ExpirationTime != nil {
			expire++
		}
		if sn.ACLTokenBySecret(nil, row.SecretID) != row {
			t.Fatalf("the secret of %s leads elsewhere", row.AccessorID)
		}
	}
	byAge := slices.Collect(sn.ACLTokens(nil, ACLTokenQuery{}))
	if !slices.IsSortedFunc(byAge, func(a, b *structs.ACLToken) int { return int(a.CreateIndex) - int(b.CreateIndex) }) || len(byAge) != all {
		t.Fatalf("%d of %d tokens by age: %v", len(byAge), all, keysOf(ACLTokens, slices.Values(byAge)))
	}
	late := time.Unix(9, 0)
	if n := len(keysOf(ACLTokens, sn.ExpiredACLTokens(true, late))) + len(keysOf(ACLTokens, sn.ExpiredACLTokens(false, late))); n != expire {
		t.Fatalf("%d of %d tokens that expire", n, expire)
	}
	for row := range sn.ACLRoles(nil, "") {
		if sn.ACLRoleByName(nil, row.Name) != row {
			t.Fatalf("the name of role %s leads elsewhere", row.ID)
		}
	}
	for row := range OneTimeTokens.scan(sn, everything, Key{}, false) {
		if sn.OneTimeToken(nil, row.OneTimeSecretID) != row || sn.ACLToken(nil, row.AccessorID) == nil {
			t.Fatalf("the one-time token of %s leads elsewhere or to nobody", row.AccessorID)
		}
	}
	for _, name := range []string{"x", "y", "xz", "yz"} {
		if r := sn.ACLRoleByName(nil, name); r != nil && r.Name != name {
			t.Fatalf("the name %q leads to %q", name, r.Name)
		}
	}
}

// sums are what the quota rows and counters must add up to.
func checkSums(t *rapid.T, sn *Snapshot) {
	size, vars, keys, locks := map[string]int64{}, map[string]int{}, map[string]int{}, 0
	for v := range sn.Variables(nil, VariableQuery{Namespace: "*"}) {
		size[v.Namespace] += int64(len(v.Data))
		vars[v.Namespace]++
		if v.KeyID != "" {
			keys[v.KeyID]++
		}
		if v.Lock != nil {
			locks++
		}
	}
	for ns := range size {
		if sn.Namespace(nil, ns) == nil {
			t.Fatalf("namespace %q has variables and does not exist", ns)
		}
	}
	for _, ns := range []string{"default", "a", "b", "c"} {
		q := sn.VariablesQuota(ns)
		if q == nil {
			q = &structs.VariablesQuota{}
		} else if sn.Namespace(nil, ns) == nil {
			t.Fatalf("a quota row of %q is left over", ns)
		}
		if q.Size != size[ns] || namespaceVariables.value(sn, ns) != vars[ns] {
			t.Fatalf("namespace %q counts %d bytes and %d variables, has %d and %d",
				ns, q.Size, namespaceVariables.value(sn, ns), size[ns], vars[ns])
		}
	}
	for _, k := range []string{"k1", "k2", "k3"} {
		if got := sn.RootKeyUse(k); got != keys[k] {
			t.Fatalf("key %q counts %d variables, has %d", k, got, keys[k])
		}
	}
	if got := len(paths(sn.LockedVariables())); got != locks {
		t.Fatalf("%d variables are listed as locked, %d are", got, locks)
	}
	active := 0
	for k := range sn.RootKeys(nil) {
		if k.State == structs.RootKeyStateActive {
			active++
		}
	}
	if active > 1 {
		t.Fatalf("%d root keys are active", active)
	}
}

// TestStoresAgree runs a history on a store that applies one operation at a time,
// on one that cuts it into random batches, and on one that is restored at random
// points. Callers learn the same of all three and their snapshots are equal.
func TestStoresAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		single, batched, reborn := New(nil, nil), New(nil, nil), New(nil, nil)
		var before, after []structs.Event
		single.core.publish = func(e []structs.Event) { before = append(before, e...) }
		batched.core.publish = func(e []structs.Event) { after = append(after, e...) }
		for range rapid.IntRange(1, 6).Draw(t, "batches") {
			ops := rapid.SliceOfN(rapid.Custom(drawOp), 1, 16).Draw(t, "ops")
			var one, many, third []string
			batched.Batch(func(b *StateStore) {
				for _, o := range ops {
					many = append(many, o(b))
				}
			})
			for _, o := range ops {
				one = append(one, o(single))
				third = append(third, o(reborn))
				if rapid.IntRange(0, 9).Draw(t, "restore") == 0 {
					reborn = renew(t, reborn)
				}
			}
			if diff := cmp.Diff(plain(one), plain(many)); diff != "" {
				t.Fatal("in a batch, other results:", diff)
			}
			if diff := cmp.Diff(plain(one), plain(third)); diff != "" {
				t.Fatal("after a restore, other results:", diff)
			}
			want := bytesOf(t, single)
			if !bytes.Equal(want, bytesOf(t, batched)) {
				t.Fatal("the cut into batches shows in the snapshot")
			}
			if !bytes.Equal(want, bytesOf(t, reborn)) {
				t.Fatal("a restore shows in the snapshot")
			}
			for _, s := range []*StateStore{single, batched, reborn} {
				checkSums(t, s.Snapshot())
				checkACL(t, s.Snapshot())
				checkNodes(t, s.Snapshot())
			}
		}
		if diff := cmp.Diff(describe(before), describe(after)); diff != "" {
			t.Fatal("in a batch, other events:", diff)
		}
	})
}

// plain removes what prints as an address.
func plain(lines []string) []string {
	out := slices.Clone(lines)
	for i, l := range out {
		if at := bytes.Index([]byte(l), []byte("0x")); at >= 0 {
			out[i] = l[:at]
		}
	}
	return out
}

func bytesOf(t *rapid.T, s *StateStore) []byte {
	var b bytes.Buffer
	if err := s.Snapshot().Persist(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func renew(t *rapid.T, s *StateStore) *StateStore {
	out := New(nil, nil)
	if err := out.Restore(bytes.NewReader(bytesOf(t, s))); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestStoreAgreesWithMap checks set, cas and delete against a plain map.
func TestStoreAgreesWithMap(t *testing.T) {
	type row struct {
		data           string
		create, modify uint64
	}
	rapid.Check(t, func(t *rapid.T) {
		s, model := New(nil, nil), map[string]row{}
		for range rapid.IntRange(1, 200).Draw(t, "n") {
			path := fmt.Sprintf("%02d", rapid.IntRange(0, 70).Draw(t, "path"))
			r := variable(rapid.SampledFrom([]structs.VarOp{structs.VarOpSet, structs.VarOpCAS, structs.VarOpDelete, structs.VarOpDeleteCAS}).Draw(t, "op"),
				"default", path, rapid.SampledFrom([]string{"x", "y", "zz"}).Draw(t, "data"))
			old, exists := model[path]
			r.Var.ModifyIndex = rapid.SampledFrom([]uint64{0, 3, old.modify}).Draw(t, "expected")
			index := s.NextIndex()
			resp, err := s.ApplyVariable(index, r)
			if err != nil {
				t.Fatal(err)
			}
			guarded := r.Op == structs.VarOpCAS || r.Op == structs.VarOpDeleteCAS
			if ok := !guarded || r.Var.ModifyIndex == old.modify; ok != (resp.Result == structs.VarOpResultOk) {
				t.Fatalf("%s of %+v expecting %d: %s", r.Op, old, r.Var.ModifyIndex, resp.Result)
			} else if !ok {
				continue
			}
			data := string(r.Var.Data)
			switch {
			case r.Op == structs.VarOpDelete || r.Op == structs.VarOpDeleteCAS:
				delete(model, path)
			case !exists:
				model[path] = row{data, index, index}
			case data != old.data:
				model[path] = row{data, old.create, index}
			}
		}
		got := map[string]row{}
		for v := range s.Snapshot().Variables(nil, VariableQuery{Namespace: "default"}) {
			got[v.Path] = row{string(v.Data), v.CreateIndex, v.ModifyIndex}
		}
		if !maps.Equal(got, model) {
			t.Fatalf("the store has %v, the map %v", got, model)
		}
	})
}

// TestFailedOperationLeavesNoTrace checks that an operation that fails half way
// through, alone or in a batch, changes nothing and wakes nobody.
func TestFailedOperationLeavesNoTrace(t *testing.T) {
	history := func(s *StateStore, fail bool) {
		_ = s.UpsertNamespaces(10, upsert("a"))
		_, _ = s.ApplyVariable(11, variable(structs.VarOpSet, "a", "x", "1"))
		if fail {
			if s.UpsertNamespaces(12, upsert("a", "new", "")) == nil {
				t.Error("a namespace without a name was stored")
			}
			if s.DeleteNamespaces(13, remove("a", "b")) == nil || s.DeleteNamespaces(13, remove("c", "default")) == nil {
				t.Error("a namespace was deleted")
			}
		}
		_, _ = s.ApplyVariable(14, variable(structs.VarOpSet, "a", "y", "22"))
	}
	run := func(fail, batch bool) (*testStore, []byte) {
		s := newStore(t)
		s.namespaces("b", "c")
		s.set("b", "v", "x")
		if batch {
			s.Batch(func(b *StateStore) { history(b, fail) })
		} else {
			history(s.StateStore, fail)
		}
		return s, s.persist()
	}
	clean, want := run(false, false)
	for _, batch := range []bool{false, true} {
		failed, got := run(true, batch)
		if !bytes.Equal(want, got) {
			t.Errorf("batch %v: failures show in the snapshot", batch)
		}
		if diff := cmp.Diff(describe(clean.events), describe(failed.events)); diff != "" {
			t.Errorf("batch %v: failures show in the events: %s", batch, diff)
		}
	}
}

// TestPanicLeavesNoTrace checks that a batch that panics is as if it never was.
func TestPanicLeavesNoTrace(t *testing.T) {
	s := newStore(t)
	s.set("default", "a", "1")
	before := s.persist()
	func() {
		defer func() { _ = recover() }()
		s.Batch(func(b *StateStore) {
			_, _ = b.ApplyVariable(b.NextIndex(), variable(structs.VarOpSet, "default", "a", "2"))
			panic("boom")
		})
	}()
	if !bytes.Equal(before, s.persist()) || s.LatestIndex() != 2 {
		t.Error("a batch that panicked left a trace")
	}
	s.set("default", "a", "3")
	if v := s.Snapshot().Variable(nil, "default", "a"); v.ModifyIndex != 3 {
		t.Errorf("after the panic: %+v", v)
	}
}

func TestBatchIsAtomicForReaders(t *testing.T) {
	s := newStore(t)
	s.Batch(func(b *StateStore) {
		for _, p := range []string{"a", "b"} {
			_, err := b.ApplyVariable(b.NextIndex(), variable(structs.VarOpSet, "default", p, "x"))
			must(t, err)
			if s.Snapshot().Variable(nil, "default", p) != nil || s.LatestIndex() != 1 {
				t.Error("a reader saw a part of the batch")
			}
		}
		if b.LatestIndex() != 3 {
			t.Errorf("index within the batch is %d", b.LatestIndex())
		}
	})
	if got := s.Snapshot(); got.Index() != 3 || got.TableIndex("variables") != 3 || s.batches != 1 {
		t.Errorf("index %d, table index %d, %d publications", got.Index(), got.TableIndex("variables"), s.batches)
	}
}
