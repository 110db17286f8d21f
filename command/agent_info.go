package command

import (
	"maps"
	"slices"

	"github.com/hashicorp/nomad/api"
)

// agentInfo shows the runtime facts of the agent.
type agentInfo struct{}

func (*agentInfo) about() about {
	return about{
		synopsis: "show runtime facts of the agent",
		usage:    "[options]",
		text:     "Shows the figures that the agent keeps of itself, in sections. It asks the agent alone and so works without a leader.",
		examples: [][2]string{
			{"Show everything", "cairn agent-info"},
			{"Take out one figure", "cairn agent-info -t '{{.stats.raft.commit_index}}'"},
		},
		groups: withAgent | withData,
	}
}

func (*agentInfo) flags(*flags) {}

func (*agentInfo) run(s *session, _ []string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	var self api.AgentSelf
	if _, err := client.Raw().Query("/v1/agent/self", &self, s.query()); err != nil {
		return failed("reading the agent's own state", err)
	}
	data := map[string]any{"config": self.Config, "member": self.Member, "stats": self.Stats}
	return s.show(data, func() {
		for i, section := range slices.Sorted(maps.Keys(self.Stats)) {
			if i > 0 {
				s.say("")
			}
			s.title(section)
			s.pairs(sortedPairs(self.Stats[section])...)
		}
	})
}
