package state

import (
	"iter"
	"slices"
)

// maxRows bounds the rows of a leaf and the children of an inner node; below
// minRows a node is merged with a neighbour if both fit into one.
const (
	maxRows = 32
	minRows = 8
)

// tree is a persistent B+ tree of rows in order of their keys. A copy of the
// struct is a snapshot: an edit copies the nodes it changes, except those that
// carry its own owner number, which no snapshot can reach. Keys are read from
// the rows and not stored.
type tree[T any] struct {
	root *node[T]
	size int
	key  func(*T) Key
}

// node is a leaf when kids is nil. In an inner node rows[i] is the first row
// below kids[i].
type node[T any] struct {
	owner uint64
	rows  []*T
	kids  []*node[T]
}

// search returns the position of the first row that is not below k, and
// whether it is k's.
func (t *tree[T]) search(n *node[T], k Key) (int, bool) {
	lo, hi := 0, len(n.rows)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		switch c := t.key(n.rows[mid]).compare(k); {
		case c == 0:
			return mid, true
		case c < 0:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return lo, false
}

// child returns the position of the child that holds k if any does.
func (t *tree[T]) child(n *node[T], k Key) int {
	i, found := t.search(n, k)
	if !found && i > 0 {
		i--
	}
	return i
}

// get returns the row of k, nil if there is none.
func (t *tree[T]) get(k Key) *T {
	n := t.root
	if n == nil {
		return nil
	}
	for n.kids != nil {
		n = n.kids[t.child(n, k)]
	}
	if i, found := t.search(n, k); found {
		return n.rows[i]
	}
	return nil
}

// own returns n itself if owner made it, else a copy that owner may change.
func (n *node[T]) own(owner uint64) *node[T] {
	if n.owner == owner {
		return n
	}
	c := &node[T]{owner: owner, rows: append(make([]*T, 0, len(n.rows)+1), n.rows...)}
	if n.kids != nil {
		c.kids = append(make([]*node[T], 0, len(n.kids)+1), n.kids...)
	}
	return c
}

// put stores the row and returns the one it replaces, nil if there was none.
func (t *tree[T]) put(owner uint64, row *T) (before *T) {
	if t.root == nil {
		t.root = &node[T]{owner: owner, rows: []*T{row}}
		t.size = 1
		return nil
	}
	t.root = t.root.own(owner)
	before, right := t.insert(t.root, t.key(row), row)
	if right != nil {
		left := t.root
		t.root = &node[T]{owner: owner, rows: []*T{left.rows[0], right.rows[0]}, kids: []*node[T]{left, right}}
	}
	if before == nil {
		t.size++
	}
	return before
}

// insert puts the row below n, which is owned, and returns the node split off
// to the right of n, nil if n did not overflow.
func (t *tree[T]) insert(n *node[T], k Key, row *T) (before *T, right *node[T]) {
	i, found := t.search(n, k)
	if n.kids == nil {
		if found {
			before, n.rows[i] = n.rows[i], row
			return before, nil
		}
		n.rows = slices.Insert(n.rows, i, row)
		return nil, n.split(i)
	}
	if !found && i > 0 {
		i--
	}
	kid := n.kids[i].own(n.owner)
	n.kids[i] = kid
	before, right = t.insert(kid, k, row)
	n.rows[i] = kid.rows[0]
	if right == nil {
		return before, nil
	}
	n.rows = slices.Insert(n.rows, i+1, right.rows[0])
	n.kids = slices.Insert(n.kids, i+1, right)
	return before, n.split(i + 1)
}

// split moves the upper part of a node that overflows into a new one. at is
// where the last insertion was: ascending insertions leave full nodes behind.
func (n *node[T]) split(at int) *node[T] {
	if len(n.rows) <= maxRows {
		return nil
	}
	cut := len(n.rows) / 2
	if at == len(n.rows)-1 {
		cut = at
	}
	right := &node[T]{owner: n.owner, rows: slices.Clone(n.rows[cut:])}
	n.rows = slices.Delete(n.rows, cut, len(n.rows))
	if n.kids != nil {
		right.kids = slices.Clone(n.kids[cut:])
		n.kids = slices.Delete(n.kids, cut, len(n.kids))
	}
	return right
}

// remove deletes the row of k and returns it, nil if there was none.
func (t *tree[T]) remove(owner uint64, k Key) *T {
	if t.get(k) == nil {
		return nil
	}
	t.root = t.root.own(owner)
	before := t.cut(t.root, k)
	for len(t.root.kids) == 1 {
		t.root = t.root.kids[0]
	}
	if len(t.root.rows) == 0 {
		t.root = nil
	}
	t.size--
	return before
}

// cut deletes the row of k, which exists, below n, which is owned.
func (t *tree[T]) cut(n *node[T], k Key) *T {
	if n.kids == nil {
		i, _ := t.search(n, k)
		before := n.rows[i]
		n.rows = slices.Delete(n.rows, i, i+1)
		return before
	}
	i := t.child(n, k)
	kid := n.kids[i].own(n.owner)
	n.kids[i] = kid
	before := t.cut(kid, k)
	if len(kid.rows) > 0 {
		n.rows[i] = kid.rows[0]
	} else {
		n.rows = slices.Delete(n.rows, i, i+1)
		n.kids = slices.Delete(n.kids, i, i+1)
		return before
	}
	if len(kid.rows) < minRows {
		n.merge(max(i-1, 0))
	}
	return before
}

// merge joins the children i and i+1 if they fit into one.
func (n *node[T]) merge(i int) {
	if i+1 >= len(n.kids) || len(n.kids[i].rows)+len(n.kids[i+1].rows) > maxRows {
		return
	}
	left, right := n.kids[i].own(n.owner), n.kids[i+1]
	left.rows = append(left.rows, right.rows...)
	if left.kids != nil {
		left.kids = append(left.kids, right.kids...)
	}
	n.kids[i] = left
	n.rows = slices.Delete(n.rows, i+1, i+2)
	n.kids = slices.Delete(n.kids, i+1, i+2)
}

// ascend yields the rows from k on in ascending order.
func (t tree[T]) ascend(k Key) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		if t.root != nil {
			t.up(t.root, k, true, yield)
		}
	}
}

func (t *tree[T]) up(n *node[T], k Key, seek bool, yield func(*T) bool) bool {
	first := 0
	if n.kids == nil {
		if seek {
			first, _ = t.search(n, k)
		}
		for _, row := range n.rows[first:] {
			if !yield(row) {
				return false
			}
		}
		return true
	}
	if seek {
		first = t.child(n, k)
	}
	for i := first; i < len(n.kids); i++ {
		if !t.up(n.kids[i], k, seek && i == first, yield) {
			return false
		}
	}
	return true
}

// descend yields the rows from k on in descending order, k's own included.
func (t tree[T]) descend(k Key) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		if t.root != nil {
			t.down(t.root, k, true, yield)
		}
	}
}

func (t *tree[T]) down(n *node[T], k Key, seek bool, yield func(*T) bool) bool {
	last := len(n.rows) - 1
	if n.kids == nil {
		if seek {
			i, found := t.search(n, k)
			if !found {
				i--
			}
			last = i
		}
		for i := last; i >= 0; i-- {
			if !yield(n.rows[i]) {
				return false
			}
		}
		return true
	}
	if seek {
		last = t.child(n, k)
	}
	for i := last; i >= 0; i-- {
		if !t.down(n.kids[i], k, seek && i == last, yield) {
			return false
		}
	}
	return true
}

// load replaces the tree by one of rows, which ascend strictly. It takes the slice.
func (t *tree[T]) load(rows []*T) {
	t.root, t.size = nil, len(rows)
	if len(rows) == 0 {
		return
	}
	var level []*node[T]
	for chunk := range slices.Chunk(rows, maxRows) {
		level = append(level, &node[T]{rows: slices.Clone(chunk)})
	}
	for len(level) > 1 {
		var above []*node[T]
		for chunk := range slices.Chunk(level, maxRows) {
			n := &node[T]{kids: slices.Clone(chunk)}
			for _, kid := range chunk {
				n.rows = append(n.rows, kid.rows[0])
			}
			above = append(above, n)
		}
		level = above
	}
	t.root = level[0]
}
