package client

import (
	"fmt"
	"strings"
	"sync"

	"github.com/google/uuid"
)

// The files of the state directory that say who the node is. Their names are
// those of HashiCorp Nomad's agents, whose nodes keep their ID.
const (
	fileNodeID     = "client-id"
	fileSecretID   = "secret-id"
	fileIdentity   = "identity.jwt"
	fileIntroduced = "intro_token.jwt"
)

// identity is who the node is and how it proves that. It is safe for concurrent use.
type identity struct {
	nodeID, secretID string
	dir              *stateDir

	mu sync.Mutex
	// signed is the identity that the servers signed, "" before the first and after
	// one that they refused; guarded by mu.
	signed string
}

// loadIdentity reads who the node is, or makes a new node.
func loadIdentity(dir *stateDir) (*identity, error) {
	id, err := dir.uuid(fileNodeID, "to join as a new node remove it")
	if err != nil {
		return nil, err
	}
	i := &identity{dir: dir, nodeID: id}
	if id == "" {
		return i, i.create()
	}
	if i.secretID, err = dir.uuid(fileSecretID, "to join as a new node remove "+dir.file(fileNodeID)+", too"); err != nil {
		return nil, err
	}
	if i.secretID == "" {
		return nil, fmt.Errorf("%s is missing, so that the node %s cannot prove who it is: restore the file, or remove %s to join as a new node",
			dir.file(fileSecretID), id, dir.file(fileNodeID))
	}
	signed, err := dir.read(fileIdentity)
	if err != nil {
		return nil, fmt.Errorf("reading the node's identity: %w", err)
	}
	i.signed = strings.TrimSpace(string(signed))
	return i, nil
}

// create makes a new node. The ID is written last: without it nothing else counts.
func (i *identity) create() error {
	i.nodeID, i.secretID = uuid.NewString(), uuid.NewString()
	if err := i.dir.write(fileIdentity, nil); err != nil {
		return err
	}
	if err := i.dir.write(fileSecretID, []byte(i.secretID)); err != nil {
		return err
	}
	return i.dir.write(fileNodeID, []byte(i.nodeID))
}

// uuid reads a file that holds a UUID, "" if there is none.
func (s *stateDir) uuid(name, cure string) (string, error) {
	b, err := s.read(name)
	if b == nil || err != nil {
		return "", err
	}
	id := strings.ToLower(strings.TrimSpace(string(b)))
	if len(id) != 36 || uuid.Validate(id) != nil {
		return "", fmt.Errorf("%s is damaged, it does not hold a UUID: restore the file; %s", s.file(name), cure)
	}
	return id, nil
}

// token returns what calls of the node prove themselves with.
func (i *identity) token() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.signed != "" {
		return i.signed
	}
	return i.secretID
}

// take keeps an identity that the servers signed.
func (i *identity) take(signed string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.signed = signed
	return i.dir.write(fileIdentity, []byte(signed))
}

// drop forgets a token that the servers refused, so that the secret is used. It
// reports false if that was the secret itself.
func (i *identity) drop(token string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if token == i.secretID {
		return false
	}
	if token == i.signed {
		i.signed = ""
	}
	return true
}

// claims returns the identity that the servers signed, "" for none.
func (i *identity) claims() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.signed
}
