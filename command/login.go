package command

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/hashicorp/nomad/api"
)

// The kinds of auth methods, as the API writes them.
const (
	methodJWT  = "JWT"
	methodOIDC = "OIDC"
)

// login trades an identity of somebody else's directory for a token.
type login struct {
	method, kind, jwt, callback string
	secret, export              bool
}

func (*login) about() about {
	return about{
		synopsis: "trade SSO identity for token",
		usage:    "[options]",
		text: "Logs in with an auth method: the default one if none is named. OIDC prints an address to open in a browser on this machine, and waits until the provider sends the browser back. JWT takes the signed identity of a program." +
			"\n\nThe new token is shown with its secret masked; -export prints it for the shell, -show-secret, -json and -t show it. A token that is set already is not used.",
		examples: [][2]string{
			{"In a shell", "eval \"$(cairn login -export)\""},
			{"In a pipeline, off the process list", "cairn login -method github -login-token @/run/id.jwt -t '{{.SecretID}}'"},
		},
		groups: withAgent | withData,
	}
}

func (c *login) flags(f *flags) {
	f.text(&c.method, "method", "name", "Auth method to log in with, the default one if not given.", authMethodNames)
	f.text(&c.kind, "type", "type", "Type of the method, "+oneOfValues(methodOIDC, methodJWT)+"; the servers are asked if not given.", oneOf(methodOIDC, methodJWT))
	f.text(&c.jwt, "login-token", "jwt", "Identity for a JWT method: @file reads it from a file, - from standard input. Environment: CAIRN_LOGIN_TOKEN, NOMAD_LOGIN_TOKEN.")
	c.callback = "localhost:4649"
	f.text(&c.callback, "oidc-callback-addr", "host:port", "Where the browser comes back to; the auth method must allow http://host:port/oidc/callback. Default: "+c.callback+".")
	f.boolean(&c.secret, "show-secret", "Show the secret of the new token.")
	f.boolean(&c.export, "export", "Print only a line for the shell that sets CAIRN_TOKEN.")
}

func (c *login) run(s *session, _ []string) error {
	c.kind = strings.ToUpper(c.kind)
	switch {
	case c.kind != "" && c.kind != methodJWT && c.kind != methodOIDC:
		return usagef("-type: %q is not %s", c.kind, oneOfValues(methodOIDC, methodJWT))
	case c.export && (s.json || s.template != ""):
		return usagef("-export cannot be combined with -json or -t")
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	client.SetSecretID("")
	if err := c.choose(s, client); err != nil {
		return err
	}
	var t *api.ACLToken
	if c.kind == methodJWT {
		t, err = c.withJWT(s, client)
	} else {
		t, err = c.withOIDC(s, client)
	}
	if err != nil {
		return err
	}
	return c.show(s, t)
}

// choose fills in the method and its type from what the servers offer. There may be a
// default method of each type: an identity at hand is for the one of JWTs.
func (c *login) choose(s *session, client *api.Client) error {
	if c.method != "" && c.kind != "" {
		return nil
	}
	if c.kind == "" && c.jwt != "" {
		c.kind = methodJWT
	}
	liked := c.kind
	if liked == "" && setting(s.opts.Getenv, "LOGIN_TOKEN") != "" {
		liked = methodJWT
	}
	methods, _, err := client.ACLAuthMethods().List(s.query())
	if err != nil {
		return failed("listing auth methods", err)
	}
	var found *api.ACLAuthMethodListStub
	for _, m := range methods {
		switch {
		case m == nil || m.Name != c.method && (c.method != "" || !m.Default):
		case found == nil || m.Type == cmp.Or(liked, methodOIDC):
			found = m
		}
	}
	switch {
	case found == nil && c.method == "":
		return hinted(errors.New("no auth method is the default one"), "name one with -method: `cairn acl auth-method list` shows what there is")
	case found == nil:
		return hinted(fmt.Errorf("there is no auth method %s", clean(c.method)), "`cairn acl auth-method list` shows what there is")
	case c.kind != "" && c.kind != found.Type:
		return usagef("the auth method %s is of the type %s, not %s", clean(found.Name), clean(found.Type), c.kind)
	}
	c.method, c.kind = found.Name, found.Type
	return nil
}

func (c *login) withJWT(s *session, client *api.Client) (*api.ACLToken, error) {
	text := c.jwt
	if text == "" {
		text = setting(s.opts.Getenv, "LOGIN_TOKEN")
	}
	if text == "" {
		return nil, usagef("-login-token is missing: the auth method %s takes a JWT", clean(c.method))
	}
	if text == "-" || strings.HasPrefix(text, "@") {
		src, err := s.readFile(strings.TrimPrefix(text, "@"))
		if err != nil {
			return nil, usagef("-login-token: %s", unnamed(err))
		}
		if text = strings.TrimSpace(string(src)); text == "" {
			return nil, usagef("-login-token: there is nothing in what it names")
		}
	}
	t, _, err := client.ACLAuth().Login(&api.ACLLoginRequest{AuthMethodName: c.method, LoginToken: text}, s.write())
	if err != nil {
		return nil, c.failure(err)
	}
	return t, nil
}

// failure explains a login that was refused; another token would not help.
func (c *login) failure(err error) error {
	out := failed("logging in with "+clean(c.method), err)
	if strings.Contains(err.Error(), "does not answer") {
		return hinted(out, "it is the servers that ask the provider: see what address `cairn acl auth-method info "+clean(c.method)+"` shows, and whether they reach it")
	}
	for _, code := range []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden} {
		if isStatus(err, code) {
			return hinted(out, "check the identity, and whether a binding rule of the auth method fits it")
		}
	}
	return out
}

func (c *login) show(s *session, t *api.ACLToken) error {
	if t == nil || t.SecretID == "" {
		return errors.New("the agent answered without a token")
	}
	if c.export {
		s.say("export CAIRN_TOKEN='%s'", strings.ReplaceAll(clean(t.SecretID), "'", `'\''`))
		return nil
	}
	if c.secret || s.json || s.template != "" {
		return s.showToken(t, true)
	}
	if err := s.showToken(t, false); err != nil {
		return err
	}
	s.note("the secret is masked: log in with -export to use it, or with -show-secret to see it")
	return nil
}
