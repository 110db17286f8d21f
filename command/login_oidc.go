package command

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/hashicorp/nomad/api"
)

// oidcWait is how long a person may take to log in. Servers forget a login that
// began six minutes ago.
const oidcWait = 6 * time.Minute

// callbackPath is where providers send browsers back to. Auth methods list it.
const callbackPath = "/oidc/callback"

// answerOfProvider is what the browser brings back (OpenID Connect Core, section 3.1.2.5).
type answerOfProvider struct {
	state, code, iss string
	err              error
}

// withOIDC begins a login, waits for the browser and ends the login.
func (c *login) withOIDC(s *session, client *api.Client) (*api.ACLToken, error) {
	if _, _, err := net.SplitHostPort(c.callback); err != nil {
		return nil, usagef("-oidc-callback-addr: %s", err)
	}
	listener, err := net.Listen("tcp", c.callback)
	if err != nil {
		return nil, hinted(fmt.Errorf("waiting for the browser: %w", err), "choose a free port with -oidc-callback-addr; the auth method must allow it")
	}
	defer listener.Close()
	redirect, nonce := "http://"+c.callback+callbackPath, rand.Text()
	begun, _, err := client.ACLAuth().GetAuthURL(&api.ACLOIDCAuthURLRequest{
		AuthMethodName: c.method, RedirectURI: redirect, ClientNonce: nonce,
	}, s.write())
	if err != nil {
		return nil, c.failure(err)
	}
	state, err := stateOf(begun.AuthURL)
	if err != nil {
		return nil, err
	}
	s.note("open this address in a browser to log in:\n\n    %s\n", clean(begun.AuthURL))
	ctx, cancel := context.WithTimeout(s.ctx, oidcWait)
	defer cancel()
	got, err := awaitBrowser(ctx, listener, state)
	if err != nil {
		return nil, err
	}
	t, _, err := client.ACLAuth().CompleteAuth(&api.ACLOIDCCompleteAuthRequest{
		AuthMethodName: c.method, RedirectURI: redirect, ClientNonce: nonce, State: got.state, Code: got.code, Iss: got.iss,
	}, s.write())
	if err != nil {
		return nil, c.failure(err)
	}
	return t, nil
}

// stateOf returns the state that the browser must bring back.
func stateOf(authURL string) (string, error) {
	u, err := url.Parse(authURL)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" {
		return "", errors.New("the servers answered with an address that is none of the web")
	}
	state := u.Query().Get("state")
	if state == "" {
		return "", errors.New("the servers answered with an address that has no state")
	}
	return state, nil
}

// awaitBrowser serves listener until the browser comes back with the state, and
// closes it.
func awaitBrowser(ctx context.Context, listener net.Listener, state string) (answerOfProvider, error) {
	came := make(chan answerOfProvider, 1)
	server := &http.Server{Handler: callbackHandler(state, came), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		stop, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if server.Shutdown(stop) != nil { // lets the browser read its page
			_ = server.Close()
		}
		_ = listener.Close() // which a server that has not begun to serve leaves open
	}()
	select {
	case got := <-came:
		return got, got.err
	case err := <-served:
		return answerOfProvider{}, fmt.Errorf("waiting for the browser: %w", err)
	case <-ctx.Done():
		return answerOfProvider{}, errors.New("nobody logged in within " + oidcWait.String())
	}
}

// callbackHandler sends the first answer that has the state to came; others, such
// as those of another site, are refused and change nothing.
func callbackHandler(state string, came chan<- answerOfProvider) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+callbackPath, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		got := answerOfProvider{state: q.Get("state"), code: q.Get("code"), iss: q.Get("iss")}
		if subtle.ConstantTimeCompare([]byte(got.state), []byte(state)) != 1 {
			http.Error(w, "this is not the login that was begun here", http.StatusBadRequest)
			return
		}
		text := "You are logged in as far as the provider is concerned. Go back to the terminal; this page can be closed."
		switch reason := q.Get("error"); {
		case reason != "":
			got.err = fmt.Errorf("the provider refused the login: %s %s", clean(reason), clean(q.Get("error_description")))
			text = "The provider refused the login. The terminal says why."
		case got.code == "":
			got.err = errors.New("the provider sent no code")
			text = "The provider sent no code."
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = io.WriteString(w, text+"\n")
		select {
		case came <- got:
		default: // a second visit
		}
	})
	return mux
}
