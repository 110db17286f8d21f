package command

import (
	"net/url"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/cairn-project/cairn/nomad/structs"
)

// nodeEligibility says whether work may be placed on a node.
type nodeEligibility struct {
	enable, disable bool
	reason, until   string
}

func (*nodeEligibility) about() about {
	return about{
		synopsis: "allow or block new placements",
		usage:    "-enable | -disable [options] <ID>",
		text:     "Says whether work may be placed on the node. What it has already stays.",
		examples: [][2]string{
			{"Place nothing more on a node", "cairn node eligibility -disable 1f3a"},
			{"For the next two hours", "cairn node eligibility -disable -m 'new disk' -until 2h 1f3a"},
		},
		min: 1, max: 1,
		groups: withAgent,
		args:   nodeIDs,
	}
}

func (c *nodeEligibility) flags(f *flags) {
	f.boolean(&c.enable, "enable", "Let work be placed on the node.")
	f.boolean(&c.disable, "disable", "Let no more work be placed on the node.")
	f.text(&c.reason, "m", "text", "Why, kept while the node is ineligible.")
	f.text(&c.until, "until", "time", "With -disable, when the node becomes eligible by itself: a time such as 2030-01-02T15:04:05Z, or a duration from now such as 2h.")
}

// nodeEligibilityBody is the body of the write: what the SDK sends, and more.
type nodeEligibilityBody struct {
	NodeID, Eligibility string
	Reason              string    `json:",omitempty"`
	Until               time.Time `json:",omitzero"`
}

func (c *nodeEligibility) run(s *session, args []string) error {
	switch {
	case c.enable == c.disable:
		return usagef("give one of -enable and -disable")
	case c.enable && c.until != "":
		return usagef("-until goes with -disable")
	}
	body := nodeEligibilityBody{Eligibility: structs.NodeSchedulingEligible, Reason: c.reason}
	if c.disable {
		body.Eligibility = structs.NodeSchedulingIneligible
	}
	if c.until != "" {
		until, err := structs.ParseUntil(c.until, time.Now())
		if err != nil {
			return usagef("-until: %v", err)
		}
		body.Until = until
	}
	id, err := s.findNode(args[0])
	if err != nil {
		return err
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	body.NodeID = id
	if _, err := client.Raw().Write("/v1/node/"+url.PathEscape(id)+"/eligibility", body, nil, s.write()); err != nil {
		return failed("changing the eligibility of node "+id, err)
	}
	if body.Until.IsZero() {
		s.say("node %s is %s for scheduling", id, body.Eligibility)
	} else {
		s.say("node %s is %s for scheduling until %s", id, body.Eligibility, body.Until.UTC().Format(time.RFC3339))
	}
	return nil
}

// nodeDetail is a node as the HTTP API shows it: what the SDK knows of it, and why it
// is ineligible.
type nodeDetail struct {
	api.Node
	Ineligibility *structs.NodeIneligibility `json:",omitempty"`
}

// eligibility says whether work may be placed on the node, and if not until when.
func (n *nodeDetail) eligibility() string {
	if !n.Ineligibility.Ends() {
		return n.SchedulingEligibility
	}
	return n.SchedulingEligibility + " until " + n.Ineligibility.Until.UTC().Format(time.RFC3339)
}
