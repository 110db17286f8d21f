package command

import (
	"net/http"
	"strings"

	"github.com/hashicorp/nomad/api"
)

// namespaceList lists namespaces.
type namespaceList struct{ filter string }

func (*namespaceList) about() about {
	return about{
		synopsis: "show all namespaces",
		usage:    "[options] [prefix]",
		text:     "Lists the namespaces that the token may see.",
		examples: [][2]string{
			{"Show them", "cairn namespace list"},
			{"Only the names", "cairn namespace list -t '{{range .}}{{.Name}}{{\"\\n\"}}{{end}}'"},
		},
		max:    1,
		groups: withAgent | withData,
		args:   namespaceNames,
	}
}

func (c *namespaceList) flags(f *flags) {
	f.text(&c.filter, "filter", "expression", "Print only what the expression holds for.")
}

func (c *namespaceList) run(s *session, args []string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	q := s.query()
	q.Filter = c.filter
	if len(args) > 0 {
		q.Prefix = args[0]
	}
	list, err := sortedNamespaces(client, q)
	if err != nil {
		return failed("listing namespaces", err)
	}
	return s.show(list, func() {
		t := newTable("Name", "Description")
		for _, n := range list {
			t.add(n.Name, orNone(n.Description))
		}
		s.print(t, "no namespaces found")
	})
}

// namespaceStatus shows one namespace to people.
type namespaceStatus struct{}

func (*namespaceStatus) about() about {
	return about{
		synopsis: "show namespace detail and quota",
		usage:    "[options] <name>",
		text:     "Shows the settings of a namespace.",
		examples: [][2]string{{"Show one", "cairn namespace status web"}},
		min:      1, max: 1,
		groups: withAgent | withData,
		args:   namespaceNames,
	}
}

func (*namespaceStatus) flags(*flags) {}

func (*namespaceStatus) run(s *session, args []string) error {
	n, err := s.namespace(args[0])
	if err != nil {
		return err
	}
	return s.show(n, func() { s.printNamespace(n) })
}

// namespaceInspect prints one namespace as JSON.
type namespaceInspect struct{}

func (*namespaceInspect) about() about {
	return about{
		synopsis: "dump a namespace as JSON",
		usage:    "[options] <name>",
		text:     "Prints everything the API says of a namespace, as JSON.",
		examples: [][2]string{
			{"Dump one", "cairn namespace inspect web"},
			{"Copy one", "cairn namespace inspect web | sed s/web/web2/ | cairn namespace apply -"},
		},
		min: 1, max: 1,
		groups: withAgent | withData,
		args:   namespaceNames,
	}
}

func (*namespaceInspect) flags(*flags) {}

func (*namespaceInspect) run(s *session, args []string) error {
	n, err := s.namespace(args[0])
	if err != nil {
		return err
	}
	s.json = s.template == ""
	return s.show(n, nil)
}

// namespaceDelete deletes one namespace.
type namespaceDelete struct{}

func (*namespaceDelete) about() about {
	return about{
		synopsis: "remove an empty namespace",
		usage:    "[options] <name>",
		text:     "Deletes a namespace. One that still holds variables or other objects is kept, and \"default\" always is.",
		examples: [][2]string{{"Delete one", "cairn namespace delete web"}},
		min:      1, max: 1,
		groups: withAgent,
		args:   namespaceNames,
	}
}

func (*namespaceDelete) flags(*flags) {}

func (*namespaceDelete) run(s *session, args []string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	if _, err := client.Namespaces().Delete(escape(args[0]), s.write()); err != nil {
		return failed("deleting namespace "+args[0], err)
	}
	s.say("deleted namespace %s", clean(args[0]))
	return nil
}

// namespace reads one namespace by its name.
func (s *session) namespace(name string) (*api.Namespace, error) {
	client, err := s.client()
	if err != nil {
		return nil, err
	}
	n, _, err := client.Namespaces().Info(escape(name), s.query())
	switch {
	case isStatus(err, http.StatusNotFound):
		return nil, hinted(failed("namespace "+name, err), "`cairn namespace list` shows what there is")
	case err != nil:
		return nil, failed("reading namespace "+name, err)
	}
	return n, nil
}

func (s *session) printNamespace(n *api.Namespace) {
	kv := [][2]string{{"Name", n.Name}, {"Description", orNone(n.Description)}}
	if n.Quota != "" {
		kv = append(kv, [2]string{"Quota", n.Quota})
	}
	if c := n.Capabilities; c != nil {
		kv = appendList(kv, "Enabled Drivers", c.EnabledTaskDrivers)
		kv = appendList(kv, "Disabled Drivers", c.DisabledTaskDrivers)
		kv = appendList(kv, "Enabled Network Modes", c.EnabledNetworkModes)
		kv = appendList(kv, "Disabled Network Modes", c.DisabledNetworkModes)
	}
	if p := n.NodePoolConfiguration; p != nil {
		kv = appendList(kv, "Default Node Pool", []string{p.Default})
		kv = appendList(kv, "Allowed Node Pools", p.Allowed)
		kv = appendList(kv, "Denied Node Pools", p.Denied)
	}
	s.pairs(kv...)
	if len(n.Meta) > 0 {
		s.say("")
		s.title("Metadata")
		s.pairs(sortedPairs(n.Meta)...)
	}
}

// appendList adds a list to pairs unless it is empty.
func appendList(kv [][2]string, name string, values []string) [][2]string {
	if text := strings.Join(values, ", "); text != "" {
		kv = append(kv, [2]string{name, text})
	}
	return kv
}
