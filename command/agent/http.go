package agent

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/client"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/h1"
	"github.com/cairn-project/cairn/internal/limit"
)

const (
	// maxHeader bounds the headers of a request, in bytes.
	maxHeader = 64 << 10
	// minMaxBody is the least bound of a request body, in bytes.
	minMaxBody = 1 << 20
)

// api answers the HTTP API.
type api struct {
	server server
	// client is the node agent of this process, nil for none.
	client    *client.Client
	config    *Config
	telemetry *telemetry
	logger    hclog.Logger
	// root is the parent of all loggers of the agent, nil where nobody may follow it.
	root   hclog.Logger
	router *router
	// rpc is the operator node.
	rpc *rpcNode
	// document is the OpenAPI document.
	document []byte
	// maxBody bounds a request body, in bytes.
	maxBody int64
	// held bounds what requests hold that are in hand; nil for no bound.
	held *limit.Bytes
	// proxies are those that may say for whom they ask.
	proxies *proxies
	// headers are set on every reply, from http_api_response_headers.
	headers []header
	// closing makes every answer the last one of its connection.
	closing atomic.Bool
}

type header struct {
	name  string
	value []string
}

func newAPI(srv server, c *Config, t *telemetry, logger hclog.Logger) *api {
	table := routes()
	a := &api{
		server:    srv,
		config:    c,
		telemetry: t,
		logger:    logger,
		router:    newRouter(table),
		document:  openAPI(table),
		// in JSON one byte of a value takes at most six
		maxBody: max(minMaxBody, 6*int64(c.Server.MaxVariableSize)+64<<10),
	}
	a.proxies = newProxies(&c.HTTPProxies)
	var err error
	if a.rpc, err = newRPCNode(srv, c, t, logger); err != nil {
		panic("operator node: " + err.Error()) // a fault in a method, found by any test
	}
	for name, value := range c.HTTPAPIResponseHeaders {
		a.headers = append(a.headers, header{http.CanonicalHeaderKey(name), []string{value}})
	}
	return a
}

// ServeHTTP answers one request.
func (a *api) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	r := request{Request: hr, api: a, w: w, held: limit.Hold{Of: a.held}}
	defer r.recover()
	a.fromProxy(hr)
	if hr.ContentLength != 0 {
		r.limitBody()
	}
	if a.closing.Load() {
		w.Header()["Connection"] = valueClose
	}
	for i := range a.headers {
		w.Header()[a.headers[i].name] = a.headers[i].value
	}
	if hr.URL.RawQuery != "" {
		q, err := parseQuery(hr.URL.RawQuery)
		if err != nil {
			r.writeError(errs.New(errs.Invalid, "invalid query string: "+err.Error()))
			return
		}
		r.query = q
	}
	e, rest := a.router.find(hr.URL.Path)
	if e == nil {
		r.writeError(errs.New(errs.NotFound, "resource not found"))
		return
	}
	r.rest = rest
	if e.cors != "" && r.cors(e.cors) {
		return
	}
	rt := e.method(hr.Method)
	if rt == nil {
		w.Header()["Allow"] = []string{e.allowed()}
		r.writeError(e.wrongMethod)
		return
	}
	err := a.charge(rt, &r)
	if err == nil {
		err = rt.serve(&r)
	}
	if err != nil {
		r.writeError(err)
	}
}

// recover ends the request: a panic becomes a 500, with the stack in the log.
func (r *request) recover() {
	p := recover()
	r.held.Release()
	if p == nil {
		return
	}
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p)
	}
	id := requestID()
	r.api.logger.Error("request panicked", "method", r.Method, "path", r.URL.Path, "request", id,
		"panic", p, "stack", string(debug.Stack()))
	r.writeText(http.StatusInternalServerError, "internal error, request "+id)
}

// cors lets pages of other origins use the endpoint (Fetch standard, section
// 3.2). It answers preflights itself and reports true then.
func (r *request) cors(methods string) bool {
	if r.Header.Get("Origin") == "" {
		return false
	}
	h := r.w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	asked := r.Header.Get("Access-Control-Request-Method")
	if r.Method != http.MethodOptions || asked == "" {
		h.Set("Access-Control-Expose-Headers",
			"X-Nomad-Index, X-Nomad-KnownLeader, X-Nomad-LastContact, X-Nomad-NextToken")
		return false
	}
	h.Add("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
	if slices.Contains(splitComma(methods), asked) {
		h.Set("Access-Control-Allow-Methods", methods)
		if names := r.Header.Get("Access-Control-Request-Headers"); names != "" {
			h.Set("Access-Control-Allow-Headers", names)
		}
	}
	r.w.WriteHeader(http.StatusNoContent)
	return true
}

// httpServer serves an api on a listener.
type httpServer struct {
	api  *api
	http *http.Server
	// front serves what http need not: it is http itself with TLS.
	front front
	done  chan struct{}
}

// front is what httpServer does with a server.
type front interface {
	Serve(net.Listener) error
	Shutdown(context.Context) error
	Close() error
}

// serveHTTP starts to serve on ln and returns at once. ctx becomes the parent of
// the contexts of all requests.
func serveHTTP(ctx context.Context, ln net.Listener, a *api) *httpServer {
	s := &httpServer{
		api: a,
		http: &http.Server{
			Handler:           a,
			ReadHeaderTimeout: a.config.Limits.HTTPHeaderTimeout,
			IdleTimeout:       a.config.Limits.HTTPIdleTimeout,
			MaxHeaderBytes:    maxHeader,
			BaseContext:       func(net.Listener) context.Context { return ctx },
			ConnContext:       h1.Present,
			ErrorLog: log.New(a.logger.StandardWriter(&hclog.StandardLoggerOptions{
				ForceLevel: hclog.Debug}), "", 0),
		},
		done: make(chan struct{}),
	}
	if t := a.config.Limits.HTTPSHandshakeTimeout; a.config.TLSConfig.EnableHTTP && t > 0 {
		s.http.ReadHeaderTimeout = min(t, s.http.ReadHeaderTimeout) // net/http bounds the handshake by it too
	}
	s.front = s.http
	if !a.config.TLSConfig.EnableHTTP {
		plain := h1.New(s.http)
		plain.StallTimeout, plain.Room = a.config.Limits.HTTPWriteTimeout, roomBeside
		s.front = plain
	}
	go func() {
		defer close(s.done)
		if err := s.front.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			a.logger.Error("http server stopped", "error", err)
		}
	}()
	return s
}

// stop lets requests in flight end until ctx does. Then cancel must end their
// contexts, and the connections are closed.
func (s *httpServer) stop(ctx context.Context, cancel context.CancelFunc) {
	err := s.front.Shutdown(ctx)
	cancel()
	if err != nil {
		_ = s.front.Close()
	}
	<-s.done
}
