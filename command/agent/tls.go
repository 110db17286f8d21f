package agent

import (
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairn-project/cairn/internal/h1"
	"github.com/cairn-project/cairn/internal/tlsconf"
	"github.com/cairn-project/cairn/nomad"
)

// expirySoon is how long before a certificate expires the log tells of it. Those
// that the agent renews itself do not live long: of them it tells in the last
// part of their life.
const (
	expirySoon = 7 * 24 * time.Hour
	expiryPart = 4
)

// settings returns what to load. The cipher suites were checked with the rest of
// the configuration.
func (t *TLSConfig) settings() tlsconf.Settings {
	suites, _ := t.cipherSuites()
	return tlsconf.Settings{
		CAFile: t.CAFile, CertFile: t.CertFile, KeyFile: t.KeyFile,
		MinVersion: t.minVersion(), CipherSuites: suites,
	}
}

// load reads the files, nil when no port speaks TLS.
func (t *TLSConfig) load() (*tlsconf.Source, error) {
	if !t.EnableHTTP && !t.EnableRPC {
		return nil, nil
	}
	return tlsconf.Load(t.settings())
}

// wrapHTTP makes ln speak TLS, or returns it as it is when TLS is off.
func (c *Config) wrapHTTP(ln net.Listener, source *tlsconf.Source) net.Listener {
	if !c.TLSConfig.EnableHTTP {
		return ln
	}
	ln = h1.Steady(ln, c.Limits.HTTPWriteTimeout) // without TLS h1 sees to it
	return tls.NewListener(ln, source.Server(c.TLSConfig.VerifyHTTPSClient, "http/1.1"))
}

// rpc returns what the server port needs, nil when it speaks no TLS.
func (t *TLSConfig) rpc(source *tlsconf.Source) *nomad.TLSConfig {
	if !t.EnableRPC {
		return nil
	}
	return &nomad.TLSConfig{Source: source, VerifyServerHostname: t.VerifyServerHostname, UpgradeMode: t.RPCUpgradeMode}
}

// switches are the parts that take a restart.
func (t *TLSConfig) switches() [5]bool {
	return [5]bool{t.EnableHTTP, t.EnableRPC, t.VerifyServerHostname, t.VerifyHTTPSClient, t.RPCUpgradeMode}
}

// role is what the agent's certificate must be for on the server port.
func (c *Config) role() tlsconf.Role {
	if c.Server.Enabled {
		return tlsconf.RoleServer
	}
	return tlsconf.RoleClient
}

// reloadTLS reads the certificates again. Connections that are open go on; new
// ones use what was read. Files that cannot be used change nothing.
func (a *Agent) reloadTLS(next *Config) error {
	logger := a.logger.Named("tls")
	if next.TLSConfig.switches() != a.config.TLSConfig.switches() {
		logger.Warn("what tls switches on or off changes at the next start only")
	}
	if a.tls == nil {
		return nil
	}
	check := func(s *tlsconf.Source) error {
		if !a.config.TLSConfig.EnableRPC {
			return nil
		}
		return s.CheckRole(a.config.role(), a.config.Region)
	}
	if err := a.tls.Reload(next.TLSConfig.settings(), check); err != nil {
		return fmt.Errorf("certificates not reloaded, the old ones stay in use: %w", err)
	}
	logger.Info("certificates reloaded")
	next.TLSConfig.warnExpiry(a.tls, logger)
	return nil
}

// warnExpiry tells of certificates that peers refuse, or will soon.
func (t *TLSConfig) warnExpiry(source *tlsconf.Source, logger hclog.Logger) {
	if source == nil {
		return
	}
	for _, e := range source.Expiries() {
		soon := expirySoon
		if t.Auto {
			soon = min(soon, e.Life/expiryPart)
		}
		switch left := time.Until(e.NotAfter); {
		case left <= 0:
			logger.Error("certificate has expired, peers refuse it", "file", e.File, "name", e.Name, "since", e.NotAfter)
		case left < soon:
			logger.Warn("certificate expires soon", "file", e.File, "name", e.Name, "at", e.NotAfter)
		}
	}
}

// expiryMetrics shows when certificates expire.
type expiryMetrics struct{ source *tlsconf.Source }

var descExpiry = prometheus.NewDesc("cairn_tls_certificate_expires_in_seconds",
	"Seconds until a certificate in use expires, below zero afterwards.", []string{"file", "name"}, nil)

// Describe sends the metric's description; part of prometheus.Collector.
func (m expiryMetrics) Describe(ch chan<- *prometheus.Desc) { ch <- descExpiry }

// Collect sends the first expiry of each file and name; part of prometheus.Collector.
func (m expiryMetrics) Collect(ch chan<- prometheus.Metric) {
	first := map[[2]string]time.Time{}
	for _, e := range m.source.Expiries() {
		key := [2]string{e.File, e.Name}
		if at, ok := first[key]; !ok || e.NotAfter.Before(at) {
			first[key] = e.NotAfter
		}
	}
	for key, at := range first {
		ch <- prometheus.MustNewConstMetric(descExpiry, prometheus.GaugeValue, time.Until(at).Seconds(), key[0], key[1])
	}
}
