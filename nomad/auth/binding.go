package auth

import (
	"iter"
	"slices"
	"strings"

	"github.com/hashicorp/go-bexpr"
	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// Bindings are the rights that binding rules give to a login.
type Bindings struct {
	// Management is everything; the others are empty then.
	Management bool
	Policies   []string
	// Roles are links by ID and name.
	Roles []*structs.ACLTokenRoleLink
}

// BindingStore is where binding rules and what they lead to are read; a snapshot
// of the state is one.
type BindingStore interface {
	ACLBindingRules(ws memdb.WatchSet, method string) iter.Seq[*structs.ACLBindingRule]
	ACLPolicy(ws memdb.WatchSet, name string) *structs.ACLPolicy
	ACLRoleByName(ws memdb.WatchSet, name string) *structs.ACLRole
}

// Bind returns what the rules of a method give to a login. Policies and roles that
// do not exist are left out. A login that gets nothing is errs.Invalid.
func Bind(store BindingStore, method string, c *Claims) (*Bindings, error) {
	var out Bindings
	for rule := range store.ACLBindingRules(nil, method) {
		if !selects(rule.Selector, c) {
			continue
		}
		if rule.BindType == structs.ACLBindingRuleBindTypeManagement {
			return &Bindings{Management: true}, nil
		}
		name, ok := fill(rule.BindName, c.Value)
		if !ok {
			continue
		}
		switch rule.BindType {
		case structs.ACLBindingRuleBindTypePolicy:
			if store.ACLPolicy(nil, name) != nil && !slices.Contains(out.Policies, name) {
				out.Policies = append(out.Policies, name)
			}
		case structs.ACLBindingRuleBindTypeRole:
			out.addRole(store.ACLRoleByName(nil, name))
		}
	}
	if len(out.Policies)+len(out.Roles) == 0 {
		return nil, errs.New(errs.Invalid, "no role or policy bindings matched")
	}
	return &out, nil
}

func (b *Bindings) addRole(role *structs.ACLRole) {
	if role == nil || slices.ContainsFunc(b.Roles, func(l *structs.ACLTokenRoleLink) bool { return l.ID == role.ID }) {
		return
	}
	b.Roles = append(b.Roles, &structs.ACLTokenRoleLink{ID: role.ID})
}

// selects reports whether a rule is for the login. A selector that asks for a claim
// which the login does not have does not match.
func selects(selector string, c *Claims) (ok bool) {
	if selector == "" {
		return true
	}
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	ev, err := bexpr.CreateEvaluator(selector)
	if err != nil {
		return false
	}
	ok, err = ev.Evaluate(c)
	return err == nil && ok
}

// fill replaces ${value.x} by the claim in lower case, and reports whether all were there. What
// it puts in is not looked at again.
func fill(template string, values map[string]string) (string, bool) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(template, "${")
		out.WriteString(before)
		if !found {
			return out.String(), true
		}
		name, after, closed := strings.Cut(rest, "}")
		value, ok := values[strings.TrimPrefix(name, "value.")]
		if !closed || !ok || value == "" {
			return "", false
		}
		out.WriteString(strings.ToLower(value))
		template = after
	}
}

// TokenName returns the name of the token of a login. Claims that are absent leave a gap.
func TokenName(m *structs.ACLAuthMethod, c *Claims) string {
	const most = 256 // characters, as the names of tokens may have
	values := map[string]string{"auth_method_type": m.Type, "auth_method_name": m.Name}
	for k, v := range c.Value {
		values["value."+k] = v
	}
	var out strings.Builder
	for rest, found := m.TokenNameFormat, true; found; {
		var before, name string
		before, rest, found = strings.Cut(rest, "${")
		out.WriteString(before)
		if found {
			name, rest, _ = strings.Cut(rest, "}")
			out.WriteString(values[name])
		}
	}
	text := []rune(strings.ToValidUTF8(out.String(), ""))
	return string(text[:min(len(text), most)])
}
