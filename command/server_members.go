package command

import (
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/nomad/api"
)

// serverMembers lists the servers known by gossip.
type serverMembers struct {
	verbose  bool
	detailed bool
}

func (*serverMembers) about() about {
	return about{
		synopsis: "show servers known by gossip",
		usage:    "[options]",
		text:     "Shows the servers that the agent knows, whether they are alive, and which one leads each region. It works without a leader: what is missing is said as a warning.",
		examples: [][2]string{
			{"Show the servers", "cairn server members"},
			{"Wait for three living servers in a script", "cairn server members -t '{{range .}}{{.Status}} {{end}}'"},
		},
		groups: withAgent | withData,
	}
}

func (c *serverMembers) flags(f *flags) {
	f.boolean(&c.verbose, "verbose", "Add the protocol version, the RPC address and the ID.")
	f.boolean(&c.detailed, "detailed", "Show the tags of each server instead of columns.")
}

func (c *serverMembers) run(s *session, _ []string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	members, err := s.members(client)
	if err != nil {
		return err
	}
	return s.show(members, func() {
		if c.detailed {
			printMemberTags(s, members)
			return
		}
		c.printMembers(s, members, s.leaders(client, members))
	})
}

func compareMembers(a, b *api.AgentMember) int {
	key := func(m *api.AgentMember) []string { return []string{m.Tags["region"], m.Tags["dc"], m.Name} }
	return slices.Compare(key(a), key(b))
}

// members returns the servers that the agent knows, sorted and never nil.
func (s *session) members(client *api.Client) ([]*api.AgentMember, error) {
	known, err := client.Agent().MembersOpts(s.query())
	if err != nil {
		return nil, failed("listing servers", err)
	}
	out := []*api.AgentMember{}
	if known != nil {
		out = append(out, slices.DeleteFunc(known.Members, func(m *api.AgentMember) bool { return m == nil })...)
	}
	slices.SortFunc(out, compareMembers)
	return out, nil
}

// leaders returns the RPC address of the leader of each region; regions
// without one are told about on standard error.
func (s *session) leaders(client *api.Client, members []*api.AgentMember) map[string]string {
	out := map[string]string{}
	for _, m := range members {
		region := m.Tags["region"]
		if _, asked := out[region]; asked {
			continue
		}
		q := s.query()
		q.Region = region
		var addr string
		_, err := client.Raw().Query("/v1/status/leader", &addr, q)
		out[region] = addr
		switch {
		case err != nil:
			text, _ := s.explain(err)
			s.warn("the leader of region %q is unknown: %s", region, text)
		case addr == "":
			s.warn("region %q has no leader at present", region)
		}
	}
	return out
}

// rpcAddress returns where the member serves RPC, host:port.
func rpcAddress(m *api.AgentMember) string {
	if addr := m.Tags["rpc_addr"]; strings.Contains(addr, ":") && m.Tags["port"] == "" {
		return addr
	} else if addr != "" && m.Tags["port"] != "" {
		return net.JoinHostPort(addr, m.Tags["port"])
	}
	return net.JoinHostPort(m.Addr, m.Tags["port"])
}

func (c *serverMembers) printMembers(s *session, members []*api.AgentMember, leaders map[string]string) {
	head := []string{"Name", "Address", "Port", "Status", "Leader", "Raft Version", "Build", "Datacenter", "Region"}
	if c.verbose {
		head = append(head, "Protocol", "RPC Address", "ID")
	}
	t := newTable(head...)
	for _, m := range members {
		leads := leaders[m.Tags["region"]]
		rpc := rpcAddress(m)
		row := []string{
			m.Name, m.Addr, strconv.Itoa(int(m.Port)), m.Status,
			strconv.FormatBool(leads != "" && leads == rpc),
			orNone(m.Tags["raft_vsn"]), orNone(m.Tags["build"]), orNone(m.Tags["dc"]), orNone(m.Tags["region"]),
		}
		if c.verbose {
			row = append(row, strconv.Itoa(int(m.ProtocolCur)), rpc, orNone(m.Tags["id"]))
		}
		t.add(row...)
	}
	s.print(t, "no servers known")
}

func printMemberTags(s *session, members []*api.AgentMember) {
	t := newTable("Name", "Address", "Port", "Tags")
	for _, m := range members {
		var tags []string
		for _, kv := range sortedPairs(m.Tags) {
			tags = append(tags, kv[0]+"="+kv[1])
		}
		t.add(m.Name, m.Addr, strconv.Itoa(int(m.Port)), strings.Join(tags, ","))
	}
	s.print(t, "no servers known")
}
