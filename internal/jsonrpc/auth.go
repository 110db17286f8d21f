package jsonrpc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
)

// Transports of a Caller.
const (
	TransportSocket = "socket"
	TransportHTTP   = "http"
)

// PeerCred are the credentials that the kernel vouches for.
type PeerCred struct {
	UID, GID uint32
	PID      int32
}

// Caller says who is calling.
type Caller struct {
	// Transport is TransportSocket or TransportHTTP.
	Transport string
	// Remote is the peer's address, "" on a Unix socket.
	Remote string
	// Peer are the credentials of a local process. nil on HTTP, and where they cannot be
	// read: then nothing is known about the caller but its token.
	Peer *PeerCred
	// Token is the secret that came with the call: the member "token" of a request on the
	// socket, whatever the agent reads from the headers on HTTP. It is never logged here.
	Token string
}

// String says who is calling without the secret, for logs.
func (c Caller) String() string {
	if c.Peer != nil {
		return fmt.Sprintf("%s uid=%d gid=%d pid=%d", c.Transport, c.Peer.UID, c.Peer.GID, c.Peer.PID)
	}
	if c.Remote != "" {
		return c.Transport + " " + c.Remote
	}
	return c.Transport + " unknown"
}

// isOwner reports whether root or the user that the agent runs as calls on the socket.
func (c Caller) isOwner() bool {
	return c.Peer != nil && (c.Peer.UID == 0 || int(c.Peer.UID) == os.Geteuid())
}

// Authorizer decides whether a call may be made. It is asked for every call of a
// name that is registered, privileged or not, before the parameters are checked.
type Authorizer interface {
	// Authorize returns nil to let the call pass. An error with the code Unauthenticated
	// says that it is not known who calls; PermissionDenied, and errors without a code, that the caller may not;
	// other codes are answered as they are.
	Authorize(ctx context.Context, c Caller, m *Method) error
}

// LocalOwner lets everybody call what is not privileged, and root and the user
// that the agent runs as call everything, on the socket.
type LocalOwner struct{}

// Authorize implements Authorizer.
func (LocalOwner) Authorize(_ context.Context, c Caller, m *Method) error {
	switch {
	case !m.Privileged:
		return nil
	case c.Peer == nil:
		return errs.New(errs.Unauthenticated, "credentials of the caller are not known")
	case c.isOwner():
		return nil
	}
	return errs.Newf(errs.PermissionDenied, "denied for uid %d and gid %d", c.Peer.UID, c.Peer.GID)
}

// Auditor hears about every call of a privileged name, after it was answered.
type Auditor interface {
	// Audit must not block for long: the answer waits for it.
	Audit(ctx context.Context, r AuditRecord)
}

// AuditRecord is one privileged call, made or refused.
type AuditRecord struct {
	// Caller says who; its token is the secret itself, for the auditor to look up whose it is.
	Caller Caller
	// Method and Provider are those of the registration.
	Method, Provider string
	// Params is "sha256:" and the digest of the parameters as they were sent, "" without parameters.
	Params string
	// Code is that of the error, 0 for success.
	Code int
	// Ran is false when the call was refused before its handler.
	Ran bool
	// Duration is how long it took.
	Duration time.Duration
}

// digest names parameters without showing them.
func digest(params json.RawMessage) string {
	if params == nil {
		return ""
	}
	sum := sha256.Sum256(params)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// unauthorized turns the refusal of an Authorizer into an answer. One without a code
// is a refusal too, and says nothing of its reason.
func unauthorized(err error) error {
	if errs.CodeOf(err) == errs.Internal {
		return &Error{Code: CodeUnauthorized, Message: "unauthorized", Data: []Detail{{Code: ErrataDenied, Message: "denied"}}}
	}
	return err
}

type callKey struct{}

// callInfo is what the context of a handler carries.
type callInfo struct {
	caller Caller
	method *Method
}

// CallerOf returns who made the call that ctx belongs to, the zero Caller outside of a handler.
func CallerOf(ctx context.Context) Caller {
	info, _ := ctx.Value(callKey{}).(callInfo)
	return info.caller
}

// MethodOf returns what was called, nil outside of a handler. It must not be changed.
func MethodOf(ctx context.Context) *Method {
	info, _ := ctx.Value(callKey{}).(callInfo)
	return info.method
}
