package enroll

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/jointoken"
	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/internal/tlsconf"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// joinTimeout bounds one attempt at one server.
	joinTimeout = 20 * time.Second
	// joinPatience is how long servers that do not answer are tried.
	joinPatience = 2 * time.Minute
	// joinPause is between two rounds.
	joinPause = 2 * time.Second
)

// join asks the servers of the token for a certificate. The key is kept before,
// so that an answer that is lost costs no use of the token.
func (c *Config) join(ctx context.Context) error {
	token, err := c.parseToken()
	if err != nil {
		return err
	}
	key, err := c.pendingKey()
	if err != nil {
		return err
	}
	der, err := tlsconf.NewRequest(key, c.IPs)
	if err != nil {
		return err
	}
	req := &structs.AuthorityJoinRequest{
		TokenID: token.ID, Secret: token.Secret, Role: structs.JoinRole(token.Role), CSR: der, Node: c.Node,
		WriteRequest: structs.WriteRequest{Region: c.Region},
	}
	reply, err := c.askAll(ctx, token, req)
	if err != nil {
		return err
	}
	return c.accept(key, reply)
}

func (c *Config) pendingKey() ([]byte, error) {
	key, err := c.Dir.read(pendingFile)
	if err != nil || key != nil {
		return key, err
	}
	if key, err = tlsconf.NewKey(); err != nil {
		return nil, err
	}
	return key, c.Dir.write(pendingFile, key)
}

// askAll asks one server after the other until one gives an answer that counts.
func (c *Config) askAll(ctx context.Context, token *jointoken.Token, req *structs.AuthorityJoinRequest) (*structs.AuthorityJoinResponse, error) {
	for end := time.Now().Add(joinPatience); ; {
		var last error
		for _, addr := range token.Servers {
			reply, err := c.ask(ctx, addr, token, req)
			if err == nil {
				c.Logger.Info("joined with a token", "server", addr, "token", token.ID)
				return reply, nil
			}
			if !mayPass(err) {
				return nil, errs.Newf(errs.CodeOf(err), "cannot join by server %s: %w", addr, err)
			}
			c.Logger.Warn("cannot join by a server, will try the others", "server", addr, "error", err)
			last = err
		}
		if !time.Now().Before(end) {
			return nil, errs.Newf(errs.Unavailable, "no server of the join token could be reached, check the network and make a new token if they have moved: %w", last)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(joinPause):
		}
	}
}

// mayPass reports whether another server, or the same one later, may answer otherwise.
func mayPass(err error) bool {
	var e *errs.Error
	if !errors.As(err, &e) {
		return true // of the network
	}
	switch e.Code {
	case errs.Unavailable, errs.NoLeader, errs.Busy, errs.RateLimited, errs.Deadline:
		return true
	}
	return false
}

func (c *Config) ask(ctx context.Context, addr string, token *jointoken.Token, req *structs.AuthorityJoinRequest) (*structs.AuthorityJoinResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	dial := c.Dial
	if dial == nil {
		var d net.Dialer
		dial = func(ctx context.Context, addr string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }
	}
	conn, err := dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	if conn, err = mux.Select(ctx, conn, mux.ProtoJoin, tlsconf.Pinned(token.Authorities, token.Region)); err != nil {
		return nil, err
	}
	client := wire.NewClient(conn, wire.DefaultLimits())
	defer client.Close()
	out := *req
	out.Time = time.Now()
	reply := &structs.AuthorityJoinResponse{}
	if err := client.Call(ctx, "Authority.Join", &out, reply, wire.CallOptions{}); err != nil {
		return nil, err
	}
	return reply, nil
}

// accept keeps what a server answered; the certificate last.
func (c *Config) accept(key []byte, r *structs.AuthorityJoinResponse) error {
	if _, err := tls.X509KeyPair(r.Certificate, key); err != nil {
		return errs.Wrap(errs.Internal, "the server answered with a certificate of another key", err)
	}
	gossip := r.GossipKey
	if c.GossipKey != nil {
		gossip = c.GossipKey
	}
	if err := c.Dir.SaveGossipKey(gossip); err != nil {
		return err
	}
	if err := c.Dir.SaveCluster(Cluster{Region: c.Region, GossipServers: r.GossipServers, Servers: r.Servers}); err != nil {
		return err
	}
	if err := c.Dir.SaveIdentity(r.Certificate, key, r.Authorities); err != nil {
		return err
	}
	return c.Dir.remove(pendingFile)
}

// Caller makes calls to a server over a connection that shows the certificate.
type Caller interface {
	RPC(ctx context.Context, method string, args, reply any) error
}

// Renew asks a server for a new certificate with the one that is in use, as node
// agents do: servers make theirs from the state.
func (d Dir) Renew(ctx context.Context, server Caller, region string, ips []net.IP) error {
	key, err := tlsconf.NewKey()
	if err != nil {
		return err
	}
	der, err := tlsconf.NewRequest(key, ips)
	if err != nil {
		return err
	}
	req := &structs.AuthorityRenewRequest{CSR: der, QueryOptions: structs.QueryOptions{Region: region}}
	reply := &structs.AuthorityRenewResponse{}
	if err := server.RPC(ctx, "Authority.Renew", req, reply); err != nil {
		return err
	}
	if _, err := tls.X509KeyPair(reply.Certificate, key); err != nil {
		return errs.Wrap(errs.Internal, "the server answered with a certificate of another key", err)
	}
	return d.SaveIdentity(reply.Certificate, key, reply.Authorities)
}
