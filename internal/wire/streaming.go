package wire

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/msgp"
)

// StreamHandler serves one streaming call. It owns the frames on conn until it
// returns; then conn is closed, as it is when ctx ends.
type StreamHandler func(ctx context.Context, conn net.Conn, id *Identity)

// StreamRegistry maps names to streaming methods. It is filled before it serves.
//
// A streaming call has a connection to itself: the caller sends a header map
// (Method), we answer with a map (Error, "" for success), then frames follow in
// whatever form the method uses.
type StreamRegistry struct {
	limits   Limits
	logger   hclog.Logger
	handlers map[string]StreamHandler
}

// NewStreamRegistry returns an empty registry. A nil logger is silent.
func NewStreamRegistry(limits Limits, logger hclog.Logger) *StreamRegistry {
	if logger == nil {
		logger = hclog.NewNullLogger()
	}
	return &StreamRegistry{limits: limits.withDefaults(), logger: logger, handlers: make(map[string]StreamHandler)}
}

// Register adds a method; its name must not be taken.
func (r *StreamRegistry) Register(method string, h StreamHandler) error {
	if _, taken := r.handlers[method]; taken || method == "" || h == nil {
		return fmt.Errorf("register stream %q: needs a handler and a name that is not taken", method)
	}
	r.handlers[method] = h
	return nil
}

// ServeConn serves the one streaming call on conn and closes it. The header has
// to arrive within HeaderTimeout.
func (r *StreamRegistry) ServeConn(ctx context.Context, conn net.Conn, id *Identity) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if id == nil {
		id = &Identity{Remote: conn.RemoteAddr()}
	}
	method, err := r.accept(conn)
	if err != nil {
		r.logger.Debug("refused a stream", "remote", id.Remote, "error", err)
		return
	}
	r.handlers[method](ctx, conn, id)
}

// accept reads the header and answers it.
func (r *StreamRegistry) accept(conn net.Conn) (string, error) {
	method, err := readStreamMap(conn, r.limits.HeaderTimeout, "Method")
	if err != nil {
		return "", err
	}
	var refusal *errs.Error
	if r.handlers[method] == nil {
		refusal = errs.Newf(errs.Unsupported, "%sstreaming method %s", unknownMethod, method)
	}
	if err := conn.SetWriteDeadline(time.Now().Add(r.limits.WriteTimeout)); err != nil {
		return "", err
	}
	if err := writeStreamMap(conn, "Error", plainText(refusal)); err != nil {
		return "", err
	}
	if refusal != nil {
		return "", refusal
	}
	return method, conn.SetDeadline(time.Time{})
}

// OpenStream starts a streaming call on conn, which has the byte that selects
// the protocol behind it. When it returns nil the frames of the method follow;
// after an error the caller must close conn.
func OpenStream(ctx context.Context, conn net.Conn, method string, limits Limits) error {
	limits = limits.withDefaults()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := conn.SetWriteDeadline(time.Now().Add(limits.WriteTimeout)); err != nil {
		return errs.Lost(errs.ExecutedNo, "the connection was lost before the stream was opened", err)
	}
	err := writeStreamMap(conn, "Method", method)
	if err == nil {
		var text string
		if text, err = readStreamMap(conn, limits.BodyTimeout, "Error"); err == nil && text != "" {
			return fromPlainText(text)
		}
	}
	switch {
	case ctx.Err() != nil || err == nil && !stop():
		return late(ctx, method)
	case err != nil:
		return errs.Lost(errs.ExecutedUnknown, "the connection was lost before the stream was opened", err)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return errs.Lost(errs.ExecutedUnknown, "the connection was lost before the stream was opened", err)
	}
	return nil
}

func writeStreamMap(conn net.Conn, key, value string) error {
	b := msgp.AppendField(msgp.AppendMapHeader(nil, 1), key)
	_, err := conn.Write(msgp.AppendString(b, value))
	return err
}

// singleBytes keeps a buffered reader from taking frames behind the header.
type singleBytes struct{ net.Conn }

func (c singleBytes) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return c.Conn.Read(p[:1])
}

// readStreamMap reads a map and returns its text under key. limit is for all of it.
func readStreamMap(conn net.Conn, limit time.Duration, key string) (string, error) {
	in := newInbox(singleBytes{conn})
	in.phase(limit)
	b, err := in.header(nil)
	if err != nil {
		return "", err
	}
	value := ""
	r := msgp.NewReader(b)
	for n := r.MapHeader(); n > 0 && r.Err() == nil; n-- {
		if string(r.StringKey()) == key {
			value = r.String()
		} else {
			r.Skip()
		}
	}
	return value, r.Err()
}
