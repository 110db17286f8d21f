package agent

import (
	"slices"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// reloadStep takes over a part of a configuration while the agent runs.
type reloadStep struct {
	name  string
	apply func(*Config) error
	// keep copies what apply takes over from a configuration into that which is shown.
	keep func(shown, next *Config)
}

// reloaded are the keys that the steps take over, or that which is before those: it
// ends in a point then.
var reloaded = []string{recordLogLevel, recordLimits, "http_proxies.", "client.meta", "acl.replication_token",
	"tls.ca_file", "tls.cert_file", "tls.key_file", "tls.tls_cipher_suites", "tls.tls_min_version"}

// reloadable reports whether a reload takes over the key.
func reloadable(key string) bool {
	return slices.ContainsFunc(reloaded, func(name string) bool {
		return key == name || strings.HasSuffix(name, ".") && strings.HasPrefix(key, name)
	})
}

func (a *Agent) reloadSteps() []reloadStep {
	steps := []reloadStep{
		{"apply log_level", func(c *Config) error {
			a.logger.SetLevel(hclog.LevelFromString(c.LogLevel))
			return nil
		}, func(shown, next *Config) { shown.LogLevel = next.LogLevel }},
		{"read the certificates", a.reloadTLS, keepTLS},
		{"apply the limits of requests", a.reloadLimits, func(shown, next *Config) { shown.Limits.RequestLimits = next.Limits.RequestLimits }},
		{"apply the proxies", a.reloadProxies, func(shown, next *Config) { shown.HTTPProxies = next.HTTPProxies }},
		{"apply the metadata of the node", a.reloadMeta, func(shown, next *Config) { shown.Client.Meta = next.Client.Meta }},
		{"take the replication token", a.reloadReplicationToken, func(shown, next *Config) { shown.ACL.ReplicationToken = next.ACL.ReplicationToken }},
	}
	for i, step := range steps {
		steps[i].apply = func(c *Config) error {
			a.changing.Lock()
			defer a.changing.Unlock()
			err := step.apply(c)
			if err == nil {
				a.show(step.keep, c)
			}
			return err
		}
	}
	return steps
}

// keepTLS copies what can change of TLS: what it switches on or off takes a restart.
func keepTLS(shown, next *Config) {
	to, from := &shown.TLSConfig, &next.TLSConfig
	to.CAFile, to.CertFile, to.KeyFile = from.CAFile, from.CertFile, from.KeyFile
	to.TLSCipherSuites, to.TLSMinVersion = from.TLSCipherSuites, from.TLSMinVersion
}

// show remembers what was taken over from a configuration.
func (a *Agent) show(keep func(shown, next *Config), next *Config) {
	for {
		before := a.shown.Load()
		now := *a.config
		if before != nil {
			now = *before
		}
		keep(&now, next)
		if a.shown.CompareAndSwap(before, &now) {
			return
		}
	}
}

// takenOver copies into c what was taken over since the start.
func (a *Agent) takenOver(c *Config) {
	if now := a.shown.Load(); now != nil {
		for _, step := range a.reloadSteps() {
			step.keep(c, now)
		}
	}
	c.Limits.RequestLimits = a.requestLimits()
}

// reload reads the configuration again and takes over what can change while
// the agent runs: the log level, the certificates, the limits of requests, the
// proxies, the metadata of the node and the replication token.
func (a *Agent) reload(f *flags) {
	c, _, err := f.config()
	if err != nil {
		a.logger.Error("configuration not reloaded, it is not valid", "error", err)
		return
	}
	done := "configuration reloaded"
	for _, step := range a.reloadSteps() {
		if err := step.apply(c); err != nil {
			a.logger.Error("not everything was reloaded", "step", step.name, "error", err)
			done = "the rest of the configuration was reloaded"
		}
	}
	a.logger.Info(done, "log_level", c.LogLevel)
}

// reloadReplicationToken takes over acl.replication_token.
func (a *Agent) reloadReplicationToken(next *Config) error {
	secret := next.ACL.ReplicationToken
	before := a.replicationToken.Swap(&secret)
	if before == nil {
		before = &a.config.ACL.ReplicationToken
	}
	if secret != *before {
		a.server.SetReplicationToken(secret)
		a.logger.Named("agent").Info("acl.replication_token changed")
	}
	return nil
}
