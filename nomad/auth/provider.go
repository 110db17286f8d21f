package auth

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"time"
)

const (
	// providerTimeout is how long one request to a provider may take, its body included,
	// unless Logins says otherwise.
	providerTimeout = 30 * time.Second
	// maxProviderReply bounds what a provider answers, in bytes.
	maxProviderReply = 1 << 20
)

// providerClient returns the client that asks a provider whose certificate one of
// the authorities signed, in PEM; those of the system if there are none.
func providerClient(authorities []string, timeout time.Duration) (*http.Client, error) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, TLSHandshakeTimeout: 10 * time.Second}
	var pool *x509.CertPool
	for _, ca := range authorities {
		if ca == "" {
			continue
		}
		if pool == nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM([]byte(ca)) {
			return nil, errors.New("an authority of the provider is not a PEM certificate")
		}
	}
	transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return &http.Client{Transport: &remembering{next: bounded{transport}}, Timeout: timeout}, nil
}

// bounded cuts replies that are too long, and refusals to what may be told.
type bounded struct{ next http.RoundTripper }

// RoundTrip answers as next does.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body := io.LimitReader(resp.Body, maxProviderReply)
	if resp.StatusCode != http.StatusOK {
		body = bytes.NewReader(refusal(body))
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{body, resp.Body}
	return resp, nil
}

// refusals are the words in which providers refuse (RFC 6749, section 5.2; RFC 6750, section 3.1).
var refusals = []string{"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
	"invalid_token", "insufficient_scope"}

// refusal returns what of a refusal goes into errors, and so to whoever wants to log in:
// the address may be that of another page, which the servers can read and they cannot.
func refusal(body io.Reader) []byte {
	var said struct {
		Error       string `json:"error"`
		Description string `json:"error_description,omitempty"`
	}
	b, err := io.ReadAll(body)
	if err != nil || json.Unmarshal(b, &said) != nil || !slices.Contains(refusals, said.Error) {
		return nil
	}
	out, _ := json.Marshal(said) // texts always marshal
	return out
}

// timed ends requests with ctx, for a library that asks without one, and after
// the time-out of one request.
type timed struct {
	next    http.RoundTripper
	ctx     context.Context
	timeout time.Duration
}

// RoundTrip answers as next does.
func (t timed) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := t.ctx.Err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), t.timeout)
	stop := context.AfterFunc(t.ctx, cancel)
	resp, err := t.next.RoundTrip(r.WithContext(ctx))
	if err != nil {
		stop()
		cancel()
		return nil, err
	}
	resp.Body = &cancelBody{resp.Body, func() { stop(); cancel() }}
	return resp, nil
}

// cancelBody frees what a request holds when its reply is closed.
type cancelBody struct {
	io.ReadCloser
	free func()
}

// Close closes the reply.
func (b *cancelBody) Close() error {
	defer b.free()
	return b.ReadCloser.Close()
}
