package state

import (
	"fmt"

	"github.com/hashicorp/go-memdb"
)

// The indexes of a table. The name of the first is fixed by go-memdb.
const (
	byKey     = "id"
	byPartial = "partial"
	byValue   = "value"
)

// rowIndex files rows under keys, each of which belongs to one row. If where is
// set it has only the rows for which that holds.
type rowIndex[T any] struct {
	name, prefix string // prefix asks go-memdb for a range of the index
	key          func(*T) Key
	where        func(*T) bool
}

func newIndex[T any](name string, key func(*T) Key, where func(*T) bool) *rowIndex[T] {
	return &rowIndex[T]{name: name, prefix: name + "_prefix", key: key, where: where}
}

// filer is an index of one database. It remembers the last key that it encoded,
// as go-memdb asks several times for that of a row which takes another's place.
type filer[T any] struct {
	*rowIndex[T]
	key     Key    // the writer's, as is encoded
	encoded []byte // never changed, as the database keeps it
}

// FromObject implements memdb.SingleIndexer.
func (f *filer[T]) FromObject(raw any) (bool, []byte, error) {
	row, ok := raw.(*T)
	if !ok {
		return false, nil, fmt.Errorf("a %T is no row of this table", raw)
	}
	if f.where != nil && !f.where(row) {
		return false, nil, nil
	}
	if k := f.rowIndex.key(row); f.encoded == nil || k != f.key {
		f.key, f.encoded = k, k.encode()
	}
	return true, f.encoded, nil
}

// FromArgs implements memdb.Indexer. The argument is a *lookup.
func (x *rowIndex[T]) FromArgs(args ...any) ([]byte, error) {
	if len(args) == 1 {
		if l, ok := args[0].(*lookup); ok {
			return l.key, nil
		}
	}
	return nil, fmt.Errorf("an index takes one lookup, not %T", args)
}

// PrefixFromArgs implements memdb.PrefixIndexer.
func (x *rowIndex[T]) PrefixFromArgs(args ...any) ([]byte, error) { return x.FromArgs(args...) }

// schema describes the table to go-memdb.
func (t *Table[T]) schema() *memdb.TableSchema {
	s := &memdb.TableSchema{Name: t.info.Name, Indexes: make(map[string]*memdb.IndexSchema)}
	for _, x := range t.indexes() {
		s.Indexes[x.name] = &memdb.IndexSchema{Name: x.name, Unique: true, AllowMissing: x.where != nil, Indexer: &filer[T]{rowIndex: x}}
	}
	return s
}

func (t *Table[T]) indexes() []*rowIndex[T] {
	out := append([]*rowIndex[T]{t.primary}, t.orders...)
	if t.value != nil {
		out = append(out, t.value)
	}
	return out
}

// newDB returns a database that has every table of the registry. It is a clone of
// an empty one, as a clone does not note which of its nodes a write replaces:
// who waits for a change is on a list of our own.
func newDB() *memdb.MemDB {
	s := &memdb.DBSchema{Tables: make(map[string]*memdb.TableSchema, len(registry))}
	for _, t := range registry {
		s.Tables[t.describe().Name] = t.describe().schema()
	}
	db, err := memdb.NewMemDB(s)
	impossible(err)
	return db.Snapshot()
}

// impossible panics on an error that go-memdb gives only to a query which does
// not fit the schema, whatever the data.
func impossible(err error) {
	if err != nil {
		panic("state: " + err.Error())
	}
}
