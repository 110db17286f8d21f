package command

import (
	"net/http"

	"github.com/hashicorp/nomad/api"
)

// raftListPeers shows the Raft configuration.
type raftListPeers struct{ stale bool }

func (*raftListPeers) about() about {
	return about{
		synopsis: "show Raft members",
		usage:    "[options]",
		text:     "Shows the servers that take part in Raft, and which one leads. Without a leader use -stale, which asks the agent's own copy.",
		examples: [][2]string{
			{"Show the peers", "cairn operator raft list-peers"},
			{"Without a leader", "cairn operator raft list-peers -stale"},
		},
		groups: withAgent | withData,
	}
}

func (c *raftListPeers) flags(f *flags) {
	f.boolean(&c.stale, "stale", "Let any server answer, also without a leader.")
}

func (c *raftListPeers) run(s *session, _ []string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	q := s.query()
	q.AllowStale = c.stale
	conf, err := client.Operator().RaftGetConfiguration(q)
	if err != nil {
		return failed("reading the Raft configuration", err)
	}
	return s.show(conf, func() {
		t := newTable("Node", "ID", "Address", "State", "Voter", "RaftProtocol")
		for _, p := range conf.Servers {
			if p != nil {
				t.add(orNone(p.Node), p.ID, p.Address, raftState(p), yesNo(p.Voter), orNone(p.RaftProtocol))
			}
		}
		s.print(t, "no Raft peers")
	})
}

func raftState(p *api.RaftServer) string {
	if p.Leader {
		return "leader"
	}
	return "follower"
}

// raftRemovePeer takes a server out of Raft.
type raftRemovePeer struct{ id string }

func (*raftRemovePeer) about() about {
	return about{
		synopsis: "kick a server from Raft",
		usage:    "[options] -peer-id=<id>",
		text:     "Takes a server out of the Raft configuration. Servers that left are taken out without help, and dead ones as the settings of autopilot say; this is for one that is stuck. A server that still runs is added again once gossip sees it.",
		examples: [][2]string{{"Remove a dead peer found by list-peers", "cairn operator raft remove-peer -peer-id 7f3a1c1e-0d3b-4f0e-9c55-6a54d2a6f0c1"}},
		groups:   withAgent,
	}
}

func (c *raftRemovePeer) flags(f *flags) {
	f.text(&c.id, "peer-id", "id", "ID of the peer, as list-peers shows it.", peerIDs)
}

func (c *raftRemovePeer) run(s *session, _ []string) error {
	if c.id == "" {
		return usagef("-peer-id is missing: `cairn operator raft list-peers` shows the IDs")
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	if err := client.Operator().RaftRemovePeerByID(c.id, s.write()); err != nil {
		return failed("removing peer "+c.id, err)
	}
	s.say("removed peer %s", clean(c.id))
	return nil
}

// raftTransfer hands leadership to a chosen peer.
type raftTransfer struct{ id, address string }

func (*raftTransfer) about() about {
	return about{
		synopsis: "hand leadership to a peer",
		usage:    "[options] -peer-id=<id> | -peer-address=<host:port>",
		text:     "Makes the leader hand over to another voter. Writes wait for the moment this takes.",
		examples: [][2]string{
			{"By address", "cairn operator raft transfer-leadership -peer-address 10.0.0.12:4647"},
			{"By ID", "cairn operator raft transfer-leadership -peer-id 7f3a1c1e-0d3b-4f0e-9c55-6a54d2a6f0c1"},
		},
		groups: withAgent,
	}
}

func (c *raftTransfer) flags(f *flags) {
	f.text(&c.id, "peer-id", "id", "ID of the new leader.", peerIDs)
	f.text(&c.address, "peer-address", "host:port", "RPC address of the new leader.", peerAddresses)
}

func (c *raftTransfer) run(s *session, _ []string) error {
	if (c.id == "") == (c.address == "") {
		return usagef("give exactly one of -peer-id and -peer-address")
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	target := c.id + c.address
	if c.id != "" {
		err = client.Operator().RaftTransferLeadershipByID(c.id, s.write())
	} else {
		err = client.Operator().RaftTransferLeadershipByAddress(c.address, s.write())
	}
	switch {
	case isStatus(err, http.StatusNotFound):
		return hinted(failed("transferring leadership to "+target, err), "`cairn operator raft list-peers` shows the peers")
	case err != nil:
		return failed("transferring leadership to "+target, err)
	}
	s.say("transferred leadership to %s", clean(target))
	return nil
}
