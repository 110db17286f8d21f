package command

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/posener/complete"
)

// joinToken is a join token as the API has it.
type joinToken struct {
	ID, Name, Role             string
	CreateTime, ExpirationTime time.Time
	MaxUses, Uses              int
	Joined                     []struct {
		Node, Address string
		Time          time.Time
	}
	CreateIndex, ModifyIndex uint64
}

// joinTokenMade is a new one with its text.
type joinTokenMade struct {
	JoinToken joinToken
	Text      string
}

// joinTokenCreate makes a join token.
type joinTokenCreate struct {
	role, name string
	ttl        time.Duration
	uses       uint64
}

func (*joinTokenCreate) about() about {
	return about{
		synopsis: "let new agents join",
		usage:    "[options]",
		text: "Makes a join token and prints its text. An agent that is started with it joins the cluster and needs nothing else: it gets a certificate, which it renews itself, and a server gets the gossip key too. " +
			"The text says where the servers are and how to know them, so that nobody can pose as the cluster. Whoever has it can join while it is valid: keep it secret." +
			"\n\nThe servers must run with auto = true in their tls block.",
		examples: [][2]string{
			{"One more server, within the hour", "cairn operator join-token create -role server"},
			{"On the new machine", "cairn agent -server -data-dir /var/lib/cairn -join-token <text>"},
			{"Twenty node agents, today", "cairn operator join-token create -role client -uses 20 -ttl 8h"},
			{"Only the text, into a file", "cairn operator join-token create -role server -t '{{.Text}}' > join-token"},
		},
		groups: withAgent | withData,
	}
}

func (c *joinTokenCreate) flags(f *flags) {
	f.text(&c.role, "role", "role", "What the agents become: server, which takes a management token, or client.", oneOf("server", "client"))
	f.text(&c.name, "name", "text", "Name for people, at most 256 bytes.")
	f.duration(&c.ttl, "ttl", "How long the token is valid, such as 8h; one hour if not given, 30 days at most.")
	f.number(&c.uses, "uses", "count", "How many agents may join, one if not given.")
}

func (c *joinTokenCreate) run(s *session, _ []string) error {
	switch {
	case c.role != "server" && c.role != "client":
		return usagef("-role: %q is not %s", c.role, oneOfValues("server", "client"))
	case c.ttl < 0:
		return usagef("-ttl must be positive")
	}
	order := map[string]any{"Role": c.role, "Name": c.name, "MaxUses": c.uses}
	if c.ttl > 0 {
		order["TTL"] = c.ttl.String()
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	var made joinTokenMade
	if _, err := client.Raw().Write("/v1/operator/join-token", order, &made, s.write()); err != nil {
		return failed("creating a join token", err)
	}
	return s.show(made, func() {
		s.pairs([2]string{"ID", made.JoinToken.ID}, [2]string{"Name", orNone(made.JoinToken.Name)}, [2]string{"Role", made.JoinToken.Role},
			[2]string{"Uses", strconv.Itoa(made.JoinToken.MaxUses)}, [2]string{"Expires", wallTime(made.JoinToken.ExpirationTime)})
		s.say("\n%s", clean(made.Text))
	})
}

// joinTokenList lists the join tokens.
type joinTokenList struct{}

func (*joinTokenList) about() about {
	return about{
		synopsis: "show the join tokens",
		usage:    "[options]",
		text:     "Lists the join tokens and who joined with them. Those that have expired are shown for a week.",
		examples: [][2]string{
			{"Show them", "cairn operator join-token list"},
			{"Who joined, from where?", "cairn operator join-token list -t '{{range .}}{{range .Joined}}{{.Node}} {{.Address}}{{\"\\n\"}}{{end}}{{end}}'"},
		},
		groups: withAgent | withData,
	}
}

func (*joinTokenList) flags(*flags) {}

func (*joinTokenList) run(s *session, _ []string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	list, err := fetchJoinTokens(client, s.query())
	if err != nil {
		return failed("listing join tokens", err)
	}
	return s.show(list, func() {
		t := newTable("ID", "Name", "Role", "Uses", "Expires", "Joined")
		for _, v := range list {
			var nodes []string
			for _, j := range v.Joined {
				nodes = append(nodes, j.Node)
			}
			t.add(v.ID, orNone(v.Name), v.Role, strconv.Itoa(v.Uses)+" of "+strconv.Itoa(v.MaxUses), wallTime(v.ExpirationTime), orNone(strings.Join(nodes, ", ")))
		}
		s.print(t, "no join tokens found")
	})
}

func fetchJoinTokens(c *api.Client, q *api.QueryOptions) ([]*joinToken, error) {
	list := []*joinToken{}
	_, err := c.Raw().Query("/v1/operator/join-tokens", &list, q)
	return list, err
}

// joinTokenRevoke deletes join tokens.
type joinTokenRevoke struct{}

func (*joinTokenRevoke) about() about {
	return about{
		synopsis: "revoke a join token",
		usage:    "[options] <id>",
		text:     "Revokes a join token: nobody can join with it any more. Agents that have joined keep their certificates.",
		examples: [][2]string{{"Revoke one", "cairn operator join-token revoke 59c219c2-47e4-43f3-bb45-258fd13f59d5"}},
		min:      1, max: 1,
		groups: withAgent,
		args:   joinTokenIDs,
	}
}

func (*joinTokenRevoke) flags(*flags) {}

func (*joinTokenRevoke) run(s *session, args []string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	_, err = client.Raw().Delete("/v1/operator/join-token/"+escape(args[0]), nil, s.write())
	switch {
	case isStatus(err, http.StatusNotFound):
		return hinted(objectFailed("", "join token", args[0], err), "`cairn operator join-token list` shows what there is")
	case err != nil:
		return objectFailed("revoking", "join token", args[0], err)
	}
	s.say("revoked join token %s", clean(args[0]))
	return nil
}

func joinTokenIDs(s *session, _ complete.Args) []string {
	client, err := s.client()
	if err != nil {
		return nil
	}
	list, err := fetchJoinTokens(client, s.query())
	return names(list, err, func(t *joinToken) string { return t.ID })
}
