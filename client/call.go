package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/structs"
)

// holdTimeout is how long a call waits for a server to become reachable.
const holdTimeout = 5 * time.Second

// secure returns the TLS configuration of one connection, nil for one in clear.
func (c *Client) secure() *tls.Config {
	if c.config.Secure == nil {
		return nil
	}
	return c.config.Secure()
}

// connection returns the session in use, or opens one with the first server that
// answers. Callers wait for each other.
func (c *Client) connection(ctx context.Context) (*serverConn, error) {
	if s := c.current.Load(); s != nil && s.alive() {
		return s, nil
	}
	select {
	case c.connecting <- struct{}{}:
		defer func() { <-c.connecting }()
	case <-ctx.Done():
		return nil, errs.Lost(errs.ExecutedNo, "no server could be reached in time", ctx.Err())
	}
	switch s := c.current.Load(); {
	case s != nil && s.alive():
		return s, nil
	case c.ctx.Err() != nil:
		return nil, errs.Lost(errs.ExecutedNo, "this agent is shutting down: ask another one", c.ctx.Err())
	}
	return c.connectAny(ctx, c.servers.candidates())
}

// connectAny makes a session with the first of the servers that answers the one in
// use. It needs the token of connecting.
func (c *Client) connectAny(ctx context.Context, addrs []string) (*serverConn, error) {
	if len(addrs) == 0 {
		return nil, errs.Lost(errs.ExecutedNo, "no server is known: set servers or server_join in the client block, or use `cairn node config -update-servers`", errors.New("no address"))
	}
	var failures []string
	for _, addr := range addrs {
		s, err := c.connect(ctx, addr)
		if err == nil {
			c.servers.answered(addr)
			c.use(s)
			return s, nil
		}
		if ctx.Err() != nil {
			return nil, errs.Lost(errs.ExecutedNo, "no server could be reached in time", err)
		}
		c.servers.failed(addr)
		c.logger.Debug("cannot use a server", "server", addr, "error", err)
		failures = append(failures, fmt.Sprintf("%s: %v", addr, err))
	}
	return nil, errs.Lost(errs.ExecutedNo, "no server can be reached: "+strings.Join(failures, "; "), errors.New("every dial failed"))
}

// use makes s the session that calls go out over, and serves what comes in on it.
func (c *Client) use(s *serverConn) {
	old := c.current.Swap(s)
	c.wg.Go(func() { c.accept(s) })
	if old != nil {
		c.wg.Go(func() { old.retire(c.ctx) })
	}
	if c.ctx.Err() != nil { // Shutdown may have closed what was there before
		s.close()
	}
	c.logger.Info("connected to a server", "server", s.addr)
}

// once sends a call over the session in use. What was provably not sent goes out
// again over another.
func (c *Client) once(ctx context.Context, method string, args, reply any) error {
	for try := 0; ; try++ {
		s, err := c.connection(ctx)
		if err != nil {
			return err
		}
		err = s.calls.Call(ctx, method, args, reply, wire.CallOptions{})
		if !lost(err) {
			return err
		}
		s.close()
		c.servers.failed(s.addr)
		if try == 2 || !errs.NotSent(err) || ctx.Err() != nil {
			return err
		}
	}
}

// RPC has a server answer a call in the name of a user. It waits a while for one
// that can be reached; reads whose answer was lost are asked again.
func (c *Client) RPC(ctx context.Context, method string, args, reply any) error {
	c.fillRegion(args)
	_, reads := args.(structs.Query)
	until := time.Now().Add(holdTimeout)
	for {
		err := c.once(ctx, method, args, reply)
		again := lost(err) && (errs.NotSent(err) || reads)
		if !again || time.Now().After(until) {
			return err
		}
		if !sleep(ctx, spread(100*time.Millisecond)) {
			return err
		}
	}
}

// fillRegion names the region of calls that leave it open, so that any server
// passes them on.
func (c *Client) fillRegion(args any) {
	switch a := args.(type) {
	case structs.Query:
		if q := a.QueryOpts(); q.Region == "" {
			q.Region = c.config.Region
		}
	case structs.Write:
		if w := a.WriteOpts(); w.Region == "" {
			w.Region = c.config.Region
		}
	}
}

// sleep waits and reports false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// spread returns a random time of d to 2d.
func spread(d time.Duration) time.Duration { return d + rand.N(max(d, 1)) }
