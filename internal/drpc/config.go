package drpc

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/internal/errs"
)

// MaxPath is how long the path of a Unix socket may be: 108 bytes with the NUL on Linux.
const MaxPath = 107

// Config is one socket. Path, Mode and Logger have no default.
type Config struct {
	// Path of the socket. Path.lock beside it keeps a second agent out.
	Path string
	// Mode of the socket file: 0666 lets every local user connect, and the
	// policies of the modules decide; 0600 only root and the agent's user.
	Mode fs.FileMode
	// Stream makes the socket a stream with length prefixes. Systems without
	// packet sockets get that anyway.
	Stream bool

	// MaxMessage bounds a message in either direction, in bytes.
	MaxMessage int
	// MaxSessions and MaxSessionsPerUID bound the connections open at a time.
	MaxSessions, MaxSessionsPerUID int
	// MaxCalls bounds the calls in flight on one session; more are answered UNAVAILABLE.
	MaxCalls int
	// MaxBytesPerUID bounds what the calls of one user's sessions hold together,
	// those that are still coming in and those that run.
	MaxBytesPerUID int
	// MessageTimeout is how long a peer may take to read a message, or to finish
	// one in frames.
	MessageTimeout time.Duration
	// Grace is what calls in flight get at shutdown before their contexts end.
	Grace time.Duration

	// Privileged decides who is privileged on this socket.
	Privileged func(Peer) bool
	// Charge, where not nil, is asked about each call that the peer may make, before
	// its payload is looked at; its error refuses the call.
	Charge func(ctx context.Context, p Peer, m *Method) error
	// Opened and Closed, where not nil, are told of each session. Closed runs
	// once the peer is gone, when handlers may still be on their way out.
	Opened, Closed func(*Session)
	// Observe, where not nil, is told of each call that was answered. It must not block.
	Observe func(Stat)
	Logger  hclog.Logger
}

// Stat is one call that was answered.
type Stat struct {
	Module, Method int32
	Status         Status
	Took           time.Duration
	Peer           Peer
}

// DefaultConfig returns the limits; the caller adds path, mode and logger.
func DefaultConfig() Config {
	return Config{
		MaxMessage:        DefaultMaxMessage,
		MaxSessions:       1024,
		MaxSessionsPerUID: 128,
		MaxCalls:          64,
		MaxBytesPerUID:    64 << 20,
		MessageTimeout:    10 * time.Second,
		Grace:             5 * time.Second,
		Privileged:        RootOrSelf,
	}
}

// Validate returns every problem at once.
func (c *Config) Validate() error {
	var wrong []errs.Erratum
	check := func(ok bool, field, format string, args ...any) {
		if !ok {
			wrong = append(wrong, errs.Erratum{Field: field, Msg: fmt.Sprintf(format, args...)})
		}
	}
	check(c.Path != "", "path", "give the path of the socket")
	check(!strings.HasPrefix(c.Path, "@") && !strings.Contains(c.Path, "\x00"), "path",
		"%q is an abstract name, which no file mode protects: give the path of a file", c.Path)
	check(len(c.Path) <= MaxPath, "path", "%q has %d bytes, a socket's path at most %d: use a shorter directory", c.Path, len(c.Path), MaxPath)
	check(c.Mode != 0, "mode", "give the mode of the socket file, such as 0600")
	check(c.Mode&^fs.ModePerm == 0, "mode", "%#o has bits beyond 0777", uint32(c.Mode))
	check(c.MaxMessage >= 1 && c.MaxMessage <= 1<<30, "max_message", "must be between 1 byte and 1 GiB")
	check(c.MaxSessions >= 1, "max_sessions", "must be at least 1")
	check(c.MaxSessionsPerUID >= 1, "max_sessions_per_uid", "must be at least 1")
	check(c.MaxCalls >= 1, "max_calls", "must be at least 1")
	check(c.MaxBytesPerUID >= max(1, c.MaxMessage), "max_bytes_per_uid", "must be at least max_message")
	check(c.MessageTimeout > 0, "message_timeout", "must be positive")
	check(c.Grace >= 0, "grace", "must not be negative")
	check(c.Privileged != nil, "privileged", "say who is privileged, RootOrSelf for the usual")
	check(c.Logger != nil, "logger", "a server needs a logger")
	if len(wrong) == 0 {
		return nil
	}
	all := make([]string, len(wrong))
	for i, w := range wrong {
		all[i] = w.Field + ": " + w.Msg
	}
	return errs.Newf(errs.Invalid, "dRPC socket: %s", strings.Join(all, "; ")).WithErrata(wrong...)
}
