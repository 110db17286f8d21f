package state

import (
	"fmt"
	"strings"

	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/internal/msgp"
	"github.com/cairn-project/cairn/nomad/structs"
)

// loader stores the rows of one table, which may come in any order.
type loader interface {
	// row decodes and stores one row; the bytes are the caller's again afterwards.
	row(w *memdb.Txn, b []byte) error
}

type rowLoader[T any] struct {
	table *Table[T]
	// last is the greatest key so far: only a row that is not above it can repeat one.
	last   Key
	some   bool
	intern interner
}

func (t *Table[T]) loader() loader { return &rowLoader[T]{table: t} }

func (l *rowLoader[T]) row(w *memdb.Txn, b []byte) error {
	row := new(T)
	if err := msgp.Unmarshal(b, row); err != nil {
		return err
	}
	l.intern.row(row)
	k, name := l.table.key(row), l.table.info.Name
	if strings.Contains(k.Namespace, "\x00") {
		return fmt.Errorf("table %q has a row of the namespace %q, which has a zero byte", name, k.Namespace)
	}
	if l.some && k.compare(l.last) <= 0 {
		if l.has(w, l.table.primary, k) {
			return fmt.Errorf("table %q has two rows of the key %q", name, k)
		}
	} else {
		l.last, l.some = k, true
	}
	if x := l.table.value; x != nil && l.has(w, x, x.key(row)) {
		return fmt.Errorf("table %q has two rows of one value, the second has the key %q", name, k)
	}
	seal(row)
	impossible(w.Insert(name, row))
	return nil
}

func (l *rowLoader[T]) has(w *memdb.Txn, x *rowIndex[T], k Key) bool {
	arg := lookFor(k)
	defer arg.done()
	raw, err := w.First(l.table.info.Name, x.name, arg.args...)
	impossible(err)
	return raw != nil
}

// interner makes rows that follow each other share the text they have in common.
type interner struct {
	namespace, keyID string
}

func (n *interner) row(row any) {
	v, ok := row.(*structs.VariableEncrypted)
	if !ok {
		return
	}
	if v.Namespace != n.namespace {
		n.namespace = v.Namespace
	}
	if v.KeyID != n.keyID {
		n.keyID = v.KeyID
	}
	v.Namespace, v.KeyID = n.namespace, n.keyID
}
