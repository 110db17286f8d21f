package nomad

import (
	"context"
	"errors"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

// checkedSince is the first version that applies ACLCheckedRequests.
const checkedSince = "0.1.0"

// maxCheckedTries bounds how often a write is checked anew, as access control
// changed before it was applied.
const maxCheckedTries = 16

// checkedAgain declares that what a method checked of the caller's rights has to
// stand when its entry is applied, unless the caller may do everything.
func checkedAgain(methods ...*methodInfo) bool {
	for _, m := range methods {
		m.checked = true
	}
	return true
}

var _ = checkedAgain(aclUpsertPolicies.methodInfo, aclDeletePolicies.methodInfo, aclUpsertTokens.methodInfo, aclDeleteTokens.methodInfo,
	aclUpsertRoles.methodInfo, aclDeleteRolesByID.methodInfo, aclUpsertAuthMethods.methodInfo, aclDeleteAuthMethods.methodInfo,
	aclUpsertBindingRules.methodInfo, aclDeleteBindingRules.methodInfo)

// runChecked runs a method of checkedAgain (ADR 7). Who the caller is and what it may give
// away is found out after lc.checked was noted, so that the store can tell whether
// any of it has changed.
func (m *writeMethod[Req, Resp]) runChecked(ctx context.Context, lc *leaderCall, args *Req, reply *Resp) (err error) {
	if !m.methodInfo.checked || lc.acl.IsManagement() {
		return m.run(ctx, lc, args, reply)
	}
	for range maxCheckedTries {
		lc.checked = lc.srv.state.Snapshot().ACLIndex()
		if lc.id, err = lc.srv.authenticate(ctx, m.opts(args).AuthToken); err != nil {
			return err
		}
		if lc.acl = lc.id.ACL; !m.allow(lc.acl, args) {
			return errPermissionDenied
		}
		*reply = *new(Resp)
		if err = m.run(ctx, lc, args, reply); !errors.Is(err, state.ErrACLChanged) {
			return err
		}
	}
	return err
}

// checkedEntry wraps an entry of a caller that is held to its rights.
func (c *leaderCall) checkedEntry(t structs.MessageType, entry any) (structs.MessageType, any, error) {
	if c.checked == 0 || c.acl.IsManagement() {
		return t, entry, nil
	}
	return c.srv.wrapChecked(t, entry, &structs.ACLCheckedRequest{Checked: c.checked})
}

// wrapChecked makes r of an entry, which stays as it is while not every server knows such requests.
func (s *Server) wrapChecked(t structs.MessageType, entry any, r *structs.ACLCheckedRequest) (structs.MessageType, any, error) {
	if !s.router.MeetsMinimumVersion(s.config.Region, checkedSince, false) {
		return t, entry, nil
	}
	var err error
	if r.Entry, err = structs.Encode(t, entry); err != nil {
		return 0, nil, errs.Wrap(errs.Internal, "could not encode the write", err)
	}
	return structs.ACLCheckedRequestType, r, nil
}

// storeLogin stores the token that prepare makes of a snapshot, anew if what binds
// logins has changed before the token was stored: a rule that is gone binds nobody.
func (c *leaderCall) storeLogin(ctx context.Context, prepare func(*state.Snapshot) (*structs.ACLToken, error)) (res applied, err error) {
	for range maxCheckedTries {
		sn := c.srv.state.Snapshot()
		token, err := prepare(sn)
		if err != nil {
			return applied{}, err
		}
		t, entry, err := c.srv.wrapChecked(structs.ACLTokenUpsertRequestType, &structs.ACLTokenUpsertRequest{Tokens: []*structs.ACLToken{token}},
			&structs.ACLCheckedRequest{Checked: sn.BindingIndex(), Login: true})
		if err != nil {
			return applied{}, err
		}
		if res, err = c.apply(ctx, t, entry); !errors.Is(err, state.ErrACLChanged) {
			return res, err
		}
	}
	return applied{}, state.ErrACLChanged
}
