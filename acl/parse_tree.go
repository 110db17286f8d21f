package acl

import "fmt"

// Bounds of a source. The depth of a valid policy is five.
const (
	maxDepth    = 16
	maxValues   = 1 << 15
	maxProblems = 32
)

type nodeKind uint8

const (
	objectNode nodeKind = iota
	listNode
	stringNode
	otherNode // a number, true, false or null
)

func (k nodeKind) String() string {
	return [...]string{"a block", "a list", "text", "a number or constant"}[k]
}

// treeNode is a value as HCL and JSON both have it.
type treeNode struct {
	kind   nodeKind
	pos    Position
	text   string
	items  []*treeNode
	fields []field
	seen   map[string]bool // keys that were set, nil for none
	// broken says that something inside could not be read, so that nothing may
	// be said to be missing.
	broken bool
}

// field is a key of an object and its value. A block with labels is one object
// per label, nested.
type field struct {
	key   string
	pos   Position
	value *treeNode
	// again says that the key was set before in the same object.
	again bool
}

// problem is something wrong with a policy.
type problem struct {
	pos Position
	msg string
}

func (p problem) String() string {
	return fmt.Sprintf("line %d, column %d: %s", p.pos.Line, p.pos.Column, p.msg)
}

// parser reads tokens into a tree.
type parser struct {
	lex      *lexer
	tok      token // the one to be read next
	depth    int
	values   int
	problems []problem
	stopped  bool
}

// parseTree returns the tree of a source and everything wrong with its form.
func parseTree(src string, json bool) (*treeNode, []problem) {
	p := &parser{lex: newLexer(src, json)}
	p.take()
	if json {
		return p.jsonRoot(), p.problems
	}
	return p.body(p.tok.pos, false), p.problems
}

// take returns the next token and reads one ahead.
func (p *parser) take() token {
	t := p.tok
	p.tok = p.lex.next()
	return t
}

func (p *parser) fail(pos Position, format string, args ...any) {
	if p.stopped {
		return
	}
	p.problems = append(p.problems, problem{pos, fmt.Sprintf(format, args...)})
	if len(p.problems) >= maxProblems {
		p.problems = append(p.problems, problem{pos, "too many problems, the rest of the policy was not read"})
		p.stop()
	}
}

// stop makes the rest of the source vanish.
func (p *parser) stop() {
	p.stopped = true
	p.lex.off = len(p.lex.src)
	p.tok = token{pos: p.tok.pos}
}

// enter counts a level of nesting and a value; false means that a bound is passed.
func (p *parser) enter(pos Position) bool {
	if p.depth++; p.depth > maxDepth {
		p.fail(pos, "blocks nest deeper than %d", maxDepth)
		p.stop()
		return false
	}
	return p.count(pos)
}

// count counts a value; false means that there are too many.
func (p *parser) count(pos Position) bool {
	if p.values++; p.values > maxValues {
		p.fail(pos, "the policy has more than %d blocks and values: split it", maxValues)
		p.stop()
		return false
	}
	return true
}

// add appends a field. A block may come again, a key that was set may not.
func (n *treeNode) add(f field, block bool) {
	if !block {
		if n.seen == nil {
			n.seen = map[string]bool{}
		}
		f.again = n.seen[f.key]
		n.seen[f.key] = true
	}
	n.fields = append(n.fields, f)
}
