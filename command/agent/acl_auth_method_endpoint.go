package agent

import (
	"reflect"

	"github.com/cairn-project/cairn/nomad/structs"
)

func aclAuthMethodRoutes() []route {
	body := reflect.TypeFor[structs.ACLAuthMethod]()
	return []route{
		read(doc{methods: "GET", pattern: "/v1/acl/auth-methods", rpc: "ACL.ListAuthMethods",
			summary: "List the ways to log in; this needs no token."},
			asIs[structs.ACLAuthMethodListRequest],
			func(_ *request, p *structs.ACLAuthMethodListResponse) ([]*structs.ACLAuthMethodListStub, error) {
				return list(p.AuthMethods), nil
			}),
		write(doc{methods: "PUT POST", pattern: "/v1/acl/auth-method", rpc: "ACL.UpsertAuthMethods",
			summary: "Create an auth method.", body: body},
			func(r *request, q *structs.ACLAuthMethodUpsertRequest) error {
				q.Create = true
				return bindAuthMethod(r, q)
			}, writtenAuthMethod),
		read(doc{methods: "GET", pattern: "/v1/acl/auth-method/{name}", rpc: "ACL.GetAuthMethod",
			summary: "Read an auth method; its secrets are redacted.", status: []int{404}},
			func(r *request, q *structs.ACLAuthMethodGetRequest) error {
				q.MethodName = r.rest
				return r.needRest("auth-method name")
			},
			func(_ *request, p *structs.ACLAuthMethodGetResponse) (*structs.ACLAuthMethod, error) {
				return found(p.AuthMethod, "ACL auth-method")
			}),
		write(doc{methods: "PUT POST", pattern: "/v1/acl/auth-method/{name}", rpc: "ACL.UpsertAuthMethods",
			summary: "Create or update an auth method; the body must name the same one.", body: body, status: []int{404}},
			bindAuthMethod, writtenAuthMethod),
		write(doc{methods: "DELETE", pattern: "/v1/acl/auth-method/{name}", rpc: "ACL.DeleteAuthMethods",
			summary: "Delete an auth method with its binding rules; tokens of its logins stay.", status: []int{404}},
			func(r *request, q *structs.ACLAuthMethodDeleteRequest) error {
				q.Names = []string{r.rest}
				return r.needRest("auth-method name")
			}, done[structs.ACLAuthMethodDeleteResponse]),
	}
}

func bindAuthMethod(r *request, q *structs.ACLAuthMethodUpsertRequest) error {
	m := &structs.ACLAuthMethod{}
	if err := r.bodyNamed(m, &m.Name, "auth-method name"); err != nil {
		return err
	}
	q.AuthMethods = []*structs.ACLAuthMethod{m}
	return nil
}

func writtenAuthMethod(_ *request, p *structs.ACLAuthMethodUpsertResponse) (*structs.ACLAuthMethod, error) {
	return only(p.AuthMethods)
}
