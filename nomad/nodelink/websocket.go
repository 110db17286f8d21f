package nodelink

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/coder/websocket"

	"github.com/cairn-project/cairn/internal/mux"
)

// WebSocketPath is where links are dialled over HTTP, the version follows.
const WebSocketPath = "/v1/node/link/"

// PortPath is where agents reach over HTTP what the server port has for them.
const PortPath = "/v1/node/port"

// The names of the link and of the port in the handshake of the WebSocket.
const (
	linkProtocol = "cairn-node-link"
	portProtocol = "cairn-node-port"
)

// maxWebSocketMessage bounds one message, which is one write of the session.
const maxWebSocketMessage = 1 << 20

// WebSocketURL returns where to dial on a server whose HTTP API is at base. The
// schemes http, https, ws and wss will do.
func WebSocketURL(base string) (string, error) {
	return webSocketURL(base, WebSocketPath+strconv.Itoa(NewestVersion))
}

func webSocketURL(base, path string) (string, error) {
	u, err := url.Parse(base)
	if err != nil {
		return "", fmt.Errorf("address of the HTTP API: %w", err)
	}
	switch u.Scheme {
	case "http", "ws":
		u.Scheme = "ws"
	case "https", "wss":
		u.Scheme = "wss"
	default:
		return "", fmt.Errorf("address of the HTTP API %q: the scheme must be http, https, ws or wss", base)
	}
	if u.Host == "" {
		return "", fmt.Errorf("address of the HTTP API %q has no host", base)
	}
	u.Path = strings.TrimSuffix(u.Path, "/") + path
	u.RawQuery, u.Fragment = "", ""
	return u.String(), nil
}

// DialWebSocket starts the session of a link over the HTTP API at base, through
// the proxy of the environment if there is one. secure may be nil. A server that
// refuses the version answers with a *Refusal.
func DialWebSocket(ctx context.Context, base string, secure *tls.Config, cfg mux.SessionConfig) (mux.Session, error) {
	target, err := WebSocketURL(base)
	if err != nil {
		return nil, err
	}
	ws, err := dialWebSocket(ctx, target, linkProtocol, secure)
	if err != nil {
		return nil, err
	}
	return overWebSocket(ws, func(conn net.Conn) (mux.Session, error) { return mux.Client(conn, cfg) })
}

// dialWebSocket opens a WebSocket through the proxy of the environment, if there is one.
func dialWebSocket(ctx context.Context, target, protocol string, secure *tls.Config) (*websocket.Conn, error) {
	way := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: secure, TLSHandshakeTimeout: handshakeTimeout}
	if proxy := plainProxy(target); proxy != nil {
		way.Proxy = nil
		way.DialContext = func(ctx context.Context, _, addr string) (net.Conn, error) { return tunnel(ctx, proxy, addr) }
	}
	defer way.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	ws, resp, err := websocket.Dial(ctx, target, &websocket.DialOptions{HTTPClient: &http.Client{Transport: way}, Subprotocols: []string{protocol}})
	if err != nil {
		return nil, dialRefusal(resp, err)
	}
	return ws, nil
}

// DialPortOverHTTP reaches what the server port has for agents over the HTTP API at
// base, in the way of DialWebSocket. What is spoken there is what would be on the port.
func DialPortOverHTTP(ctx context.Context, base string, secure *tls.Config) (net.Conn, error) {
	target, err := webSocketURL(base, PortPath)
	if err != nil {
		return nil, err
	}
	ws, err := dialWebSocket(ctx, target, portProtocol, secure)
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(maxWebSocketMessage)
	return websocket.NetConn(context.Background(), ws, websocket.MessageBinary), nil
}

// AcceptPort takes what an agent opened with DialPortOverHTTP. It has answered the
// request when it fails.
func AcceptPort(w http.ResponseWriter, r *http.Request) (net.Conn, error) {
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{portProtocol}, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return nil, fmt.Errorf("accept a node agent: %w", err)
	}
	ws.SetReadLimit(maxWebSocketMessage)
	return websocket.NetConn(context.Background(), ws, websocket.MessageBinary), nil
}

// dialRefusal returns what the server said instead of taking the WebSocket. There
// is no answer where the connection itself failed.
func dialRefusal(resp *http.Response, err error) error {
	if resp == nil || resp.Body == nil {
		return fmt.Errorf("dial the link: %w", err)
	}
	defer resp.Body.Close()
	r := new(Refusal)
	b, _ := io.ReadAll(io.LimitReader(resp.Body, maxControl))
	if json.Unmarshal(b, r) == nil && r.Reason != "" {
		return r
	}
	if resp.StatusCode == http.StatusGone {
		return &Refusal{Reason: Retired, RetryAfter: retiredRetry, Help: "the server no longer serves this version of the link protocol: upgrade the agent"}
	}
	return fmt.Errorf("dial the link: %s: %w", resp.Status, err)
}

// AcceptWebSocket takes the session of a link that is dialled with an HTTP request.
// It has answered the request when it fails.
func AcceptWebSocket(w http.ResponseWriter, r *http.Request, cfg mux.SessionConfig) (mux.Session, error) {
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{linkProtocol}, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return nil, fmt.Errorf("accept the link: %w", err)
	}
	return overWebSocket(ws, func(conn net.Conn) (mux.Session, error) { return mux.Server(conn, cfg) })
}

// overWebSocket starts a session whose bytes are the binary messages of a
// WebSocket, one after the other.
func overWebSocket(ws *websocket.Conn, start func(net.Conn) (mux.Session, error)) (mux.Session, error) {
	ws.SetReadLimit(maxWebSocketMessage)
	ctx, cancel := context.WithCancel(context.Background())
	s, err := start(websocket.NetConn(ctx, ws, websocket.MessageBinary))
	if err != nil {
		cancel()
		_ = ws.CloseNow()
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = ws.CloseNow() })
	go func() {
		<-s.Done()
		cancel()
	}()
	return s, nil
}

// RefuseHTTP answers a request for a link with a refusal.
func RefuseHTTP(w http.ResponseWriter, why *Refusal) {
	w.Header().Set("Content-Type", "application/json")
	if why.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(why.RetryAfter.Seconds())))
	}
	w.WriteHeader(why.HTTPStatus())
	_ = json.NewEncoder(w).Encode(why)
}
