package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/hashicorp/nomad/api/contexts"
)

// TestContract drives one dev agent through the SDK of the public API. Each
// part keeps to names of its own.
func TestContract(t *testing.T) {
	a := newDev(t)
	for name, part := range map[string]func(*testing.T, *agent){
		"status": statusContract, "agent": agentContract, "raft": raftContract,
		"namespaces": namespaceContract, "namespace errors": namespaceErrors,
		"variables": variableContract, "compare and set": casContract, "variable errors": variableErrors,
		"lists": listContract, "paging": pagingContract, "blocking": blockingContract,
		"search": searchContract, "locks": lockContract, "lock conflicts": lockConflicts, "metrics": metricsContract,
	} {
		t.Run(name, func(t *testing.T) { part(t, a) })
	}
}

// status returns the HTTP status of an SDK error, 0 for nil and others.
func status(err error) int {
	var u api.UnexpectedResponseError
	if errors.As(err, &u) {
		return u.StatusCode()
	}
	return 0
}

// refused wants an error with the status and the text in it.
func refused(t *testing.T, what string, err error, code int, text string) {
	t.Helper()
	if status(err) != code || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: want %d with %q, have %v", what, code, text, err)
	}
}

func variable(path string, items api.VariableItems) *api.Variable {
	v := api.NewVariable(path)
	v.Items = items
	return v
}

func statusContract(t *testing.T, a *agent) {
	self := fmt.Sprintf("127.0.0.1:%d", a.rpc)
	if leader, err := a.api.Status().Leader(); err != nil || leader != self {
		t.Errorf("leader %q, %v", leader, err)
	}
	if peers, err := a.api.Status().Peers(); err != nil || !slices.Equal(peers, []string{self}) {
		t.Errorf("peers %v, %v", peers, err)
	}
	if leader, err := a.api.Status().RegionLeader("global"); err != nil || leader != self {
		t.Errorf("leader of the region %q, %v", leader, err)
	}
	if _, err := a.api.Status().RegionLeader("nowhere"); status(err) != http.StatusInternalServerError {
		t.Errorf("leader of an unknown region: %v", err)
	}
	if regions, err := a.api.Regions().List(); err != nil || !slices.Equal(regions, []string{"global"}) {
		t.Errorf("regions %v, %v", regions, err)
	}
}

func agentContract(t *testing.T, a *agent) {
	self, err := a.api.Agent().Self()
	if err != nil || self.Member.Name != "dev.global" || self.Member.Status != "alive" {
		t.Fatalf("self %+v, %v", self, err)
	}
	if self.Stats["raft"]["state"] != "Leader" {
		t.Errorf("raft stats %v", self.Stats["raft"])
	}
	members, err := a.api.Agent().Members()
	if err != nil || len(members.Members) != 1 || members.ServerRegion != "global" {
		t.Fatalf("members %+v, %v", members, err)
	}
	m := members.Members[0]
	if m.Name != "dev.global" || m.Port != uint16(a.serf) || m.Tags["port"] != fmt.Sprint(a.rpc) || m.Tags["role"] != "nomad" {
		t.Errorf("member %+v", m)
	}
	health, err := a.api.Agent().Health()
	if err != nil || health.Server == nil || !health.Server.Ok {
		t.Errorf("health %+v, %v", health, err)
	}
	if region, err := a.api.Agent().Region(); err != nil || region != "global" {
		t.Errorf("region %q, %v", region, err)
	}
	if dc, err := a.api.Agent().Datacenter(); err != nil || dc != "dc1" {
		t.Errorf("datacenter %q, %v", dc, err)
	}
}

func raftContract(t *testing.T, a *agent) {
	conf, err := a.api.Operator().RaftGetConfiguration(nil)
	if err != nil || len(conf.Servers) != 1 {
		t.Fatalf("configuration %+v, %v", conf, err)
	}
	s := conf.Servers[0]
	if !s.Leader || !s.Voter || s.Node != "dev.global" || s.Address != fmt.Sprintf("127.0.0.1:%d", a.rpc) || s.RaftProtocol != "3" {
		t.Errorf("server %+v", s)
	}
	if err := a.api.Operator().RaftRemovePeerByID("no-such-server", nil); err == nil {
		t.Error("an unknown peer was removed")
	}
	refused(t, "removal by address", a.api.Operator().RaftRemovePeerByAddress("127.0.0.1:1", nil), 400, "address")
	if err := a.api.Operator().RaftTransferLeadershipByID("no-such-server", nil); err == nil {
		t.Error("leadership went to an unknown server")
	}
}

func namespaceContract(t *testing.T, a *agent) {
	ns := a.api.Namespaces()
	meta, err := ns.Register(&api.Namespace{Name: "team-a", Description: "first", Meta: map[string]string{"owner": "ann"},
		Capabilities: &api.NamespaceCapabilities{EnabledTaskDrivers: []string{"docker"}}}, nil)
	if err != nil || meta.LastIndex == 0 {
		t.Fatalf("register: %+v, %v", meta, err)
	}
	got, qm, err := ns.Info("team-a", nil)
	if err != nil || got.Description != "first" || got.Meta["owner"] != "ann" || got.Capabilities.EnabledTaskDrivers[0] != "docker" {
		t.Fatalf("info: %+v, %v", got, err)
	}
	if got.CreateIndex == 0 || got.ModifyIndex != meta.LastIndex || qm.LastIndex != got.ModifyIndex || !qm.KnownLeader {
		t.Errorf("indexes: %+v, %+v, written at %d", got, qm, meta.LastIndex)
	}
	if _, err := ns.Register(&api.Namespace{Name: "team-a", Description: "second"}, nil); err != nil {
		t.Fatal(err)
	}
	again, _, err := ns.Info("team-a", nil)
	if err != nil || again.Description != "second" || again.CreateIndex != got.CreateIndex || again.ModifyIndex <= got.ModifyIndex {
		t.Errorf("after an update: %+v, %v", again, err)
	}
	list, _, err := ns.List(nil)
	if err != nil || !slices.ContainsFunc(list, func(n *api.Namespace) bool { return n.Name == "default" }) {
		t.Errorf("list: %v, %v", list, err)
	}
	list, _, err = ns.PrefixList("team-", nil)
	if err != nil || len(list) != 1 || list[0].Name != "team-a" {
		t.Errorf("prefix list: %v, %v", list, err)
	}
	if _, err := ns.Delete("team-a", nil); err != nil {
		t.Error(err)
	}
	_, _, err = ns.Info("team-a", nil)
	refused(t, "info of a deleted namespace", err, 404, "Namespace not found")
}

func namespaceErrors(t *testing.T, a *agent) {
	ns := a.api.Namespaces()
	if _, err := ns.Register(&api.Namespace{Name: "no spaces"}, nil); err == nil {
		t.Error("a bad name was accepted")
	}
	if _, err := ns.Delete("default", nil); err == nil {
		t.Error("the default namespace was deleted")
	}
	if _, err := ns.Delete("never-was", nil); err == nil {
		t.Error("a namespace that never was, was deleted")
	}
	if _, err := ns.Register(&api.Namespace{Name: "in-use"}, nil); err != nil {
		t.Fatal(err)
	}
	in := &api.WriteOptions{Namespace: "in-use"}
	if _, _, err := a.api.Variables().Create(variable("app/db", api.VariableItems{"k": "v"}), in); err != nil {
		t.Fatal(err)
	}
	if _, err := ns.Delete("in-use", nil); err == nil || !strings.Contains(err.Error(), "variables") {
		t.Errorf("delete of a namespace with a variable: %v", err)
	}
	if _, err := a.api.Variables().Delete("app/db", in); err != nil {
		t.Error(err)
	}
	if _, err := ns.Delete("in-use", nil); err != nil {
		t.Error(err)
	}
}

func variableContract(t *testing.T, a *agent) {
	vars := a.api.Variables()
	items := api.VariableItems{"user": "web", "pass": "s3<cret>&", "empty": ""}
	made, meta, err := vars.Create(variable("one/db", items), nil)
	if err != nil {
		t.Fatal(err)
	}
	if made.CreateIndex == 0 || made.ModifyIndex != meta.LastIndex || made.CreateTime == 0 || made.Namespace != "default" || made.Items["pass"] != items["pass"] {
		t.Errorf("created %+v with meta %+v", made, meta)
	}
	got, qm, err := vars.Read("one/db", nil)
	if err != nil || got.Items["pass"] != items["pass"] || got.ModifyIndex != made.ModifyIndex || qm.LastIndex != made.ModifyIndex {
		t.Errorf("read %+v, %+v, %v", got, qm, err)
	}
	same, _, err := vars.Update(variable("one/db", items), nil)
	if err != nil || same.ModifyIndex != made.ModifyIndex {
		t.Errorf("the same items again: %+v, %v", same, err)
	}
	changed, _, err := vars.Update(variable("one/db", api.VariableItems{"user": "db"}), nil)
	if err != nil || changed.ModifyIndex <= made.ModifyIndex || changed.CreateIndex != made.CreateIndex {
		t.Errorf("changed: %+v, %v", changed, err)
	}
	if only, _, err := vars.GetVariableItems("one/db", nil); err != nil || len(only) != 1 {
		t.Errorf("items are replaced as a whole: %v, %v", only, err)
	}
	if _, err := vars.Delete("one/db", nil); err != nil {
		t.Error(err)
	}
	if _, _, err := vars.Read("one/db", nil); !errors.Is(err, api.ErrVariablePathNotFound) {
		t.Errorf("read after a delete: %v", err)
	}
	if _, err := vars.Delete("one/db", nil); err != nil {
		t.Errorf("a second delete: %v", err)
	}
	nested := map[string]string{"a": "1", "a/b": "2", "a/b/c": "3"}
	for path, v := range nested {
		a.mustPut("deep/"+path, v)
	}
	for path, v := range nested {
		a.mustRead("deep/"+path, v)
	}
}

func casContract(t *testing.T, a *agent) {
	vars := a.api.Variables()
	made, _, err := vars.CheckedCreate(variable("cas/x", api.VariableItems{"n": "1"}), nil)
	if err != nil {
		t.Fatal(err)
	}
	var conflict api.ErrCASConflict
	_, _, err = vars.CheckedCreate(variable("cas/x", api.VariableItems{"n": "2"}), nil)
	if !errors.As(err, &conflict) || conflict.Conflict.Items["n"] != "1" || conflict.Conflict.ModifyIndex != made.ModifyIndex {
		t.Errorf("second create: %v", err)
	}
	next := variable("cas/x", api.VariableItems{"n": "2"})
	next.ModifyIndex = made.ModifyIndex
	second, _, err := vars.CheckedUpdate(next, nil)
	if err != nil {
		t.Fatal(err)
	}
	stale := variable("cas/x", api.VariableItems{"n": "3"})
	stale.ModifyIndex = made.ModifyIndex
	if _, _, err = vars.CheckedUpdate(stale, nil); !errors.As(err, &conflict) || conflict.Conflict.Items["n"] != "2" {
		t.Errorf("update with an old index: %v", err)
	}
	if _, err = vars.CheckedDelete("cas/x", made.ModifyIndex, nil); !errors.As(err, &conflict) {
		t.Errorf("delete with an old index: %v", err)
	}
	if _, err = vars.CheckedDelete("cas/x", second.ModifyIndex, nil); err != nil {
		t.Error(err)
	}
	gone := variable("cas/gone", api.VariableItems{"n": "1"})
	gone.ModifyIndex = 7
	if _, _, err = vars.CheckedUpdate(gone, nil); !errors.As(err, &conflict) || conflict.Conflict.ModifyIndex != 0 {
		t.Errorf("update of what is not there: %v", err)
	}
}

func searchContract(t *testing.T, a *agent) {
	if _, err := a.api.Namespaces().Register(&api.Namespace{Name: "found"}, nil); err != nil {
		t.Fatal(err)
	}
	for _, ns := range []string{"default", "found"} {
		if _, _, err := a.api.Variables().Create(variable("found/by/path", api.VariableItems{"k": "v"}), &api.WriteOptions{Namespace: ns}); err != nil {
			t.Fatal(err)
		}
	}
	search := a.api.Search()
	got, qm, err := search.PrefixSearch("found", contexts.All, nil)
	if err != nil || qm.LastIndex == 0 || !qm.KnownLeader || got.Truncations[contexts.Variables] {
		t.Fatalf("%+v %+v %v", got, qm, err)
	}
	if !slices.Equal(got.Matches[contexts.Variables], []string{"found/by/path"}) || !slices.Equal(got.Matches[contexts.Namespaces], []string{"found"}) || len(got.Matches[contexts.Jobs]) != 0 {
		t.Errorf("%+v", got)
	}
	if got, _, err = search.PrefixSearch("found/", contexts.Variables, &api.QueryOptions{Namespace: "*", AllowStale: true}); err != nil || len(got.Matches[contexts.Variables]) != 2 || len(got.Matches) != 1 {
		t.Errorf("%+v %v", got, err)
	}
	if got, _, err = search.PrefixSearch("al", contexts.NodePools, nil); err != nil || !slices.Equal(got.Matches[contexts.NodePools], []string{"all"}) {
		t.Errorf("%+v %v", got, err)
	}
	fuzzy, qm, err := search.FuzzySearch("BY/PA", contexts.All, &api.QueryOptions{Namespace: "found"})
	if err != nil || qm.LastIndex == 0 || len(fuzzy.Matches[contexts.Variables]) != 1 {
		t.Fatalf("%+v %+v %v", fuzzy, qm, err)
	}
	if m := fuzzy.Matches[contexts.Variables][0]; m.ID != "found/by/path" || !slices.Equal(m.Scope, []string{"found", "found/by/path"}) {
		t.Errorf("%+v", m)
	}
	_, _, err = search.PrefixSearch("a", "elsewhere", nil)
	refused(t, "an unknown context", err, 400, "node_pools")
	_, _, err = search.FuzzySearch("a", contexts.All, nil)
	refused(t, "a short text", err, 400, "at least 2 characters")
	if code, _ := a.get("/v1/search"); code != 405 {
		t.Errorf("GET: %d", code)
	}
}

func variableErrors(t *testing.T, a *agent) {
	vars := a.api.Variables()
	create := func(v *api.Variable, ns string) error {
		_, _, err := vars.Create(v, &api.WriteOptions{Namespace: ns})
		return err
	}
	ok := api.VariableItems{"k": "v"}
	refused(t, "no items", create(variable("bad/a", nil), ""), 400, "")
	refused(t, "too large", create(variable("bad/a", api.VariableItems{"k": strings.Repeat("x", 64<<10)}), ""), 400, "65536")
	refused(t, "bad character", create(variable("bad/a.b", ok), ""), 400, "path")
	refused(t, "too long", create(variable(strings.Repeat("x", 129), ok), ""), 400, "path")
	refused(t, "reserved root", create(variable("nomad/other", ok), ""), 400, "nomad")
	refused(t, "wildcard namespace", create(variable("bad/a", ok), "*"), 400, "wildcard")
	if err := create(variable("nomad/jobs/web", ok), ""); err != nil {
		t.Errorf("nomad/jobs is open: %v", err)
	}
	if err := create(variable("bad/a", ok), "no-such-namespace"); err == nil {
		t.Error("a variable in a namespace that is not there")
	}
	if code, body := a.get("/v1/vars?filter=%28"); code != 400 {
		t.Errorf("bad filter: %d %s", code, body)
	}
	if code, body := a.get("/v1/vars?index=many"); code != 400 || body != "Invalid index" {
		t.Errorf("bad index: %d %q", code, body)
	}
	if code, body := a.get("/v1/vars?index=1&wait=long"); code != 400 || body != "Invalid wait time" {
		t.Errorf("bad wait: %d %q", code, body)
	}
	if code, _ := a.get("/v1/no-such-thing"); code != 404 {
		t.Errorf("unknown path: %d", code)
	}
}

func listContract(t *testing.T, a *agent) {
	vars := a.api.Variables()
	for _, path := range []string{"list/c", "list/a", "list/b", "other/a"} {
		a.mustPut(path, "x")
	}
	paths := func(opts *api.QueryOptions) string {
		t.Helper()
		list, meta, err := vars.List(opts)
		if err != nil || meta.LastIndex == 0 {
			t.Errorf("%+v: %+v, %v", opts, meta, err)
		}
		var out []string
		for _, v := range list {
			out = append(out, v.Path)
		}
		return strings.Join(out, " ")
	}
	for want, opts := range map[string]*api.QueryOptions{
		"list/a list/b list/c": {Prefix: "list/"},
		"list/c list/b list/a": {Prefix: "list/", Reverse: true},
		"list/b":               {Prefix: "list/", Filter: `Path == "list/b"`},
		"list/b list/c":        {Prefix: "list/", Filter: `Path matches "list/[bc]"`},
		"other/a":              {Prefix: "other", Namespace: "*"},
		"":                     {Prefix: "nothing/here"},
	} {
		if have := paths(opts); have != want {
			t.Errorf("%+v: have %q, want %q", opts, have, want)
		}
	}
	_, _, err := vars.List(&api.QueryOptions{Filter: `NoSuchField == "x"`})
	refused(t, "filter by an unknown field", err, 400, "")
}

func pagingContract(t *testing.T, a *agent) {
	for i := range 10 {
		a.mustPut(fmt.Sprintf("page/%d", i), "x")
	}
	for _, reverse := range []bool{false, true} {
		var seen []string
		opts := &api.QueryOptions{Prefix: "page/", PerPage: 3, Reverse: reverse}
		for range 10 {
			list, meta, err := a.api.Variables().List(opts)
			if err != nil || len(list) > 3 {
				t.Fatalf("%d rows, %v", len(list), err)
			}
			for _, v := range list {
				seen = append(seen, v.Path)
			}
			if opts.NextToken = meta.NextToken; opts.NextToken == "" {
				break
			}
		}
		sorted := slices.Clone(seen)
		slices.Sort(sorted)
		if reverse {
			slices.Reverse(sorted)
		}
		if len(seen) != 10 || !slices.Equal(seen, sorted) || len(slices.Compact(sorted)) != 10 {
			t.Errorf("reverse %v: the pages hold %v", reverse, seen)
		}
	}
}

func blockingContract(t *testing.T, a *agent) {
	vars := a.api.Variables()
	a.mustPut("block/key", "1")
	_, meta, err := vars.Read("block/key", nil)
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		v    *api.Variable
		meta *api.QueryMeta
		err  error
	}
	done := make(chan result, 1)
	go func() {
		v, m, err := vars.Read("block/key", &api.QueryOptions{WaitIndex: meta.LastIndex, WaitTime: 10 * time.Second})
		done <- result{v, m, err}
	}()
	a.mustPut("block/other", "x") // wakes nobody who waits for the key
	a.mustPut("block/key", "2")
	r := <-done
	if r.err != nil || r.v.Items["v"] != "2" || r.meta.LastIndex <= meta.LastIndex {
		t.Errorf("after a change: %+v, %+v, %v", r.v, r.meta, r.err)
	}
	v, same, err := vars.Read("block/key", &api.QueryOptions{WaitIndex: r.meta.LastIndex, WaitTime: 100 * time.Millisecond})
	if err != nil || v.Items["v"] != "2" || same.LastIndex != r.meta.LastIndex {
		t.Errorf("after the wait: %+v, %+v, %v", v, same, err)
	}
	go func() {
		v, m, err := vars.Peek("block/new", &api.QueryOptions{WaitIndex: r.meta.LastIndex, WaitTime: 10 * time.Second})
		done <- result{v, m, err}
	}()
	time.Sleep(50 * time.Millisecond)
	a.mustPut("block/new", "born")
	if r := <-done; r.err != nil {
		t.Errorf("waiting for what is not there yet: %v", r.err)
	}
}

func lockContract(t *testing.T, a *agent) {
	vars := a.api.Variables()
	want := variable("lock/leader", api.VariableItems{"host": "a"})
	want.Lock = &api.VariableLock{TTL: "30s", LockDelay: "1s"}
	held, _, err := vars.AcquireLock(want, nil)
	if err != nil || held.LockID() == "" || held.Lock.TTL != "30s" || held.Items["host"] != "a" {
		t.Fatalf("acquire: %+v, %v", held, err)
	}
	if _, _, err := vars.RenewLock(held, nil); err != nil {
		t.Errorf("renew: %v", err)
	}
	again, _, err := vars.AcquireLock(held.Copy(), nil)
	if err != nil || again.LockID() != held.LockID() {
		t.Errorf("the holder acquires again: %+v, %v", again, err)
	}
	mine := held.Copy()
	mine.Items = api.VariableItems{"host": "b"}
	if _, _, err := vars.Update(mine, nil); err != nil {
		t.Errorf("the holder writes: %v", err)
	}
	free := variable("lock/leader", nil)
	free.Lock = &api.VariableLock{ID: held.LockID()}
	released, _, err := vars.ReleaseLock(free, nil)
	if err != nil || released.LockID() != "" {
		t.Errorf("release: %+v, %v", released, err)
	}
	got, _, err := vars.Read("lock/leader", nil)
	if err != nil || got.Lock != nil || got.Items["host"] != "b" {
		t.Errorf("after the release: %+v, %v", got, err)
	}
	ours := variable("lock/helper", nil)
	ours.Lock = &api.VariableLock{TTL: "30s", LockDelay: "1s"}
	helper, err := a.api.Locks(api.WriteOptions{}, *ours)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	if id, err := helper.Acquire(ctx); err != nil || id == "" {
		t.Errorf("the SDK's lock: %q, %v", id, err)
	}
	if err := helper.Renew(ctx); err != nil {
		t.Error(err)
	}
	if err := helper.Release(ctx); err != nil {
		t.Error(err)
	}
}

func lockConflicts(t *testing.T, a *agent) {
	vars := a.api.Variables()
	lock := func(ttl string) *api.Variable {
		v := variable("conflict/x", api.VariableItems{"host": "a"})
		v.Lock = &api.VariableLock{TTL: ttl, LockDelay: "1s"}
		return v
	}
	_, _, err := vars.AcquireLock(lock("1s"), nil)
	refused(t, "a TTL too short", err, 400, "TTL")
	held, _, err := vars.AcquireLock(lock("1m"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err = vars.AcquireLock(lock("1m"), nil); status(err) != 400 && status(err) != 409 {
		t.Errorf("a second holder: %v", err)
	}
	_, _, err = vars.Update(variable("conflict/x", api.VariableItems{"host": "thief"}), nil)
	refused(t, "a write by somebody else", err, 409, "")
	_, err = vars.Delete("conflict/x", nil)
	refused(t, "a delete by somebody else", err, 409, "")
	wrong := variable("conflict/x", nil)
	wrong.Lock = &api.VariableLock{ID: "00000000-0000-0000-0000-000000000000"}
	if _, _, err = vars.ReleaseLock(wrong, nil); err == nil {
		t.Error("a stranger released the lock")
	}
	if _, _, err = vars.RenewLock(wrong, nil); err == nil {
		t.Error("a stranger renewed the lock")
	}
	_, _, err = vars.Create(lock("1m"), nil)
	if err == nil {
		t.Error("a plain write took a lock along")
	}
	if v, _, err := vars.Read("conflict/x", nil); err != nil || v.Items["host"] != "a" {
		t.Errorf("after all that: %+v, %v", v, err)
	}
	wrong.Lock.ID = held.LockID()
	if _, _, err = vars.ReleaseLock(wrong, nil); err != nil {
		t.Error(err)
	}
}

func metricsContract(t *testing.T, a *agent) {
	if summary, _, err := a.api.Operator().MetricsSummary(nil); err != nil || summary.Timestamp == "" {
		t.Errorf("metrics: %+v, %v", summary, err)
	}
	resp, err := http.Get(a.url("/v1/vars?pretty"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for _, header := range []string{"X-Nomad-Index", "X-Nomad-KnownLeader", "X-Nomad-LastContact"} {
		if resp.Header.Get(header) == "" {
			t.Errorf("no header %s", header)
		}
	}
	if media := resp.Header.Get("Content-Type"); media != "application/json" {
		t.Errorf("content type %q", media)
	}
	if code, body := a.get("/v1/openapi.json"); code != 200 || !strings.Contains(body, `"3.1.`) {
		t.Errorf("the OpenAPI document: %d", code)
	}
}
