package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// nodeOperation is an operation of a node as the API shows it.
type nodeOperation struct {
	ID, Kind string
	Cause    struct {
		User, Message string
		Caller        string `json:",omitempty"`
	}
	Status         string
	Created, Ended time.Time
	Result, Error  string `json:",omitempty"`
}

// nodeOpStatus shows an operation of a node.
type nodeOpStatus struct{ callOptions }

func (*nodeOpStatus) about() about {
	return about{
		synopsis: "show an operation of a node",
		usage:    "[options] <node ID> <operation ID>",
		text:     "Shows how far a change of a node is that was asked for with Node.Apply, or how it ended. The agent of the node remembers the last hundred.",
		exits:    callExits,
		examples: [][2]string{
			{"Ask for a change", `cairn node call -d '{"Kind":"eligibility","Eligible":false,"Cause":{"User":"ann","Message":"new disk"}}' 1f3a Node.Apply`},
			{"See how it went", "cairn node op status 1f3a 0b9c8a3e-6b2f-4d7e-9b5a-3a0f1c2d4e5f"},
		},
		min: 2, max: 2,
		groups: withAgent | withData,
		args:   nodeIDs,
	}
}

func (c *nodeOpStatus) flags(f *flags) { c.times(f) }

func (c *nodeOpStatus) run(s *session, args []string) error {
	id, err := s.findNode(args[0])
	if err != nil {
		return err
	}
	reply, err := c.call(s, id, "Op.Status", map[string]string{"OperationID": args[1]})
	if f := new(callFailure); errors.As(err, &f) {
		return &failure{code: f.exitCode(), err: fmt.Errorf("asking node %s for the operation: %w", id, f)}
	}
	if err != nil {
		return failed("asking node "+id+" for the operation", err)
	}
	var op nodeOperation
	if err := json.Unmarshal(reply, &op); err != nil {
		return fmt.Errorf("the answer of node %s cannot be read: %w", id, err)
	}
	return s.show(op, func() {
		ended := "-"
		if !op.Ended.IsZero() {
			ended = op.Ended.Format(time.RFC3339)
		}
		s.pairs([2]string{"ID", op.ID}, [2]string{"Kind", op.Kind}, [2]string{"Status", op.Status}, [2]string{"Result", orNone(op.Result)},
			[2]string{"Error", orNone(op.Error)}, [2]string{"User", orNone(op.Cause.User)}, [2]string{"Message", orNone(op.Cause.Message)},
			[2]string{"Created", op.Created.Format(time.RFC3339)}, [2]string{"Ended", ended})
	})
}

// nodeConfig shows or replaces the servers that a node agent knows.
type nodeConfig struct {
	show   bool
	update string
}

func (*nodeConfig) about() about {
	return about{
		synopsis: "view or set client's servers",
		usage:    "-servers | -update-servers=<address>[,<address>...]",
		text:     "Shows or replaces the servers that the node agent of the agent that is asked knows. Those that do not answer are left out; the servers tell of the others.",
		examples: [][2]string{
			{"Show them", "cairn node config -servers"},
			{"Set them", "cairn node config -update-servers 10.0.0.11,10.0.0.12:4647"},
		},
		groups: withAgent | withData,
	}
}

func (c *nodeConfig) flags(f *flags) {
	f.boolean(&c.show, "servers", "Show the servers.")
	f.text(&c.update, "update-servers", "addresses", "Servers to use from now on, separated by commas.")
}

func (c *nodeConfig) run(s *session, _ []string) error {
	if c.show == (c.update != "") {
		return usagef("give one of -servers and -update-servers")
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	if c.update != "" {
		q := url.Values{}
		for addr := range strings.SplitSeq(c.update, ",") {
			q.Add("address", strings.TrimSpace(addr))
		}
		if _, err := client.Raw().Write("/v1/agent/servers?"+q.Encode(), nil, nil, s.write()); err != nil {
			return failed("setting the servers", err)
		}
		s.note("the servers are set")
		return nil
	}
	var servers []string
	if _, err := client.Raw().Query("/v1/agent/servers", &servers, s.query()); err != nil {
		return failed("listing the servers", err)
	}
	return s.show(servers, func() {
		for _, addr := range servers {
			s.say("%s", clean(addr))
		}
	})
}
