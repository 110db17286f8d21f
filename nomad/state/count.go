package state

import (
	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/nomad/structs"
)

// count is a row of a counter table, which is derived from the variables.
type count struct {
	ID string
	N  int
}

// counter is a table of numbers that the transaction sums up and writes once.
type counter struct{ *Table[count] }

// countKey names a number within a transaction.
type countKey struct {
	table counter
	id    string
}

// The numbers of variables by namespace and by root key.
var (
	namespaceVariables = newCounter("namespace_variables")
	keyVariables       = newCounter("key_variables")
)

func newCounter(name string) counter {
	return counter{newTable(name, notPersisted,
		func(c *count) Key { return Key{ID: c.ID} },
		func(*acl.ACL, *count) bool { return false },
		noEvents[count]()).notSearched()}
}

func (c counter) value(sn *Snapshot, id string) int {
	if row := c.get(sn, nil, Key{ID: id}); row != nil {
		return row.N
	}
	return 0
}

// count returns the number as the transaction sees it.
func (tx *Txn) count(c counter, id string) int {
	n := tx.counts[countKey{c, id}]
	if row := c.read(tx, Key{ID: id}); row != nil {
		n += row.N
	}
	return n
}

// add changes a number by delta, to be written at the commit.
func (tx *Txn) add(c counter, id string, delta int) {
	if tx.counts == nil {
		tx.counts = make(map[countKey]int)
	}
	tx.counts[countKey{c, id}] += delta
}

// addTo writes a changed number.
func (c counter) addTo(tx *Txn, id string, delta int) {
	if delta == 0 {
		return
	}
	n := delta
	if row := c.read(tx, Key{ID: id}); row != nil {
		n += row.N
	}
	if n == 0 {
		c.unset(tx, Key{ID: id})
		return
	}
	c.set(tx, &count{ID: id, N: n})
}

// account books a change of a finished operation: the table's index and what is
// derived from variables.
func (tx *Txn) account(c *change) {
	tx.last[c.at] = c.index
	switch c.at {
	case Variables.at:
		before, after := c.before.(*structs.VariableEncrypted), c.after.(*structs.VariableEncrypted)
		tx.accountVariable(before, after, c.index)
	case Nodes.at:
		tx.accountNode(c.before.(*structs.Node), c.after.(*structs.Node))
	case Namespaces.at:
		if c.deleted {
			tx.dropQuota(c.key.ID, c.index)
		}
	}
}
