package state

import "strings"

// Key names a row of a table. Rows are in order of Namespace, then ID, both
// bytewise. Namespace is "" in tables outside of namespaces. As the start of a
// range, the zero Key means the beginning.
type Key struct {
	Namespace string
	ID        string
}

func (k Key) compare(o Key) int {
	if k.Namespace != o.Namespace { // mostly the same text in the same place
		return strings.Compare(k.Namespace, o.Namespace)
	}
	return strings.Compare(k.ID, o.ID)
}

// beyond returns a key that no row of the namespace with the prefix reaches and
// that at most one row without the prefix equals.
func beyond(namespace, prefix string) Key {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] < 0xff {
			return Key{namespace, prefix[:i] + string([]byte{prefix[i] + 1})}
		}
	}
	return Key{Namespace: namespace + "\x00"}
}
