package acl

import (
	"math/bits"
	"regexp"
	"slices"
	"strings"
)

// Kind names the block of a policy that a rule comes from.
type Kind string

// The kinds. KindVariables is the block variables inside a namespace; its rules
// are paths.
const (
	KindNamespace  Kind = "namespace"
	KindVariables  Kind = "variables"
	KindNodePool   Kind = "node_pool"
	KindHostVolume Kind = "host_volume"
	KindAgent      Kind = "agent"
	KindNode       Kind = "node"
	KindQuota      Kind = "quota"
	KindOperator   Kind = "operator"
	KindPlugin     Kind = "plugin"
	KindSentinel   Kind = "sentinel"
)

// Deny is the policy word and the capability that takes everything else away.
const Deny = "deny"

// set holds capabilities of one kind, one bit each; bit 0 is deny.
type set uint64

const denied set = 1

// normal returns s as it counts: deny stands alone.
func (s set) normal() set {
	if s&denied != 0 {
		return denied
	}
	return s
}

// grants reports whether some capability of want is in s and nothing denies it.
func (s set) grants(want set) bool { return s&denied == 0 && s&want&^denied != 0 }

// vocabulary is what may be said in blocks of one kind.
type vocabulary struct {
	kind Kind
	// label describes and checks the name of a block, nil for blocks without one.
	label *labelRule
	// words are the capabilities in the order of their bits.
	words []string
	// expanded maps a capability to itself and all that it implies.
	expanded map[string]set
	// levels maps the words that policy takes.
	levels map[string]set
	// order lists the keys of levels for error texts.
	order []string
	// listed says whether the block takes capabilities.
	listed bool
}

type labelRule struct {
	form *regexp.Regexp
	text string
}

// table is a vocabulary as it is written down.
type table struct {
	kind   Kind
	label  *labelRule
	words  []string
	imply  map[string][]string
	levels []level
	listed bool
}

type level struct {
	word  string
	means []string
}

func newVocabulary(t table) *vocabulary {
	v := &vocabulary{kind: t.kind, label: t.label, words: append([]string{Deny}, t.words...), listed: t.listed,
		expanded: map[string]set{}, levels: map[string]set{}}
	for i, w := range v.words {
		v.expanded[w] = 1 << i
	}
	for range v.words { // implications may chain as often as there are words
		for w, implied := range t.imply {
			for _, i := range implied {
				v.expanded[w] |= v.expanded[i]
			}
		}
	}
	for _, l := range t.levels {
		v.order = append(v.order, l.word)
		for _, w := range l.means {
			v.levels[l.word] |= v.expanded[w]
		}
	}
	return v
}

// bit returns the bit of one capability, 0 for an unknown one.
func (v *vocabulary) bit(word string) set {
	if i := slices.Index(v.words, word); i >= 0 {
		return 1 << i
	}
	return 0
}

// expand returns what a rule means; unknown words mean nothing.
func (v *vocabulary) expand(level string, capabilities []string) set {
	out := v.levels[level]
	for _, c := range capabilities {
		out |= v.expanded[c]
	}
	return out.normal()
}

// names lists the capabilities in s.
func (v *vocabulary) names(s set) []string {
	var out []string
	for ; s != 0; s &= s - 1 {
		out = append(out, v.words[bits.TrailingZeros64(uint64(s))])
	}
	return out
}

// vocabularyOf returns the vocabulary of a kind, nil for an unknown one.
func vocabularyOf(k Kind) *vocabulary {
	for _, v := range vocabularies {
		if v.kind == k {
			return v
		}
	}
	return nil
}

// Kinds lists the kinds of operations that Explain knows.
func Kinds() []Kind {
	var out []Kind
	for _, v := range vocabularies {
		out = append(out, v.kind)
	}
	return out
}

// Capabilities lists the capabilities of a kind, deny first, nil for an unknown kind.
func Capabilities(k Kind) []string {
	v := vocabularyOf(k)
	if v == nil {
		return nil
	}
	return slices.Clone(v.words)
}

// oneOf joins words for an error text.
func oneOf(words []string) string { return strings.Join(words, ", ") }
