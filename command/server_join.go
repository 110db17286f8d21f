package command

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/hashicorp/nomad/api"
)

// serverJoin makes the agent meet other servers.
type serverJoin struct{}

func (*serverJoin) about() about {
	return about{
		synopsis: "join another server's gossip pool",
		usage:    "[options] <address> [<address>…]",
		text:     "Makes the agent join the gossip pool of the servers at the given addresses, host or host:port, where the port is that of gossip (4648). One address that answers is enough.",
		examples: [][2]string{{"Join two servers", "cairn server join 10.0.0.11 10.0.0.12:4648"}},
		min:      1, max: -1,
		groups: withAgent,
	}
}

func (*serverJoin) flags(*flags) {}

func (*serverJoin) run(s *session, args []string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	var reply struct {
		NumJoined int    `json:"num_joined"`
		Error     string `json:"error"`
		Warning   string `json:"warning"`
	}
	query := url.Values{"address": args}
	if _, err := client.Raw().Write("/v1/agent/join?"+query.Encode(), nil, &reply, s.write()); err != nil {
		return failed("joining", err)
	}
	if reply.Error != "" {
		return hinted(failed("joining", errors.New(lowerFirst(cleanLines(reply.Error)))), "check that the addresses name the gossip port (4648) and that it can be reached")
	}
	if reply.Warning != "" {
		s.warn("%s", lowerFirst(clean(reply.Warning)))
	}
	s.say("joined %d of %d servers", reply.NumJoined, len(args))
	return nil
}

// serverForceLeave pushes a server out of the gossip pool.
type serverForceLeave struct{ prune bool }

func (*serverForceLeave) about() about {
	return about{
		synopsis: "push a server into the left state",
		usage:    "[options] <name>",
		text:     "Marks a failed server as left, so that the others stop trying to reach it. A server that is still alive comes back by itself. The name is that of `cairn server members`.",
		examples: [][2]string{
			{"Give up on a server that died", "cairn server force-leave s3.global"},
			{"Also forget it at once", "cairn server force-leave -prune s3.global"},
		},
		min: 1, max: 1,
		groups: withAgent,
		args:   serverNames,
	}
}

func (c *serverForceLeave) flags(f *flags) {
	f.boolean(&c.prune, "prune", "Remove the server from the list of members as well.")
}

func (c *serverForceLeave) run(s *session, args []string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	if err := s.knownServer(client, args[0]); err != nil {
		return err
	}
	query := url.Values{"node": args}
	if c.prune {
		query.Set("prune", "1")
	}
	if _, err := client.Raw().Write("/v1/agent/force-leave?"+query.Encode(), nil, nil, s.write()); err != nil {
		return failed("forcing "+args[0]+" to leave", err)
	}
	s.say("server %s is leaving", clean(args[0]))
	return nil
}

// knownServer fails if gossip knows no server of that name, with or without its
// region: the API takes any name, so a slip would look like success.
func (s *session) knownServer(client *api.Client, name string) error {
	members, err := s.members(client)
	if err != nil {
		return err
	}
	var names []string
	for _, m := range members {
		if m.Name == name || m.Name == name+"."+m.Tags["region"] {
			return nil
		}
		names = append(names, m.Name)
	}
	return hinted(fmt.Errorf("no server is called %q", name), "the agent knows "+strings.Join(names, ", "))
}
