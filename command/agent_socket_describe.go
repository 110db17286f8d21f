package command

import (
	"strings"

	"github.com/cairn-project/cairn/drpc/agentpb"
)

// agentSocketDescribe shows what the agent's socket offers.
type agentSocketDescribe struct{ socketOptions }

func (*agentSocketDescribe) about() about {
	return about{
		synopsis: "show what the agent's socket offers",
		usage:    "[options] [module [method]]",
		text:     "Lists modules and methods, and who may call them. With a method it shows the fields of its request and of its answer. Modules and methods are given by number, or by name with dashes for spaces.",
		examples: [][2]string{
			{"List everything", "cairn agent socket describe"},
			{"Show the fields of one method", "cairn agent socket describe identity request-credentials"},
		},
		exits:  socketExits,
		max:    2,
		groups: withAgent | withData,
		args:   socketWords,
	}
}

func (c *agentSocketDescribe) flags(f *flags) { c.declare(f) }

func (c *agentSocketDescribe) run(s *session, args []string) error {
	a, err := c.open(s)
	if err != nil {
		return err
	}
	defer a.close()
	d, err := a.describe()
	if err != nil {
		return err
	}
	if len(args) == 2 {
		return c.showMethod(s, d, args)
	}
	if len(args) == 1 {
		m, err := findModule(d, args[0])
		if err != nil {
			return err
		}
		d.Modules = []*agentpb.ModuleInfo{m}
	}
	d.Schema = nil // for programs that call the method themselves
	data, err := plain(d)
	if err != nil {
		return err
	}
	return s.show(data, func() {
		t := newTable("Module", "Method", "Name", "Peers", "Allowed", "Summary")
		for _, m := range d.Modules {
			for _, method := range m.Methods {
				peers := m.Peers
				if method.Privileged {
					peers = "privileged"
				}
				t.add(number(m.Id)+" "+m.Name, number(method.Id), word(method.Name), peers, yesNo(method.Allowed), method.Summary)
			}
		}
		s.print(t, "the socket offers nothing")
	})
}

// showMethod shows one method with its fields.
func (c *agentSocketDescribe) showMethod(s *session, d *agentpb.Description, args []string) error {
	m, err := findMethod(d, args[0], args[1])
	if err != nil {
		return err
	}
	data := map[string]any{"module": m.module.Id, "method": m.info.Id, "name": m.info.Name, "summary": m.info.Summary,
		"request": fieldsOf(m.request), "reply": fieldsOf(m.reply)}
	return s.show(data, func() {
		s.title(m.module.Name + ": " + m.info.Name)
		s.say("%s", clean(m.info.Summary))
		s.say("")
		s.title("Request")
		s.say("%s", orNone(strings.Join(fieldsOf(m.request), "\n")))
		s.say("")
		s.title("Answer")
		s.say("%s", orNone(strings.Join(fieldsOf(m.reply), "\n")))
	})
}
