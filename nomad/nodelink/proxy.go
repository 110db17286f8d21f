package nodelink

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"
)

// plainProxy returns the proxy of the environment that has to be asked for a tunnel to
// a WebSocket without TLS, nil if there is none or it opens tunnels for everything.
// Most proxies do not pass a WebSocket on that they are asked for as a page (RFC 6455,
// section 4.1).
func plainProxy(target string) *url.URL {
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "ws" {
		return nil
	}
	u.Scheme = "http"
	proxy, err := http.ProxyFromEnvironment(&http.Request{URL: u})
	if err != nil || proxy == nil || proxy.Scheme != "http" && proxy.Scheme != "https" {
		return nil // the dial says what is wrong with it
	}
	return proxy
}

// tunnel opens a connection to addr through a proxy.
func tunnel(ctx context.Context, proxy *url.URL, addr string) (_ net.Conn, err error) {
	conn, err := dialProxy(ctx, proxy)
	if err != nil {
		return nil, fmt.Errorf("reach the proxy %s: %w", proxy.Host, err)
	}
	defer func() {
		if err != nil {
			_ = conn.Close()
		}
	}()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	ask := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{}}
	if u := proxy.User; u != nil {
		password, _ := u.Password()
		ask.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password)))
	}
	if err := ask.Write(conn); err != nil {
		return nil, fmt.Errorf("ask the proxy %s for a tunnel: %w", proxy.Host, err)
	}
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, ask)
	switch {
	case err != nil:
		return nil, fmt.Errorf("ask the proxy %s for a tunnel: %w", proxy.Host, err)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the proxy %s opens no tunnel to %s: %s", proxy.Host, addr, resp.Status)
	case in.Buffered() > 0:
		return nil, fmt.Errorf("the proxy %s said more than that it opened a tunnel", proxy.Host)
	}
	return conn, nil
}

// dialProxy connects to a proxy, over TLS if it is an HTTPS one.
func dialProxy(ctx context.Context, proxy *url.URL) (net.Conn, error) {
	if proxy.Scheme == "https" {
		return new(tls.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(proxy.Hostname(), cmp.Or(proxy.Port(), "443")))
	}
	return new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(proxy.Hostname(), cmp.Or(proxy.Port(), "80")))
}
