package state

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/internal/msgp"
	"github.com/cairn-project/cairn/nomad/structs"
)

// loader brings in the rows of one table, which may come in any order. decode and
// store run on different goroutines and share nothing but the rows.
type loader interface {
	// decode makes a row, a *T; the bytes are the caller's again afterwards.
	decode(b []byte) (any, error)
	// store takes a row that decode made.
	store(w *memdb.Txn, row any) error
	// check fails as store would, and keeps nothing of the row but its value, if that
	// must be the only one. It returns errUnordered if it cannot tell.
	check(row any) error
}

// errUnordered says that rows do not come in the order of their keys.
var errUnordered = errors.New("rows are not in order")

type rowLoader[T any] struct {
	table  *Table[T]
	intern interner // of decode
	// last is the greatest key that store has seen: only a row that is not above it can repeat one.
	last Key
	some bool
	// values are those that check has seen.
	values map[string]struct{}
}

func (t *Table[T]) loader() loader { return &rowLoader[T]{table: t} }

func (l *rowLoader[T]) decode(b []byte) (any, error) {
	row := new(T)
	l.intern.offer(row)
	if err := msgp.Unmarshal(b, row); err != nil {
		return nil, err
	}
	l.intern.row(row)
	if ns := l.table.key(row).Namespace; strings.Contains(ns, "\x00") {
		return nil, fmt.Errorf("table %q has a row of the namespace %q, which has a zero byte", l.table.info.Name, ns)
	}
	seal(row)
	return row, nil
}

func (l *rowLoader[T]) store(w *memdb.Txn, raw any) error {
	row := raw.(*T)
	k, name := l.table.key(row), l.table.info.Name
	if l.some && k.compare(l.last) <= 0 {
		if l.has(w, l.table.primary, k) {
			return l.twice(k)
		}
	} else {
		l.last, l.some = k, true
	}
	if x := l.table.value; x != nil && l.has(w, x, x.key(row)) {
		return l.valueTwice(k)
	}
	impossible(w.Insert(name, raw))
	return nil
}

func (l *rowLoader[T]) check(raw any) error {
	row := raw.(*T)
	k := l.table.key(row)
	if l.some {
		switch order := k.compare(l.last); {
		case order == 0:
			return l.twice(k)
		case order < 0:
			return errUnordered
		}
	}
	l.last, l.some = k, true
	x := l.table.value
	if x == nil {
		return nil
	}
	v := string(x.key(row).encode())
	if _, known := l.values[v]; known {
		return l.valueTwice(k)
	}
	if l.values == nil {
		l.values = make(map[string]struct{})
	}
	l.values[v] = struct{}{}
	return nil
}

func (l *rowLoader[T]) twice(k Key) error {
	return fmt.Errorf("table %q has two rows of the key %q", l.table.info.Name, k)
}

func (l *rowLoader[T]) valueTwice(k Key) error {
	return fmt.Errorf("table %q has two rows of one value, the second has the key %q", l.table.info.Name, k)
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

// offer gives a row that is about to be decoded the text of the one before, so that
// it need not make the same again.
func (n *interner) offer(row any) {
	if v, ok := row.(*structs.VariableEncrypted); ok {
		v.KeyID = n.keyID
	}
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
