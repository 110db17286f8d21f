package nomad_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

// keysOf returns a key of each element.
func keysOf[T any](list []T, key func(T) string) []string {
	out := []string{}
	for _, e := range list {
		out = append(out, key(e))
	}
	return out
}

// lists show a caller the keys of all objects of a topic that it may see.
var lists = map[structs.Topic]func(c caller) ([]string, error){
	structs.TopicNamespace: func(c caller) ([]string, error) {
		var reply structs.NamespaceListResponse
		err := c.call("Namespace.ListNamespaces", &structs.NamespaceListRequest{}, &reply)
		return keysOf(reply.Namespaces, func(n *structs.Namespace) string { return n.Name }), err
	},
	structs.TopicNode: func(c caller) ([]string, error) {
		var reply structs.NodeListResponse
		err := c.call("Node.List", &structs.NodeListRequest{}, &reply)
		return keysOf(reply.Nodes, func(n *structs.NodeListStub) string { return n.ID }), err
	},
	structs.TopicNodePool: func(c caller) ([]string, error) {
		var reply structs.NodePoolListResponse
		err := c.call("NodePool.List", &structs.NodePoolListRequest{}, &reply)
		return keysOf(reply.NodePools, func(n *structs.NodePool) string { return n.Name }), err
	},
	structs.TopicVariable: func(c caller) ([]string, error) {
		var reply structs.VariablesListResponse
		err := c.call("Variables.List", &structs.VariablesListRequest{QueryOptions: structs.QueryOptions{Namespace: "*"}}, &reply)
		return keysOf(reply.Data, func(m *structs.VariableMetadata) string { return m.Path }), err
	},
	structs.TopicACLPolicy: func(c caller) ([]string, error) {
		var reply structs.ACLPolicyListResponse
		err := c.call("ACL.ListPolicies", &structs.ACLPolicyListRequest{}, &reply)
		return keysOf(reply.Policies, func(p *structs.ACLPolicyListStub) string { return p.Name }), err
	},
	structs.TopicACLToken: func(c caller) ([]string, error) {
		var reply structs.ACLTokenListResponse
		err := c.call("ACL.ListTokens", &structs.ACLTokenListRequest{}, &reply)
		return keysOf(reply.Tokens, func(t *structs.ACLTokenListStub) string { return t.AccessorID }), err
	},
	structs.TopicACLRole: func(c caller) ([]string, error) {
		var reply structs.ACLRolesListResponse
		err := c.call("ACL.ListRoles", &structs.ACLRolesListRequest{}, &reply)
		return keysOf(reply.ACLRoles, func(r *structs.ACLRoleListStub) string { return r.ID }), err
	},
	structs.TopicACLBindingRule: func(c caller) ([]string, error) {
		var reply structs.ACLBindingRulesListResponse
		err := c.call("ACL.ListBindingRules", &structs.ACLBindingRulesListRequest{}, &reply)
		return keysOf(reply.ACLBindingRules, func(r *structs.ACLBindingRuleListStub) string { return r.ID }), err
	},
	// The list of auth methods shows everybody how to log in, the events show all of
	// them: as much as reading one.
	structs.TopicACLAuthMethod: func(c caller) ([]string, error) {
		var reply structs.ACLAuthMethodGetResponse
		err := c.call("ACL.GetAuthMethod", &structs.ACLAuthMethodGetRequest{MethodName: "ci"}, &reply)
		return []string{"ci"}, err
	},
	structs.TopicOperation: func(c caller) ([]string, error) {
		var reply structs.OperationListResponse
		err := c.call("Operation.List", &structs.OperationListRequest{}, &reply)
		return keysOf(reply.Operations, func(o *structs.Operation) string { return o.ID }), err
	},
	// What programs tell is nowhere listed; whoever may look into the namespace sees it.
	structs.TopicWorkloadEvent: func(c caller) ([]string, error) {
		err := c.call("Namespace.GetNamespace", &structs.NamespaceSpecificRequest{Name: "team-a"}, &structs.SingleNamespaceResponse{})
		return []string{"job-done"}, err
	},
}

// furnish makes something of every topic.
func (c caller) furnish() (nodeSecret string) {
	c.t.Helper()
	c.namespace("team-a", "team-b")
	c.must("Operation.Upsert", &structs.OperationUpsertRequest{Operation: &structs.Operation{ID: "op-1", Kind: "k", Name: "n", Agent: "a", State: structs.OperationRunning}},
		&structs.OperationUpsertResponse{})
	for _, ns := range []string{"default", "team-a"} {
		for _, path := range []string{"app/db", "app/secret/key", "other"} {
			c.put(ns, ns+"-"+path)
		}
	}
	for _, pool := range []string{"gpu", "cpu"} {
		c.must("NodePool.UpsertNodePools", &structs.NodePoolUpsertRequest{NodePools: []*structs.NodePool{{Name: pool}}}, &structs.GenericResponse{})
	}
	n := newNode("gpu")
	if _, err := register(c.Node, n, n.SecretID); err != nil {
		c.t.Fatal(err)
	}
	c.policy("hidden", `agent { policy = "read" }`)
	c.role("hidden-role", "hidden")
	c.loginMethod()
	c.rule(structs.ACLBindingRuleBindTypePolicy, "hidden")
	c.must("WorkloadEvent.Raise", &structs.WorkloadEventRaiseRequest{Event: &structs.WorkloadEvent{Namespace: "team-a", Type: "done", Key: "job-done"}},
		&structs.WorkloadEventRaiseResponse{})
	return n.SecretID
}

// compare fails unless the stream of a topic shows what the list does. It returns
// the keys that the stream shows and whether it was refused.
func (c caller) compare(who string, topic structs.Topic, all []string) (keys []string, refused bool) {
	c.t.Helper()
	want, err := lists[topic](c)
	if err != nil && !errors.Is(err, errs.PermissionDenied) {
		c.t.Fatalf("%s lists %s: %v", who, topic, err)
	}
	if err != nil {
		want = nil
	}
	// Objects from the start of the cluster have no events.
	want = slices.DeleteFunc(want, func(key string) bool { return all != nil && !slices.Contains(all, key) })
	slices.Sort(want)
	f := c.follow(structs.EventStreamRequest{Topics: topics(topic), QueryOptions: structs.QueryOptions{Namespace: "*"}})
	keys = f.keys(topic)
	err = f.ended()
	refused = errors.Is(err, errs.PermissionDenied)
	f.stop()
	if err != nil && !refused {
		c.t.Fatalf("%s follows %s: %v", who, topic, err)
	}
	if all != nil && strings.Join(want, " ") != strings.Join(keys, " ") {
		c.t.Errorf("%s: the list of %s shows %v, the stream %v, refused %v", who, topic, want, keys, refused)
	}
	return keys, refused
}

func bigBuffer(conf *nomad.Config) { conf.EventBufferSize = 10_000 }

// rightsFor is a right to see something of each topic, and no other topic but its own.
var rightsFor = map[structs.Topic]string{
	structs.TopicNamespace: `namespace "team-b" { policy = "read" }`,
	structs.TopicNode:      `node { policy = "read" }`,
	structs.TopicNodePool:  `node_pool "gpu" { policy = "read" }`,
	structs.TopicVariable: `namespace "default" { variables { path "default-app/*" { capabilities = ["list"] }
		path "default-app/secret/*" { capabilities = ["deny"] } } }`,
	structs.TopicACLPolicy:      `operator { capabilities = ["acl-policy-read"] }`,
	structs.TopicACLToken:       `operator { capabilities = ["acl-token-read"] }`,
	structs.TopicACLRole:        `operator { capabilities = ["acl-role-write"] }`,
	structs.TopicACLAuthMethod:  `operator { capabilities = ["acl-auth-method-write"] }`,
	structs.TopicACLBindingRule: `operator { capabilities = ["acl-binding-rule-write"] }`,
	structs.TopicWorkloadEvent:  `namespace "team-a" { policy = "read" }`,
	structs.TopicOperation:      `operator { policy = "read" }`,
}

func TestTheStreamShowsWhatListsShow(t *testing.T) {
	for _, topic := range state.Topics() {
		if lists[topic] == nil || rightsFor[topic] == "" {
			t.Fatalf("nothing says what lists show of %s, and by which right: add it to lists and rightsFor", topic)
		}
	}
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		root := admin(t, c.Nodes[0])
		node := root.furnish()
		secrets := map[structs.Topic]string{}
		for topic, rules := range rightsFor {
			root.policy("p-"+string(topic), rules)
			secrets[topic] = root.token(client("p-" + string(topic))).SecretID
		}
		for topic := range lists {
			all, refused := root.compare("management", topic, nil)
			if len(all) == 0 || refused {
				t.Errorf("management sees no event of %s", topic)
				continue
			}
			root.compare("management", topic, all)
			for name, secret := range map[string]string{"nobody": "", "a node": node} {
				if keys, _ := root.as(secret).compare(name, topic, all); len(keys) > 0 && (name == "nobody" || topic != structs.TopicNodePool) {
					t.Errorf("%s sees %v of %s", name, keys, topic)
				}
			}
			for right, secret := range secrets {
				keys, refused := root.as(secret).compare("a token for "+string(right), topic, all)
				if right == topic && (len(keys) == 0 || refused) {
					t.Errorf("whoever may see %s sees none", topic)
				}
				narrow := []structs.Topic{structs.TopicNode, structs.TopicNodePool, structs.TopicVariable, structs.TopicACLToken, structs.TopicACLAuthMethod, structs.TopicACLBindingRule}
				if right != topic && !refused && slices.Contains(narrow, topic) {
					t.Errorf("a token for %s may follow %s", right, topic)
				}
			}
			root.policy(structs.ACLAnonymousPolicy, rightsFor[topic])
			all, _ = root.compare("management", topic, nil)
			if keys, refused := root.as("").compare("anonymous with the right", topic, all); len(keys) == 0 || refused {
				t.Errorf("anonymous sees no event of %s", topic)
			}
			root.must("ACL.DeletePolicies", &structs.ACLPolicyDeleteRequest{Names: []string{structs.ACLAnonymousPolicy}}, &structs.GenericResponse{})
		}
	}, withACL, bigBuffer)
}

func TestWhoMayFollowAllTopics(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		root := admin(t, c.Nodes[0])
		root.furnish()
		root.policy("gpus", rightsFor[structs.TopicNodePool])
		made := root.token(client("gpus"))
		f := root.as(made.SecretID).follow(structs.EventStreamRequest{})
		want := []string{"-", "NodePool NodePoolUpserted gpu", "ACLPolicy ACLPolicyUpserted gpus"}
		if diff := cmp.Diff(want, f.got()); diff != "" {
			t.Error(diff)
		}
		for name, secret := range map[string]string{"nobody": "", "an unknown token": rootSecret} {
			if err := root.as(secret).follow(structs.EventStreamRequest{}).ended(); !errors.Is(err, errs.PermissionDenied) {
				t.Errorf("%s: %v", name, err)
			}
		}
		for topic, rules := range map[structs.Topic]string{"Job": `namespace "default" { policy = "read" }`, "HostVolume": `namespace "default" { policy = "write" }`,
			"Operator": `operator { policy = "read" }`} {
			r := structs.EventStreamRequest{Topics: topics(topic)}
			if err := root.as(made.SecretID).follow(r).ended(); !errors.Is(err, errs.PermissionDenied) {
				t.Errorf("%s without the right: %v", topic, err)
			}
			root.policy("p", rules)
			if got := root.as(root.token(client("p")).SecretID).follow(r).got(); len(got) != 1 {
				t.Errorf("%s with the right: %v", topic, got)
			}
		}
	}, withACL)
}

func TestEventsHoldNoSecrets(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		root := admin(t, c.Nodes[0])
		node := root.furnish()
		token := root.token(client("hidden"))
		ctx, cancel := context.WithCancel(t.Context())
		var text strings.Builder
		if err := root.StreamEvents(ctx, &structs.EventStreamRequest{QueryOptions: structs.QueryOptions{AuthToken: root.secret, Namespace: "*"}}, func(lines []byte) error {
			if text.Write(lines); strings.Contains(text.String(), token.AccessorID) {
				cancel()
			}
			return nil
		}); !errors.Is(err, errs.Deadline) {
			t.Fatal(err)
		}
		for name, secret := range map[string]string{"root's": root.secret, "a node's": node, "a token's": token.SecretID} {
			if strings.Contains(text.String(), secret) {
				t.Errorf("the stream shows %s secret", name)
			}
		}
	}, withACL, bigBuffer)
}

func TestRightsOfAStreamChangeWhileItRuns(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		root := admin(t, c.Nodes[0])
		root.namespace("team-a", "team-b")
		root.policy("readers", `namespace "team-a" { policy = "read" }`)
		role := root.role("reader", "readers")
		made := root.token(structs.ACLToken{Type: structs.ACLClientToken, Roles: []*structs.ACLTokenRoleLink{{ID: role.ID}}})
		r := structs.EventStreamRequest{Topics: topics(structs.TopicWorkloadEvent), QueryOptions: structs.QueryOptions{Namespace: "*"}}
		f := root.as(made.SecretID).follow(r)
		raise := func(ns, key string) {
			root.must("WorkloadEvent.Raise", &structs.WorkloadEventRaiseRequest{Event: &structs.WorkloadEvent{Namespace: ns, Type: "done", Key: key}}, &structs.WorkloadEventRaiseResponse{})
		}
		raise("team-a", "shown-1")
		raise("team-b", "hidden-1")
		root.policy("readers", `namespace "team-b" { policy = "read" }`)
		raise("team-a", "hidden-2")
		raise("team-b", "shown-2")
		if diff := cmp.Diff([]string{"shown-1", "shown-2"}, f.keys(structs.TopicWorkloadEvent)); diff != "" {
			t.Error(diff)
		}
		root.policy("readers", `node { policy = "read" }`)
		if err := f.ended(); !errors.Is(err, errs.PermissionDenied) {
			t.Errorf("without any right: %v", err)
		}
		for name, revoke := range map[string]func(t *structs.ACLToken){
			"a deleted token": func(t *structs.ACLToken) {
				root.must("ACL.DeleteTokens", &structs.ACLTokenDeleteRequest{AccessorIDs: []string{t.AccessorID}}, &structs.GenericResponse{})
			},
			"an expired token": func(*structs.ACLToken) { time.Sleep(time.Minute) },
		} {
			token := root.token(structs.ACLToken{Type: structs.ACLManagementToken, ExpirationTTL: time.Minute})
			f := root.as(token.SecretID).follow(r)
			if err := f.ended(); err != nil {
				t.Errorf("%s: ended too soon: %v", name, err)
			}
			revoke(token)
			if err := f.ended(); !errors.Is(err, errs.PermissionDenied) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}, withACL)
}

// TestRandomPoliciesShowTheSameInListsAndStream compares both for random rights.
func TestRandomPoliciesShowTheSameInListsAndStream(t *testing.T) {
	words := []string{`node { policy = "read" }`, `node_pool "*" { policy = "read" }`, `node_pool "gpu" { policy = "deny" }`, `node_pool "c*" { policy = "write" }`,
		`namespace "*" { policy = "read" }`, `namespace "team-*" { variables { path "*" { capabilities = ["list"] } } }`, `namespace "team-a" { capabilities = ["deny"] }`,
		`namespace "default" { variables { path "default-app/*" { capabilities = ["read"] } path "*/key" { capabilities = ["deny"] } } }`,
		`operator { capabilities = ["acl-policy-write", "acl-role-read"] }`, `operator { policy = "write" }`, `agent { policy = "read" }`}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		root := admin(t, c.Nodes[0])
		root.furnish()
		for range 12 {
			random.Shuffle(len(words), func(i, j int) { words[i], words[j] = words[j], words[i] })
			var rules []string
			for _, w := range words[:1+random.IntN(4)] {
				kind, _, _ := strings.Cut(w, "{")
				if !slices.ContainsFunc(rules, func(r string) bool { return strings.HasPrefix(r, kind) }) {
					rules = append(rules, w)
				}
			}
			root.policy("random", strings.Join(rules, "\n"))
			some := root.as(root.token(client("random")).SecretID)
			for topic := range lists {
				all, _ := root.compare("management", topic, nil)
				some.compare(strings.Join(rules, " "), topic, all)
			}
		}
	}, withACL, bigBuffer)
}

// event-read-all shows whoever has it what a management token is shown, and nothing in lists.
func TestTheRightToSeeEveryEvent(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		root := admin(t, c.Nodes[0])
		root.furnish()
		root.policy("all-events", `operator { capabilities = ["event-read-all"] } namespace "team-a" { policy = "deny" }`)
		made := root.token(client("all-events"))
		reader := root.as(made.SecretID)
		for _, topic := range state.Topics() {
			r := structs.EventStreamRequest{Topics: topics(topic), QueryOptions: structs.QueryOptions{Namespace: "*"}}
			of := func(c caller) []string {
				f := c.follow(r)
				defer f.stop()
				return f.keys(topic)
			}
			if diff := cmp.Diff(of(root), of(reader)); diff != "" || len(of(reader)) == 0 {
				t.Errorf("%s: %s", topic, diff)
			}
		}
		for _, topic := range []structs.Topic{"Job", "HostVolume", "Operator", structs.TopicAll} {
			f := reader.follow(structs.EventStreamRequest{Topics: topics(topic)})
			if err := f.ended(); err != nil {
				t.Errorf("%s: %v", topic, err)
			}
			f.stop()
		}
		if keys, err := lists[structs.TopicNode](reader); !errors.Is(err, errs.PermissionDenied) && len(keys) > 0 {
			t.Errorf("the list of nodes shows %v, %v", keys, err)
		}
		f := reader.follow(structs.EventStreamRequest{Topics: topics(structs.TopicACLToken)})
		root.policy("all-events", `namespace "x" { policy = "read" }`)
		root.token(client("hidden"))
		if err := f.ended(); !errors.Is(err, errs.PermissionDenied) {
			t.Errorf("once the right is gone: %v", err)
		}
	}, withACL, bigBuffer)
}
