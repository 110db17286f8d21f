package command

import (
	"net/url"
	"strconv"
)

// monitor follows the log of an agent.
type monitor struct {
	logOf
	level               string
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
	c.logOf.flags(f)
	f.boolean(&c.jsonLines, "json", "Print lines in JSON.")
	f.boolean(&c.location, "log-include-location", "Print the place in the source.")
}

func (c *monitor) run(s *session, _ []string) error {
	q := url.Values{"log_json": {strconv.FormatBool(c.jsonLines)}, "log_include_location": {strconv.FormatBool(c.location)}}
	if c.level != "" {
		q.Set("log_level", c.level)
	}
	return c.print(s, "/v1/agent/monitor", q, "following the log")
}
