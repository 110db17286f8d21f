package drpc

import (
	"io/fs"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/internal/drpc"
)

// Module is a set of methods that a program answers on a socket of its own, under
// the number that its callers know. Allow has no default: AnyPeer, KnownPeers,
// PrivilegedPeers, or a rule of the program's own.
type Module = drpc.Module

// Method is one entry of a Module.
type Method = drpc.Method

// Handler runs one call: its result is the body of the answer. An *Error reaches the
// caller with its code and text, any other error as Internal without its text.
type Handler = drpc.Handler

// Request is one call as its Handler sees it.
type Request = drpc.Request

// Peer is who calls, as the kernel saw it when it connected.
type Peer = drpc.Peer

// Policy decides which peers may call a Module.
type Policy = drpc.Policy

// The usual policies. Privileged are root and the user that the program runs as; an
// agent that runs as root is.
var (
	AnyPeer         Policy = drpc.Anyone
	KnownPeers      Policy = drpc.KnownPeers
	PrivilegedPeers Policy = drpc.PrivilegedPeers
)

// ServerOptions are what a server can do without.
type ServerOptions struct {
	// Mode of the socket file, 0 for 0600.
	Mode fs.FileMode
	// MaxMessage is the longest call or answer in bytes, 0 for 4 MiB.
	MaxMessage int
	// Logger is told of what goes wrong, nil for nobody.
	Logger hclog.Logger
}

// Server answers calls on one socket.
type Server = drpc.Server

// Listen makes the socket of a program that answers calls: those of an agent that
// tells a workload of a shutdown, or that passes on a call to a provider. Serve must be
// called; it answers until its context ends, and takes the socket away again.
func Listen(path string, opts ServerOptions, modules ...Module) (*Server, error) {
	registry := drpc.NewRegistry()
	for _, m := range modules {
		if err := registry.Register(m); err != nil {
			return nil, err
		}
	}
	cfg := drpc.DefaultConfig()
	cfg.Path, cfg.Mode, cfg.Logger, cfg.Grace = path, 0o600, hclog.NewNullLogger(), 0
	if opts.Mode != 0 {
		cfg.Mode = opts.Mode
	}
	if opts.MaxMessage > 0 {
		cfg.MaxMessage, cfg.MaxBytesPerUID = opts.MaxMessage, max(cfg.MaxBytesPerUID, opts.MaxMessage)
	}
	if opts.Logger != nil {
		cfg.Logger = opts.Logger
	}
	return drpc.Listen(cfg, registry)
}
