package state

import (
	"slices"
	"strings"

	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/nomad/structs"
)

// notPersisted is said by tables that are derived from others at restore. It is
// the number of no table.
const notPersisted structs.SnapshotType = 126

// TableInfo is what the registry tells about a table.
type TableInfo struct {
	Name         string
	SnapshotType structs.SnapshotType
	// Topic is structs.NoEvents for tables whose changes nobody may watch.
	Topic structs.Topic
	// EventVisible is the table's visibility rule for an event of its topic;
	// false for an event of another topic.
	EventVisible func(*acl.ACL, *structs.Event) bool
	// follows reports whether some event of the topic could be visible to a caller
	// who asks for a namespace; nil without a topic.
	follows func(a *acl.ACL, namespace string) bool
	// context is what searches call the rows, "" for those that nobody finds; searchSaid
	// that the table says either.
	context    structs.SearchContext
	searchSaid bool

	at     int // position in registry
	schema func() *memdb.TableSchema
}

// Table is one table: its place in a snapshot, its events and the one rule for
// who may see a row.
type Table[T any] struct {
	info    TableInfo
	at      int // as in info
	key     func(*T) Key
	visible func(*acl.ACL, *T) bool
	events  events[T]
	primary *rowIndex[T]
	orders  []*rowIndex[T] // further orders, of all rows or of some
	value   *rowIndex[T]   // by a value that no two rows share, nil for no such index
	search  *search[T]     // nil for a table that is not searched
}

// events says how changes of a table show.
type events[T any] struct {
	topic structs.Topic
	// payload makes what subscribers see of a row; row makes of it, again, a row
	// that the visibility rule can judge.
	payload func(*T) structs.EventPayload
	row     func(any) *T
	// follows reports whether the visibility rule could hold for some row, "*" standing
	// for all namespaces: whoever could never see anything is refused.
	follows func(a *acl.ACL, namespace string) bool
	// keys are further keys that subscribers may ask for, nil for none.
	keys func(*T) []string
}

// noEvents is said by tables whose changes nobody may watch.
func noEvents[T any]() events[T] { return events[T]{topic: structs.NoEvents} }

// registry holds every table in the order of the newTable calls.
var registry []anyTable

// newTable declares a table. key names a row, visible is the rule that lists,
// search, events and federation share.
func newTable[T any](name string, st structs.SnapshotType, key func(*T) Key,
	visible func(*acl.ACL, *T) bool, ev events[T]) *Table[T] {
	t := &Table[T]{at: len(registry), key: key, visible: visible, events: ev, primary: newIndex(byKey, key, nil)}
	t.info = TableInfo{Name: name, SnapshotType: st, Topic: ev.topic, EventVisible: t.eventVisible,
		follows: ev.follows, at: t.at, schema: t.schema}
	registry = append(registry, t)
	return t
}

// withPartial adds the index of the rows for which where holds, in order of key.
func (t *Table[T]) withPartial(where func(*T) bool) *Table[T] {
	return t.withOrder(newIndex(byPartial, t.key, where))
}

// withOrder adds another order. Its keys must end with that of the row, so that
// no two rows have the same.
func (t *Table[T]) withOrder(x *rowIndex[T]) *Table[T] {
	t.orders = append(t.orders, x)
	return t
}

// withValue adds the index of a value that no two rows may share. A write method
// looks with readBy before it puts a row.
func (t *Table[T]) withValue(value func(*T) string) *Table[T] {
	t.value = newIndex(byValue, func(row *T) Key { return Key{ID: value(row)} }, nil)
	return t
}

// Tables returns every persisted table in order of name.
func Tables() []TableInfo {
	var out []TableInfo
	for _, t := range persisted() {
		out = append(out, *t.describe())
	}
	return out
}

// persisted returns the tables that a snapshot holds, in order of name.
func persisted() []anyTable {
	var out []anyTable
	for _, t := range registry {
		if t.describe().SnapshotType != notPersisted {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b anyTable) int {
		return strings.Compare(a.describe().Name, b.describe().Name)
	})
	return out
}

// Name returns the name of the table, as index rows have it.
func (t *Table[T]) Name() string { return t.info.Name }

// Topic returns the topic of the table's events, structs.NoEvents for none.
func (t *Table[T]) Topic() structs.Topic { return t.info.Topic }

// SnapshotType returns the byte that precedes a row in a snapshot.
func (t *Table[T]) SnapshotType() structs.SnapshotType { return t.info.SnapshotType }

// Visible reports whether a caller with the rights a may know of the row.
func (t *Table[T]) Visible(a *acl.ACL, row *T) bool { return t.visible(a, row) }

func (t *Table[T]) eventVisible(a *acl.ACL, e *structs.Event) bool {
	if e.Topic != t.info.Topic || t.events.row == nil {
		return false
	}
	row := t.events.row(e.Payload)
	return row != nil && t.visible(a, row)
}

func (t *Table[T]) describe() *TableInfo { return &t.info }

// EventVisible reports whether a caller with the rights a may see the event, by
// the rule of the table that the event's topic belongs to. Events of unknown
// topics are shown to nobody.
func EventVisible(a *acl.ACL, e *structs.Event) bool {
	for _, t := range registry {
		if t.describe().EventVisible(a, e) {
			return true
		}
	}
	return false
}

// Topics returns the topics of all tables.
func Topics() []structs.Topic {
	var out []structs.Topic
	for _, t := range registry {
		if topic := t.describe().Topic; topic != structs.NoEvents {
			out = append(out, topic)
		}
	}
	return out
}

// MayFollow reports whether some event of a topic could be visible to a caller with
// the rights a who asks for a namespace, "*" for all; known is false for a topic of
// no table.
func MayFollow(a *acl.ACL, topic structs.Topic, namespace string) (may, known bool) {
	for _, t := range registry {
		if info := t.describe(); topic != structs.NoEvents && info.Topic == topic {
			return info.follows(a, namespace), true
		}
	}
	return false, false
}

// holdsOne is the rule of tables that whoever may change may also read.
func holdsOne(a *acl.ACL, one ...acl.OperatorCapability) bool {
	return slices.ContainsFunc(one, a.AllowOperatorCapability)
}

// follower makes of a rule that looks at no namespace what decides who may follow.
func follower(allow func(*acl.ACL) bool) func(*acl.ACL, string) bool {
	return func(a *acl.ACL, _ string) bool { return allow(a) }
}
