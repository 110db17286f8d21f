package command

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// nodeLink is a link as the API shows it.
type nodeLink struct {
	NodeID    string
	Server    string
	Remote    string
	Transport string
	Protocol  int
	Build     string
	Epoch     uint64
	Instance  string
	Session   string
	Since     time.Time
	Running   int
	Methods   map[string]int
	Kinds     []string
}

// nodeLinkList lists links.
type nodeLinkList struct{ verbose bool }

func (*nodeLinkList) about() about {
	return about{
		synopsis: "list the links of node agents",
		usage:    "[options]",
		text:     "Servers call node agents over links that the agents dialled. Lists those of the region, with the server that has each.",
		examples: [][2]string{{"See which agents are linked", "cairn node link list"}},
		groups:   withAgent | withData,
	}
}

func (c *nodeLinkList) flags(f *flags) {
	f.boolean(&c.verbose, "verbose", "Print whole IDs and more columns.")
}

func (c *nodeLinkList) run(s *session, _ []string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	var reply struct {
		Links       []nodeLink
		Unreachable []string
	}
	if _, err := client.Raw().Query("/v1/node/links", &reply, s.query()); err != nil {
		return failed("listing the links", err)
	}
	if len(reply.Unreachable) > 0 {
		s.warn("these servers did not answer: %s", clean(strings.Join(reply.Unreachable, ", ")))
	}
	return s.show(reply.Links, func() { s.print(c.table(reply.Links), "no links found") })
}

func (c *nodeLinkList) table(links []nodeLink) *table {
	head := []string{"Node ID", "Server", "Address", "Version", "Since", "Running"}
	if c.verbose {
		head = append(head, "Over", "Build", "Epoch")
	}
	t := newTable(head...)
	for _, l := range links {
		id := l.NodeID
		if !c.verbose {
			id = id[:min(len(id), shortID)]
		}
		row := []string{id, l.Server, l.Remote, strconv.Itoa(l.Protocol), l.Since.Format(time.RFC3339), strconv.Itoa(l.Running)}
		if c.verbose {
			row = append(row, l.Transport, l.Build, strconv.FormatUint(l.Epoch, 10))
		}
		t.add(row...)
	}
	return t
}

// nodeLinkShow shows a link.
type nodeLinkShow struct{}

func (*nodeLinkShow) about() about {
	return about{
		synopsis: "show the link of a node",
		usage:    "[options] <ID>",
		text:     "Shows over which link the servers call the agent of a node, and what the agent said it can do.",
		examples: [][2]string{{"Which methods does the agent have?", "cairn node link show 1f3a"}},
		min:      1, max: 1,
		groups: withAgent | withData,
		args:   nodeIDs,
	}
}

func (*nodeLinkShow) flags(*flags) {}

func (*nodeLinkShow) run(s *session, args []string) error {
	id, err := s.findNode(args[0])
	if err != nil {
		return err
	}
	l, err := s.nodeLink(id)
	if err != nil {
		return err
	}
	return s.show(l, func() {
		s.pairs([][2]string{
			{"Node ID", l.NodeID}, {"Server", l.Server}, {"Address", l.Remote}, {"Over", l.Transport}, {"Version", strconv.Itoa(l.Protocol)},
			{"Build", l.Build}, {"Epoch", strconv.FormatUint(l.Epoch, 10)}, {"Instance", l.Instance}, {"Session", l.Session},
			{"Since", l.Since.Format(time.RFC3339)}, {"Running", strconv.Itoa(l.Running)}, {"Kinds", orNone(strings.Join(l.Kinds, ", "))},
		}...)
		t := newTable("Method", "Revision")
		for _, name := range slices.Sorted(maps.Keys(l.Methods)) {
			t.add(name, strconv.Itoa(l.Methods[name]))
		}
		s.say("")
		s.print(t, "the agent announced no methods: it follows from its version which it has")
	})
}

// nodeLink reads the link of a node.
func (s *session) nodeLink(id string) (*nodeLink, error) {
	client, err := s.client()
	if err != nil {
		return nil, err
	}
	l := new(nodeLink)
	if _, err := client.Raw().Query("/v1/node/"+url.PathEscape(id)+"/link", l, s.query()); err != nil {
		return nil, failed("reading the link of node "+id, err)
	}
	return l, nil
}

// nodeLinkKick ends a link.
type nodeLinkKick struct{}

func (*nodeLinkKick) about() about {
	return about{
		synopsis: "end the link of a node",
		usage:    "[options] <ID>",
		text:     "Ends the link of a node. Calls that run over it end, and the agent dials again, to whichever server it picks. What runs on the node is left alone.",
		examples: [][2]string{{"Make an agent dial again", "cairn node link kick 1f3a"}},
		min:      1, max: 1,
		groups: withAgent,
		args:   nodeIDs,
	}
}

func (*nodeLinkKick) flags(*flags) {}

func (*nodeLinkKick) run(s *session, args []string) error {
	id, err := s.findNode(args[0])
	if err != nil {
		return err
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	var reply struct{ Server string }
	if _, err := client.Raw().Delete("/v1/node/"+url.PathEscape(id)+"/link", &reply, s.write()); err != nil {
		return failed("ending the link of node "+id, err)
	}
	s.say("ended the link of node %s at server %s", id, clean(reply.Server))
	return nil
}
