package nomad

import (
	"context"
	"time"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

var aclAuthMethodTables = []string{state.ACLAuthMethods.Name()}

var aclListAuthMethods = newRead("ACL.ListAuthMethods", aclAuthMethodTables,
	anyone[structs.ACLAuthMethodListRequest],
	func(v *view, _ *structs.ACLAuthMethodListRequest, reply *structs.ACLAuthMethodListResponse) error {
		reply.AuthMethods = []*structs.ACLAuthMethodListStub{}
		for m := range v.ACLAuthMethods(v.ws) {
			reply.AuthMethods = append(reply.AuthMethods, m.Stub())
		}
		return nil
	})

var aclGetAuthMethod = newRead("ACL.GetAuthMethod", aclAuthMethodTables,
	delegated[structs.ACLAuthMethodGetRequest](acl.ACLAuthMethodRead, acl.ACLAuthMethodWrite),
	func(v *view, r *structs.ACLAuthMethodGetRequest, reply *structs.ACLAuthMethodGetResponse) error {
		if m := v.ACLAuthMethod(v.ws, r.MethodName); m != nil {
			reply.AuthMethod, v.index = m.Redacted(), m.ModifyIndex
		}
		return nil
	})

// aclGetAuthMethods is for the leaders of other regions, which need the secrets.
var aclGetAuthMethods = newRead("ACL.GetAuthMethods", aclAuthMethodTables,
	delegated[structs.ACLAuthMethodsGetRequest](acl.ACLAuthMethodSecrets),
	func(v *view, r *structs.ACLAuthMethodsGetRequest, reply *structs.ACLAuthMethodsGetResponse) error {
		reply.AuthMethods = make(map[string]*structs.ACLAuthMethod, len(r.Names))
		for _, name := range r.Names {
			if m := v.ACLAuthMethod(v.ws, name); m != nil {
				reply.AuthMethods[name] = m
			}
		}
		return nil
	})

var aclUpsertAuthMethods = newLeader("ACL.UpsertAuthMethods",
	delegated[structs.ACLAuthMethodUpsertRequest](acl.ACLAuthMethodWrite),
	func(ctx context.Context, c *leaderCall, r *structs.ACLAuthMethodUpsertRequest, reply *structs.ACLAuthMethodUpsertResponse) error {
		sn, now := c.srv.state.Snapshot(), time.Now()
		entry := &structs.ACLAuthMethodUpsertRequest{Create: r.Create}
		for _, m := range r.AuthMethods {
			row := m.Copy()
			if row != nil {
				existing := sn.ACLAuthMethod(nil, row.Name)
				row.KeepSecrets(existing)
				if row.CreateTime = (time.Time{}); existing != nil {
					row.CreateTime = existing.CreateTime
				}
				row.Canonicalize(now)
			}
			entry.AuthMethods = append(entry.AuthMethods, row)
		}
		if err := entry.Validate(c.srv.config.ACL.limits()); err != nil {
			return err
		}
		for _, row := range entry.AuthMethods {
			if r.Create && sn.ACLAuthMethod(nil, row.Name) != nil {
				return state.AuthMethodExists(row.Name)
			}
			if err := c.mayWriteMethod(sn, row); err != nil {
				return err
			}
			row.SetHash()
		}
		res, err := c.apply(ctx, structs.ACLAuthMethodsUpsertRequestType, entry)
		if err != nil {
			return err
		}
		return tellAuthMethods(ctx, c, r, reply, res)
	}).shared(always[structs.ACLAuthMethodUpsertRequest])

// tellAuthMethods answers with the auth methods that were written, without their secrets.
func tellAuthMethods(_ context.Context, c *leaderCall, _ *structs.ACLAuthMethodUpsertRequest, reply *structs.ACLAuthMethodUpsertResponse, res applied) (err error) {
	sn := c.srv.state.Snapshot()
	reply.Index = res.index
	reply.AuthMethods, err = storedRows(res, func(name string) *structs.ACLAuthMethod {
		if m := sn.ACLAuthMethod(nil, name); m != nil {
			return m.Redacted()
		}
		return nil
	})
	return err
}

// mayWriteMethod refuses a second default method, and a method whose logins get
// more than its writer holds. What the servers' own keys sign, others may trust.
func (c *leaderCall) mayWriteMethod(sn *state.Snapshot, m *structs.ACLAuthMethod) error {
	if m.Config.SignsWithServerKeys() && !allowsOne(c.acl, acl.ACLAuthMethodKeys) {
		return refuse("to let an auth method use keys or files of the servers takes a management token or the capability %s", acl.ACLAuthMethodKeys)
	}
	if other := sn.DefaultACLAuthMethod(m.Type); m.Default && other != nil && other.Name != m.Name {
		return errs.Newf(errs.Invalid, "default method for type %s already exists: %s", m.Type, other.Name)
	}
	return c.mayBindAll(sn, m.Name)
}

var aclDeleteAuthMethods = newLeader("ACL.DeleteAuthMethods",
	delegated[structs.ACLAuthMethodDeleteRequest](acl.ACLAuthMethodWrite),
	func(ctx context.Context, c *leaderCall, r *structs.ACLAuthMethodDeleteRequest, reply *structs.ACLAuthMethodDeleteResponse) (err error) {
		if err := r.Validate(); err != nil {
			return err
		}
		sn := c.srv.state.Snapshot()
		for _, name := range r.Names {
			if sn.ACLAuthMethod(nil, name) == nil {
				return errs.New(errs.NotFound, "ACL auth-method not found")
			}
			if err := c.mayBindAll(sn, name); err != nil {
				return err
			}
		}
		reply.Index, err = c.commit(ctx, structs.ACLAuthMethodsDeleteRequestType, &structs.ACLAuthMethodDeleteRequest{Names: r.Names})
		return err
	}).shared(always[structs.ACLAuthMethodDeleteRequest])

// ListAuthMethods lists the ways to log in; whoever wants to log in has no token yet.
func (a *ACL) ListAuthMethods(ctx context.Context, args *structs.ACLAuthMethodListRequest, reply *structs.ACLAuthMethodListResponse) error {
	return aclListAuthMethods.serve(ctx, a.srv, args, reply)
}

// GetAuthMethod reads one auth method without its secrets.
func (a *ACL) GetAuthMethod(ctx context.Context, args *structs.ACLAuthMethodGetRequest, reply *structs.ACLAuthMethodGetResponse) error {
	return aclGetAuthMethod.serve(ctx, a.srv, args, reply)
}

// GetAuthMethods reads several auth methods with their secrets.
func (a *ACL) GetAuthMethods(ctx context.Context, args *structs.ACLAuthMethodsGetRequest, reply *structs.ACLAuthMethodsGetResponse) error {
	return aclGetAuthMethods.serve(ctx, a.srv, args, reply)
}

// UpsertAuthMethods creates or updates auth methods, all or none.
func (a *ACL) UpsertAuthMethods(ctx context.Context, args *structs.ACLAuthMethodUpsertRequest, reply *structs.ACLAuthMethodUpsertResponse) error {
	return aclUpsertAuthMethods.serve(ctx, a.srv, args, reply)
}

// DeleteAuthMethods deletes auth methods with their binding rules, all or none.
func (a *ACL) DeleteAuthMethods(ctx context.Context, args *structs.ACLAuthMethodDeleteRequest, reply *structs.ACLAuthMethodDeleteResponse) error {
	return aclDeleteAuthMethods.serve(ctx, a.srv, args, reply)
}
