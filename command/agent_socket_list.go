package command

import (
	"strconv"
	"time"

	"github.com/cairn-project/cairn/drpc/agentpb"
)

// agentSocketList shows who is connected to the agent's sockets.
type agentSocketList struct{ socketOptions }

func (*agentSocketList) about() about {
	return about{
		synopsis: "show who is connected to the agent's sockets",
		usage:    "[options]",
		text:     "Lists the sessions on the agent's sockets: the process at the other end as the kernel knows it, how long it has been connected, its calls in flight and what the agent holds for it. Only root and the agent's user may ask.",
		examples: [][2]string{
			{"List the sessions", "cairn agent socket list"},
			{"Of an agent without an HTTP address", "cairn agent socket list -socket /run/cairn/admin.sock"},
		},
		exits:  socketExits,
		groups: withAgent | withData,
	}
}

func (c *agentSocketList) flags(f *flags) { c.declare(f) }

func (c *agentSocketList) run(s *session, _ []string) error {
	a, err := c.open(s)
	if err != nil {
		return err
	}
	defer a.close()
	out := &agentpb.Sessions{}
	if _, err := a.do(agentModule, methodSessions, &agentpb.SessionsRequest{}, out); err != nil {
		return err
	}
	data, err := plain(out)
	if err != nil {
		return err
	}
	return s.show(data, func() {
		t := newTable("Socket", "Session", "UID", "GID", "PID", "Age", "Calls", "Name", "Locks")
		for _, i := range out.Sessions {
			t.add(i.Socket, strconv.FormatUint(i.Id, 10), number(i.Uid), number(i.Gid), number(i.Pid),
				(time.Duration(i.AgeMs) * time.Millisecond).Round(time.Second).String(), number(i.Calls), orNone(i.Name), number(i.Locks))
		}
		s.print(t, "nobody is connected")
	})
}

func number[N int32 | uint32](n N) string { return strconv.FormatInt(int64(n), 10) }
