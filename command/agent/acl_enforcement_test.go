package agent

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"
	sdkapi "github.com/hashicorp/nomad/api"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/auth"
	"github.com/cairn-project/cairn/nomad/keyring"
	"github.com/cairn-project/cairn/nomad/structs"
)

// who says which callers a route answers.
type who int

const (
	// byRight routes answer callers with a right, and management tokens.
	byRight who = iota
	// anyone routes answer everybody who is who it says: what they show is filtered.
	anyone
	// anyToken routes answer every token, and nobody without one.
	anyToken
	// blind routes do not look at tokens: what they tell is nobody's, or the call
	// carries a proof of its own.
	blind
	// proven routes are blind and say 403 to a bad proof.
	proven
)

// byNodes are the routes that answer the secret of a registered node although its
// holder needs a right for them: nodes read agents, as the public API has it.
// byWorkloads are those for workloads without a policy: they read what is theirs.
// notByIdentities are open routes that take a signed identity for that of a workload.
var (
	byNodes     = []string{"GET /v1/agent/self", "GET /v1/agent/servers", "GET /v1/agent/host", "GET /v1/agent/monitor", "GET /v1/agent/monitor/export"}
	byWorkloads = []string{"GET /v1/vars"}

	notByIdentities = []string{"GET /v1/acl/policy/self"}
)

// access says who may use a route, and how to use it so that nothing but the
// right decides between 403 and any other status.
type access struct {
	who who
	// rules are exactly the right that the route needs.
	rules string
	// rest follows the fixed part of the pattern: the last segment, or a query.
	rest, body string
	// nodes and workloads say that the route answers them too, noIdentity that it
	// does not answer nodes by their identity.
	nodes, workloads, noIdentity bool
}

func capability(name string) string {
	return `operator { capabilities = ["` + name + `"] }`
}

func variableRight(name string) string {
	return `namespace "default" { variables { path "app/*" { capabilities = ["` + name + `"] } } }`
}

const (
	agentRead  = `agent { policy = "read" }`
	agentWrite = `agent { policy = "write" }`
	nobodysID  = "00000000-1111-2222-3333-444444444444"
)

// accesses has an entry for every method and pattern of the route table. POST is
// the same as PUT.
var accesses = map[string]access{
	"GET /":                                 {who: blind},
	"GET /v1/openapi.json":                  {who: blind},
	"POST /v1/rpc":                          {who: blind}, // each method decides, see TestEveryMethodIsEnforced
	"GET /.well-known/openid-configuration": {who: blind},
	"GET /.well-known/jwks.json":            {who: anyone},
	"GET /v1/agent/health":                  {who: blind},
	"GET /v1/metrics":                       {rules: capability("metrics-read")},
	"GET /v1/status/leader":                 {who: anyone},
	"GET /v1/status/peers":                  {who: anyone},
	"GET /v1/regions":                       {who: anyone},

	"GET /v1/agent/self":        {rules: agentRead},
	"GET /v1/agent/members":     {rules: `node { policy = "read" }`},
	"GET /v1/agent/servers":     {rules: agentRead},
	"PUT /v1/agent/servers":     {rules: agentWrite},
	"PUT /v1/agent/join":        {rules: agentWrite, rest: "?address=127.0.0.1:1"},
	"PUT /v1/agent/force-leave": {rules: agentWrite, rest: "?node=absent"},

	"GET /v1/agent/keyring/list":    {rules: agentWrite},
	"PUT /v1/agent/keyring/list":    {rules: agentWrite},
	"PUT /v1/agent/keyring/install": {rules: agentWrite, body: `{"Key":"bad"}`},
	"PUT /v1/agent/keyring/use":     {rules: agentWrite, body: `{"Key":"bad"}`},
	"PUT /v1/agent/keyring/remove":  {rules: agentWrite, body: `{"Key":"bad"}`},

	"GET /v1/operator/raft/configuration":       {rules: capability("raft-read")},
	"GET /v1/operator/snapshot":                 {rules: capability("snapshot-save")},
	"PUT /v1/operator/snapshot":                 {rules: capability("snapshot-restore")},
	"GET /v1/operator/autopilot/configuration":  {rules: `operator { policy = "read" }`},
	"GET /v1/operator/autopilot/health":         {rules: `operator { policy = "read" }`},
	"PUT /v1/operator/autopilot/configuration":  {rules: `operator { policy = "write" }`, body: `{"LastContactThreshold":"200ms","MaxTrailingLogs":250}`},
	"GET /v1/operator/replication":              {rules: capability("raft-read")},
	"DELETE /v1/operator/raft/peer":             {rules: capability("raft-write"), rest: "?id=absent"},
	"PUT /v1/operator/raft/transfer-leadership": {rules: capability("raft-write"), rest: "?id=absent"},
	"GET /v1/operator/keyring/keys":             {rules: capability("keyring-read")},
	"GET /v1/operator/operations":               {rules: `operator { policy = "read" }`},
	"GET /v1/operator/authorities":              {rules: capability("join-token-read")},
	"PUT /v1/operator/replication/accept":       {rules: capability("raft-write")},
	"PUT /v1/operator/authority/rotate":         {rules: capability("authority-rotate")},
	"GET /v1/operator/join-tokens":              {rules: capability("join-token-read")},
	"PUT /v1/operator/join-token":               {rules: capability("join-token-write"), body: `{"Role":"client"}`},
	"DELETE /v1/operator/join-token/{id}":       {rules: capability("join-token-write"), rest: nobodysID},

	"GET /v1/namespaces":           {who: anyone},
	"PUT /v1/namespace":            {rules: `namespace "ours" { capabilities = ["manage-namespace"] }`, body: `{"Name":"ours"}`},
	"GET /v1/namespace/{name}":     {rules: `namespace "ours" { policy = "read" }`, rest: "ours"},
	"PUT /v1/namespace/{name}":     {rules: `namespace "ours" { capabilities = ["manage-namespace"] }`, rest: "ours", body: `{"Name":"ours"}`},
	"DELETE /v1/namespace/{name}":  {rules: capability("namespace-write"), rest: "absent"},
	"PUT /v1/search":               {rules: `node { policy = "read" }`, body: `{"Context":"nodes"}`},
	"PUT /v1/search/fuzzy":         {rules: `node { policy = "read" }`, body: `{"Context":"nodes","Text":"worker"}`},
	"GET /v1/vars":                 {rules: variableRight("list")},
	"GET /v1/var/{path...}":        {rules: variableRight("read"), rest: "app/db"},
	"PUT /v1/var/{path...}":        {rules: variableRight("write"), rest: "app/db", body: `{"Items":{"a":"b"}}`},
	"DELETE /v1/var/{path...}":     {rules: variableRight("destroy"), rest: "app/absent"},
	"POST /v1/acl/explain":         {who: anyone, body: `{"Kind":"agent","Capability":"read"}`},
	"PUT /v1/acl/explain":          {who: anyone, body: `{"Kind":"agent","Capability":"read"}`},
	"PUT /v1/acl/bootstrap":        {who: blind},
	"PUT /v1/acl/login":            {who: blind, body: `{}`},
	"PUT /v1/acl/oidc/auth-url":    {who: blind, body: `{}`},
	"GET /v1/acl/auth-methods":     {who: anyone},
	"GET /v1/acl/policies":         {who: anyone},
	"GET /v1/acl/policy/self":      {who: anyone},
	"GET /v1/acl/policy/{name}":    {rules: capability("acl-policy-read"), rest: "absent"},
	"PUT /v1/acl/policy/{name}":    {rules: capability("acl-policy-write"), rest: "bad!", body: `{"Name":"bad!"}`},
	"DELETE /v1/acl/policy/{name}": {rules: capability("acl-policy-write"), rest: "absent"},

	"PUT /v1/acl/oidc/complete-auth":     {who: blind, body: `{}`},
	"GET /v1/acl/tokens":                 {rules: capability("acl-token-read")},
	"GET /v1/acl/tokens/usage":           {rules: capability("acl-token-read")},
	"GET /v1/acl/token/self":             {who: anyone},
	"PUT /v1/acl/token/onetime":          {who: anyToken},
	"PUT /v1/acl/token/onetime/exchange": {who: proven, body: `{"OneTimeSecretID":"` + nobodysID + `"}`},
	"PUT /v1/acl/token":                  {rules: capability("acl-token-write"), body: `{}`},
	"GET /v1/acl/token/{accessor}":       {rules: capability("acl-token-read"), rest: nobodysID},
	"PUT /v1/acl/token/{accessor}":       {rules: capability("acl-token-write"), rest: nobodysID, body: `{"AccessorID":"` + nobodysID + `"}`},
	"DELETE /v1/acl/token/{accessor}":    {rules: capability("acl-token-write"), rest: nobodysID},
	"GET /v1/acl/roles":                  {who: anyone},
	"GET /v1/acl/role/self":              {who: anyone},
	"PUT /v1/acl/role":                   {rules: capability("acl-role-write"), body: `{}`},
	"GET /v1/acl/role/{id}":              {rules: capability("acl-role-read"), rest: nobodysID},
	"GET /v1/acl/role/name/{name}":       {rules: capability("acl-role-read"), rest: "absent"},
	"PUT /v1/acl/role/{id}":              {rules: capability("acl-role-write"), rest: nobodysID, body: `{"ID":"` + nobodysID + `"}`},
	"DELETE /v1/acl/role/{id}":           {rules: capability("acl-role-write"), rest: nobodysID},
	"PUT /v1/acl/auth-method":            {rules: capability("acl-auth-method-write"), body: `{}`},
	"GET /v1/acl/auth-method/{name}":     {rules: capability("acl-auth-method-read"), rest: "absent"},
	"PUT /v1/acl/auth-method/{name}":     {rules: capability("acl-auth-method-write"), rest: "absent", body: `{"Name":"absent"}`},
	"DELETE /v1/acl/auth-method/{name}":  {rules: capability("acl-auth-method-write"), rest: "absent"},
	"GET /v1/acl/binding-rules":          {rules: capability("acl-binding-rule-read")},
	"PUT /v1/acl/binding-rule":           {rules: capability("acl-binding-rule-write"), body: `{}`},
	"GET /v1/acl/binding-rule/{id}":      {rules: capability("acl-binding-rule-read"), rest: nobodysID},
	"PUT /v1/acl/binding-rule/{id}":      {rules: capability("acl-binding-rule-write"), rest: nobodysID, body: `{"ID":"` + nobodysID + `"}`},
	"DELETE /v1/acl/binding-rule/{id}":   {rules: capability("acl-binding-rule-write"), rest: nobodysID},
}

// unrelated is a right that no route above needs.
const unrelated = `namespace "other" { policy = "read" }`

// forged is a JWT that no cluster signed: its signature is that of nobody.
const forged = "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJub21hZHByb2plY3QuaW8iLCJub21hZF9uYW1lc3BhY2UiOiJkZWZhdWx0Iiwibm9tYWRfam9iX2lkIjoiYSJ9.c2lnbmF0dXJl"

// keySpy is a provider of root keys that keeps them in clear, so that a test can sign
// as the cluster does.
type keySpy struct {
	mu   sync.Mutex
	keys map[string]keyring.Material
}

func (k *keySpy) Name() string { return "spy" }

func (k *keySpy) Wrap(_ context.Context, m keyring.Material) (*structs.WrappedKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys[m.KeyID] = m
	return &structs.WrappedKey{Provider: k.Name()}, nil
}

func (k *keySpy) Unwrap(_ context.Context, id string, _ *structs.WrappedKey) (keyring.Material, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.keys[id], nil
}

// sign returns claims as the cluster signs them by its root key.
func (k *keySpy) sign(t *testing.T, claims any) string {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, m := range k.keys {
		key, err := x509.ParsePKCS8PrivateKey(m.SigningKey)
		if err != nil {
			t.Fatal(err)
		}
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", id))
		if err != nil {
			t.Fatal(err)
		}
		text, err := jwt.Signed(signer).Claims(claims).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	t.Fatal("the cluster has no root key")
	return ""
}

// start starts a server that wraps its root keys with k.
func (k *keySpy) start(c *nomad.Config) (server, error) {
	c.KeyProviders = []keyring.Provider{k}
	return nomad.NewServer(c)
}

// workloadOf returns the identity of a task of the job.
func (k *keySpy) workloadOf(t *testing.T, job, audience string) string {
	t.Helper()
	return k.sign(t, &auth.WorkloadClaims{Namespace: "default", JobID: job, Task: "web",
		Subject: "global:default:" + job + ":front:web:default", Audience: jwt.Audience{audience}})
}

// machine is a node agent that the cluster knows.
type machine struct{ secret, identity string }

// registerNode makes the agent's server know a node, once there is a key that its
// identity can be signed by.
func registerNode(t *testing.T, a *Agent) machine {
	t.Helper()
	sign := &structs.IdentitySignRequest{Peer: structs.PeerIdentity{NodeID: a.server.NodeID()}, QueryOptions: structs.QueryOptions{AuthToken: a.server.AgentSecret()}}
	err := a.server.RPC(t.Context(), "Identity.Sign", sign, &structs.IdentitySignResponse{})
	for errors.Is(err, errs.Busy) { // the key takes its time on a busy machine
		err = a.server.RPC(t.Context(), "Identity.Sign", sign, &structs.IdentitySignResponse{})
	}
	if err != nil {
		t.Fatal(err)
	}
	n := &structs.Node{ID: uuid.NewString(), SecretID: uuid.NewString(), Name: "worker", Datacenter: "dc1", NodePool: "default", HTTPAddr: "10.1.1.1:4646"}
	var reply structs.NodeUpdateResponse
	req := &structs.NodeRegisterRequest{Node: n, WriteRequest: structs.WriteRequest{AuthToken: n.SecretID}}
	if err := a.server.RPC(t.Context(), "Node.Register", req, &reply); err != nil || reply.SignedIdentity == nil {
		t.Fatal(reply.SignedIdentity, err)
	}
	return machine{n.SecretID, *reply.SignedIdentity}
}

// callers are the secrets of callers of every kind.
type callers struct {
	root, expired, job, elsewhere string
	node                          machine
}

// guarded is an agent that enforces access control, with callers of every kind.
type guarded struct {
	t      *testing.T
	client *sdkapi.Client
	url    string
	// secrets are those of tokens by their rules.
	secrets map[string]string
}

func TestEveryRouteIsEnforced(t *testing.T) {
	keys := &keySpy{keys: map[string]keyring.Material{}}
	a, client := aclAgentStarting(t, `acl {
  enabled                  = true
  protect_metrics          = true
  token_min_expiration_ttl = "1ms"
}`, hclog.NewNullLogger(), keys.start)
	g := &guarded{t: t, client: client, url: "http://" + a.HTTPAddr(), secrets: map[string]string{}}
	root := g.bootstrap()
	expired, _, err := client.ACLTokens().Create(&sdkapi.ACLToken{Type: "management", ExpirationTTL: time.Millisecond}, nil)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Until(*expired.ExpirationTime))
	c := callers{root: root.SecretID, expired: expired.SecretID, node: registerNode(t, a),
		job: keys.workloadOf(t, "shop", auth.DefaultAudience), elsewhere: keys.workloadOf(t, "shop", "vault")}
	left := maps.Clone(accesses)
	for _, r := range routes() {
		for _, method := range strings.Fields(r.methods) {
			key := method + " " + r.pattern
			if _, ok := accesses[key]; !ok {
				key = strings.Replace(key, "POST", "PUT", 1)
			}
			rule, ok := accesses[key]
			if !ok {
				t.Errorf("%s %s: nothing says who may use it: add it to accesses", method, r.pattern)
				continue
			}
			delete(left, key)
			if rule.who == byRight && rule.rules == "" {
				t.Errorf("%s %s: no right delegates it, so that it takes a management token: make a capability for it", method, r.pattern)
			}
			base, _, _ := strings.Cut(r.pattern, "{")
			rule.nodes, rule.workloads = slices.Contains(byNodes, key), slices.Contains(byWorkloads, key)
			rule.noIdentity = slices.Contains(notByIdentities, key)
			g.tryAll(method, base+rule.rest, rule, c)
		}
	}
	if len(left) > 0 {
		t.Errorf("no route has these: %v", slices.Sorted(maps.Keys(left)))
	}
}

// tryAll makes the request as callers of every kind.
func (g *guarded) tryAll(method, target string, a access, c callers) {
	try := func(caller, secret string, want bool) {
		g.t.Helper()
		status, body := g.request(method, target, a.body, secret)
		if got := status != http.StatusForbidden; got != want {
			g.t.Errorf("%s %s by %s: %d %q, want allowed %v", method, target, caller, status, body, want)
		}
		if status == http.StatusForbidden && !strings.HasPrefix(body, "Permission denied") && !strings.HasPrefix(body, "ACL token ") {
			g.t.Errorf("%s %s by %s: clients do not know the text %q", method, target, caller, body)
		}
	}
	open, ignored := a.who == anyone || a.who == blind, a.who == blind
	g.policy("anonymous", unrelated)
	try("anonymous without the right", "", open)
	try("an unknown token", uuid.NewString(), ignored)
	try("no token at all", "nonsense", ignored)
	try("an expired token", c.expired, ignored)
	try("a forged identity", forged, ignored)
	try("a token without the right", g.token(unrelated), open || a.who == anyToken)
	try("a management token", c.root, a.who != proven)
	try("a node's secret", c.node.secret, open || a.nodes)
	try("a node's identity", c.node.identity, (open || a.nodes) && !a.noIdentity)
	try("a workload", c.job, open || a.workloads)
	try("a workload that is meant for another service", c.elsewhere, ignored)
	if a.who != byRight {
		return
	}
	try("a token with exactly the right", g.token(a.rules), true)
	g.policy("anonymous", a.rules)
	try("anonymous with the right", "", true)
	try("a node's secret while anonymous has the right", c.node.secret, a.nodes)
	g.delete("anonymous")
	try("nobody", "", false)
	g.jobPolicy("shop", a.rules)
	try("a workload with the right", c.job, true)
	g.jobPolicy("other", a.rules)
	try("a workload beside one with the right", c.job, a.workloads)
	g.delete("of-a-job")
}

func (g *guarded) bootstrap() *sdkapi.ACLToken {
	g.t.Helper()
	root, _, err := g.client.ACLTokens().Bootstrap(nil)
	if err != nil {
		g.t.Fatal(err)
	}
	g.client.SetSecretID(root.SecretID)
	return root
}

func (g *guarded) policy(name, rules string) {
	g.t.Helper()
	if _, err := g.client.ACLPolicies().Upsert(&sdkapi.ACLPolicy{Name: name, Rules: rules}, nil); err != nil {
		g.t.Fatal(rules, err)
	}
}

// jobPolicy gives a right to the workloads of a job.
func (g *guarded) jobPolicy(job, rules string) {
	g.t.Helper()
	p := &sdkapi.ACLPolicy{Name: "of-a-job", Rules: rules, JobACL: &sdkapi.JobACL{Namespace: "default", JobID: job}}
	if _, err := g.client.ACLPolicies().Upsert(p, nil); err != nil {
		g.t.Fatal(rules, err)
	}
}

func (g *guarded) delete(policy string) {
	g.t.Helper()
	if _, err := g.client.ACLPolicies().Delete(policy, nil); err != nil {
		g.t.Fatal(err)
	}
}

// token returns the secret of a token with the rules.
func (g *guarded) token(rules string) string {
	g.t.Helper()
	if g.secrets[rules] == "" {
		name := fmt.Sprint("p", len(g.secrets))
		g.policy(name, rules)
		made, _, err := g.client.ACLTokens().Create(&sdkapi.ACLToken{Type: "client", Policies: []string{name}}, nil)
		if err != nil {
			g.t.Fatal(err)
		}
		g.secrets[rules] = made.SecretID
	}
	return g.secrets[rules]
}

func (g *guarded) request(method, target, body, secret string) (int, string) {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), method, g.url+target, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if secret != "" {
		req.Header.Set("X-Nomad-Token", secret)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	if strings.HasPrefix(target, "/v1/event/stream") && resp.StatusCode == http.StatusOK {
		return resp.StatusCode, "" // it has no end
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestMetricsAreOpenUnlessProtected(t *testing.T) {
	f := newFake()
	f.rights = acl.DenyAll
	for protect, want := range map[bool]int{false: 200, true: 403} {
		h := testAPI(t, f, func(c *Config) { c.ACL.ProtectMetrics = protect })
		if w := call(h, "GET", "/v1/metrics", ""); w.Code != want {
			t.Errorf("protected %v: %d %s", protect, w.Code, w.Body)
		}
	}
	f.authErr = errs.New(errs.PermissionDenied, "ACL token expired")
	if w := call(testAPI(t, f), "GET", "/v1/metrics", ""); w.Code != 403 {
		t.Errorf("an expired token: %d %s", w.Code, w.Body)
	}
}
