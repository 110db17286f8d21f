package command

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/nomad/api"
)

func newACLBindingRuleList() action {
	return &aclList[api.ACLBindingRuleListStub]{
		words: about{
			synopsis: "show all claim mappings", usage: "[options]",
			text:     "Lists the rules that turn the claims of logins into rights.",
			examples: [][2]string{{"Show them", "cairn acl binding-rule list"}},
		},
		what: "binding rules", head: []string{"ID", "Auth Method", "Description"},
		row: func(r *api.ACLBindingRuleListStub) []string {
			return []string{r.ID, r.AuthMethod, orNone(r.Description)}
		},
		fetch: func(c *api.Client, q *api.QueryOptions) ([]*api.ACLBindingRuleListStub, error) {
			list, _, err := c.ACLBindingRules().List(q)
			return list, err
		},
	}
}

func newACLBindingRuleInfo() action {
	return &aclInfo[api.ACLBindingRule]{
		words: about{
			synopsis: "show one claim mapping", usage: "[options] <id>",
			text:     "Shows a binding rule.",
			examples: [][2]string{{"Show one", "cairn acl binding-rule info 80c4a3b1-1a2e-4d3f-a1c9-7b9f6d5e4c3b"}},
			args:     bindingRuleIDs,
		},
		what: "binding rule", fetch: fetchBindingRule, print: printBindingRule,
	}
}

func newACLBindingRuleDelete() action {
	return &aclDelete{
		words: about{
			synopsis: "remove one claim mapping", usage: "[options] <id>",
			text:     "Deletes a binding rule. Tokens that logins made keep what it gave them.",
			examples: [][2]string{{"Delete one", "cairn acl binding-rule delete 80c4a3b1-1a2e-4d3f-a1c9-7b9f6d5e4c3b"}},
			args:     bindingRuleIDs,
		},
		what: "binding rule",
		del: func(c *api.Client, id string, w *api.WriteOptions) error {
			_, err := c.ACLBindingRules().Delete(id, w)
			return err
		},
	}
}

func fetchBindingRule(c *api.Client, id string, q *api.QueryOptions) (*api.ACLBindingRule, error) {
	r, _, err := c.ACLBindingRules().Get(id, q)
	return r, err
}

func printBindingRule(s *session, r *api.ACLBindingRule) {
	s.pairs(
		[2]string{"ID", r.ID}, [2]string{"Description", orNone(r.Description)}, [2]string{"Auth Method", r.AuthMethod},
		[2]string{"Selector", orNone(r.Selector)}, [2]string{"Bind Type", r.BindType}, [2]string{"Bind Name", orNone(r.BindName)},
		[2]string{"Create Time", wallTime(r.CreateTime)}, [2]string{"Modify Time", wallTime(r.ModifyTime)},
		[2]string{"Create Index", index(r.CreateIndex)}, [2]string{"Modify Index", index(r.ModifyIndex)},
	)
}

// bindTypes are what a binding rule can give.
var bindTypes = []string{"role", "policy", "management"}

// aclBindingRuleWrite makes or changes a binding rule.
type aclBindingRuleWrite struct {
	f                                               *flags
	update                                          bool
	method, bindType, bindName, selector, describes string
}

func (c *aclBindingRuleWrite) about() about {
	a := about{
		synopsis: "map SSO claims to grants", usage: "[options]",
		text: "Makes a rule that gives a role, a policy or everything to the logins of an auth method. A selector restricts it to those whose mapped claims fit, as value.name and list.name." +
			" The name of the role or policy may hold ${value.name}.",
		examples: [][2]string{
			{"A role for a team", "cairn acl binding-rule create -auth-method sso -selector '\"ops\" in list.groups' -bind-type role -bind-name operators"},
			{"A policy for each repository", "cairn acl binding-rule create -auth-method github -bind-type policy -bind-name 'repo-${value.repo}'"},
		},
		groups: withAgent | withData,
	}
	if c.update {
		a.synopsis, a.usage, a.min, a.max, a.args = "change one claim mapping", "[options] <id>", 1, 1, bindingRuleIDs
		a.text = "Changes what the options say of a binding rule and keeps the rest. Its auth method cannot change."
		a.examples = [][2]string{{"Other people", "cairn acl binding-rule update -selector '\"dev\" in list.groups' 80c4a3b1-1a2e-4d3f-a1c9-7b9f6d5e4c3b"}}
	}
	return a
}

func (c *aclBindingRuleWrite) flags(f *flags) {
	c.f = f
	if !c.update {
		f.text(&c.method, "auth-method", "name", "Auth method whose logins the rule is for.", authMethodNames)
	}
	f.text(&c.bindType, "bind-type", "type", "What the rule gives, "+oneOfValues(bindTypes...)+".", oneOf(bindTypes...))
	f.text(&c.bindName, "bind-name", "name", "The role or policy it gives; none for management.")
	f.text(&c.selector, "selector", "expression", "Which logins it is for, all if it is empty.")
	f.text(&c.describes, "description", "text", "What the rule is for, at most 256 characters.")
}

func (c *aclBindingRuleWrite) run(s *session, args []string) error {
	r := &api.ACLBindingRule{AuthMethod: c.method}
	var err error
	if c.update {
		if !c.f.givenAny("bind-type", "bind-name", "selector", "description") {
			return usagef("nothing to change: give -bind-type, -bind-name, -selector or -description")
		}
		if r, err = readACL(s, "binding rule", args[0], fetchBindingRule); err != nil {
			return err
		}
		if r.ID == "" {
			return fmt.Errorf("the agent answered with a binding rule that has no ID")
		}
	}
	if err := c.apply(r); err != nil {
		return err
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	put, doing := client.ACLBindingRules().Create, "creating a binding rule"
	if c.update {
		put, doing = client.ACLBindingRules().Update, "updating binding rule "+clean(r.ID)
	}
	stored, _, err := put(r, s.write())
	if err != nil {
		return failed(doing, err)
	}
	s.warnUnbound(stored)
	return s.show(stored, func() { printBindingRule(s, stored) })
}

// mappedClaim finds the claims that a selector or a name asks for; quoted is what may look
// like one in a selector and is a text.
var (
	mappedClaim = regexp.MustCompile(`\b(value|list)\.([A-Za-z0-9_]+)`)
	quoted      = regexp.MustCompile("\"(\\\\.|[^\"\\\\])*\"|`[^`]*`")
)

// warnUnbound says what keeps a rule from giving anything to anybody. What the caller may
// not see is passed over.
func (s *session) warnUnbound(r *api.ACLBindingRule) {
	client, err := s.client()
	if err != nil || r == nil {
		return
	}
	if whole := !strings.Contains(r.BindName, "${"); whole && r.BindType == "policy" {
		s.warnAbsentPolicies(r.BindName)
	} else if whole && r.BindType == "role" {
		if _, err := fetchRoleByName(client, escape(r.BindName), s.query()); isStatus(err, http.StatusNotFound) {
			s.warn("there is no role %s: the rule gives nothing until it is made", clean(r.BindName))
		}
	}
	m, err := fetchAuthMethod(client, escape(r.AuthMethod), s.query())
	if err != nil || m == nil || m.Config == nil {
		return
	}
	mapped := map[string]map[string]string{"value": m.Config.ClaimMappings, "list": m.Config.ListClaimMappings}
	for _, claim := range mappedClaim.FindAllStringSubmatch(quoted.ReplaceAllString(r.Selector, "")+" "+r.BindName, -1) {
		if names := slices.Sorted(maps.Values(mapped[claim[1]])); !slices.Contains(names, claim[2]) {
			s.warn("the auth method %s maps no claim to %s; there is %s", clean(m.Name), claim[0], orNone(clean(strings.Join(names, ", "))))
		}
	}
}

func (c *aclBindingRuleWrite) apply(r *api.ACLBindingRule) error {
	for _, o := range []struct {
		name  string
		value string
		field *string
	}{
		{"bind-type", c.bindType, &r.BindType}, {"bind-name", c.bindName, &r.BindName},
		{"selector", c.selector, &r.Selector}, {"description", c.describes, &r.Description},
	} {
		if c.f.given(o.name) {
			*o.field = o.value
		}
	}
	if c.f.given("bind-type") && c.bindType == "management" && !c.f.given("bind-name") {
		r.BindName = "" // what it gave before
	}
	switch {
	case r.AuthMethod == "":
		return usagef("-auth-method is missing")
	case !slices.Contains(bindTypes, r.BindType):
		return usagef("-bind-type: %q is not %s", r.BindType, oneOfValues(bindTypes...))
	case r.BindType == "management" && r.BindName != "":
		return usagef("-bind-name does not go with management")
	case r.BindType != "management" && r.BindName == "":
		return usagef("-bind-name is missing: the %s to give", r.BindType)
	}
	return nil
}
