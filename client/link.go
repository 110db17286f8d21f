package client

import (
	"context"
	"errors"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/nomad/nodelink"
)

// startLink keeps a link to some server up, over which servers call the agent.
func (c *Client) startLink() error {
	agent, err := nodelink.NewAgent(nodelink.AgentConfig{Hello: c.hello, Handlers: c.handlers(), Limits: c.config.LinkLimits, Logger: c.logger.Named("link")})
	if err != nil {
		return err
	}
	d := &nodelink.Dialer{Agent: agent, Dial: c.dialLink, OnState: c.linkState, Again: c.redial}
	c.wg.Go(func() { d.Run(c.ctx) })
	return nil
}

// hello is what the agent says on its next link.
func (c *Client) hello() nodelink.Hello {
	c.mu.Lock()
	defer c.mu.Unlock()
	return nodelink.Hello{Region: c.config.Region, NodeID: c.identity.nodeID, Secret: c.identity.secretID, Epoch: c.life.epoch,
		Instance: c.instance, Build: c.config.Version, Kinds: applyKinds()}
}

// dialLink opens the session of a link to the first server that answers, the
// preferred one or else any, once the node is registered.
func (c *Client) dialLink(ctx context.Context) (mux.Session, error) {
	c.mu.Lock()
	known := c.life.epoch > 0
	c.mu.Unlock()
	if !known {
		return nil, errors.New("the node is not registered yet")
	}
	addrs := c.servers.mixed()
	if len(addrs) == 0 {
		return nil, errs.New(errs.NoPath, "no server is known")
	}
	var all []error
	for _, addr := range addrs {
		s, err := c.dialLinkTo(ctx, addr)
		if err == nil || ctx.Err() != nil {
			return s, err
		}
		all = append(all, err)
	}
	return nil, errors.Join(all...)
}

func (c *Client) dialLinkTo(ctx context.Context, addr string) (mux.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if isWeb(addr) && c.config.Secure == nil {
		return nodelink.DialWebSocket(ctx, addr, c.secureHTTP(), mux.SessionConfig{Logger: c.logger})
	}
	conn, err := c.dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	return nodelink.DialPort(ctx, conn, c.secure(), mux.SessionConfig{Logger: c.logger})
}

// linkState notes how the link is. A server that does not know the registration is
// told it again.
func (c *Client) linkState(s nodelink.State) {
	c.mu.Lock()
	was := c.link
	c.link = s
	c.mu.Unlock()
	refusal := refusalOf(s)
	if refusal != nil && refusal.Reason == nodelink.BadIdentity {
		c.register()
	}
	switch {
	case s.Up:
		c.logger.Info("link up", "server", s.Welcome.ServerName, "protocol", s.Welcome.Protocol)
	case refusal != nil && (refusalOf(was) == nil || refusalOf(was).Error() != refusal.Error()):
		c.logger.Warn("the servers refuse the link, the node stays without one and dials again", "reason", refusal.Reason, "help", refusal.Help)
	case was.Up:
		c.logger.Info("link down, dialling again", "reason", s.Err)
	default:
		c.logger.Debug("no link, dialling again", "reason", s.Err)
	}
}

// refusalOf returns why servers refuse the link for good, nil if they do not.
func refusalOf(s nodelink.State) *nodelink.Refusal {
	if r := new(nodelink.Refusal); errors.As(s.Err, &r) && r.Lasting() {
		return r
	}
	return nil
}
