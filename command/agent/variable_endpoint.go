package agent

import (
	"cmp"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

var casParam = param{name: "cas", kind: "integer",
	summary: "write only if the variable still has this ModifyIndex; 0 means that it must not exist"}

func variableRoutes() []route {
	const path = "/v1/var/{path...}"
	return []route{
		read(doc{methods: "GET", pattern: "/v1/vars", rpc: "Variables.List",
			summary: "List the meta data of variables, without their items.",
			lists:   "prefix per_page next_token filter reverse"},
			asIs[structs.VariablesListRequest],
			func(_ *request, p *structs.VariablesListResponse) ([]*structs.VariableMetadata, error) {
				return list(p.Data), nil
			}),
		read(doc{methods: "GET", pattern: path, rpc: "Variables.Read",
			summary: "Read a variable with its items.", status: []int{404}},
			func(r *request, q *structs.VariablesReadRequest) error {
				q.Path = r.rest
				return needPath(r)
			},
			func(_ *request, p *structs.VariablesReadResponse) (*structs.VariableDecrypted, error) {
				if p.Data == nil {
					return nil, errs.New(errs.NotFound, "variable not found")
				}
				return p.Data, nil
			}),
		chargedAs(variableCall, asWrite(local[*structs.VariableDecrypted](doc{methods: "PUT POST", pattern: path,
			rpc:     "Variables.Apply Variables.RenewLock",
			summary: "Write a variable, or acquire, renew or release its lock.",
			body:    reflect.TypeFor[structs.VariableDecrypted](), status: []int{409, 413},
			params: []param{casParam,
				{name: "lock-acquire", kind: "boolean", summary: "acquire the lock that the body describes"},
				{name: "lock-renew", kind: "boolean", summary: "keep the lock whose ID is in the body"},
				{name: "lock-release", kind: "boolean", summary: "release the lock whose ID is in the body"},
			}}, putVariable))),
		asWrite(local[nothing](doc{methods: "DELETE", pattern: path, rpc: "Variables.Apply",
			summary: "Delete a variable.", status: []int{204, 409}, params: []param{casParam}}, deleteVariable)),
	}
}

// asWrite makes a route with a handler of its own a write of the store.
func asWrite(r route) route {
	r.kind = writeKind
	return r
}

// chargedAs makes a route that calls one of several RPCs be charged as the one.
func chargedAs(which func(*request) string, r route) route {
	r.charge = which
	return r
}

// variableCall returns which RPC a PUT will call: the renewal of a lock is more
// urgent than a write.
func variableCall(r *request) string {
	if r.has("lock-renew") {
		return "Variables.RenewLock"
	}
	return "Variables.Apply"
}

func needPath(r *request) error {
	if r.rest == "" {
		return errs.New(errs.Invalid, "missing variable path")
	}
	return nil
}

func putVariable(r *request) error {
	op, cas, err := r.variableOp()
	if err != nil {
		return err
	}
	v := &structs.VariableDecrypted{}
	if err := r.decodeBody(v); err != nil {
		return err
	}
	if v.Path != "" && v.Path != r.rest {
		return errs.Newf(errs.Invalid, "variable path does not match request path: the body has %q, the path %q", v.Path, r.rest)
	}
	v.Path = r.rest
	if r.has("lock-renew") {
		return r.renewLock(v)
	}
	if op == structs.VarOpCAS {
		v.ModifyIndex = cas
	}
	if op == structs.VarOpLockAcquire && v.Lock != nil {
		v.Lock.TTL = cmp.Or(v.Lock.TTL, structs.DefaultVariableLockTTL)
		v.Lock.LockDelay = cmp.Or(v.Lock.LockDelay, structs.DefaultVariableLockDelay)
	}
	if op == structs.VarOpSet && v.Lock != nil && v.Lock.ID == "" {
		return errs.New(errs.Invalid, "a lock is acquired with ?lock-acquire, not by writing it")
	}
	reply, err := r.applyVariable(op, v)
	if err != nil || reply == nil {
		return err
	}
	return r.writeJSON(http.StatusOK, reply.Output)
}

// lockParams are the query parameters that make a write one of a lock.
var lockParams = [...]struct {
	name string
	op   structs.VarOp
}{
	{"lock-acquire", structs.VarOpLockAcquire},
	{"lock-release", structs.VarOpLockRelease},
	{"lock-renew", structs.VarOpSet},
}

// variableOp reads which operation the query asks for, and the index of ?cas.
// It fails without a path.
func (r *request) variableOp() (structs.VarOp, uint64, error) {
	if err := needPath(r); err != nil {
		return "", 0, err
	}
	op, n := structs.VarOpSet, 0
	for i := range lockParams {
		if p := &lockParams[i]; r.has(p.name) {
			op, n = p.op, n+1
		}
	}
	if n > 1 {
		return "", 0, errs.New(errs.Invalid, "only one of lock-acquire, lock-renew and lock-release may be given")
	}
	if !r.has("cas") {
		return op, 0, nil
	}
	if n > 0 {
		return "", 0, errs.New(errs.Invalid, "cas cannot be used with a lock operation")
	}
	cas, err := strconv.ParseUint(r.query.Get("cas"), 10, 64)
	if err != nil {
		return "", 0, errs.Newf(errs.Invalid, "Invalid cas: %q is not an index", r.query.Get("cas"))
	}
	return structs.VarOpCAS, cas, nil
}

func (r *request) renewLock(v *structs.VariableDecrypted) error {
	args := &structs.VariablesRenewLockRequest{Path: v.Path, LockID: v.LockID()}
	r.writeOptions(&args.WriteRequest)
	args.Namespace = cmp.Or(v.Namespace, args.Namespace)
	if args.LockID == "" {
		return errs.New(errs.Invalid, "renewing a lock requires the lock ID")
	}
	reply := &structs.VariablesRenewLockResponse{}
	if err := r.api.server.RPC(r.Context(), "Variables.RenewLock", args, reply); err != nil {
		return err
	}
	r.setIndex(reply.Index)
	return r.writeJSON(http.StatusOK, reply.VarMeta)
}

func deleteVariable(r *request) error {
	op, cas, err := r.variableOp()
	if err != nil {
		return err
	}
	v := &structs.VariableDecrypted{}
	v.Path = r.rest
	switch op {
	case structs.VarOpCAS:
		op, v.ModifyIndex = structs.VarOpDeleteCAS, cas
	case structs.VarOpSet:
		op = structs.VarOpDelete
	default:
		return errs.New(errs.Invalid, "a lock operation needs PUT")
	}
	reply, err := r.applyVariable(op, v)
	if err != nil || reply == nil {
		return err
	}
	r.w.WriteHeader(http.StatusNoContent)
	return nil
}

// applyVariable runs op. It answers a conflict itself and returns nil then.
func (r *request) applyVariable(op structs.VarOp, v *structs.VariableDecrypted) (*structs.VariablesApplyResponse, error) {
	args := &structs.VariablesApplyRequest{Op: op, Var: v}
	r.writeOptions(&args.WriteRequest)
	v.Namespace = args.RequestNamespace()
	reply := &structs.VariablesApplyResponse{}
	if err := r.api.server.RPC(r.Context(), "Variables.Apply", args, reply); err != nil {
		return nil, err
	}
	switch {
	case reply.Result == structs.VarOpResultError:
		return nil, errs.New(errs.Internal, strings.TrimSpace(reply.Error))
	case reply.IsConflict():
		return nil, r.writeConflict(v, reply)
	}
	r.setIndex(reply.Index)
	return reply, nil
}

// writeConflict answers with the variable that stood in the way: its meta data
// alone if the caller may not read it, a bare path if there is none.
func (r *request) writeConflict(asked *structs.VariableDecrypted, reply *structs.VariablesApplyResponse) error {
	current := reply.Conflict
	if current == nil {
		current = &structs.VariableDecrypted{VariableMetadata: structs.VariableMetadata{
			Namespace: asked.Namespace, Path: asked.Path}}
	}
	r.setIndex(current.ModifyIndex)
	if reply.Result == structs.VarOpResultRedacted {
		return r.writeJSON(http.StatusConflict, &current.VariableMetadata)
	}
	return r.writeJSON(http.StatusConflict, current)
}
