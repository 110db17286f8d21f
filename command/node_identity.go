package command

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/nomad/api"
)

// nodeIdentityGet shows the claims of a node's identity.
type nodeIdentityGet struct{}

func (*nodeIdentityGet) about() about {
	return about{
		synopsis: "show a node's identity claims",
		usage:    "[options] [<ID>]",
		text:     "Asks the agent of a node for the claims of the identity that the servers signed for it, by default the node of the agent that is asked. The identity itself stays with the agent.",
		examples: [][2]string{{"Show that of one node", "cairn node identity get 1f3a"}},
		max:      1,
		groups:   withAgent | withData,
		args:     nodeIDs,
	}
}

func (*nodeIdentityGet) flags(*flags) {}

func (*nodeIdentityGet) run(s *session, args []string) error {
	id, client, err := s.nodeOf(args)
	if err != nil {
		return err
	}
	out, err := client.Nodes().Identity().Get(&api.NodeIdentityGetRequest{NodeID: id}, s.query())
	if err != nil {
		return failed("asking node "+id+" for its identity", err)
	}
	return s.show(out, func() {
		t := newTable("Claim", "Value")
		for _, key := range slices.Sorted(maps.Keys(out.Claims)) {
			t.add(key, claim(key, out.Claims[key]))
		}
		s.print(t, "the node has no identity yet")
	})
}

// claim shows the value of a claim; times are numbers there.
func claim(key string, value any) string {
	seconds, isTime := value.(float64)
	switch key {
	case "exp", "iat", "nbf":
	default:
		isTime = false
	}
	switch v := value.(type) {
	case string:
		return v
	case float64:
		if isTime {
			return fmt.Sprintf("%.0f (%s)", seconds, time.Unix(int64(seconds), 0).UTC().Format(time.RFC3339))
		}
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	b, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(b)
}

// nodeOf returns the node that the only argument means, that of the agent for none.
func (s *session) nodeOf(args []string) (string, *api.Client, error) {
	prefix := ""
	if len(args) > 0 {
		prefix = args[0]
	}
	id, err := s.oneNode(prefix)
	if err != nil {
		return "", nil, err
	}
	client, err := s.client()
	return id, client, err
}

// nodeIdentityRenew has a node get a new identity.
type nodeIdentityRenew struct{}

func (*nodeIdentityRenew) about() about {
	return about{
		synopsis: "force a new node identity",
		usage:    "[options] [<ID>]",
		text:     "Has the agent of a node ask the servers for a new signed identity, by default the node of the agent that is asked.",
		examples: [][2]string{{"Renew that of one node", "cairn node identity renew 1f3a"}},
		max:      1,
		groups:   withAgent,
		args:     nodeIDs,
	}
}

func (*nodeIdentityRenew) flags(*flags) {}

func (*nodeIdentityRenew) run(s *session, args []string) error {
	id, client, err := s.nodeOf(args)
	if err != nil {
		return err
	}
	if _, err := client.Nodes().Identity().Renew(&api.NodeIdentityRenewRequest{NodeID: id}, s.query()); err != nil {
		return failed("renewing the identity of node "+id, err)
	}
	s.say("node %s has a new identity", id)
	return nil
}
