package command

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
)

// tokenHeader carries the secret of the token.
const tokenHeader = "X-Nomad-Token"

// operatorAPI sends one request to the HTTP API as it is.
type operatorAPI struct {
	method, data, filter string
	headers              []string
	dryRun, verbose      bool
}

func (*operatorAPI) about() about {
	return about{
		synopsis: "send a raw API request",
		usage:    "[options] <path>",
		text: "Sends a request to the HTTP API with the address, token and certificates the other commands use, and prints the body of the answer." +
			"\n\nThe method is GET, or PUT when there is a body. A body comes from -d; with -X PUT or -X POST and no -d it is read from standard input if that is a pipe or a file.",
		examples: [][2]string{
			{"Read a namespace", "cairn operator api /v1/namespace/default"},
			{"Write one", `cairn operator api -d '{"Name":"web"}' /v1/namespace`},
			{"Filter a list", `cairn operator api -filter 'Path contains "db"' /v1/vars`},
			{"See the same as a curl command", "cairn operator api -dryrun -X DELETE /v1/var/app/db"},
		},
		exits: []exit{{exitFailed, "also when the answer's status is not 2xx; its body goes to standard error"}},
		min:   1, max: 1,
		groups: withAgent | withNamespace,
		args:   oneOf("/v1/agent/health", "/v1/agent/members", "/v1/agent/self", "/v1/metrics", "/v1/namespaces", "/v1/operator/raft/configuration", "/v1/regions", "/v1/status/leader", "/v1/status/peers", "/v1/vars"),
	}
}

func (c *operatorAPI) flags(f *flags) {
	f.text(&c.method, "X", "method", "HTTP method.", oneOf("GET", "PUT", "POST", "DELETE"))
	f.list(&c.headers, "H", "name: value", "Header to send; may be repeated.")
	f.text(&c.data, "d", "body", "Body to send: the text itself, @file for a file, - for standard input.")
	f.text(&c.filter, "filter", "expression", "Filter expression for a list.")
	f.boolean(&c.dryRun, "dryrun", "Print a curl command instead of sending; the token is not shown.")
	f.boolean(&c.verbose, "verbose", "Print the request line and the headers of the answer on standard error.")
}

func (c *operatorAPI) run(s *session, args []string) error {
	body, err := c.body(s)
	if err != nil {
		return err
	}
	method := c.method
	if method == "" {
		method = http.MethodGet
		if body != nil {
			method = http.MethodPut
		}
	}
	req, err := c.request(s, strings.ToUpper(method), args[0], body)
	if err != nil {
		return err
	}
	if c.dryRun {
		s.say("%s", c.curl(s, req))
		return nil
	}
	return c.send(s, req)
}

// body returns the body to send, nil for none.
func (c *operatorAPI) body(s *session) (io.Reader, error) {
	writes := strings.EqualFold(c.method, http.MethodPut) || strings.EqualFold(c.method, http.MethodPost)
	switch {
	case c.data == "-", c.data == "" && writes && isPiped(s.stdin):
		return s.stdin, nil
	case strings.HasPrefix(c.data, "@"):
		f, err := os.Open(c.data[1:])
		if err != nil {
			return nil, failed("reading the body", err)
		}
		return f, nil
	case c.data != "":
		return strings.NewReader(c.data), nil
	}
	return nil, nil
}

// isPiped reports whether somebody sends data through the stream.
func isPiped(r io.Reader) bool {
	f, ok := r.(*os.File)
	if !ok {
		return r != nil
	}
	info, err := f.Stat()
	return err == nil && (info.Mode().IsRegular() || info.Mode()&os.ModeNamedPipe != 0)
}

func (c *operatorAPI) request(s *session, method, path string, body io.Reader) (*http.Request, error) {
	u, err := c.target(s, path)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(s.ctx, method, u.String(), body)
	if err != nil {
		return nil, usagef("bad request: %s", err)
	}
	for _, h := range c.headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok || strings.TrimSpace(name) == "" {
			if end := strings.IndexAny(h, "=: "); end >= 0 {
				h = h[:end] // the rest may be a secret
			}
			return nil, usagef("bad header %s: write it as 'Name: value'", shown(h))
		}
		req.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	if !c.ownHost(s, u) {
		return req, nil
	}
	if user, password, ok := s.conn.basicAuth(s.opts.Getenv); ok && req.Header.Get("Authorization") == "" {
		req.SetBasicAuth(user, password)
	}
	if s.conn.token != "" && req.Header.Get(tokenHeader) == "" {
		req.Header.Set(tokenHeader, s.conn.token)
	}
	return req, nil
}

// target resolves the path against the agent's address and adds the shared parameters.
func (c *operatorAPI) target(s *session, path string) (*url.URL, error) {
	u, err := url.Parse(path)
	if err != nil {
		return nil, usagef("bad path %q: %s", path, err)
	}
	if u.Host == "" {
		base, err := url.Parse(s.conn.address)
		if err != nil {
			return nil, usagef("%s", s.conn.unusable())
		}
		if base.Scheme == "unix" {
			base = &url.URL{Scheme: "http", Host: "127.0.0.1"}
		}
		u.Scheme, u.Host, u.User = base.Scheme, base.Host, base.User
		u.Path = "/" + strings.TrimPrefix(u.Path, "/")
	}
	q := u.Query()
	for name, v := range map[string]string{"region": s.conn.region, "namespace": s.conn.namespace, "filter": c.filter} {
		if v != "" && !q.Has(name) {
			q.Set(name, v)
		}
	}
	u.RawQuery = q.Encode()
	return u, nil
}

// ownHost reports whether u leads to the agent the token is meant for.
func (c *operatorAPI) ownHost(s *session, u *url.URL) bool {
	base, err := url.Parse(s.conn.address)
	return err == nil && (base.Scheme == "unix" || base.Host == u.Host)
}

// secretHeaders are never shown.
var secretHeaders = []string{tokenHeader, "Authorization", "Cookie"}

// curl renders the request as a command for a POSIX shell.
func (c *operatorAPI) curl(s *session, req *http.Request) string {
	words := []string{"curl", "-X", req.Method}
	names := make([]string, 0, len(req.Header))
	for name := range req.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, v := range req.Header[name] {
			if slices.Contains(secretHeaders, name) {
				v = "<redacted>"
			}
			words = append(words, "-H", shellQuote(name+": "+v))
		}
	}
	for _, o := range [][2]string{{"--cacert", s.conn.caCert}, {"--capath", s.conn.caPath}, {"--cert", s.conn.clientCert}, {"--key", s.conn.clientKey}} {
		if o[1] != "" {
			words = append(words, o[0], shellQuote(o[1]))
		}
	}
	if s.conn.skipVerify {
		words = append(words, "--insecure")
	}
	if path, ok := strings.CutPrefix(s.conn.address, "unix://"); ok {
		words = append(words, "--unix-socket", shellQuote(path))
	}
	switch {
	case c.data != "" && c.data != "-":
		words = append(words, "--data-binary", shellQuote(c.data))
	case req.Body != nil:
		words = append(words, "--data-binary", "@-")
	}
	return strings.Join(append(words, shellQuote(req.URL.Redacted())), " ")
}

func shellQuote(text string) string {
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

func (c *operatorAPI) send(s *session, req *http.Request) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	if c.verbose {
		s.note("> %s %s", req.Method, req.URL.Redacted())
	}
	resp, err := client.Raw().Do(req)
	if err != nil {
		return failed("sending the request", err)
	}
	defer resp.Body.Close()
	if c.verbose {
		s.note("< %s %s", resp.Proto, resp.Status)
		_ = resp.Header.Write(s.stderr)
		s.note("")
	}
	if resp.StatusCode/100 == 2 {
		n, err := io.Copy(s.stdout, resp.Body)
		if n > 0 && isTerminal(s.stdout) {
			s.say("")
		}
		return err
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	reason := strings.TrimSpace(string(text))
	return &failure{
		code: exitFailed,
		err:  fmt.Errorf("%s %s: HTTP %d: %s", req.Method, req.URL.Path, resp.StatusCode, reason),
		hint: statusHint(resp.StatusCode, reason),
	}
}
