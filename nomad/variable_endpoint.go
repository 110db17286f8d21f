package nomad

import (
	"context"
	"strings"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

// Variables answers the RPCs on variables.
type Variables struct{ srv *Server }

var variableTables = []string{state.Variables.Name()}

var errVariableNotFound = errs.New(errs.NotFound, "variable not found")

var variableRead = newRead("Variables.Read", variableTables,
	func(a *acl.ACL, r *structs.VariablesReadRequest) bool {
		return a.AllowVariable(r.RequestNamespace(), r.Path, acl.VariablesRead)
	},
	func(v *view, r *structs.VariablesReadRequest, reply *structs.VariablesReadResponse) error {
		row := v.Variable(v.ws, r.RequestNamespace(), r.Path)
		if row == nil {
			return nil
		}
		v.index = row.ModifyIndex
		var err error
		reply.Data, err = v.srv.openVariable(v.acl, row, "")
		return err
	})

var variableList = newRead("Variables.List", variableTables,
	func(a *acl.ACL, r *structs.VariablesListRequest) bool {
		return a.AllowVariableSearch(r.RequestNamespace())
	},
	func(v *view, r *structs.VariablesListRequest, reply *structs.VariablesListResponse) (err error) {
		query := state.VariableQuery{Namespace: r.RequestNamespace(), Prefix: r.Prefix, Reverse: r.Reverse}
		if r.NextToken != "" {
			ns, path, ok := strings.Cut(r.NextToken, ".")
			if !ok {
				return errs.Newf(errs.Invalid, "next_token %q is not one of this list", r.NextToken)
			}
			query.From = state.Key{Namespace: ns, ID: path}
		}
		reply.Data = []*structs.VariableMetadata{}
		reply.NextToken, err = paginate(v.Variables(v.ws, query), &r.QueryOptions, page[structs.VariableEncrypted]{
			visible: func(row *structs.VariableEncrypted) bool { return state.Variables.Visible(v.acl, row) },
			object:  func(row *structs.VariableEncrypted) any { return &row.VariableMetadata },
			key:     func(row *structs.VariableEncrypted) string { return row.Namespace + "." + row.Path },
			emit: func(row *structs.VariableEncrypted) {
				reply.Data = append(reply.Data, shownMetadata(v.acl, &row.VariableMetadata, ""))
			},
		})
		return err
	})

var variableApply = newLeader("Variables.Apply",
	func(a *acl.ACL, r *structs.VariablesApplyRequest) bool {
		need := acl.VariablesWrite
		if r.Op == structs.VarOpDelete || r.Op == structs.VarOpDeleteCAS {
			need = acl.VariablesDestroy
		}
		if r.Var == nil { // an error, told to those who may see some variable
			return a.AllowVariableSearch(r.RequestNamespace())
		}
		return a.AllowVariable(r.RequestNamespace(), r.Var.Path, need)
	},
	func(ctx context.Context, c *leaderCall, r *structs.VariablesApplyRequest, reply *structs.VariablesApplyResponse) error {
		return c.applyVariable(ctx, r, reply)
	})

var variableRenew = newLeader("Variables.RenewLock",
	func(a *acl.ACL, r *structs.VariablesRenewLockRequest) bool {
		return a.AllowVariable(r.RequestNamespace(), r.Path, acl.VariablesWrite)
	},
	func(ctx context.Context, c *leaderCall, r *structs.VariablesRenewLockRequest, reply *structs.VariablesRenewLockResponse) error {
		return c.srv.renewLock(ctx, r, reply)
	})

// Read reads one variable; a nil Data means that there is none.
func (v *Variables) Read(ctx context.Context, args *structs.VariablesReadRequest, reply *structs.VariablesReadResponse) error {
	return variableRead.serve(ctx, v.srv, args, reply)
}

// List lists the meta data of the variables that the caller may see.
func (v *Variables) List(ctx context.Context, args *structs.VariablesListRequest, reply *structs.VariablesListResponse) error {
	return variableList.serve(ctx, v.srv, args, reply)
}

// Apply runs one operation on one variable.
func (v *Variables) Apply(ctx context.Context, args *structs.VariablesApplyRequest, reply *structs.VariablesApplyResponse) error {
	return variableApply.serve(ctx, v.srv, args, reply)
}

// RenewLock keeps a lock for another TTL.
func (v *Variables) RenewLock(ctx context.Context, args *structs.VariablesRenewLockRequest, reply *structs.VariablesRenewLockResponse) error {
	return variableRenew.serve(ctx, v.srv, args, reply)
}

// shownMetadata returns what the caller may see of a variable's meta data: the
// lock is shown to its holder, and to whoever may see all locks.
func shownMetadata(a *acl.ACL, m *structs.VariableMetadata, lockID string) *structs.VariableMetadata {
	if m.Lock == nil || allowsOne(a, acl.VariableLockRead) || lockID == m.Lock.ID {
		return m
	}
	c := *m
	c.Lock = nil
	return &c
}

// openVariable decrypts a stored variable for the caller.
func (s *Server) openVariable(a *acl.ACL, row *structs.VariableEncrypted, lockID string) (*structs.VariableDecrypted, error) {
	items, err := s.openItems(row)
	if err != nil {
		return nil, err
	}
	return &structs.VariableDecrypted{VariableMetadata: *shownMetadata(a, &row.VariableMetadata, lockID), Items: items}, nil
}
