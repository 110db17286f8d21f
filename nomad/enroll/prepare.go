package enroll

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/jointoken"
	"github.com/cairn-project/cairn/internal/tlsconf"
)

// gossipKeySize is that of AES-256.
const gossipKeySize = 32

// Config says who the agent is and how it comes by its first certificate.
type Config struct {
	Dir    Dir
	Role   tlsconf.Role
	Region string
	// Node is the name of the agent, for the operators of the cluster.
	Node string
	// Token is the text of a join token, "" for none.
	Token string
	// First makes the authority of a new cluster. Fresh says that there is no
	// state yet, and so nobody who gossips in clear.
	First, Fresh bool
	// GossipKey is the key of the configuration, nil for one that the cluster has
	// or that is made.
	GossipKey []byte
	// Lifetime is that of certificates the agent makes itself, 0 for DefaultLifetime.
	Lifetime time.Duration
	// IPs are addresses to be known by, beside the loopback.
	IPs []net.IP
	// Dial connects to a server port, nil for TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Logger may be nil.
	Logger hclog.Logger
}

func (c *Config) holder() Holder {
	return Holder{Role: c.Role, Region: c.Region, Lifetime: cmp.Or(c.Lifetime, DefaultLifetime)}
}

// Prepare sees to it that the directory holds a certificate that is valid. It may
// wait for servers to join.
func Prepare(ctx context.Context, c Config) error {
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.Dir.Exists() {
		return c.keep(ctx)
	}
	switch {
	case c.Token != "":
		return c.join(ctx)
	case c.First:
		return c.found()
	}
	return errs.Newf(errs.PreconditionFailed, "this agent has no certificate: give it a join token that `cairn operator join-token create -role %s` made on a server of the cluster; the first server of a new cluster needs bootstrap_expect = 1 instead", c.Role)
}

// keep goes on with the certificate that is there, or mends it.
func (c *Config) keep(ctx context.Context) error {
	_, until, err := c.Dir.RenewAt()
	if err != nil {
		return errs.Newf(errs.Invalid, "the certificate in %s cannot be read, move it away to join again with a new token: %w", c.Dir.path(identityFile), err)
	}
	if time.Now().Before(until) {
		return nil
	}
	err = c.Dir.recover(c.holder(), c.IPs)
	if err == nil {
		c.Logger.Warn("the certificate had expired, made a new one", "expired", until)
		return nil
	}
	if c.Token != "" {
		c.Logger.Warn("the certificate has expired, joining again", "expired", until)
		return c.join(ctx)
	}
	return errs.Newf(errs.PreconditionFailed, "the certificate expired at %s and cannot be renewed here (%w): give the agent a new join token", until.Format(time.RFC3339), err)
}

// found makes the authority of a new cluster and the first certificate.
func (c *Config) found() error {
	d := c.Dir
	ca, caKey, err := d.Seed()
	if err == nil && (ca == nil || caKey == nil) {
		if ca, caKey, err = NewAuthority(c.Region); err == nil {
			err = d.write(seedFile, append(bytes.Clone(ca), caKey...))
		}
	}
	if err != nil {
		return err
	}
	gossip := c.GossipKey
	if gossip == nil {
		if gossip, err = d.GossipKey(); err != nil {
			return err
		}
	}
	if gossip == nil && c.Fresh {
		gossip = make([]byte, gossipKeySize)
		rand.Read(gossip)
	}
	if err := d.SaveGossipKey(gossip); err != nil {
		return err
	}
	key, err := tlsconf.NewKey()
	if err != nil {
		return err
	}
	der, err := tlsconf.NewRequest(key, c.IPs)
	if err != nil {
		return err
	}
	r, err := tlsconf.ParseRequest(der)
	if err != nil {
		return err
	}
	cert, err := tlsconf.Sign(ca, caKey, r, c.holder().spec(r))
	if err != nil {
		return err
	}
	c.Logger.Info("made the certificate authority of a new cluster", "region", c.Region)
	return d.SaveIdentity(cert, key, ca)
}

// parseToken reads the token and refuses one that is not for this agent.
func (c *Config) parseToken() (*jointoken.Token, error) {
	t, err := jointoken.Parse(c.Token)
	switch {
	case err != nil:
		return nil, err
	case t.Role != string(c.Role):
		return nil, errs.Newf(errs.Invalid, "the join token is for a %s, this agent is a %s: make one with `cairn operator join-token create -role %s`", t.Role, c.Role, c.Role)
	case t.Region != c.Region:
		return nil, errs.Newf(errs.Invalid, "the join token is for region %q, this agent is of region %q: set region, or make a token in the other region", t.Region, c.Region)
	}
	return t, nil
}
