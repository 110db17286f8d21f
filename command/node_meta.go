package command

import (
	"errors"
	"strings"

	"github.com/hashicorp/nomad/api"
)

// ownNode returns the ID of the node of the agent that is asked.
func (s *session) ownNode() (string, error) {
	client, err := s.client()
	if err != nil {
		return "", err
	}
	var self api.AgentSelf
	if _, err := client.Raw().Query("/v1/agent/self", &self, s.query()); err != nil {
		return "", failed("reading the agent's own state", err)
	}
	if id := self.Stats["client"]["node_id"]; id != "" {
		return id, nil
	}
	return "", hinted(errors.New("the agent that is asked runs no node agent"), "name a node: `cairn node status` shows what there is")
}

// oneNode returns the node that prefix means, that of the agent for "".
func (s *session) oneNode(prefix string) (string, error) {
	if prefix == "" {
		return s.ownNode()
	}
	return s.findNode(prefix)
}

// showMeta prints the metadata of a node.
func (s *session) showMeta(m *api.NodeMetaResponse) error {
	return s.show(m, func() {
		t := newTable("Key", "Value", "From")
		for _, kv := range sortedPairs(m.Meta) {
			from := "configuration"
			if _, changed := m.Dynamic[kv[0]]; changed {
				from = "changed"
			}
			t.add(kv[0], kv[1], from)
		}
		s.print(t, "no metadata")
	})
}

// nodeMetaRead shows the metadata of a node.
type nodeMetaRead struct{ node string }

func (*nodeMetaRead) about() about {
	return about{
		synopsis: "show a node's metadata",
		usage:    "[options]",
		text:     "Asks the agent of a node for its metadata, and shows what is from its configuration and what was changed since.",
		examples: [][2]string{{"Show that of one node", "cairn node meta read -node-id 1f3a"}},
		groups:   withAgent | withData,
	}
}

func (c *nodeMetaRead) flags(f *flags) {
	f.text(&c.node, "node-id", "ID", "The node, by default that of the agent that is asked.")
}

func (c *nodeMetaRead) run(s *session, _ []string) error {
	id, err := s.oneNode(c.node)
	if err != nil {
		return err
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	m, err := client.Nodes().Meta().Read(id, s.query())
	if err != nil {
		return failed("reading the metadata of node "+id, err)
	}
	return s.showMeta(m)
}

// nodeMetaApply changes the metadata of a node.
type nodeMetaApply struct{ node, unset string }

func (*nodeMetaApply) about() about {
	return about{
		synopsis: "set dynamic node metadata",
		usage:    "[options] [<key>=<value>...]",
		text: "Changes the metadata of a node while its agent runs. The agent keeps the changes, and they win over its configuration. " +
			"A key that is unset is hidden if it is of the configuration, and forgotten otherwise.",
		examples: [][2]string{
			{"Set a key", "cairn node meta apply -node-id 1f3a color=blue"},
			{"Take keys away", "cairn node meta apply -node-id 1f3a -unset color,rack"},
		},
		max:    1000,
		groups: withAgent | withData,
	}
}

func (c *nodeMetaApply) flags(f *flags) {
	f.text(&c.node, "node-id", "ID", "The node, by default that of the agent that is asked.")
	f.text(&c.unset, "unset", "keys", "Keys to take away, separated by commas.")
}

func (c *nodeMetaApply) run(s *session, args []string) error {
	change := map[string]*string{}
	for _, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		if !ok || key == "" {
			return usagef("%q is no key=value", arg)
		}
		change[key] = &value
	}
	for key := range strings.SplitSeq(c.unset, ",") {
		if key = strings.TrimSpace(key); key != "" {
			change[key] = nil
		}
	}
	if len(change) == 0 {
		return usagef("nothing to change: give key=value, or -unset")
	}
	id, err := s.oneNode(c.node)
	if err != nil {
		return err
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	m, err := client.Nodes().Meta().Apply(&api.NodeMetaApplyRequest{NodeID: id, Meta: change}, s.query())
	if err != nil {
		return failed("changing the metadata of node "+id, err)
	}
	return s.showMeta(m)
}
