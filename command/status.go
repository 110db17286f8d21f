package command

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/nomad/api"
	"github.com/hashicorp/nomad/api/contexts"
)

// status looks up objects of all kinds, or shows the cluster.
type status struct{}

func (*status) about() about {
	return about{
		synopsis: "look up any object by prefix",
		usage:    "[options] [prefix]",
		text:     "Without an argument, shows the leader, the peers, the servers and the regions. With one, finds the namespaces, variables, nodes, node pools and servers whose name or ID starts with it; a single one is shown in detail, without secrets. Variables are looked for in all namespaces unless one is given.",
		examples: [][2]string{
			{"See how the cluster is", "cairn status"},
			{"Find what app/d is", "cairn status app/d"},
		},
		exits:  []exit{{exitFailed, "also when nothing was found"}},
		max:    1,
		groups: withAgent | withNamespace | withData,
		args:   either(anyObject, serverNames),
	}
}

func (*status) flags(*flags) {}

func (c *status) run(s *session, args []string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	if len(args) == 0 {
		return c.overview(s, client)
	}
	return c.lookup(s, client, args[0])
}

// overview is what status shows of the cluster.
type overview struct {
	// Leader is the RPC address of the leader, "" for none.
	Leader  string
	Peers   []string
	Servers []*api.AgentMember
	Regions []string
}

func (c *status) overview(s *session, client *api.Client) error {
	members, err := s.members(client)
	if err != nil {
		return err
	}
	o := overview{Servers: members}
	q := s.query()
	q.AllowStale = true
	for _, part := range []struct {
		path string
		out  any
	}{{"/v1/status/leader", &o.Leader}, {"/v1/status/peers", &o.Peers}, {"/v1/regions", &o.Regions}} {
		if _, err := client.Raw().Query(part.path, part.out, q); err != nil {
			text, _ := s.explain(failed(part.path, err))
			s.warn("%s", text)
		}
	}
	return s.show(o, func() { printOverview(s, &o) })
}

func printOverview(s *session, o *overview) {
	alive := 0
	for _, m := range o.Servers {
		if m.Status == "alive" {
			alive++
		}
	}
	leader := o.Leader
	if leader == "" {
		leader = "none: writes and default reads wait"
	}
	s.pairs(
		[2]string{"Leader", leader},
		[2]string{"Raft Peers", orNone(strings.Join(o.Peers, ", "))},
		[2]string{"Servers", fmt.Sprintf("%d alive of %d", alive, len(o.Servers))},
		[2]string{"Regions", orNone(strings.Join(o.Regions, ", "))},
	)
	s.say("")
	t := newTable("Name", "Address", "Status", "Leader", "Datacenter", "Region")
	for _, m := range o.Servers {
		rpc := rpcAddress(m)
		t.add(m.Name, rpc, m.Status, strconv.FormatBool(o.Leader != "" && rpc == o.Leader), orNone(m.Tags["dc"]), orNone(m.Tags["region"]))
	}
	s.print(t, "no servers known")
}

// found is an object that matches a prefix.
type found struct {
	Kind, Namespace, Name string
	// Object is the row of the list it was found in: it has no secrets.
	Object any
	show   func()
}

// lookups are the kinds of objects status finds, and what a search calls them, "" for
// what is not searched.
var lookups = []struct {
	context contexts.Context
	find    func(s *session, client *api.Client, prefix string) ([]found, error)
}{
	{contexts.Namespaces, findNamespaces}, {contexts.Variables, findVariables}, {contexts.Nodes, findNodes}, {contexts.NodePools, findNodePools}, {"", findServers},
}

// absent returns the kinds of objects of which none starts with the prefix. Those that
// the caller may not search, and all for an agent that cannot, are not among them.
func absent(s *session, client *api.Client, prefix string) map[contexts.Context]bool {
	q := s.query()
	if s.conn.namespace == "" {
		q.Namespace = "*"
	}
	out := map[contexts.Context]bool{}
	if got, _, err := client.Search().PrefixSearch(prefix, contexts.All, q); err == nil {
		for kind, ids := range got.Matches {
			out[kind] = len(ids) == 0
		}
	}
	return out
}

func (c *status) lookup(s *session, client *api.Client, prefix string) error {
	hits := []found{}
	var problems []error
	none := absent(s, client, prefix)
	for _, l := range lookups {
		if none[l.context] {
			continue
		}
		more, err := l.find(s, client, prefix)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		hits = append(hits, more...)
	}
	if len(problems) == len(lookups) {
		return failed("looking up "+prefix, problems[0])
	}
	for _, p := range problems {
		text, _ := s.explain(p)
		s.warn("%s", text)
	}
	if i := slices.IndexFunc(hits, func(h found) bool { return h.Name == prefix }); i >= 0 {
		exact := slices.DeleteFunc(slices.Clone(hits), func(h found) bool { return h.Name != prefix })
		if len(exact) == 1 {
			hits = exact
		}
	}
	if len(hits) == 0 && len(problems) > 0 {
		return errors.New("nothing found that starts with " + strconv.Quote(prefix) + ", but not everything could be searched")
	}
	if len(hits) == 0 {
		return hinted(errors.New("nothing starts with "+strconv.Quote(prefix)), "`cairn namespace list`, `cairn var list`, `cairn node status` and `cairn server members` show what there is")
	}
	return s.show(hits, func() { printFound(s, hits) })
}

func printFound(s *session, hits []found) {
	if len(hits) == 1 {
		s.title(hits[0].Kind + " " + clean(hits[0].Name))
		hits[0].show()
		return
	}
	t := newTable("Kind", "Namespace", "Name")
	for _, h := range hits {
		t.add(h.Kind, orNone(h.Namespace), h.Name)
	}
	s.print(t, "")
}

func findNamespaces(s *session, client *api.Client, prefix string) ([]found, error) {
	q := s.query()
	q.Prefix = prefix
	list, err := sortedNamespaces(client, q)
	if err != nil {
		return nil, failed("listing namespaces", err)
	}
	var out []found
	for _, n := range list {
		out = append(out, found{Kind: "namespace", Name: n.Name, Object: n, show: func() { s.printNamespace(n) }})
	}
	return out, nil
}

func findVariables(s *session, client *api.Client, prefix string) ([]found, error) {
	q := s.query()
	q.Prefix = prefix
	if s.conn.namespace == "" {
		q.Namespace = "*"
	}
	list, _, err := client.Variables().List(q)
	if err != nil {
		return nil, failed("listing variables", err)
	}
	var out []found
	for _, v := range list {
		out = append(out, found{Kind: "variable", Namespace: v.Namespace, Name: v.Path, Object: v, show: func() {
			s.pairs([2]string{"Namespace", v.Namespace}, [2]string{"Create Time", nanoTime(v.CreateTime)},
				[2]string{"Modify Time", nanoTime(v.ModifyTime)}, [2]string{"Check Index", strconv.FormatUint(v.ModifyIndex, 10)})
		}})
	}
	return out, nil
}

func findNodes(s *session, client *api.Client, prefix string) ([]found, error) {
	q := s.query()
	q.Prefix = strings.ToLower(prefix)
	list, _, err := client.Nodes().List(q)
	if err != nil {
		return nil, failed("listing nodes", err)
	}
	var out []found
	for _, n := range list {
		out = append(out, found{Kind: "node", Name: n.ID, Object: n, show: func() {
			s.pairs([2]string{"Name", n.Name}, [2]string{"Node Pool", n.NodePool}, [2]string{"Datacenter", n.Datacenter}, [2]string{"Class", orNone(n.NodeClass)},
				[2]string{"Drain", strconv.FormatBool(n.Drain)}, [2]string{"Eligibility", n.SchedulingEligibility}, [2]string{"Status", n.Status})
		}})
	}
	return out, nil
}

func findNodePools(s *session, client *api.Client, prefix string) ([]found, error) {
	list, _, err := client.NodePools().PrefixList(prefix, s.query())
	if err != nil {
		return nil, failed("listing node pools", err)
	}
	var out []found
	for _, p := range list {
		out = append(out, found{Kind: "node pool", Name: p.Name, Object: p, show: func() { s.printNodePool(p) }})
	}
	return out, nil
}

func findServers(s *session, client *api.Client, prefix string) ([]found, error) {
	members, err := s.members(client)
	if err != nil {
		return nil, err
	}
	var out []found
	for _, m := range members {
		if !strings.HasPrefix(m.Name, prefix) {
			continue
		}
		out = append(out, found{Kind: "server", Name: m.Name, Object: m, show: func() {
			s.pairs([2]string{"Address", m.Addr}, [2]string{"Port", strconv.Itoa(int(m.Port))}, [2]string{"Status", m.Status})
			s.pairs(sortedPairs(m.Tags)...)
		}})
	}
	return out, nil
}
