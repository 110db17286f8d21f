package structs

import "github.com/cairn-project/cairn/internal/errs"

// ACLAuthMethodUpsertRequest creates or updates auth methods, all or none.
type ACLAuthMethodUpsertRequest struct {
	AuthMethods []*ACLAuthMethod
	// Create refuses methods that exist.
	Create bool
	WriteRequest
}

// Validate returns every problem of the request at once.
func (r *ACLAuthMethodUpsertRequest) Validate(limits ACLTokenLimits) error {
	if err := batchError(len(r.AuthMethods), "auth method"); err != nil {
		return err
	}
	var all []errs.Erratum
	for _, m := range r.AuthMethods {
		if m == nil {
			return invalidf("an auth method is null")
		}
		all = append(all, m.problems(limits)...)
	}
	return errataError("invalid auth method", all)
}

// ACLAuthMethodUpsertResponse answers ACLAuthMethodUpsertRequest with the methods as stored.
type ACLAuthMethodUpsertResponse struct {
	AuthMethods []*ACLAuthMethod
	WriteMeta
}

// ACLAuthMethodDeleteRequest deletes auth methods by name, all or none.
type ACLAuthMethodDeleteRequest struct {
	Names []string
	WriteRequest
}

// Validate refuses a request that names nothing.
func (r *ACLAuthMethodDeleteRequest) Validate() error { return batchError(len(r.Names), "auth method") }

// ACLAuthMethodDeleteResponse answers ACLAuthMethodDeleteRequest.
type ACLAuthMethodDeleteResponse struct {
	WriteMeta
}

// ACLAuthMethodListRequest lists auth methods; it needs no token.
type ACLAuthMethodListRequest struct {
	QueryOptions
}

// ACLAuthMethodListResponse answers ACLAuthMethodListRequest in order of name.
type ACLAuthMethodListResponse struct {
	AuthMethods []*ACLAuthMethodListStub
	QueryMeta
}

// ACLAuthMethodGetRequest reads one auth method.
type ACLAuthMethodGetRequest struct {
	MethodName string
	QueryOptions
}

// ACLAuthMethodGetResponse answers ACLAuthMethodGetRequest; nil means absent.
type ACLAuthMethodGetResponse struct {
	AuthMethod *ACLAuthMethod
	QueryMeta
}

// ACLAuthMethodsGetRequest reads several auth methods, for the leaders of other regions.
type ACLAuthMethodsGetRequest struct {
	Names []string
	QueryOptions
}

// ACLAuthMethodsGetResponse answers ACLAuthMethodsGetRequest; absent names are left out.
type ACLAuthMethodsGetResponse struct {
	AuthMethods map[string]*ACLAuthMethod
	QueryMeta
}
