package command

import (
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/posener/complete"
)

type completeArgs = complete.Args

// unescape undoes escape, for calls of the SDK that escape themselves.
func unescape(name string) string {
	if plain, err := url.PathUnescape(name); err == nil {
		return plain
	}
	return name
}

// shortID is how much of an ID people need to see.
const shortID = 8

// nodeListOptions are the options and the way of commands that list nodes.
type nodeListOptions struct {
	filter, pageToken string
	perPage           uint64
	verbose, quiet    bool
	os                bool
}

func (o *nodeListOptions) flags(f *flags) {
	f.text(&o.filter, "filter", "expression", "Print only what the expression holds for.")
	f.number(&o.perPage, "per-page", "number", "How many to print.")
	f.text(&o.pageToken, "page-token", "token", "Where to go on, as the page before says.")
	f.boolean(&o.verbose, "verbose", "Print whole IDs and more columns.")
	f.boolean(&o.quiet, "quiet", "Print only IDs.")
	f.boolean(&o.os, "os", "Print the operating system.")
}

// query returns the read options of the list.
func (o *nodeListOptions) query(s *session) *api.QueryOptions {
	q := s.query()
	q.Filter, q.NextToken, q.PerPage = o.filter, o.pageToken, int32(min(o.perPage, 1<<30))
	q.Params = map[string]string{}
	if o.os || o.verbose {
		q.Params["os"] = "true"
	}
	return q
}

// run lists what fetch gives.
func (o *nodeListOptions) run(s *session, what string, fetch func(*api.Client, *api.QueryOptions) ([]*api.NodeListStub, *api.QueryMeta, error)) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	list, meta, err := fetch(client, o.query(s))
	if err != nil {
		return failed("listing "+what, err)
	}
	list = slices.DeleteFunc(list, func(n *api.NodeListStub) bool { return n == nil })
	if list == nil {
		list = []*api.NodeListStub{}
	}
	if o.quiet && !s.json && s.template == "" {
		for _, n := range list {
			s.say("%s", clean(n.ID))
		}
		return nil
	}
	return s.show(list, func() {
		s.print(o.table(list), "no "+what+" found")
		if meta != nil && meta.NextToken != "" {
			s.note("more follow: -page-token %s", clean(meta.NextToken))
		}
	})
}

func (o *nodeListOptions) table(list []*api.NodeListStub) *table {
	head := []string{"ID", "Node Pool", "DC", "Name", "Class"}
	if o.os || o.verbose {
		head = append(head, "OS")
	}
	if o.verbose {
		head = append(head, "Address", "Version")
	}
	t := newTable(append(head, "Drain", "Eligibility", "Status")...)
	for _, n := range list {
		id := n.ID
		if !o.verbose {
			id = id[:min(len(id), shortID)]
		}
		row := []string{id, n.NodePool, n.Datacenter, n.Name, orNone(n.NodeClass)}
		if o.os || o.verbose {
			row = append(row, orNone(n.Attributes["os.name"]))
		}
		if o.verbose {
			row = append(row, orNone(n.Address), orNone(n.Version))
		}
		t.add(append(row, strconv.FormatBool(n.Drain), n.SchedulingEligibility, n.Status)...)
	}
	return t
}

// findNode returns the ID of the one node whose ID begins with prefix.
func (s *session) findNode(prefix string) (string, error) {
	client, err := s.client()
	if err != nil {
		return "", err
	}
	q := s.query()
	q.Prefix = strings.ToLower(prefix)
	list, _, err := client.Nodes().List(q)
	if err != nil {
		return "", failed("looking for node "+clean(prefix), err)
	}
	switch len(list) {
	case 0:
		return "", hinted(errors.New("no node has an ID that begins with "+strconv.Quote(prefix)), "`cairn node status` shows what there is")
	case 1:
		return list[0].ID, nil
	}
	var ids []string
	for _, n := range list[:min(len(list), 10)] {
		if n.ID == prefix {
			return n.ID, nil
		}
		ids = append(ids, n.ID)
	}
	return "", hinted(errors.New(strconv.Itoa(len(list))+" nodes have an ID that begins with "+strconv.Quote(prefix)), "give more of the ID: "+strings.Join(ids, ", "))
}

// nodeStatus lists nodes or shows one.
type nodeStatus struct {
	list  nodeListOptions
	short bool
	self  bool
}

func (*nodeStatus) about() about {
	return about{
		synopsis: "show node list or detail",
		usage:    "[options] [ID]",
		text:     "Lists the nodes, or shows the one whose ID begins as given.",
		examples: [][2]string{
			{"Show them", "cairn node status"},
			{"Which are down?", "cairn node status -filter 'Status == \"down\"'"},
			{"Show one", "cairn node status 1f3a"},
			{"Show the one of this agent", "cairn node status -self"},
		},
		max:    1,
		groups: withAgent | withData,
		args:   nodeIDs,
	}
}

func (c *nodeStatus) flags(f *flags) {
	c.list.flags(f)
	f.boolean(&c.self, "self", "Show the node of the agent that is asked.")
	f.boolean(&c.short, "short", "Print neither events nor attributes of one node.")
}

func (c *nodeStatus) run(s *session, args []string) error {
	if c.self {
		id, err := s.ownNode()
		if err != nil {
			return err
		}
		args = []string{id}
	}
	if len(args) == 0 {
		return c.list.run(s, "nodes", func(client *api.Client, q *api.QueryOptions) ([]*api.NodeListStub, *api.QueryMeta, error) {
			return client.Nodes().List(q)
		})
	}
	id, err := s.findNode(args[0])
	if err != nil {
		return err
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	n := &nodeDetail{}
	if _, err := client.Raw().Query("/v1/node/"+url.PathEscape(id), n, s.query()); err != nil {
		return failed("reading node "+id, err)
	}
	return s.show(n, func() { c.print(s, n) })
}

func (c *nodeStatus) print(s *session, n *nodeDetail) {
	id := n.ID
	if !c.list.verbose {
		id = id[:min(len(id), shortID)]
	}
	kv := [][2]string{{"ID", id}, {"Name", n.Name}, {"Node Pool", n.NodePool}, {"Class", orNone(n.NodeClass)}, {"DC", n.Datacenter},
		{"Address", orNone(n.HTTPAddr)}, {"Drain", strconv.FormatBool(n.Drain)}, {"Eligibility", n.eligibility()}}
	if i := n.Ineligibility; i != nil && i.Reason != "" {
		kv = append(kv, [2]string{"Eligibility Reason", i.Reason})
	}
	kv = append(kv, [2]string{"Status", n.Status})
	if n.StatusUpdatedAt > 0 {
		kv = append(kv, [2]string{"Status Since", time.Unix(n.StatusUpdatedAt, 0).UTC().Format(time.RFC3339)})
	}
	if d := n.LastDrain; d != nil {
		kv = append(kv, [2]string{"Last Drain", string(d.Status) + " " + d.UpdatedAt.UTC().Format(time.RFC3339)})
	}
	s.pairs(kv...)
	if c.short {
		return
	}
	s.say("")
	s.title("Node Events")
	t := newTable("Time", "Subsystem", "Message")
	for _, e := range slices.Backward(n.Events) {
		message := e.Message
		if c.list.verbose {
			for _, d := range sortedPairs(e.Details) {
				message += ", " + d[0] + ": " + d[1]
			}
		}
		t.add(e.Timestamp.UTC().Format(time.RFC3339), e.Subsystem, message)
	}
	s.print(t, "none")
	if c.list.verbose && len(n.Attributes) > 0 {
		s.say("")
		s.title("Attributes")
		s.pairs(sortedPairs(n.Attributes)...)
	}
	if len(n.Meta) > 0 {
		s.say("")
		s.title("Meta")
		s.pairs(sortedPairs(n.Meta)...)
	}
}
