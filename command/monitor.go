package command

import (
	"io"
	"net/url"
	"strconv"
)

// monitor follows the log of an agent.
type monitor struct {
	level, node, server string
	jsonLines, location bool
}

func (*monitor) about() about {
	return about{
		synopsis: "stream an agent's log lines",
		usage:    "[options]",
		text:     "Follows the log of the agent that is asked, of another server or of the agent of a node, at a level of its own, until it is interrupted.",
		examples: [][2]string{
			{"Follow the agent that is asked", "cairn monitor -log-level debug"},
			{"Follow the leader", "cairn monitor -server-id leader"},
			{"Follow the agent of a node", "cairn monitor -node-id 1f3a"},
		},
		groups: withAgent,
	}
}

func (c *monitor) flags(f *flags) {
	f.text(&c.level, "log-level", "level", "trace, debug, info, warn or error; info by default.")
	f.text(&c.node, "node-id", "ID", "Follow the agent of this node.")
	f.text(&c.server, "server-id", "ID", "Follow this server, by name or ID; \"leader\" is the leader.", serverNames)
	f.boolean(&c.jsonLines, "json", "Print lines in JSON.")
	f.boolean(&c.location, "log-include-location", "Print the place in the source.")
}

func (c *monitor) run(s *session, _ []string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	q := url.Values{"plain": {"true"}, "log_json": {strconv.FormatBool(c.jsonLines)}, "log_include_location": {strconv.FormatBool(c.location)}}
	if c.server != "" && c.node != "" {
		return usagef("give one of -server-id and -node-id")
	}
	if c.level != "" {
		q.Set("log_level", c.level)
	}
	if c.server != "" {
		q.Set("server_id", c.server)
	}
	if c.node != "" {
		id, err := s.findNode(c.node)
		if err != nil {
			return err
		}
		q.Set("node_id", id)
	}
	body, err := client.Raw().Response("/v1/agent/monitor?"+q.Encode(), s.query())
	if err != nil {
		return failed("following the log", err)
	}
	defer body.Close()
	_, err = io.Copy(s.stdout, body)
	return err
}
