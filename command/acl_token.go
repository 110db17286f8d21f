package command

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"
)

// masked stands for a secret that was not asked for.
const masked = "********"

const showSecretUsage = "Show the secret, which reads " + masked + " otherwise, also in JSON and templates."

func newACLTokenList() action {
	return &aclList[tokenStub]{
		words: about{
			synopsis: "show all tokens", usage: "[options] [prefix of the accessor]",
			text: "Lists tokens without their secrets. When a token was last used is known to the minute, and as long as the servers remember: unknown means not since they were all started, or not by them.",
			examples: [][2]string{
				{"Show them", "cairn acl token list"},
				{"Who can do everything?", "cairn acl token list -filter 'Type == \"management\"'"},
			},
			max: 1, args: tokenAccessors,
		},
		what: "tokens", head: []string{"Accessor ID", "Name", "Type", "Global", "Policies", "Roles", "Expires", "Last used"},
		row: func(t *tokenStub) []string {
			return []string{t.AccessorID, orNone(t.Name), t.Type, yesNo(t.Global), orNone(strings.Join(t.Policies, ", ")),
				orNone(roleLinks(t.Roles)), expiry(t.ExpirationTime), lastUse(t.LastUsedTime)}
		},
		fetch:    fetchTokens,
		filtered: true, globals: true,
	}
}

func newACLTokenDelete() action {
	return &aclDelete{
		words: about{
			synopsis: "revoke a token", usage: "[options] <accessor>",
			text: "Deletes a token, which stops to be valid at once. The last management token is kept unless -force is given:" +
				" without one only a reset on a server brings access control back.",
			examples: [][2]string{{"Revoke one", "cairn acl token delete 59c219c2-47e4-43f3-bb45-258fd13f59d5"}},
			args:     tokenAccessors,
		},
		what: "token", last: lastManagementToken,
		del: func(c *api.Client, id string, w *api.WriteOptions) error {
			_, err := c.ACLTokens().Delete(id, w)
			return err
		},
	}
}

// lastManagementToken refuses an accessor if no other management token is valid. A
// caller that cannot find out is not held up.
func lastManagementToken(s *session, accessor string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	q := s.query()
	q.Filter = `Type == "management"`
	list, err := fetchTokens(client, q)
	if err != nil {
		return nil
	}
	own, others := false, 0
	for _, t := range list {
		switch {
		case t.Type != "management":
		case t.AccessorID == accessor:
			own = true
		case t.ExpirationTime == nil || t.ExpirationTime.After(time.Now()):
			others++
		}
	}
	if !own || others > 0 {
		return nil
	}
	return hinted(fmt.Errorf("token %s is the last management token", clean(accessor)),
		"make another one with `cairn acl token create -type management`, or give -force")
}

// warnAbsentPolicies says which of the policies are not there. Those that the caller
// may not see are passed over.
func (s *session) warnAbsentPolicies(names ...string) {
	client, err := s.client()
	if err != nil {
		return
	}
	for _, name := range names {
		if _, err := fetchPolicy(client, escape(name), s.query()); isStatus(err, http.StatusNotFound) {
			s.warn("there is no policy %s: it grants nothing until it is made", clean(name))
		}
	}
}

// aclTokenInfo shows a token: one with an accessor, or the caller's own.
type aclTokenInfo struct {
	self, secret bool
}

func newACLTokenInfo() action { return &aclTokenInfo{} }
func newACLTokenSelf() action { return &aclTokenInfo{self: true} }

func (c *aclTokenInfo) about() about {
	a := about{
		synopsis: "show one token", usage: "[options] <accessor>",
		text: "Shows a token.",
		examples: [][2]string{
			{"Show one", "cairn acl token info 59c219c2-47e4-43f3-bb45-258fd13f59d5"},
			{"Only its secret", "cairn acl token info -show-secret -t '{{.SecretID}}' 59c219c2-47e4-43f3-bb45-258fd13f59d5"},
		},
		min: 1, max: 1, groups: withAgent | withData, args: tokenAccessors,
	}
	if c.self {
		a.synopsis, a.usage, a.text, a.min, a.max, a.args = "show the current token", "[options]", "Shows the token that the command is run with.", 0, 0, nil
		a.examples = [][2]string{{"Who am I?", "cairn acl token self"}}
	}
	return a
}

func (c *aclTokenInfo) flags(f *flags) { f.boolean(&c.secret, "show-secret", showSecretUsage) }

func (c *aclTokenInfo) run(s *session, args []string) error {
	id := "self"
	if !c.self {
		id = args[0]
	}
	t, err := readACL(s, "token", id, fetchTokenInfo)
	if err != nil {
		return err
	}
	if !c.secret && t.SecretID != "" {
		t.SecretID = masked
	}
	s.warnAbsentPolicies(t.Policies...)
	var used [][2]string
	if !c.self {
		used = append(used, [2]string{"Last Used", lastUse(t.LastUsedTime)})
	}
	return s.show(t, func() { s.printToken(&t.ACLToken, used...) })
}

// fetchToken reads the token with the accessor; "self" is the caller's own.
func fetchToken(c *api.Client, id string, q *api.QueryOptions) (*api.ACLToken, error) {
	t, _, err := c.ACLTokens().Info(id, q)
	return t, err
}

// showToken prints t as the options ask for, its secret masked unless secret.
func (s *session) showToken(t *api.ACLToken, secret bool) error {
	c := *t
	if !secret && c.SecretID != "" {
		c.SecretID = masked
	}
	return s.show(&c, func() { s.printToken(&c) })
}

func (s *session) printToken(t *api.ACLToken, more ...[2]string) {
	kv := [][2]string{
		{"Accessor ID", t.AccessorID}, {"Secret ID", orNone(t.SecretID)}, {"Name", orNone(t.Name)}, {"Type", t.Type}, {"Global", yesNo(t.Global)},
	}
	if t.Type != "management" {
		kv = append(kv, [2]string{"Policies", orNone(strings.Join(t.Policies, ", "))}, [2]string{"Roles", orNone(roleLinks(t.Roles))})
	}
	kv = append(kv, [2]string{"Create Time", wallTime(t.CreateTime)}, [2]string{"Expires", expiry(t.ExpirationTime)})
	kv = append(kv, more...)
	s.pairs(append(kv, [2]string{"Create Index", index(t.CreateIndex)}, [2]string{"Modify Index", index(t.ModifyIndex)})...)
}

func roleLinks(roles []*api.ACLTokenRoleLink) string {
	var out []string
	for _, r := range roles {
		switch {
		case r == nil:
		case r.Name != "":
			out = append(out, r.Name)
		default:
			out = append(out, r.ID)
		}
	}
	return strings.Join(out, ", ")
}

// index shows an index of the API.
func index(n uint64) string { return strconv.FormatUint(n, 10) }

// wallTime shows a time, the zero time as "-".
func wallTime(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// expiry shows when a token stops to be valid.
func expiry(t *time.Time) string {
	if t == nil || t.IsZero() {
		return "never"
	}
	return wallTime(*t)
}
