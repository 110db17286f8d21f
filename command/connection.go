package command

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/hashicorp/nomad/api"
)

// defaultAddress is where a local agent listens.
const defaultAddress = "http://127.0.0.1:4646"

// connection says how to reach the agent. An empty field falls back to the
// environment, CAIRN_* before NOMAD_*.
type connection struct {
	address, region, namespace, token                 string
	caCert, caPath, clientCert, clientKey, serverName string
	skipVerify                                        bool
}

func (c *connection) declare(f *flags) {
	f.section = "Connection options"
	f.text(&c.address, "address", "url", "Address of the agent, also unix:///path/to/socket. Environment: CAIRN_ADDR, NOMAD_ADDR. Default: "+defaultAddress+".")
	f.text(&c.region, "region", "name", "Region to send the request to, the agent's own by default. Environment: CAIRN_REGION, NOMAD_REGION.")
	f.text(&c.token, "token", "secret", "Secret of the ACL token. Environment, which keeps it off the process list: CAIRN_TOKEN, NOMAD_TOKEN.")
	f.text(&c.caCert, "ca-cert", "file", "PEM file with the certificate authority that signed the agent's certificate. Environment: CAIRN_CACERT, NOMAD_CACERT.", anyFile)
	f.text(&c.caPath, "ca-path", "dir", "Directory of PEM files, used when -ca-cert is not given. Environment: CAIRN_CAPATH, NOMAD_CAPATH.", anyFile)
	f.text(&c.clientCert, "client-cert", "file", "PEM file with the certificate to show to the agent. Environment: CAIRN_CLIENT_CERT, NOMAD_CLIENT_CERT.", anyFile)
	f.text(&c.clientKey, "client-key", "file", "PEM file with the key of -client-cert. Environment: CAIRN_CLIENT_KEY, NOMAD_CLIENT_KEY.", anyFile)
	f.text(&c.serverName, "tls-server-name", "name", "Name to expect in the agent's certificate. Environment: CAIRN_TLS_SERVER_NAME, NOMAD_TLS_SERVER_NAME.")
	f.boolean(&c.skipVerify, "tls-skip-verify", "Accept any certificate: for tests only. Environment: CAIRN_SKIP_VERIFY, NOMAD_SKIP_VERIFY.")
}

// setting reads an environment variable by its name without the prefix.
func setting(getenv func(string) string, name string) string {
	if v := getenv("CAIRN_" + name); v != "" {
		return v
	}
	return getenv("NOMAD_" + name)
}

// fill completes the connection from the environment.
func (c *connection) fill(getenv func(string) string) {
	for _, p := range []struct {
		field *string
		name  string
	}{
		{&c.address, "ADDR"}, {&c.region, "REGION"}, {&c.namespace, "NAMESPACE"}, {&c.token, "TOKEN"},
		{&c.caCert, "CACERT"}, {&c.caPath, "CAPATH"}, {&c.clientCert, "CLIENT_CERT"},
		{&c.clientKey, "CLIENT_KEY"}, {&c.serverName, "TLS_SERVER_NAME"},
	} {
		if *p.field == "" {
			*p.field = setting(getenv, p.name)
		}
	}
	if !c.skipVerify {
		c.skipVerify, _ = strconv.ParseBool(setting(getenv, "SKIP_VERIFY"))
	}
	if c.address == "" {
		c.address = defaultAddress
	}
	if !strings.Contains(c.address, "://") {
		c.address = "http://" + c.address
	}
}

// client returns an API client for a filled connection.
func (c *connection) client(getenv func(string) string) (*api.Client, error) {
	config := &api.Config{
		Address: c.address, Region: c.region, Namespace: c.namespace, SecretID: c.token,
		TLSConfig: &api.TLSConfig{
			CACert: c.caCert, CAPath: c.caPath, ClientCert: c.clientCert, ClientKey: c.clientKey,
			TLSServerName: c.serverName, Insecure: c.skipVerify,
		},
	}
	if user, password, ok := c.basicAuth(getenv); ok {
		config.HttpAuth = &api.HttpBasicAuth{Username: user, Password: password}
	}
	if path, ok := strings.CutPrefix(c.address, "unix://"); ok {
		config.Address, config.HttpClient = "http://127.0.0.1", overSocket(path)
	}
	client, err := api.NewClient(config)
	if _, bad := url.Parse(c.address); err != nil && bad != nil {
		err = c.unusable()
	}
	if err != nil {
		return nil, hinted(err, "check -address and the TLS options")
	}
	return client, nil
}

// overSocket returns a client that finds everybody at the socket. The path is taken as
// it is; the SDK's own client would escape blanks in it.
func overSocket(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}}
}

// basicAuth returns the user and password for a proxy before the agent, from
// CAIRN_HTTP_AUTH or NOMAD_HTTP_AUTH as user:password.
func (c *connection) basicAuth(getenv func(string) string) (user, password string, ok bool) {
	auth := setting(getenv, "HTTP_AUTH")
	user, password, _ = strings.Cut(auth, ":")
	return user, password, auth != ""
}
