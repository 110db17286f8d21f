// Package jsonrpc is a JSON-RPC 2.0 server and client for operators: a registry
// of methods and notifications that can describe itself, a dispatcher with
// limits, deadlines and authorisation per call, a Unix socket and an HTTP
// handler. It knows no resource of the product; whoever owns one registers it.
//
// The protocol is https://www.jsonrpc.org/specification. Details of a failure
// follow the node of Apache Traffic Server: error.data is a list of objects with
// a code and a message, one for every problem found.
package jsonrpc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/internal/errs"
)

// Config is what a Server is made from. Start from DefaultConfig.
type Config struct {
	// MaxMessage is the size of the largest message taken, in bytes.
	MaxMessage int
	// MaxDepth is how deep arrays and objects may be nested; the message itself is level 1.
	MaxDepth int
	// MaxBatch is how many elements a batch may have.
	MaxBatch int
	// MaxAnswer bounds the answer to one message, in bytes, so that a batch of
	// calls with large results cannot use up the memory.
	MaxAnswer int
	// MaxRunning is how many calls run at once, over all transports; an eighth is left for
	// root and the agent's user on the socket. Calls above it are refused.
	MaxRunning int
	// MaxParallel is how many calls of one batch run at once, where their methods allow it.
	MaxParallel int
	// CallTimeout bounds a call whose method has no limit of its own.
	CallTimeout time.Duration
	// StrictIDs refuses ids that are null or an empty string.
	StrictIDs bool
	// Provider is the provider shown for methods that name none.
	Provider string
	// Charge counts every call, before anything else is asked about it, and refuses
	// what is too much; nil for no bound. Its error is answered as it is.
	Charge func(ctx context.Context, c Caller, m *Method) error
	// Authorizer decides about every call; nil means LocalOwner.
	Authorizer Authorizer
	// Auditor hears about every privileged call; nil means that they are only logged.
	Auditor Auditor
	// Logger takes what is worth a line; nil is silent.
	Logger hclog.Logger
}

// DefaultConfig returns the limits of the product.
func DefaultConfig() Config {
	return Config{
		MaxMessage: 4 << 20, MaxDepth: 64, MaxBatch: 1000, MaxAnswer: 64 << 20,
		MaxRunning: 256, MaxParallel: 8, CallTimeout: 5 * time.Second, Provider: "cairn",
	}
}

// Validate returns every problem of the configuration at once.
func (c Config) Validate() error {
	var errata []errs.Erratum
	positive := func(field string, v int64) {
		if v <= 0 {
			errata = append(errata, errs.Erratum{Field: field, Msg: "must be above zero"})
		}
	}
	positive("MaxMessage", int64(c.MaxMessage))
	positive("MaxDepth", int64(c.MaxDepth))
	positive("MaxBatch", int64(c.MaxBatch))
	positive("MaxAnswer", int64(c.MaxAnswer))
	positive("MaxRunning", int64(c.MaxRunning))
	positive("MaxParallel", int64(c.MaxParallel))
	positive("CallTimeout", int64(c.CallTimeout))
	if c.Provider == "" {
		errata = append(errata, errs.Erratum{Field: "Provider", Msg: "must not be empty"})
	}
	return invalid("invalid json-rpc configuration", errata)
}

// invalid returns every problem of something as one error that tells them all, nil for none.
func invalid(what string, errata []errs.Erratum) error {
	if len(errata) == 0 {
		return nil
	}
	all := make([]string, len(errata))
	for i, e := range errata {
		all[i] = e.Field + " " + e.Msg
	}
	return errs.New(errs.Invalid, what+": "+strings.Join(all, "; ")).WithErrata(errata...)
}

// String shows the limits; there is no secret among them.
func (c Config) String() string {
	return fmt.Sprintf("max_message=%d max_depth=%d max_batch=%d max_answer=%d max_running=%d max_parallel=%d call_timeout=%s strict_ids=%t",
		c.MaxMessage, c.MaxDepth, c.MaxBatch, c.MaxAnswer, c.MaxRunning, c.MaxParallel, c.CallTimeout, c.StrictIDs)
}

// errPanic stands for a panic that was logged where it happened.
var errPanic = errors.New("handler panicked")
