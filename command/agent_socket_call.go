package command

import (
	"encoding/json"
	"io"
	"os"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/dynamicpb"
)

// agentSocketCall calls one method on the agent's socket.
type agentSocketCall struct {
	socketOptions
	data string
}

func (*agentSocketCall) about() about {
	return about{
		synopsis: "call a method on the agent's socket",
		usage:    "[options] <module> <method>",
		text: "Calls one method and prints its answer as JSON. The agent says itself what the payloads look like, so this works for agents of other versions too. " +
			"What the agent holds for a caller, such as a lock, ends with the command." +
			"\n\nModules and methods are given by number, or by name with dashes for spaces.",
		examples: [][2]string{
			{"Ask who one is to the agent", "cairn agent socket call identity who-am-i"},
			{"Take a signed identity", `cairn agent socket call -t '{{.jwt}}' identity request-credentials -d '{"audience": ["db"]}'`},
			{"Change the log level", `cairn agent socket call 2 205 -d '{"level": "debug"}'`},
		},
		exits: socketExits,
		min:   2, max: 2,
		groups: withAgent | withData,
		args:   socketWords,
	}
}

func (c *agentSocketCall) flags(f *flags) {
	c.declare(f)
	f.text(&c.data, "d", "json", "Request as a JSON object: the text itself, @file for a file, - for standard input. Empty by default.")
}

func (c *agentSocketCall) run(s *session, args []string) error {
	text, err := c.request(s)
	if err != nil {
		return err
	}
	a, err := c.open(s)
	if err != nil {
		return err
	}
	defer a.close()
	d, err := a.describe()
	if err != nil {
		return err
	}
	m, err := findMethod(d, args[0], args[1])
	if err != nil {
		return err
	}
	in, out := dynamicpb.NewMessage(m.request), dynamicpb.NewMessage(m.reply)
	if err := protojson.Unmarshal(text, in); err != nil {
		return hinted(failed("-d", err), "see the fields with `"+program+" agent socket describe "+args[0]+" "+args[1]+"`")
	}
	resp, err := a.do(m.module.Id, m.info.Id, in, out)
	if err != nil {
		return err
	}
	if resp.Operation != "" {
		return s.show(map[string]any{"operation": resp.Operation}, func() { s.say("operation %s goes on", clean(resp.Operation)) })
	}
	data, err := plain(out)
	if err != nil {
		return err
	}
	return s.show(data, func() { _ = s.printJSON(data) })
}

// request returns the text of -d.
func (c *agentSocketCall) request(s *session) ([]byte, error) {
	switch {
	case c.data == "":
		return []byte("{}"), nil
	case c.data == "-":
		text, err := io.ReadAll(s.stdin)
		if err != nil {
			return nil, failed("reading the request", err)
		}
		return text, nil
	case strings.HasPrefix(c.data, "@"):
		text, err := os.ReadFile(c.data[1:])
		if err != nil {
			return nil, failed("reading the request", err)
		}
		return text, nil
	}
	return json.RawMessage(c.data), nil
}
