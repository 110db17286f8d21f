package structs

import (
	"encoding/binary"
	"hash"
	"maps"
	"slices"

	"golang.org/x/crypto/blake2b"
)

// contentHash is a BLAKE2b-256 digest (RFC 7693) of the parts of an object. Each
// part is led by its length, so that no two objects run together. Digests are
// compared between regions and kept in snapshots: the order of parts is frozen.
type contentHash struct {
	h hash.Hash
}

func newContentHash() contentHash {
	h, err := blake2b.New256(nil)
	if err != nil {
		panic(err) // only for a key that is too long
	}
	return contentHash{h}
}

func (c contentHash) number(n int64) {
	c.h.Write(binary.BigEndian.AppendUint64(nil, uint64(n))) // a hash does not fail
}

func (c contentHash) text(parts ...string) {
	for _, s := range parts {
		c.number(int64(len(s)))
		c.h.Write([]byte(s))
	}
}

func (c contentHash) list(parts []string) {
	c.number(int64(len(parts)))
	c.text(parts...)
}

func (c contentHash) dict(m map[string]string) {
	c.number(int64(len(m)))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		c.text(k, m[k])
	}
}

func (c contentHash) flag(on bool) {
	if on {
		c.number(1)
		return
	}
	c.number(0)
}

func (c contentHash) sum() []byte { return c.h.Sum(nil) }
