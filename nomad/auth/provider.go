package auth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
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
	return &http.Client{Transport: bounded{transport}, Timeout: timeout}, nil
}

// bounded cuts replies that are too long.
type bounded struct{ next http.RoundTripper }

// RoundTrip answers as next does.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxProviderReply), resp.Body}
	}
	return resp, err
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
