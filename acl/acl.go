// Package acl decides what a caller may do: the policy language, the
// capabilities, and ACL, the compiled sum of a caller's rights. An ACL is
// immutable and safe for concurrent use; nil allows nothing.
package acl

import "github.com/cairn-project/cairn/internal/errs"

// allNamespaces asks whether a right is held in some namespace.
const allNamespaces = "*"

// maxCompiledRules bounds the rules of all policies of one caller.
const maxCompiledRules = 1 << 17

// ACL is the sum of a caller's rights.
type ACL struct {
	// management may do everything that is not reserved for an identity.
	management bool
	// off marks the ACL of callers while access control is off.
	off bool
	// client and server are the identities of other machines of the cluster.
	client, server bool
	// pool is the node pool of a client.
	pool string

	namespaces  *matcher // nil for no rules, as the next two
	nodePools   *matcher
	hostVolumes *matcher
	variables   *variables
	agent       set
	node        set
	quota       set
	operator    set
	plugin      set
	sentinel    set

	// workload adds the implicit rights of a workload, nil for none.
	workload *workload
	// policies are the sources, for Explain.
	policies []*Policy
	// missed is called for each right that is asked for and not held, nil for nobody.
	missed func(Denial)
}

var (
	// AllowAll allows everything, also what is reserved for identities.
	AllowAll = &ACL{management: true, client: true, server: true}
	// Disabled is the ACL of every caller while access control is off: as
	// AllowAll, but without Sentinel, and with debugging only where the agent enables it.
	Disabled = &ACL{management: true, client: true, server: true, off: true}
	// Management is the ACL of management tokens. It is no machine of the cluster.
	Management = &ACL{management: true}
	// Server is the ACL of another server.
	Server = &ACL{server: true}
	// DenyAll is the ACL of a caller without any right.
	DenyAll = &ACL{}
)

// Client returns the ACL of a node agent: it reads agents and servers, and its
// own node pool.
func Client(pool string) *ACL {
	return &ACL{client: true, pool: pool, agent: agentWords.expand("read", nil)}
}

// New compiles policies into one ACL; their order does not matter and nil
// policies are skipped. The ACL keeps the policies, which must not change
// any more. It fails only if there are too many rules.
func New(management bool, policies ...*Policy) (*ACL, error) {
	if management {
		return Management, nil
	}
	c := newCompiler()
	for _, p := range policies {
		if p == nil {
			continue
		}
		c.policies = append(c.policies, p)
		for _, r := range p.Rules {
			c.add(r)
		}
	}
	if c.rules > maxCompiledRules {
		return nil, errs.Newf(errs.TooLarge, "the policies of this token have %d rules together, more than %d: merge or drop some", c.rules, maxCompiledRules)
	}
	return c.acl(), nil
}

// compiler adds up rules before they are normalised.
type compiler struct {
	rules     int
	named     map[Kind]map[string]set
	plain     map[Kind]set
	variables map[string]map[string]set
	policies  []*Policy
}

func newCompiler() *compiler {
	return &compiler{named: map[Kind]map[string]set{}, plain: map[Kind]set{}, variables: map[string]map[string]set{}}
}

func (c *compiler) add(r *Rule) {
	v := vocabularyOf(r.Kind)
	if v == nil {
		return
	}
	c.rules++
	s := r.set(v)
	if v.label == nil {
		c.plain[r.Kind] |= s
		return
	}
	if c.named[r.Kind] == nil {
		c.named[r.Kind] = map[string]set{}
	}
	c.named[r.Kind][r.Name] |= s
	for _, p := range r.Paths {
		c.rules++
		if c.variables[r.Name] == nil {
			c.variables[r.Name] = map[string]set{}
		}
		c.variables[r.Name][p.Pattern] |= p.set()
	}
}

func (c *compiler) acl() *ACL {
	a := &ACL{policies: c.policies,
		namespaces: c.matcher(KindNamespace), nodePools: c.matcher(KindNodePool), hostVolumes: c.matcher(KindHostVolume),
		agent: c.plain[KindAgent].normal(), node: c.plain[KindNode].normal(), quota: c.plain[KindQuota].normal(),
		operator: c.plain[KindOperator].normal(), plugin: c.plain[KindPlugin].normal(), sentinel: c.plain[KindSentinel].normal(),
	}
	if len(c.variables) > 0 {
		v := newVariables(c.variables)
		a.variables = &v
	}
	return a
}

func (c *compiler) matcher(k Kind) *matcher {
	if c.named[k] == nil {
		return nil
	}
	return newMatcher(c.named[k])
}
