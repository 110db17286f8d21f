package nomad_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

// search returns what begins with a prefix.
func (c caller) search(context structs.SearchContext, namespace, prefix string) (structs.SearchResponse, error) {
	c.t.Helper()
	var reply structs.SearchResponse
	err := c.call("Search.PrefixSearch", &structs.SearchRequest{Prefix: prefix, Context: context, QueryOptions: structs.QueryOptions{Namespace: namespace}}, &reply)
	return reply, err
}

// fuzzy returns what has a text in its name.
func (c caller) fuzzy(context structs.SearchContext, namespace, text string) (structs.FuzzySearchResponse, error) {
	c.t.Helper()
	var reply structs.FuzzySearchResponse
	err := c.call("Search.FuzzySearch", &structs.FuzzySearchRequest{Text: text, Context: context, QueryOptions: structs.QueryOptions{Namespace: namespace}}, &reply)
	return reply, err
}

// listed says which list shows the objects of a context, by its topic.
var listed = map[structs.SearchContext]structs.Topic{
	structs.SearchNodes: structs.TopicNode, structs.SearchNodePools: structs.TopicNodePool,
	structs.SearchNamespaces: structs.TopicNamespace, structs.SearchVariables: structs.TopicVariable,
}

// sameAsList fails unless searches of a context find what the list of its objects shows.
func (c caller) sameAsList(who string, context structs.SearchContext) (found []string) {
	c.t.Helper()
	want, err := lists[listed[context]](c)
	if err != nil && !errors.Is(err, errs.PermissionDenied) {
		c.t.Fatalf("%s lists %s: %v", who, context, err)
	}
	if err != nil {
		want = []string{}
	}
	slices.Sort(want)
	got, err := c.search(context, "*", "")
	if err != nil && !errors.Is(err, errs.PermissionDenied) {
		c.t.Fatalf("%s searches %s: %v", who, context, err)
	}
	found = append([]string{}, got.Matches[context]...)
	slices.Sort(found)
	if diff := cmp.Diff(want, found); diff != "" {
		c.t.Errorf("%s: the list of %s and the search differ: %s", who, context, diff)
	}
	all, err := c.search("", "*", "")
	if err != nil && !errors.Is(err, errs.PermissionDenied) {
		c.t.Fatalf("%s searches: %v", who, err)
	}
	if diff := cmp.Diff(got.Matches[context], all.Matches[context]); diff != "" {
		c.t.Errorf("%s: a search of %s and one of all differ: %s", who, context, diff)
	}
	if context == structs.SearchNodes { // it is not by ID that names are looked into
		return found
	}
	for _, text := range []string{"e", "pu", "APP/"} {
		fuzzy, err := c.fuzzy(context, "*", text)
		if err != nil && !errors.Is(err, errs.PermissionDenied) {
			c.t.Fatalf("%s searches %s for %s: %v", who, context, text, err)
		}
		some := slices.DeleteFunc(slices.Clone(want), func(name string) bool { return !strings.Contains(name, strings.ToLower(text)) })
		names := keysOf(fuzzy.Matches[context], func(m structs.FuzzyMatch) string { return m.ID })
		slices.Sort(names)
		if diff := cmp.Diff(some, names); diff != "" {
			c.t.Errorf("%s: the list of %s and the search for %s differ: %s", who, context, text, diff)
		}
	}
	return found
}

func shortTerms(conf *nomad.Config) { conf.Search.MinTermLength, conf.Search.LimitQuery = 1, 1000 }

// TestRandomPoliciesShowTheSameInListsAndSearch compares both for random rights.
func TestRandomPoliciesShowTheSameInListsAndSearch(t *testing.T) {
	for _, context := range state.SearchContexts() {
		if listed[context] == "" {
			t.Fatalf("nothing says which list shows %s: add it to listed", context)
		}
	}
	words := []string{`node { policy = "read" }`, `node_pool "*" { policy = "read" }`, `node_pool "gpu" { policy = "deny" }`, `node_pool "c*" { policy = "write" }`,
		`namespace "*" { policy = "read" }`, `namespace "team-*" { variables { path "*" { capabilities = ["list"] } } }`, `namespace "team-a" { capabilities = ["deny"] }`,
		`namespace "default" { variables { path "default-app/*" { capabilities = ["read"] } path "*/key" { capabilities = ["deny"] } } }`,
		`operator { capabilities = ["namespace-write"] }`, `agent { policy = "read" }`}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		root := admin(t, c.Nodes[0])
		node := root.furnish()
		for context := range listed {
			if len(root.sameAsList("management", context)) == 0 {
				t.Errorf("management finds none of %s", context)
			}
			if len(root.as("").sameAsList("nobody", context)) > 0 {
				t.Errorf("nobody finds some of %s", context)
			}
			root.as(node).sameAsList("a node", context)
		}
		for range 12 {
			random.Shuffle(len(words), func(i, j int) { words[i], words[j] = words[j], words[i] })
			rules := words[:1+random.IntN(4)]
			root.policy("random", strings.Join(rules, "\n"))
			some := root.as(root.token(client("random")).SecretID)
			for context := range listed {
				some.sameAsList(strings.Join(rules, " "), context)
			}
		}
	}, withACL, shortTerms)
}

func TestSearchPermissions(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		root := admin(t, c.Nodes[0])
		root.furnish()
		root.policy("gpus", `node_pool "gpu" { policy = "read" }`)
		some := root.as(root.token(client("gpus")).SecretID)
		for _, context := range []structs.SearchContext{"nodes", "vars", "jobs", "allocs", "volumes", "host_volumes", "plugins", "quotas", "scaling_policy", "recommendations"} {
			if _, err := some.search(context, "*", ""); !errors.Is(err, errs.PermissionDenied) {
				t.Errorf("%s without the right: %v", context, err)
			}
			if _, err := some.fuzzy(context, "*", "gp"); !errors.Is(err, errs.PermissionDenied) {
				t.Errorf("a text in %s without the right: %v", context, err)
			}
			got, err := root.search(context, "*", "absent")
			if ids, there := got.Matches[context]; err != nil || !there || ids == nil || len(ids) > 0 || got.Truncations[context] {
				t.Errorf("%s with the right: %+v, %v", context, got, err)
			}
		}
		got, err := some.search(structs.SearchAll, "", "")
		if diff := cmp.Diff(map[structs.SearchContext][]string{"node_pools": {"gpu"}}, got.Matches); err != nil || diff != "" {
			t.Errorf("all contexts: %v %s", err, diff)
		}
		fuzzy, err := some.fuzzy("", "", "PU")
		if diff := cmp.Diff(map[structs.SearchContext][]structs.FuzzyMatch{"node_pools": {{ID: "gpu"}}}, fuzzy.Matches); err != nil || diff != "" {
			t.Errorf("a text in all contexts: %v %s", err, diff)
		}
		root.policy("nothing", `agent { policy = "read" }`)
		nothing := root.as(root.token(client("nothing")).SecretID)
		for who, c := range map[string]caller{"nobody": root.as(""), "a token for another thing": nothing, "an unknown token": root.as(rootSecret)} {
			for _, context := range []structs.SearchContext{"", structs.SearchAll} {
				if _, err := c.search(context, "*", ""); !errors.Is(err, errs.PermissionDenied) {
					t.Errorf("%s searches %q: %v", who, context, err)
				}
			}
		}
		for who, c := range map[string]caller{"management": root, "a token for some": some} {
			_, err := c.search("secrets", "", "")
			if !errors.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "allocs, deployment, evals, host_volumes, jobs, namespaces, node_pools, nodes, plugins, quotas, recommendations, scaling_policy, vars, volumes and all") {
				t.Errorf("%s searches what does not exist: %v", who, err)
			}
		}
	}, withACL)
}

func TestSearchIsCut(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		c.WaitReady()
		leader, follower := caller{c.WaitLeader(), t, ""}, caller{c.Follower(), t, ""}
		var last uint64
		for i := range 21 {
			last = leader.put("", fmt.Sprintf("app/%02d", i))
		}
		for _, from := range []caller{leader, follower} {
			got, err := from.search(structs.SearchVariables, "", "app/")
			ids := got.Matches["vars"]
			if err != nil || len(ids) != 20 || ids[0] != "app/00" || ids[19] != "app/19" || !got.Truncations["vars"] || got.Index < last || !got.KnownLeader {
				t.Errorf("%d of 21: %+v, %v", len(ids), got, err)
			}
			if got, err = from.search("", "", "app/2"); err != nil || len(got.Matches["vars"]) != 1 || got.Truncations["vars"] {
				t.Errorf("one of 21: %+v, %v", got, err)
			}
		}
		// Not even somebody who asks for a later index waits.
		var reply structs.SearchResponse
		follower.must("Search.PrefixSearch", &structs.SearchRequest{Prefix: "app/2", Context: "vars", QueryOptions: structs.QueryOptions{MinQueryIndex: 1 << 40}}, &reply)
		if diff := cmp.Diff([]string{"app/20"}, reply.Matches["vars"]); diff != "" || reply.Index >= 1<<40 {
			t.Errorf("an index that is not there yet: %d %s", reply.Index, diff)
		}
		fuzzy, err := follower.fuzzy(structs.SearchVariables, "", "P/1")
		if err != nil || len(fuzzy.Matches["vars"]) != 10 || !fuzzy.Truncations["vars"] {
			t.Errorf("of 21, 20 are looked at: %+v, %v", fuzzy, err)
		}
		if diff := cmp.Diff(structs.FuzzyMatch{ID: "app/10", Scope: []string{"default", "app/10"}}, fuzzy.Matches["vars"][0]); diff != "" {
			t.Error(diff)
		}
	})
}

func TestFuzzySearchOrder(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		one := caller{c.Nodes[0], t, ""}
		one.namespace("xab", "ab", "abc", "Abb", "zzab", "none")
		got, err := one.fuzzy(structs.SearchNamespaces, "", "aB")
		names := keysOf(got.Matches["namespaces"], func(m structs.FuzzyMatch) string { return m.ID })
		if diff := cmp.Diff([]string{"ab", "Abb", "abc", "xab"}, names); err != nil || diff != "" || !got.Truncations["namespaces"] {
			t.Errorf("%v %v %s", err, got.Truncations, diff)
		}
		for _, text := range []string{"", "a", "ä"} {
			if _, err := one.fuzzy("", "", text); !errors.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "at least 2 characters") {
				t.Errorf("%q: %v", text, err)
			}
		}
		if got, err := one.fuzzy("", "", strings.Repeat("x", 1<<20)); err != nil || len(got.Matches["namespaces"]) > 0 {
			t.Errorf("a long text: %v", err)
		}
	}, func(conf *nomad.Config) { conf.Search.LimitResults = 4 })
}

func TestFuzzySearchCanBeTurnedOff(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		one := caller{c.Nodes[0], t, ""}
		if _, err := one.fuzzy("", "", "default"); !errors.Is(err, errs.Unsupported) || !strings.Contains(err.Error(), "fuzzy_enabled") {
			t.Errorf("%v", err)
		}
		if got, err := one.search("", "", "default"); err != nil || len(got.Matches["namespaces"]) != 1 {
			t.Errorf("by prefix: %+v, %v", got, err)
		}
	}, func(conf *nomad.Config) { conf.Search.FuzzyEnabled = false })
}

func TestSearchConfigIsChecked(t *testing.T) {
	c := nomad.SearchConfig{LimitQuery: 0, LimitResults: -1, MinTermLength: -1}
	if got := strings.Join(c.Problems(), "; "); got != "limit_query: must be at least 1; limit_results: must be at least 1; min_term_length: must not be negative" {
		t.Error(got)
	}
	if c = nomad.DefaultSearchConfig(); c.Problems() != nil {
		t.Error(c.Problems())
	}
}
