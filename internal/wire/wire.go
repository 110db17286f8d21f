// Package wire speaks Go's net/rpc over MessagePack with a dispatcher of its
// own: a context per call, cancellation and deadlines that cross hops, caps on
// size and time, the identity of the peer, and errors that keep their code.
//
// A request is a header map (ServiceMethod, Seq) and an argument value, a
// response a header map (ServiceMethod, Seq, Error) and a reply value; there is
// no length prefix and replies come in any order. Our additions are further
// keys of the header maps, which plain peers ignore; header.go lists them.
package wire

import (
	"context"
	"net"
	"reflect"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/limit"
	"github.com/cairn-project/cairn/internal/msgp"
)

// Raw is one encoded value, passed through without being decoded or encoded.
// It must hold exactly one value; an empty Raw is sent as nil.
type Raw []byte

// Identity says who is at the other end of a connection.
type Identity struct {
	// Remote is the peer's address.
	Remote net.Addr
	// Protocol names how the peer connected, for logs.
	Protocol string
	// Server is true when the peer proved to be a server of the cluster.
	Server bool
	// TLSNames are the names in the peer's verified certificate, nil without one.
	TLSNames []string
	// Session opens streams back to the peer, nil where the connection carries one only.
	Session Session
}

// Session is a connection over which either side opens streams.
type Session interface {
	// Open starts a stream to the peer.
	Open(ctx context.Context) (net.Conn, error)
	// Done is closed when the connection has ended.
	Done() <-chan struct{}
}

// Call is one call as its handler sees it.
type Call struct {
	// Method is "Service.Method" as the peer sent it.
	Method string
	// Body is the encoded argument. It is reused once the handler has returned.
	Body Raw
	// Hops counts the servers that passed the call on.
	Hops int
	// RequestID names the call in the logs of every hop, "" if the peer gave none.
	RequestID string
	// WriteID names a write over all its tries, zero for none; WriteSince is an
	// index from before its first try, 0 in the first. What they mean is up to the
	// handler.
	WriteID    [16]byte
	WriteSince uint64
	// Identity is the peer's. It is shared by the calls of a connection.
	Identity *Identity
	// Typed is the argument of a call from within the process, nil on the wire.
	Typed any
	// Bulk is set by a handler whose reply takes long to encode: that waits for its
	// turn.
	Bulk bool
}

// Decode reads the argument into v, a non-nil pointer. For a call from within
// the process it makes a shallow copy of the argument.
func (c *Call) Decode(v any) error {
	if c.Typed != nil {
		return assign(v, c.Typed)
	}
	if err := msgp.Unmarshal(c.Body, v); err != nil {
		return errs.Wrap(errs.Invalid, "cannot decode the argument of "+c.Method, err)
	}
	return nil
}

// assign copies *src or src into *dst when the types agree.
func assign(dst, src any) error {
	d, s := reflect.ValueOf(dst), reflect.ValueOf(src)
	if d.Kind() != reflect.Pointer || d.IsNil() {
		return errs.Newf(errs.Internal, "cannot decode into %T", dst)
	}
	if s.Kind() == reflect.Pointer && s.Type() == d.Type() && !s.IsNil() {
		s = s.Elem()
	}
	if !s.Type().AssignableTo(d.Elem().Type()) {
		return errs.Newf(errs.Invalid, "argument is a %T, want %T", src, dst)
	}
	d.Elem().Set(s)
	return nil
}

// Handler serves one call. It runs in a goroutine of its own; ctx ends with the
// caller's deadline, its cancellation, or the connection. The reply is a Raw or
// any value that package msgp encodes; nil is sent as nil. The reply may alias
// the call's Body.
type Handler func(ctx context.Context, c *Call) (reply any, err error)

// Limits bounds what one connection may take. A zero field means its default.
type Limits struct {
	// MaxMessage is the largest argument or reply in bytes.
	MaxMessage int
	// MaxInFlight is how many calls of one connection run at once. As many more
	// wait; then, or when all their arguments exceed twice MaxMessage, the
	// connection is not read until a call ends.
	MaxInFlight int
	// HeaderTimeout is for the header, from its first byte on.
	HeaderTimeout time.Duration
	// BodyTimeout is for the argument or reply, from the end of the header on.
	BodyTimeout time.Duration
	// IdleTimeout ends a server's connection on which nothing is in flight.
	IdleTimeout time.Duration
	// WriteTimeout is for the peer to take what one write holds, at most 256 KiB.
	WriteTimeout time.Duration
	// Held bounds the arguments of all calls on all connections of a server, from their
	// first byte until they are answered; nil for no bound. Calls above it are refused.
	Held *limit.Bytes
}

// DefaultLimits returns the limits that a server uses unless told otherwise.
func DefaultLimits() Limits {
	return Limits{
		MaxMessage:    16 << 20,
		MaxInFlight:   256,
		HeaderTimeout: 5 * time.Second,
		BodyTimeout:   30 * time.Second,
		IdleTimeout:   10 * time.Minute,
		WriteTimeout:  10 * time.Second,
	}
}

// withDefaults fills the zero fields.
func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	set(&l.MaxMessage, d.MaxMessage)
	set(&l.MaxInFlight, d.MaxInFlight)
	set(&l.HeaderTimeout, d.HeaderTimeout)
	set(&l.BodyTimeout, d.BodyTimeout)
	set(&l.IdleTimeout, d.IdleTimeout)
	set(&l.WriteTimeout, d.WriteTimeout)
	return l
}

func set[T int | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

type callKey struct{}

// WithCall returns a context from which CallFrom gets c. Handlers started by a
// Server have such a context already.
func WithCall(ctx context.Context, c *Call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

// CallFrom returns the call that ctx belongs to.
func CallFrom(ctx context.Context) (*Call, bool) {
	c, ok := ctx.Value(callKey{}).(*Call)
	return c, ok
}
