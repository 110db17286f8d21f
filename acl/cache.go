package acl

import (
	"encoding/binary"
	"slices"
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"
)

// cacheSize is how many compiled ACLs a server keeps.
const cacheSize = 512

// Ref names one version of a stored policy.
type Ref struct {
	Name        string
	ModifyIndex uint64
	// Hash is that of the contents. It tells versions apart whose indexes are
	// the same because an older snapshot was restored in between; nil is allowed.
	Hash []byte
}

// Cache keeps compiled ACLs by the versions of their policies. It is safe for
// concurrent use; two callers that miss at once both compile.
type Cache struct {
	entries *lru.TwoQueueCache[string, *ACL]
}

// NewCache returns an empty cache.
func NewCache() *Cache {
	entries, err := lru.New2Q[string, *ACL](cacheSize)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &Cache{entries}
}

// Get returns the ACL of the policies; their order does not matter. compile is
// called on a miss; its errors are not kept.
func (c *Cache) Get(refs []Ref, compile func() (*ACL, error)) (*ACL, error) {
	key := cacheKey(refs)
	if v, ok := c.entries.Get(key); ok {
		return v, nil
	}
	a, err := compile()
	if err != nil {
		return nil, err
	}
	c.entries.Add(key, a)
	return a, nil
}

// Purge forgets everything.
func (c *Cache) Purge() { c.entries.Purge() }

// Len returns the number of ACLs kept.
func (c *Cache) Len() int { return c.entries.Len() }

// cacheKey is unique for a set of versions: every part is led by its length.
func cacheKey(refs []Ref) string {
	sorted := slices.Clone(refs)
	slices.SortFunc(sorted, func(a, b Ref) int { return strings.Compare(a.Name, b.Name) })
	var b []byte
	for _, r := range sorted {
		b = append(binary.AppendUvarint(b, uint64(len(r.Name))), r.Name...)
		b = binary.AppendUvarint(b, r.ModifyIndex)
		b = append(binary.AppendUvarint(b, uint64(len(r.Hash))), r.Hash...)
	}
	return string(b)
}
