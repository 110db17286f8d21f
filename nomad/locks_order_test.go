package nomad

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-project/cairn/nomad/structs"
)

func acquired(id string) (*structs.VariablesApplyRequest, *structs.VariableMetadata) {
	m := structs.VariableMetadata{Namespace: "default", Path: "p", Lock: &structs.VariableLock{ID: id, TTL: time.Minute}}
	return &structs.VariablesApplyRequest{Op: structs.VarOpLockAcquire, Var: &structs.VariableDecrypted{VariableMetadata: m}}, &m
}

func TestLateReportDoesNotDisplaceTheHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLockTimers(nil)
		l.term = &term{ctx: context.Background()}
		defer l.clear()
		key := lockKey{"default", "p"}
		second, meta := acquired("second")
		l.applied(second, meta, 9)
		first, meta := acquired("first")
		l.applied(first, meta, 7)
		if !l.renew(key, structs.VariableLock{ID: "second", TTL: time.Minute}) {
			t.Fatal("the holder was told that it lost the lock")
		}
		first.Op = structs.VarOpLockRelease
		l.applied(first, &structs.VariableMetadata{Namespace: "default", Path: "p"}, 8)
		if l.held[key] == nil {
			t.Fatal("the late report of a release ended the timer of the next holder")
		}
	})
}
