package structs

import "encoding/base64"

// GossipKeyOp is what is done with a key of the gossip keyring.
type GossipKeyOp string

// The operations. GossipKeyList takes no key.
const (
	GossipKeyList    GossipKeyOp = "list"
	GossipKeyInstall GossipKeyOp = "install"
	GossipKeyUse     GossipKeyOp = "use"
	GossipKeyRemove  GossipKeyOp = "remove"
)

// GossipKeyRequest names a key of the gossip keyring, in base64.
type GossipKeyRequest struct {
	Key string
}

// GossipKeyResponse answers an operation on the gossip keyring.
type GossipKeyResponse struct {
	// Messages is what members had to say, by name: failures, and members that
	// could not be asked.
	Messages map[string]string
	// Keys and PrimaryKeys count the members that have a key, and those that
	// encrypt with it. Only GossipKeyList fills them in.
	Keys        map[string]int
	PrimaryKeys map[string]int
	// NumNodes is the number of members that were asked.
	NumNodes int
}

// DecodeGossipKey returns the bytes of a gossip key in base64. Its errors do not
// show the key.
func DecodeGossipKey(text string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, invalidf("the gossip key must be in base64, as `cairn operator gossip keyring generate` prints it")
	}
	switch len(key) {
	case 16, 24, 32:
		return key, nil
	}
	return nil, invalidf("the gossip key has %d bytes: it must have 16, 24 or 32, as `cairn operator gossip keyring generate` prints it", len(key))
}
