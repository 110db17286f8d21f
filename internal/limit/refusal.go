package limit

import (
	"math/rand/v2"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
)

// Refusal says which rate a request was above.
type Refusal struct {
	Class Class
	Scope Scope
	// Payer is the address or the name of the token, "" for Global.
	Payer string
	// Wait is how long until the rate lets one more in.
	Wait time.Duration
	// Enforced is false where the request goes on.
	Enforced bool
}

// Err is the error of a request that was refused. One that another server may have
// room for is told so by its code.
func (r *Refusal) Err() error {
	wait := r.Wait + rand.N(r.Wait/4+time.Millisecond) // so that not all come back at once
	var e *errs.Error
	switch r.Scope {
	case PerToken:
		e = errs.Newf(errs.RateLimited, "too many %s requests with this token or by this user: slow down, or ask for a higher limit", r.Class)
	case PerAddress:
		e = errs.Newf(errs.RateLimited, "too many %s requests from this address: slow down, or ask for a higher limit", r.Class)
	default:
		e = errs.Newf(errs.Busy, "this server has too many %s requests: ask another one or try again later", r.Class)
	}
	return e.WithRetryAfter(wait)
}
