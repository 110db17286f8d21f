package stream

import (
	mathbits "math/bits"
	"sync/atomic"

	"github.com/cairn-project/cairn/nomad/structs"
)

// mask is a set of topics, one bit each.
type mask uint32

// everything is all topics, those that have no bit of their own included.
const everything = ^mask(0)

// otherTopics is the bit of topics that are not in topicBits.
const otherTopics mask = 1 << 31

// rights are the topics whose changes may change what a subscriber may see.
var rights = maskOf(structs.TopicACLPolicy) | maskOf(structs.TopicACLToken) | maskOf(structs.TopicACLRole)

// maskOf returns the bit of a topic.
func maskOf(t structs.Topic) mask {
	switch t {
	case structs.TopicVariable:
		return 1 << 0
	case structs.TopicNode:
		return 1 << 1
	case structs.TopicNamespace:
		return 1 << 2
	case structs.TopicNodePool:
		return 1 << 3
	case structs.TopicACLPolicy:
		return 1 << 4
	case structs.TopicACLToken:
		return 1 << 5
	case structs.TopicACLRole:
		return 1 << 6
	case structs.TopicACLAuthMethod:
		return 1 << 7
	case structs.TopicACLBindingRule:
		return 1 << 8
	case structs.TopicWorkloadEvent:
		return 1 << 9
	case structs.TopicAll:
		return everything
	}
	return otherTopics
}

// bits is how many topics a mask tells apart.
const bits = 32

// lost keeps, by topic, the index of the last event that is not in the list any
// more, or never was. It only grows, but for reset.
type lost [bits]atomic.Uint64

// drop notes that events have left the list. It belongs to the publisher.
func (l *lost) drop(batch []structs.Event) {
	for i := range batch {
		l[mathbits.TrailingZeros32(uint32(maskOf(batch[i].Topic)))].Store(batch[i].Index)
	}
}

// reset notes that nothing up to an index is in the list.
func (l *lost) reset(index uint64) {
	for bit := range l {
		l[bit].Store(index)
	}
}

// last returns the index of the last lost event of some topics.
func (l *lost) last(m mask) uint64 {
	var out uint64
	for bit := range l {
		if m&(1<<bit) != 0 {
			out = max(out, l[bit].Load())
		}
	}
	return out
}
