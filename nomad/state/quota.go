package state

import (
	"strings"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/nomad/structs"
)

// VariableQuotas is the table of sealed bytes by namespace. A row lives from the
// first variable of its namespace until the namespace is deleted.
var VariableQuotas = newTable("variables_quota", structs.VariablesQuotaSnapshot,
	func(q *structs.VariablesQuota) Key { return Key{ID: q.Namespace} },
	func(a *acl.ACL, q *structs.VariablesQuota) bool { return a.AllowNamespace(q.Namespace) },
	noEvents[structs.VariablesQuota]()).notSearched()

// VariablesQuota returns the bytes in use by a namespace, nil if it never had a variable.
func (sn *Snapshot) VariablesQuota(namespace string) *structs.VariablesQuota {
	return VariableQuotas.get(sn, nil, Key{ID: namespace})
}

// accountVariable books what a variable's change means for its namespace and key.
func (tx *Txn) accountVariable(before, after *structs.VariableEncrypted, index uint64) {
	var delta int64
	var namespace, oldKey, newKey string
	if before != nil {
		namespace, oldKey = before.Namespace, strings.ToLower(before.KeyID)
		delta -= int64(len(before.Data))
	}
	if after != nil {
		namespace, newKey = after.Namespace, strings.ToLower(after.KeyID)
		delta += int64(len(after.Data))
	}
	if before == nil {
		tx.add(namespaceVariables, namespace, 1)
	} else if after == nil {
		tx.add(namespaceVariables, namespace, -1)
	}
	if oldKey != newKey {
		if oldKey != "" {
			tx.add(keyVariables, oldKey, -1)
		}
		if newKey != "" {
			tx.add(keyVariables, newKey, 1)
		}
	}
	if delta != 0 || before == nil {
		tx.addQuota(namespace, delta, index)
	}
}

// addQuota changes the sum of a namespace, to be written at the commit.
func (tx *Txn) addQuota(namespace string, delta int64, index uint64) {
	q, seen := tx.quotas[namespace]
	if !seen {
		q = VariableQuotas.read(tx, Key{ID: namespace}).Copy()
	}
	if q == nil {
		q = &structs.VariablesQuota{Namespace: namespace, CreateIndex: index}
	}
	q.Size += delta
	q.ModifyIndex = index
	tx.setQuota(namespace, q, index)
}

// dropQuota forgets the sum of a namespace that is no more.
func (tx *Txn) dropQuota(namespace string, index uint64) {
	q, seen := tx.quotas[namespace]
	if !seen {
		q = VariableQuotas.read(tx, Key{ID: namespace})
	}
	if q != nil {
		tx.setQuota(namespace, nil, index)
	}
}

func (tx *Txn) setQuota(namespace string, q *structs.VariablesQuota, index uint64) {
	if tx.quotas == nil {
		tx.quotas = make(map[string]*structs.VariablesQuota)
	}
	tx.quotas[namespace] = q
	tx.last[VariableQuotas.at] = index
}
