package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// beatTimeout bounds one registration or heartbeat.
	beatTimeout = 15 * time.Second
	// minRetry and maxRetry bound the pause after one that failed.
	minRetry = 250 * time.Millisecond
	maxRetry = 15 * time.Second
	// lookInterval is how often the machine is looked at again.
	lookInterval = time.Minute
	// minStay is how long a server is used at least before another one is tried, so
	// that agents spread over servers that came back.
	minStay = 10 * time.Minute
)

// run registers the node and calls in time, until the agent ends.
func (c *Client) run() {
	defer close(c.looped)
	pause, move := minRetry, time.Now().Add(spread(minStay))
	for c.looping.Err() == nil {
		ttl, err := c.beat(c.looping)
		var wait time.Duration
		switch {
		case err == nil:
			pause, wait = minRetry, next(ttl)
		case errors.Is(err, errs.NotFound): // the servers do not know the node: they lost it, or it was purged
			c.forget()
			continue
		default:
			wait, pause = spread(pause), min(2*pause, maxRetry)
		}
		if err == nil && time.Now().After(move) {
			c.rebalance(c.looping)
			move = time.Now().Add(spread(minStay))
		}
		c.await(wait)
	}
}

// next returns when to call after a heartbeat that may be followed by silence of ttl.
func next(ttl time.Duration) time.Duration {
	ttl = max(ttl, 10*time.Millisecond)
	return ttl*3/4 + rand.N(ttl/5)
}

// await returns after wait, when something changed, or when the agent ends. It looks
// at the machine from time to time.
func (c *Client) await(wait time.Duration) {
	t, look := time.NewTimer(wait), time.NewTicker(lookInterval)
	defer t.Stop()
	defer look.Stop()
	for {
		select {
		case <-c.looping.Done():
			return
		case <-c.changed:
			return
		case <-t.C:
			return
		case <-look.C:
			if c.host.lookAgain() {
				c.register()
				return
			}
		}
	}
}

// wake has the loop call the servers at once.
func (c *Client) wake() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// dialAgain has the link dialled now, if there is none.
func (c *Client) dialAgain() {
	select {
	case c.redial <- struct{}{}:
	default:
	}
}

// register has the loop register the node again, because what it says has changed.
func (c *Client) register() {
	c.forget()
	c.wake()
}

func (c *Client) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.life.registered = false
}

// beat registers the node if need be, and calls. It returns how long the node may
// be silent.
func (c *Client) beat(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	var reply structs.NodeUpdateResponse
	err := c.ensureRegistered(ctx)
	if err == nil {
		err = c.tellStatus(ctx, structs.NodeStatusReady, &reply)
	}
	if err != nil {
		c.note(err)
		return 0, err
	}
	c.servers.told(reply.Servers)
	if c.config.Workloads != nil && reply.SchedulingEligibility == structs.NodeSchedulingEligible {
		c.config.Workloads.Stay()
	}
	c.mu.Lock()
	if c.life.problem != "" || c.life.beat.IsZero() {
		c.logger.Info("the servers take the node's heartbeats", "node_id", c.identity.nodeID, "ttl", reply.HeartbeatTTL)
	}
	c.life.seen = max(c.life.seen, reply.NodeModifyIndex)
	c.life.beat, c.life.ttl, c.life.eligibility, c.life.problem = time.Now(), reply.HeartbeatTTL, reply.SchedulingEligibility, ""
	c.mu.Unlock()
	return reply.HeartbeatTTL, nil
}

// note keeps why the servers could not be told, and says it once.
func (c *Client) note(err error) {
	if errors.Is(err, errs.NotFound) || c.looping.Err() != nil {
		return
	}
	text := err.Error()
	switch {
	case strings.Contains(text, "secret ID does not match"):
		text += ": the servers know another node of this ID; if its state directory is lost, purge it there"
	case errors.Is(err, errs.PermissionDenied) && c.unintroduced():
		text += ": if new nodes need an introduction, make a token with `cairn node intro create` and write it to " + c.state.file(fileIntroduced)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.life.problem != text {
		c.logger.Warn("cannot tell the servers about the node, will try again", "error", text)
	}
	c.life.problem = text
}

// ensureRegistered registers the node unless it is.
func (c *Client) ensureRegistered(ctx context.Context) error {
	c.mu.Lock()
	registered := c.life.registered
	c.life.registered = true // a change from here on registers again
	c.mu.Unlock()
	if registered {
		return nil
	}
	args, reply := &structs.NodeRegisterRequest{Node: c.describe(), CreateNodePool: true}, &structs.NodeUpdateResponse{}
	args.Region = c.config.Region
	err := c.prove(ctx, &args.WriteRequest, func() error { return c.once(ctx, "Node.Register", args, reply) })
	if err != nil {
		c.forget()
		return err
	}
	c.servers.told(reply.Servers)
	c.mu.Lock()
	fresh := c.life.epoch != reply.LinkEpoch
	c.life.epoch, c.life.seen = reply.LinkEpoch, reply.NodeModifyIndex
	c.mu.Unlock()
	if fresh {
		c.dialAgain()
	}
	c.logger.Info("registered the node", "node_id", c.identity.nodeID, "pool", args.Node.NodePool)
	return c.keep(reply.SignedIdentity)
}

// tellStatus tells the servers the status of the node, which is a heartbeat.
func (c *Client) tellStatus(ctx context.Context, status string, reply *structs.NodeUpdateResponse) error {
	args := &structs.NodeUpdateStatusRequest{NodeID: c.identity.nodeID, Status: status}
	args.Region = c.config.Region
	err := c.prove(ctx, &args.WriteRequest, func() error { return c.once(ctx, "Node.UpdateStatus", args, reply) })
	if err != nil {
		return err
	}
	return c.keep(reply.SignedIdentity)
}

// prove makes a call with the node's signed identity; if the servers refuse that,
// with its secret; and if they do not know the node, with its introduction.
func (c *Client) prove(ctx context.Context, w *structs.WriteRequest, call func() error) error {
	w.AuthToken = c.identity.token()
	err := call()
	if errors.Is(err, errs.PermissionDenied) && c.identity.drop(w.AuthToken) {
		c.logger.Debug("the servers refused the node's identity, using its secret")
		w.AuthToken = c.identity.secretID
		err = call()
	}
	if errors.Is(err, errs.PermissionDenied) && ctx.Err() == nil {
		token, bad := c.introduction()
		if bad != nil || token == "" {
			return errors.Join(err, bad)
		}
		w.AuthToken = token
		err = call()
	}
	return err
}

// unintroduced reports that there is no introduction token.
func (c *Client) unintroduced() bool {
	token, err := c.introduction()
	return token == "" && err == nil
}

// introduction returns the token with which a new node is let in, "" for none: that
// of the configuration or of the file, which may have come since the start.
func (c *Client) introduction() (string, error) {
	if c.config.IntroductionToken != "" {
		return c.config.IntroductionToken, nil
	}
	token, err := c.state.read(fileIntroduced)
	if err != nil {
		return "", fmt.Errorf("reading the introduction token: %w", err)
	}
	return strings.TrimSpace(string(token)), nil
}

// keep stores an identity that the servers signed, if they did.
func (c *Client) keep(signed *string) error {
	if signed == nil || *signed == "" {
		return nil
	}
	if err := c.identity.take(*signed); err != nil {
		c.logger.Warn("the node's new identity could not be stored, it is used until the agent ends", "error", err)
	}
	return nil
}

// rebalance moves to the port of a server chosen at random, if there are several and
// none is preferred, or while servers are reached over HTTP. The old session ends when its calls have.
func (c *Client) rebalance(ctx context.Context) {
	old := c.current.Load()
	if c.config.Preferred != "" && old != nil && old.addr == c.config.Preferred {
		return
	}
	c.servers.shuffle()
	addrs, _, overWeb := c.servers.ways()
	if len(addrs) == 0 || len(addrs) < 2 && !overWeb || old != nil && addrs[0] == old.addr {
		return
	}
	select {
	case c.connecting <- struct{}{}:
		defer func() { <-c.connecting }()
	default:
		return
	}
	if _, err := c.connectAny(ctx, addrs[:1]); err != nil {
		c.logger.Debug("stays with its server", "error", err)
	}
}
