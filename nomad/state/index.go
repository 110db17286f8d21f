package state

import (
	"fmt"

	"github.com/hashicorp/go-memdb"
)

// The indexes of a table. The names are go-memdb's where it fixes them.
const (
	byKey       = "id"
	byKeyPrefix = "id_prefix"
	byPartial   = "partial"
)

// rowIndex files rows under their keys, if where is set only those for which it holds.
type rowIndex[T any] struct {
	key   func(*T) Key
	where func(*T) bool
}

// FromObject implements memdb.SingleIndexer.
func (x *rowIndex[T]) FromObject(raw any) (bool, []byte, error) {
	row, ok := raw.(*T)
	if !ok {
		return false, nil, fmt.Errorf("a %T is no row of this table", raw)
	}
	if x.where != nil && !x.where(row) {
		return false, nil, nil
	}
	return true, x.key(row).encode(), nil
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
	s := &memdb.TableSchema{Name: t.info.Name, Indexes: map[string]*memdb.IndexSchema{
		byKey: {Name: byKey, Unique: true, Indexer: &rowIndex[T]{key: t.key}},
	}}
	if t.where != nil {
		s.Indexes[byPartial] = &memdb.IndexSchema{Name: byPartial, Unique: true, AllowMissing: true,
			Indexer: &rowIndex[T]{key: t.key, where: t.where}}
	}
	return s
}

// newDB returns a database that has every table of the registry.
func newDB() *memdb.MemDB {
	s := &memdb.DBSchema{Tables: make(map[string]*memdb.TableSchema, len(registry))}
	for _, t := range registry {
		s.Tables[t.describe().Name] = t.describe().schema()
	}
	db, err := memdb.NewMemDB(s)
	impossible(err)
	return db
}

// impossible panics on an error that go-memdb gives only to a query which does
// not fit the schema, whatever the data.
func impossible(err error) {
	if err != nil {
		panic("state: " + err.Error())
	}
}
