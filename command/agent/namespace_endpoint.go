package agent

import (
	"reflect"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

func namespaceRoutes() []route {
	body := reflect.TypeFor[structs.Namespace]()
	return []route{
		read(doc{methods: "GET", pattern: "/v1/namespaces", rpc: "Namespace.ListNamespaces",
			summary: "List the namespaces that the caller may see.", lists: "prefix filter"},
			asIs[structs.NamespaceListRequest],
			func(_ *request, p *structs.NamespaceListResponse) ([]*structs.Namespace, error) {
				return list(p.Namespaces), nil
			}),
		write(doc{methods: "PUT POST", pattern: "/v1/namespace", rpc: "Namespace.UpsertNamespaces",
			summary: "Create or update the namespace in the body.", body: body},
			bindNamespace, done[structs.GenericResponse]),
		read(doc{methods: "GET", pattern: "/v1/namespace/{name}", rpc: "Namespace.GetNamespace",
			summary: "Read a namespace.", status: []int{404}},
			func(r *request, q *structs.NamespaceSpecificRequest) error {
				q.Name = r.rest
				return needName(r)
			},
			func(_ *request, p *structs.SingleNamespaceResponse) (*structs.Namespace, error) {
				if p.Namespace == nil {
					return nil, errs.New(errs.NotFound, "Namespace not found")
				}
				return p.Namespace, nil
			}),
		write(doc{methods: "PUT POST", pattern: "/v1/namespace/{name}", rpc: "Namespace.UpsertNamespaces",
			summary: "Create or update a namespace; the body must name the same one.", body: body},
			bindNamespace, done[structs.GenericResponse]),
		write(doc{methods: "DELETE", pattern: "/v1/namespace/{name}", rpc: "Namespace.DeleteNamespaces",
			summary: "Delete a namespace that is not in use."},
			func(r *request, q *structs.NamespaceDeleteRequest) error {
				q.Namespaces = []string{r.rest}
				return needName(r)
			}, done[structs.GenericResponse]),
	}
}

func needName(r *request) error {
	if r.rest == "" {
		return errs.New(errs.Invalid, "missing namespace name")
	}
	return nil
}

func bindNamespace(r *request, q *structs.NamespaceUpsertRequest) error {
	ns := &structs.Namespace{}
	if err := r.decodeBody(ns); err != nil {
		return err
	}
	if r.rest != "" && ns.Name != r.rest {
		return errs.Newf(errs.Invalid, "namespace name does not match request path: the body has %q, the path %q", ns.Name, r.rest)
	}
	q.Namespaces = []*structs.Namespace{ns}
	return nil
}
