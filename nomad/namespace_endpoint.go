package nomad

import (
	"context"
	"slices"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

// Namespace answers the RPCs on namespaces.
type Namespace struct{ srv *Server }

var namespaceTables = []string{state.Namespaces.Name()}

var namespaceList = newRead("Namespace.ListNamespaces", namespaceTables,
	anyone[structs.NamespaceListRequest],
	func(v *view, r *structs.NamespaceListRequest, reply *structs.NamespaceListResponse) error {
		reply.Namespaces = []*structs.Namespace{}
		all := structs.QueryOptions{Filter: r.Filter} // the public API does not page namespaces
		_, err := paginate(v.Namespaces(v.ws, r.Prefix), &all, page[structs.Namespace]{
			visible: func(ns *structs.Namespace) bool { return state.Namespaces.Visible(v.acl, ns) },
			object:  func(ns *structs.Namespace) any { return ns },
			key:     func(ns *structs.Namespace) string { return ns.Name },
			emit:    func(ns *structs.Namespace) { reply.Namespaces = append(reply.Namespaces, ns) },
		})
		return err
	})

var namespaceGet = newRead("Namespace.GetNamespace", namespaceTables,
	func(a *acl.ACL, r *structs.NamespaceSpecificRequest) bool { return a.AllowNamespaceRead(r.Name) },
	func(v *view, r *structs.NamespaceSpecificRequest, reply *structs.SingleNamespaceResponse) error {
		if reply.Namespace = v.Namespace(v.ws, r.Name); reply.Namespace != nil {
			v.index = reply.Namespace.ModifyIndex
		}
		return nil
	})

var namespaceGetSet = newRead("Namespace.GetNamespaces", namespaceTables,
	delegated[structs.NamespaceSetRequest](acl.ManageNamespaces, acl.ReplicationRead),
	func(v *view, r *structs.NamespaceSetRequest, reply *structs.NamespaceSetResponse) error {
		reply.Namespaces = make(map[string]*structs.Namespace, len(r.Namespaces))
		for _, name := range r.Namespaces {
			if ns := v.Namespace(v.ws, name); ns != nil {
				reply.Namespaces[name] = ns
			}
		}
		return nil
	})

var namespaceUpsert = newWrite[structs.NamespaceUpsertRequest, structs.GenericResponse]("Namespace.UpsertNamespaces", structs.NamespaceUpsertRequestType,
	func(a *acl.ACL, r *structs.NamespaceUpsertRequest) bool {
		return every(r.Namespaces, func(n *structs.Namespace) bool { return n != nil && a.AllowNamespaceWrite(n.Name) }) || a.AllowOperatorCapability(acl.ManageNamespaces)
	},
	func(_ *state.Snapshot, r *structs.NamespaceUpsertRequest) error { return r.Validate() }).shared(always[structs.NamespaceUpsertRequest])

var namespaceDelete = newWrite[structs.NamespaceDeleteRequest, structs.GenericResponse]("Namespace.DeleteNamespaces", structs.NamespaceDeleteRequestType,
	func(a *acl.ACL, r *structs.NamespaceDeleteRequest) bool {
		return every(r.Namespaces, a.AllowNamespaceWrite) || a.AllowOperatorCapability(acl.ManageNamespaces)
	},
	func(_ *state.Snapshot, r *structs.NamespaceDeleteRequest) error { return r.Validate() }).shared(always[structs.NamespaceDeleteRequest]).unlessUsed(namespacesUsed)

// every reports whether ok holds for all of a list, which must not be empty: who
// may change nothing in particular may not change nothing.
func every[T any](list []T, ok func(T) bool) bool {
	return len(list) > 0 && !slices.ContainsFunc(list, func(v T) bool { return !ok(v) })
}

// ListNamespaces lists the namespaces that the caller may see.
func (n *Namespace) ListNamespaces(ctx context.Context, args *structs.NamespaceListRequest, reply *structs.NamespaceListResponse) error {
	return namespaceList.serve(ctx, n.srv, args, reply)
}

// GetNamespace reads one namespace.
func (n *Namespace) GetNamespace(ctx context.Context, args *structs.NamespaceSpecificRequest, reply *structs.SingleNamespaceResponse) error {
	return namespaceGet.serve(ctx, n.srv, args, reply)
}

// GetNamespaces reads several namespaces by name.
func (n *Namespace) GetNamespaces(ctx context.Context, args *structs.NamespaceSetRequest, reply *structs.NamespaceSetResponse) error {
	return namespaceGetSet.serve(ctx, n.srv, args, reply)
}

// UpsertNamespaces creates or updates namespaces, all or none.
func (n *Namespace) UpsertNamespaces(ctx context.Context, args *structs.NamespaceUpsertRequest, reply *structs.GenericResponse) error {
	return namespaceUpsert.serve(ctx, n.srv, args, reply)
}

// DeleteNamespaces deletes namespaces that are not in use, all or none.
func (n *Namespace) DeleteNamespaces(ctx context.Context, args *structs.NamespaceDeleteRequest, reply *structs.GenericResponse) error {
	return namespaceDelete.serve(ctx, n.srv, args, reply)
}
