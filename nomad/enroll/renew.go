package enroll

import (
	"context"
	"math/rand/v2"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	// renewCheck is how often a node agent looks after its certificate: the clock may
	// be set, and a machine may sleep.
	renewCheck = time.Minute
	// renewTimeout bounds one renewal.
	renewTimeout = 30 * time.Second
	// renewRetry and renewMaxRetry are the first and the longest pause after one that failed.
	renewRetry    = 2 * time.Second
	renewMaxRetry = 5 * time.Minute
	// renewSpread is the part of the time that is left from a due renewal to the end of
	// the certificate over which renewals are spread: agents that joined together do not
	// come together.
	renewSpread = 4
)

// Renewer keeps the certificate of a node agent fresh.
type Renewer struct {
	Dir    Dir
	Region string
	// IPs are addresses to be known by, beside the loopback.
	IPs []net.IP
	// Server answers calls that show the certificate.
	Server Caller
	// Use takes a certificate that was renewed into use.
	Use func() error
	// Again comes by a certificate when that of the directory has expired, or does
	// nothing and fails.
	Again  func(ctx context.Context) error
	Logger hclog.Logger
}

// Run renews until ctx ends.
func (r *Renewer) Run(ctx context.Context) {
	var of, at time.Time // the certificate's end, and when it is to be renewed
	pause := renewRetry
	for ctx.Err() == nil {
		due, until, err := r.Dir.RenewAt()
		if err == nil && !until.Equal(of) {
			of, at = until, due.Add(rand.N(max(until.Sub(due)/renewSpread, 1)))
		}
		if left := time.Until(at); err == nil && left > 0 {
			rest(ctx, min(left, renewCheck))
			continue
		}
		if err == nil {
			err = r.renew(ctx, until)
		}
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			pause = renewRetry
			continue
		}
		r.Logger.Error("could not renew the certificate, will try again", "valid_until", until, "error", err)
		rest(ctx, pause/2+rand.N(pause))
		pause = min(2*pause, renewMaxRetry)
	}
}

// renew makes one try.
func (r *Renewer) renew(ctx context.Context, until time.Time) error {
	if !time.Now().Before(until) {
		if err := r.Again(ctx); err != nil {
			return err
		}
		return r.Use()
	}
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	if err := r.Dir.Renew(ctx, r.Server, r.Region, r.IPs); err != nil {
		return err
	}
	if err := r.Use(); err != nil {
		return err
	}
	_, until, err := r.Dir.RenewAt()
	if err == nil {
		r.Logger.Info("renewed the certificate", "until", until)
	}
	return err
}

// rest waits, or until ctx ends.
func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
