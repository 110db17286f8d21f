package command

import (
	"fmt"
	"time"

	"github.com/hashicorp/nomad/api"
)

// tokenOptions are what may be said of a token when it is made or changed.
type tokenOptions struct {
	f                            *flags
	name, kind                   string
	policies, roleNames, roleIDs []string
}

func (o *tokenOptions) declare(f *flags) {
	o.f = f
	f.text(&o.name, "name", "text", "Name for people, at most 256 characters.")
	f.text(&o.kind, "type", "type", "What the token may do: client, what its policies and roles grant, or management, everything.", oneOf("client", "management"))
	f.list(&o.policies, "policy", "name", "Policy to grant; may be repeated.")
	f.list(&o.roleNames, "role-name", "name", "Role to grant, by its name; may be repeated.")
	f.list(&o.roleIDs, "role-id", "id", "Role to grant, by its ID; may be repeated.")
}

// apply writes what was said into t.
func (o *tokenOptions) apply(t *api.ACLToken) error {
	if o.kind != "" && o.kind != "client" && o.kind != "management" {
		return usagef("-type: %q is not %s", o.kind, oneOfValues("client", "management"))
	}
	if o.f.given("name") {
		t.Name = o.name
	}
	if o.kind != "" && o.kind != t.Type {
		t.Type = o.kind
		if t.Type == "management" {
			t.Policies, t.Roles = nil, nil
		}
	}
	if o.policies != nil {
		t.Policies = o.policies
	}
	if o.roleNames != nil || o.roleIDs != nil {
		t.Roles = nil
		for _, name := range o.roleNames {
			t.Roles = append(t.Roles, &api.ACLTokenRoleLink{Name: name})
		}
		for _, id := range o.roleIDs {
			t.Roles = append(t.Roles, &api.ACLTokenRoleLink{ID: id})
		}
	}
	switch links := len(t.Policies) + len(t.Roles); {
	case t.Type == "management" && links > 0:
		return usagef("a management token may do everything: it takes no policies or roles")
	case t.Type == "client" && links == 0:
		return usagef("a client token needs at least one -policy, -role-name or -role-id")
	}
	return nil
}

// aclTokenCreate makes a token.
type aclTokenCreate struct {
	tokenOptions
	global  bool
	ttl     time.Duration
	expires string // RFC 3339
}

func (*aclTokenCreate) about() about {
	return about{
		synopsis: "issue a new token",
		usage:    "[options]",
		text:     "Makes a token and prints it with its secret: whoever has the secret has its rights. Give it a time to live, unless something must run without people.",
		examples: [][2]string{
			{"For a deployment", "cairn acl token create -name ci -policy deploy -ttl 1h"},
			{"Until the end of the day", "cairn acl token create -name guest -policy read -expires-at \"$(date -u -d 18:00 +%FT%TZ)\""},
			{"Into a variable of the shell", "CAIRN_TOKEN=$(cairn acl token create -policy ci -ttl 8h -t '{{.SecretID}}')"},
			{"For an operator, in all regions", "cairn acl token create -name 'ada' -type management -global"},
		},
		groups: withAgent | withData,
	}
}

func (c *aclTokenCreate) flags(f *flags) {
	c.declare(f)
	f.boolean(&c.global, "global", "Make the token valid in all regions.")
	f.duration(&c.ttl, "ttl", "How long the token is valid, such as 8h; for ever if not given.")
	f.text(&c.expires, "expires-at", "time", "When the token stops to be valid, as in 2027-01-31T18:00:00Z (RFC 3339), instead of -ttl. The servers' acl.token_max_expiration_ttl bounds both.")
}

func (c *aclTokenCreate) run(s *session, _ []string) error {
	t := &api.ACLToken{Type: "client", Global: c.global, ExpirationTTL: c.ttl}
	if err := c.expiration(t); err != nil {
		return err
	}
	if err := c.apply(t); err != nil {
		return err
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	made, _, err := client.ACLTokens().Create(t, s.write())
	if err != nil {
		return failed("creating a token", err)
	}
	s.warnAbsentPolicies(made.Policies...)
	return s.showToken(made, true)
}

// expiration writes into t when it expires.
func (c *aclTokenCreate) expiration(t *api.ACLToken) error {
	switch {
	case c.f.given("ttl") && c.ttl <= 0:
		return usagef("-ttl must be positive")
	case c.expires == "":
		return nil
	case c.ttl != 0:
		return usagef("-ttl and -expires-at exclude each other")
	}
	at, err := time.Parse(time.RFC3339, c.expires)
	switch {
	case err != nil:
		return usagef("-expires-at: %q is not a time such as 2027-01-31T18:00:00Z", c.expires)
	case !at.After(time.Now()):
		return usagef("-expires-at: %s is over", c.expires)
	}
	t.ExpirationTime = &at
	return nil
}

// aclTokenUpdate changes a token.
type aclTokenUpdate struct {
	tokenOptions
	secret bool
}

func (*aclTokenUpdate) about() about {
	return about{
		synopsis: "change a token",
		usage:    "[options] <accessor>",
		text: "Changes what the options say of a token and keeps the rest. All -policy options together replace the policies, all -role-name and -role-id options the roles." +
			" The secret, the regions and the time at which a token expires cannot change.",
		examples: [][2]string{{"Grant other policies", "cairn acl token update -policy read -policy deploy 59c219c2-47e4-43f3-bb45-258fd13f59d5"}},
		min:      1, max: 1,
		groups: withAgent | withData,
		args:   tokenAccessors,
	}
}

func (c *aclTokenUpdate) flags(f *flags) {
	c.declare(f)
	f.boolean(&c.secret, "show-secret", showSecretUsage)
}

func (c *aclTokenUpdate) run(s *session, args []string) error {
	if !c.f.givenAny("name", "type", "policy", "role-name", "role-id") {
		return usagef("nothing to change: give -name, -type, -policy, -role-name or -role-id")
	}
	t, err := readACL(s, "token", args[0], fetchToken)
	if err != nil {
		return err
	}
	if err := c.apply(t); err != nil {
		return err
	}
	if t.AccessorID == "" {
		return fmt.Errorf("the agent answered with a token that has no accessor")
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	t.ExpirationTTL = 0 // given once, when the token is made
	changed, _, err := client.ACLTokens().Update(t, s.write())
	if err != nil {
		return objectFailed("updating", "token", args[0], err)
	}
	s.warnAbsentPolicies(changed.Policies...)
	return s.showToken(changed, c.secret)
}
