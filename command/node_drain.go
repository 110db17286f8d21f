package command

import (
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"
)

// defaultDrainDeadline is how long work may take to move unless more is said.
const defaultDrainDeadline = time.Hour

// nodeDrain begins or ends the drain of a node.
type nodeDrain struct {
	f                                  *flags
	enable, disable, force, noDeadline bool
	ignoreSystem, keepIneligible, yes  bool
	deadline                           time.Duration
	message                            string
	meta                               []string
}

func (*nodeDrain) about() about {
	return about{
		synopsis: "move work off a node",
		usage:    "-enable | -disable [options] <ID>",
		text:     "With -enable, no more work is placed on the node and what it has moves elsewhere. With -disable, a drain ends and the node takes work again.",
		examples: [][2]string{
			{"Empty a node within ten minutes", "cairn node drain -enable -deadline 10m 1f3a"},
			{"Let it take work again", "cairn node drain -disable 1f3a"},
		},
		min: 1, max: 1,
		groups: withAgent,
		args:   nodeIDs,
	}
}

func (c *nodeDrain) flags(f *flags) {
	c.f, c.deadline = f, defaultDrainDeadline
	f.boolean(&c.enable, "enable", "Begin the drain, or change it.")
	f.boolean(&c.disable, "disable", "End the drain.")
	f.duration(&c.deadline, "deadline", "How long work may take to move before it is stopped, 1h by default.")
	f.boolean(&c.force, "force", "Stop the work at once.")
	f.boolean(&c.noDeadline, "no-deadline", "Wait for the work for as long as it takes.")
	f.boolean(&c.ignoreSystem, "ignore-system", "Leave the work that runs on every node.")
	f.boolean(&c.keepIneligible, "keep-ineligible", "Place no work on the node when the drain ends.")
	f.text(&c.message, "m", "text", "Why, kept with the drain.")
	f.list(&c.meta, "meta", "key=value", "More that is kept with the drain; may be repeated.")
	f.boolean(&c.yes, "yes", "Accepted and without effect: nothing is asked.")
}

func (c *nodeDrain) run(s *session, args []string) error {
	if c.enable == c.disable {
		return usagef("give one of -enable and -disable")
	}
	opts, err := c.options()
	if err != nil {
		return err
	}
	id, err := s.findNode(args[0])
	if err != nil {
		return err
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	if _, err := client.Nodes().UpdateDrainOpts(id, opts, s.write()); err != nil {
		return failed("updating the drain of node "+id, err)
	}
	if c.disable {
		s.say("ended the drain of node %s", id)
		return nil
	}
	n, _, err := client.Nodes().Info(id, s.query())
	if err != nil {
		return failed("reading node "+id, err)
	}
	if !n.Drain {
		s.say("drained node %s", id)
		return nil
	}
	s.say("began the drain of node %s", id)
	return nil
}

func (c *nodeDrain) options() (*api.DrainOptions, error) {
	opts := &api.DrainOptions{Meta: map[string]string{}}
	if c.message != "" {
		opts.Meta["message"] = c.message
	}
	for _, m := range c.meta {
		key, value, ok := strings.Cut(m, "=")
		if !ok || key == "" {
			return nil, usagef("-meta: %q is not of the form key=value", m)
		}
		opts.Meta[key] = value
	}
	if c.disable {
		opts.MarkEligible = !c.keepIneligible
		return opts, nil
	}
	spec := &api.DrainSpec{Deadline: c.deadline, IgnoreSystemJobs: c.ignoreSystem}
	switch {
	case c.force && c.noDeadline, (c.force || c.noDeadline) && c.f.given("deadline"):
		return nil, usagef("-force, -no-deadline and -deadline exclude each other")
	case c.force:
		spec.Deadline = -1 * time.Second
	case c.noDeadline:
		spec.Deadline = 0
	case c.deadline <= 0:
		return nil, usagef("-deadline must be positive; use -force or -no-deadline")
	}
	opts.DrainSpec = spec
	return opts, nil
}

// nodeIntroCreate makes an introduction token.
type nodeIntroCreate struct {
	ttl        time.Duration
	name, pool string
}

func (*nodeIntroCreate) about() about {
	return about{
		synopsis: "issue client introduction token",
		usage:    "[options]",
		text:     "Makes a token with which a new node may register. Servers want one where client_introduction.enforcement is \"strict\".",
		examples: [][2]string{
			{"For a node of the pool gpu", "cairn node intro create -node-pool gpu"},
			{"Only the token", "cairn node intro create -t '{{.JWT}}'"},
		},
		groups: withAgent | withData,
	}
}

func (c *nodeIntroCreate) flags(f *flags) {
	f.duration(&c.ttl, "ttl", "How long the token is valid; the servers decide if not given.")
	f.text(&c.name, "node-name", "name", "The only name that the node may have.")
	f.text(&c.pool, "node-pool", "name", "Where the node must register, \"default\" by default.", nodePoolNames)
}

func (c *nodeIntroCreate) run(s *session, _ []string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	req := &api.ACLIdentityClientIntroductionTokenRequest{TTL: c.ttl, NodeName: c.name, NodePool: c.pool}
	out, _, err := client.ACLIdentity().CreateClientIntroductionToken(req, s.write())
	if err != nil {
		return failed("making an introduction token", err)
	}
	return s.show(out, func() { s.say("%s", clean(out.JWT)) })
}
