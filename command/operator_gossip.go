package command

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/nomad/api"
)

// gossipKeyBytes is the length of a new gossip key, that of AES-256.
const gossipKeyBytes = 32

// gossipGenerate prints a new gossip key.
type gossipGenerate struct{}

func (*gossipGenerate) about() about {
	return about{
		synopsis: "print a random gossip key",
		usage:    "[options]",
		text:     "Prints a new key for `encrypt` in the server block, or to install while the servers run. It asks no server.",
		examples: [][2]string{{"Make a key", "cairn operator gossip keyring generate"}},
	}
}

func (*gossipGenerate) flags(*flags) {}

func (*gossipGenerate) run(s *session, _ []string) error {
	key := make([]byte, gossipKeyBytes)
	if _, err := rand.Read(key); err != nil {
		return failed("making a key", err)
	}
	s.say("%s", base64.StdEncoding.EncodeToString(key))
	return nil
}

// gossipList shows the gossip keys of all members.
type gossipList struct{}

func (*gossipList) about() about {
	return about{
		synopsis: "show gossip keys in use",
		usage:    "[options]",
		text:     "Asks every member of the gossip pool, those of other regions included, for its keys and shows how many have each, and how many encrypt with it. The keys themselves are shown, so mind where the output goes.",
		examples: [][2]string{{"Show the keys", "cairn operator gossip keyring list"}},
		groups:   withAgent | withData,
	}
}

func (*gossipList) flags(*flags) {}

// gossipKeys is the answer of the agent.
type gossipKeys struct {
	Messages    map[string]string
	Keys        map[string]int
	PrimaryKeys map[string]int
	NumNodes    int
}

func (*gossipList) run(s *session, _ []string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	var keys gossipKeys
	if _, err := client.Raw().Query("/v1/agent/keyring/list", &keys, s.query()); err != nil {
		return failed("listing the gossip keys", err)
	}
	s.warnMembers(keys.Messages)
	return s.show(keys, func() {
		t := newTable("Key", "Members", "Primary Of")
		for _, key := range slices.Sorted(maps.Keys(keys.Keys)) {
			t.add(key, ofMembers(keys.Keys[key], keys.NumNodes), ofMembers(keys.PrimaryKeys[key], keys.NumNodes))
		}
		s.print(t, "no gossip keys")
	})
}

func ofMembers(n, all int) string { return fmt.Sprintf("%d/%d", n, all) }

// warnMembers shows what single members had to say.
func (s *session) warnMembers(messages map[string]string) {
	for _, kv := range sortedPairs(messages) {
		s.warn("%s: %s", clean(kv[0]), clean(kv[1]))
	}
}

// gossipChange does something with one key on all members.
type gossipChange struct {
	// done is what is said when it worked, doing what was tried when not.
	done, doing string
	text        about
	change      func(*api.Agent, string) (*api.KeyringResponse, error)
}

func (c *gossipChange) about() about { return c.text }

func (*gossipChange) flags(*flags) {}

func (c *gossipChange) run(s *session, args []string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	reply, err := c.change(client.Agent(), args[0])
	if err != nil {
		return failed(c.doing, err)
	}
	s.warnMembers(reply.Messages)
	s.say("%s on %d members", c.done, reply.NumNodes)
	return nil
}

func newGossipInstall() action {
	return &gossipChange{
		done: "installed the gossip key", doing: "installing the gossip key", change: (*api.Agent).InstallKey,
		text: about{
			synopsis: "add a gossip key",
			usage:    "[options] <key>",
			text:     "Gives every member of the gossip pool one more key. They understand it from then on and encrypt with it after `use`. To change the key: generate, install, use, remove the old one. Each step must have worked on all members before the next.",
			examples: [][2]string{{"Install a key", "cairn operator gossip keyring install 5Jkqh3sCcKhfYc5cXqkqrA=="}},
			min:      1, max: 1,
			groups: withAgent,
		},
	}
}

func newGossipUse() action {
	return &gossipChange{
		done: "switched to the gossip key", doing: "switching to the gossip key", change: (*api.Agent).UseKey,
		text: about{
			synopsis: "switch primary gossip key",
			usage:    "[options] <key>",
			text:     "Makes every member of the gossip pool encrypt with a key that was installed before.",
			examples: [][2]string{{"Switch to a key", "cairn operator gossip keyring use 5Jkqh3sCcKhfYc5cXqkqrA=="}},
			min:      1, max: 1,
			groups: withAgent,
		},
	}
}

func newGossipRemove() action {
	return &gossipChange{
		done: "removed the gossip key", doing: "removing the gossip key", change: (*api.Agent).RemoveKey,
		text: about{
			synopsis: "drop a gossip key",
			usage:    "[options] <key>",
			text:     "Takes a key from every member of the gossip pool. The one that encrypts cannot be removed. A server that is down keeps its keys: if it has none of those that are left, give it the file serf.keyring of another server before it starts.",
			examples: [][2]string{{"Drop the old key", "cairn operator gossip keyring remove 5Jkqh3sCcKhfYc5cXqkqrA=="}},
			min:      1, max: 1,
			groups: withAgent,
		},
	}
}
