package command

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/hashicorp/nomad/api"
)

func newACLRoleList() action {
	l := aclRoles("/v1/acl/roles")
	l.words = about{
		synopsis: "show all roles", usage: "[options] [prefix of the ID]",
		text:     "Lists the roles that the token may see: all for a management token, else those that it holds.",
		examples: [][2]string{{"Show them", "cairn acl role list"}},
		max:      1, args: roleIDs,
	}
	return l
}

func newACLRoleSelf() action {
	l := aclRoles("/v1/acl/role/self")
	l.words = about{
		synopsis: "show roles of current token", usage: "[options]",
		text:     "Lists the roles of the token that the command is run with. A management token has none: it may do everything.",
		examples: [][2]string{{"Which roles have I?", "cairn acl role self"}},
	}
	return l
}

// aclRoles lists the roles at path.
func aclRoles(path string) *aclList[api.ACLRoleListStub] {
	return &aclList[api.ACLRoleListStub]{
		what: "roles", head: []string{"ID", "Name", "Description", "Policies"},
		row: func(r *api.ACLRoleListStub) []string {
			return []string{r.ID, r.Name, orNone(r.Description), orNone(policyLinks(r.Policies))}
		},
		fetch: func(c *api.Client, q *api.QueryOptions) (list []*api.ACLRoleListStub, err error) {
			_, err = c.Raw().Query(path, &list, q)
			return list, err
		},
	}
}

func newACLRoleDelete() action {
	return &aclDelete{
		words: about{
			synopsis: "remove a role", usage: "[options] <id | name>",
			text:     "Deletes a role. Tokens lose what it granted.",
			examples: [][2]string{{"Delete one", "cairn acl role delete 2a5d2f3c-9f3e-4b25-8f7d-0b5c7c3a9e11"}, {"By its name", "cairn acl role delete operators"}},
			args:     roleIDs,
		},
		what: "role",
		find: func(s *session, id string) (string, error) {
			r, err := s.role(id)
			if err != nil {
				return "", err
			}
			return r.ID, nil
		},
		del: func(c *api.Client, id string, w *api.WriteOptions) error {
			_, err := c.ACLRoles().Delete(id, w)
			return err
		},
	}
}

// aclRoleInfo shows a role.
type aclRoleInfo struct{ byName bool }

func (*aclRoleInfo) about() about {
	return about{
		synopsis: "show one role", usage: "[options] <id | name>",
		text: "Shows a role.",
		examples: [][2]string{
			{"Show one", "cairn acl role info 2a5d2f3c-9f3e-4b25-8f7d-0b5c7c3a9e11"},
			{"By its name", "cairn acl role info operators"},
		},
		min: 1, max: 1, groups: withAgent | withData, args: roleIDs,
	}
}

func (c *aclRoleInfo) flags(f *flags) {
	f.boolean(&c.byName, "by-name", "The argument is a name, though there may be a role with such an ID.")
}

func (c *aclRoleInfo) run(s *session, args []string) error {
	find := s.role
	if c.byName {
		find = func(name string) (*api.ACLRole, error) { return readACL(s, "role", name, fetchRoleByName) }
	}
	r, err := find(args[0])
	if err != nil {
		return err
	}
	return s.showRole(r)
}

// role reads the role with an ID or, if there is none, of that name.
func (s *session) role(id string) (*api.ACLRole, error) {
	return readACL(s, "role", id, func(c *api.Client, id string, q *api.QueryOptions) (*api.ACLRole, error) {
		r, _, err := c.ACLRoles().Get(id, q)
		if err == nil || !isStatus(err, http.StatusNotFound) && !isStatus(err, http.StatusForbidden) {
			return r, err
		}
		if named, err := fetchRoleByName(c, id, q); err == nil {
			return named, nil
		}
		return nil, err
	})
}

func fetchRoleByName(c *api.Client, name string, q *api.QueryOptions) (*api.ACLRole, error) {
	r, _, err := c.ACLRoles().GetByName(name, q)
	return r, err
}

func (s *session) showRole(r *api.ACLRole) error {
	for _, l := range r.Policies {
		if l != nil {
			s.warnAbsentPolicies(l.Name)
		}
	}
	return s.show(r, func() {
		s.pairs([2]string{"ID", r.ID}, [2]string{"Name", r.Name}, [2]string{"Description", orNone(r.Description)},
			[2]string{"Policies", orNone(policyLinks(r.Policies))},
			[2]string{"Create Index", index(r.CreateIndex)}, [2]string{"Modify Index", index(r.ModifyIndex)})
	})
}

func policyLinks(links []*api.ACLRolePolicyLink) string {
	var out []string
	for _, l := range links {
		if l != nil {
			out = append(out, l.Name)
		}
	}
	return strings.Join(out, ", ")
}

// aclRoleWrite makes or changes a role.
type aclRoleWrite struct {
	f                 *flags
	update            bool
	name, description string
	policies          []string
}

func (c *aclRoleWrite) about() about {
	a := about{
		synopsis: "make a role from policies", usage: "[options]",
		text:     "Makes a role: a set of policies under one name, that tokens and logins are given.",
		examples: [][2]string{{"Make one", "cairn acl role create -name operators -policy cluster -policy secrets"}},
		groups:   withAgent | withData,
	}
	if c.update {
		a.synopsis, a.usage, a.min, a.max, a.args = "change a role", "[options] <id | name>", 1, 1, roleIDs
		a.text = "Changes what the options say of a role and keeps the rest. All -policy options together replace the policies."
		a.examples = [][2]string{{"Grant other policies", "cairn acl role update -policy cluster operators"}}
	}
	return a
}

func (c *aclRoleWrite) flags(f *flags) {
	c.f = f
	f.text(&c.name, "name", "name", "Name of the role: 1 to 128 letters, digits and dashes.")
	f.text(&c.description, "description", "text", "What the role is for, at most 256 characters.")
	f.list(&c.policies, "policy", "name", "Policy of the role; may be repeated.")
}

func (c *aclRoleWrite) run(s *session, args []string) error {
	r := &api.ACLRole{}
	var err error
	if c.update {
		if !c.f.givenAny("name", "description", "policy") {
			return usagef("nothing to change: give -name, -description or -policy")
		}
		if r, err = s.role(args[0]); err != nil {
			return err
		}
		if r.ID == "" {
			return fmt.Errorf("the agent answered with a role that has no ID")
		}
	}
	if err := c.apply(r); err != nil {
		return err
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	put, doing := client.ACLRoles().Create, "creating role "
	if c.update {
		put, doing = client.ACLRoles().Update, "updating role "
	}
	stored, _, err := put(r, s.write())
	if err != nil {
		return failed(doing+clean(r.Name), err)
	}
	return s.showRole(stored)
}

func (c *aclRoleWrite) apply(r *api.ACLRole) error {
	if c.f.given("name") {
		r.Name = c.name
	}
	if c.f.given("description") {
		r.Description = c.description
	}
	if c.policies != nil {
		r.Policies = nil
		for _, name := range c.policies {
			r.Policies = append(r.Policies, &api.ACLRolePolicyLink{Name: name})
		}
	}
	switch {
	case r.Name == "":
		return usagef("-name is missing")
	case len(r.Policies) == 0:
		return usagef("a role needs at least one -policy")
	}
	return nil
}
