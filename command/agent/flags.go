package agent

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// flags are the command line of the agent.
type flags struct {
	set     *flag.FlagSet
	dev     bool
	version bool
	configs []string
	// changes apply the other flags, in order, after the files.
	changes []func(*Config)
}

// Flags returns the flags of the agent command, for help and completion.
func Flags() *flag.FlagSet { return newFlags().set }

func newFlags() *flags {
	f := &flags{set: flag.NewFlagSet("agent", flag.ContinueOnError)}
	f.set.BoolVar(&f.dev, "dev", false, "run a server and a node agent for development: data in memory, loopback only")
	f.set.BoolVar(&f.version, "version", false, "print the version and exit")
	f.set.Func("config", "read this `file` or directory; may be given several times, later ones win", func(s string) error {
		f.configs = append(f.configs, s)
		return nil
	})
	f.text("bind", "`address` to listen on, or a template such as {{ GetPrivateIP }}", func(c *Config, s string) { c.BindAddr = s })
	f.text("data-dir", "`directory` for everything that must survive a restart", func(c *Config, s string) { c.DataDir = s })
	f.text("region", "`name` of the region", func(c *Config, s string) { c.Region = s })
	f.text("dc", "`name` of the datacenter", func(c *Config, s string) { c.Datacenter = s })
	f.text("node", "`name` of this server, the host name by default", func(c *Config, s string) { c.NodeName = s })
	f.text("log-level", "`level`: trace, debug, info, warn, error or off", func(c *Config, s string) { c.LogLevel = s })
	f.text("encrypt", "gossip `key`: 16, 24 or 32 bytes in base64", func(c *Config, s string) { c.Server.Encrypt = s })
	f.boolean("tls-auto", "take certificates from the cluster's own authority, which the first server makes", func(c *Config, on bool) { c.TLSConfig.Auto = on })
	f.text("join-token", "`text` of a join token: join its cluster, with a certificate from there", func(c *Config, s string) { c.Server.JoinToken, c.Client.JoinToken = s, s })
	f.text("join-token-file", "read the join token from this `file`", func(c *Config, s string) { c.Server.JoinTokenFile, c.Client.JoinTokenFile = s, s })
	f.boolean("log-json", "log in JSON", func(c *Config, on bool) { c.LogJSON = on })
	f.text("log-file", "also log to this `file`", func(c *Config, s string) { c.LogFile = s })
	f.boolean("log-include-location", "log the place in the source", func(c *Config, on bool) { c.LogIncludeLocation = on })
	f.boolean("acl-enabled", "enforce access control; the command acl bootstrap makes the first token", func(c *Config, on bool) { c.ACL.Enabled = on })
	f.text("acl-replication-token", "`secret` with which this region copies policies and global tokens from the authoritative one", func(c *Config, s string) { c.ACL.ReplicationToken = s })
	f.text("authoritative-region", "`name` of the region that owns policies, global tokens and namespaces of all regions", func(c *Config, s string) { c.Server.AuthoritativeRegion = s })
	f.boolean("server", "run a server", func(c *Config, on bool) { c.Server.Enabled = on })
	f.boolean("client", "run a node agent", func(c *Config, on bool) { c.Client.Enabled = on })
	f.text("node-class", "`class` of the node", func(c *Config, s string) { c.Client.NodeClass = s })
	f.text("node-pool", "`pool` of the node", func(c *Config, s string) { c.Client.NodePool = s })
	f.text("state-dir", "`directory` for who the node is", func(c *Config, s string) { c.Client.StateDir = s })
	f.text("servers", "server `addresses` of the node agent, separated by commas", func(c *Config, s string) { c.Client.Servers = splitComma(s) })
	f.boolean("rejoin", "join the old peers again after a graceful leave", func(c *Config, on bool) { c.Server.RejoinAfterLeave = on })
	f.number("bootstrap-expect", "`number` of servers that elect the first leader", func(c *Config, n int) { c.Server.BootstrapExpect = n })
	f.number("retry-max", "`number` of tries to join, 0 for no end", func(c *Config, n int) { c.Server.RetryMax = n })
	f.set.Func("retry-interval", "`time` between two tries to join", func(s string) error {
		d, err := time.ParseDuration(s)
		f.changes = append(f.changes, func(c *Config) { c.Server.RetryInterval = d })
		return err
	})
	f.joins()
	return f
}

// joins adds the flags that may be given several times; together they replace
// the lists of the files.
func (f *flags) joins() {
	var start, retry []string
	f.set.Func("join", "gossip `address` to join at start; may be given several times", func(s string) error {
		start = append(start, splitComma(s)...)
		f.changes = append(f.changes, func(c *Config) { c.Server.StartJoin = start })
		return nil
	})
	f.set.Func("retry-join", "gossip `address` to join, tried until it works; may be given several times", func(s string) error {
		retry = append(retry, splitComma(s)...)
		f.changes = append(f.changes, func(c *Config) { c.Server.RetryJoin = retry })
		return nil
	})
}

func (f *flags) text(name, usage string, set func(*Config, string)) {
	f.set.Func(name, usage, func(s string) error {
		f.changes = append(f.changes, func(c *Config) { set(c, s) })
		return nil
	})
}

func (f *flags) boolean(name, usage string, set func(*Config, bool)) {
	f.set.BoolFunc(name, usage, func(s string) error {
		on, err := strconv.ParseBool(s)
		f.changes = append(f.changes, func(c *Config) { set(c, on) })
		return err
	})
}

func (f *flags) number(name, usage string, set func(*Config, int)) {
	f.set.Func(name, usage, func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil {
			return errors.New("must be a number")
		}
		f.changes = append(f.changes, func(c *Config) { set(c, n) })
		return nil
	})
}

// longestShown is how long an argument in the wrong place may be to be shown: secrets are longer.
const longestShown = 16

// config builds the configuration from defaults, files and flags, in this
// order. It returns the keys without effect and every problem.
func (f *flags) config() (*Config, []problem, error) { return f.configWith("") }

// configWith is config with a text in the form of a file on top of the files.
func (f *flags) configWith(inline string) (*Config, []problem, error) {
	if args := f.set.Args(); len(args) > 0 {
		if len(args[0]) > longestShown {
			return nil, nil, fmt.Errorf("unexpected argument of %d characters (not shown, it may be a secret): files are given with -config", len(args[0]))
		}
		return nil, nil, fmt.Errorf("unexpected argument %q: files are given with -config", args[0])
	}
	c := DefaultConfig()
	if f.dev {
		c = DefaultDevConfig()
	}
	unused, loadErr := loadConfig(c, f.configs)
	if inline != "" {
		d := &configDecoder{}
		d.source(c, "inline", []byte(inline))
		loadErr = errors.Join(loadErr, problemsError(d.problems))
	}
	for _, change := range f.changes {
		change(c)
	}
	if f.dev {
		c.DevMode = true
	}
	if c.NodeName == "" {
		host, err := os.Hostname()
		if err != nil {
			loadErr = errors.Join(loadErr, fmt.Errorf("name: the machine has no host name: %w", err))
		}
		c.NodeName = strings.TrimSpace(host)
	}
	if c.LogLevel == "" {
		c.LogLevel = "INFO"
	}
	autoErr := problemsError(c.fillAuto())
	return c, unused, errors.Join(loadErr, autoErr, c.validate(loadErr == nil && autoErr == nil))
}
