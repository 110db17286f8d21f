package agent

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/cairn-project/cairn/internal/tlsconf"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/enroll"
)

// Bounds of auto_cert_ttl.
const (
	minCertTTL = 10 * time.Second
	maxCertTTL = 365 * 24 * time.Hour
)

// certDir returns where the agent keeps what the cluster's authority gave it, ""
// where nothing is kept. An agent that is both is known as a server.
func (c *Config) certDir() enroll.Dir {
	dir := c.serverDataDir()
	if !c.Server.Enabled {
		dir = c.clientDataDir()
	}
	if dir == "" {
		return ""
	}
	return enroll.Dir(filepath.Join(dir, "tls"))
}

// fillAuto completes the tls block where the certificates come from the cluster's
// own authority. That is asked for by auto, by a join token, or by the certificate
// that is there: an agent that joined does not fall back to clear text because a
// flag was left out.
func (c *Config) fillAuto() []problem {
	t, dir := &c.TLSConfig, c.certDir()
	some := c.Server.Enabled || c.Client.Enabled
	if text, file := c.joinSource(); text != "" || file != "" || some && !t.EnableRPC && dir != "" && dir.Exists() {
		t.Auto = true
	}
	if !t.Auto || !some {
		return nil
	}
	var out []problem
	bad := func(when bool, msg string) {
		if when {
			out = append(out, problem{msg: msg})
		}
	}
	bad(dir == "", "tls.auto: -dev keeps nothing, and so no certificate; use -data-dir and -bootstrap-expect 1")
	bad(t.CAFile+t.CertFile+t.KeyFile != "", "tls.auto: the agent makes its certificate; remove ca_file, cert_file and key_file, or auto")
	if len(out) > 0 {
		return out
	}
	t.EnableRPC, t.VerifyServerHostname = true, true
	files := dir.Settings()
	t.CAFile, t.CertFile, t.KeyFile = files.CAFile, files.CertFile, files.KeyFile
	return nil
}

// enroll sees to it that there is a certificate, where the cluster's own authority
// is used. It may wait for servers.
func (a *Agent) enroll(ctx context.Context) error {
	c := a.config
	if !c.TLSConfig.Auto {
		return nil
	}
	token, err := c.joinToken()
	if err != nil {
		return err
	}
	conf := enroll.Config{Dir: c.certDir(), Role: tlsconf.RoleClient, Region: c.Region, Node: c.NodeName, Token: token, IPs: a.ownIPs(), Logger: a.logger.Named("tls")}
	if !c.Server.Enabled {
		return enroll.Prepare(ctx, conf)
	}
	if conf.GossipKey, err = c.Server.encryptKey(); err != nil {
		return fmt.Errorf("server.encrypt: %w", err)
	}
	conf.Role, conf.First, conf.Fresh, conf.Lifetime = tlsconf.RoleServer, c.Server.BootstrapExpect == 1, !c.hasState(), c.TLSConfig.AutoCertTTL
	return enroll.Prepare(ctx, conf)
}

// startRenewal keeps the certificate of a node agent fresh: servers make theirs
// themselves.
func (a *Agent) startRenewal() {
	c := a.config
	if !c.TLSConfig.Auto || c.Server.Enabled {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	a.endRenewal = func() {
		cancel()
		<-ended
	}
	r := &enroll.Renewer{
		Dir: c.certDir(), Region: c.Region, IPs: a.ownIPs(), Server: a.client, Logger: a.logger.Named("tls"),
		Use: func() error { return a.tls.Reload(a.tls.Settings(), nil) }, Again: a.enroll,
	}
	go func() {
		defer close(ended)
		r.Run(ctx)
	}()
}

// hasState reports whether the server has run before.
func (c *Config) hasState() bool {
	_, err := os.Stat(filepath.Join(c.serverDataDir(), "node-id"))
	return err == nil
}

// joinSource returns the join token of the half that joins, or the file that has it.
func (c *Config) joinSource() (text, file string) {
	if c.Server.Enabled {
		return c.Server.JoinToken, c.Server.JoinTokenFile
	}
	return c.Client.JoinToken, c.Client.JoinTokenFile
}

// joinToken returns the text of the join token, "" for none. A file that is gone
// is no fault of an agent that has joined.
func (c *Config) joinToken() (string, error) {
	text, file := c.joinSource()
	if file == "" {
		return text, nil
	}
	b, err := os.ReadFile(file)
	if err != nil && !c.certDir().Exists() {
		return "", fmt.Errorf("join_token_file: %w", err)
	}
	return string(b), nil
}

// ownIPs are the addresses that the agent tells others.
func (a *Agent) ownIPs() []net.IP {
	var out []net.IP
	for _, addr := range []string{a.endpoints.advHTTP, a.endpoints.advRPC} {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			continue
		}
		if ip := net.ParseIP(host); ip != nil && !ip.IsLoopback() && !ip.IsUnspecified() && (len(out) == 0 || !out[0].Equal(ip)) {
			out = append(out, ip)
		}
	}
	return out
}

// joined adds to the configuration of the server what it has from the cluster,
// where the files say nothing else.
func (a *Agent) joined(sc *nomad.Config) error {
	c := a.config
	if !c.TLSConfig.Auto {
		return nil
	}
	sc.TLS.Auto = &nomad.AutoTLS{Dir: c.certDir(), Lifetime: cmp.Or(c.TLSConfig.AutoCertTTL, enroll.DefaultLifetime), IPs: a.ownIPs()}
	g := &sc.Gossip
	if len(g.EncryptKey) == 0 {
		key, err := c.certDir().GossipKey()
		if err != nil {
			return err
		}
		g.EncryptKey = key
	}
	if len(g.StartJoin)+len(g.RetryJoin) > 0 {
		return nil
	}
	where, err := c.certDir().Cluster()
	g.RetryJoin = where.GossipServers
	return err
}
