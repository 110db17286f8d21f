package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// proxy is an HTTP proxy that opens tunnels to one address, whatever is asked for.
type proxy struct {
	to      string
	tunnels atomic.Int64
}

// ServeHTTP opens a tunnel.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect || !strings.HasPrefix(r.Host, "server.global.nomad:") {
		http.Error(w, "only "+r.Host, http.StatusForbidden)
		return
	}
	far, err := net.Dial("tcp", p.to)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	near, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		far.Close()
		return
	}
	p.tunnels.Add(1)
	fmt.Fprint(near, "HTTP/1.1 200 OK\r\n\r\n")
	go func() { defer far.Close(); defer near.Close(); io.Copy(far, near) }()
	go func() { defer far.Close(); defer near.Close(); io.Copy(near, far) }()
}

// newProxy opens tunnels to the HTTP API of a server, and returns where.
func newProxy(t *testing.T, server *agent) (*proxy, string) {
	t.Helper()
	way := &proxy{to: fmt.Sprintf("127.0.0.1:%d", server.http)}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: way, ReadHeaderTimeout: time.Minute}
	go srv.Serve(listener)
	t.Cleanup(func() { srv.Close() })
	return way, "http://" + listener.Addr().String()
}

// The same without TLS anywhere: the proxy is asked for tunnels there, too.
func TestNodeAgentBehindAProxyWithoutTLS(t *testing.T) {
	server := newServer(t, "one", 1, nil)
	server.start()
	server.ready()
	way, at := newProxy(t, server)
	far := newAgent(t, "far", settings{"data_dir": "data",
		"client": settings{"enabled": true, "node_link": settings{"transport": "websocket", "http_servers": []string{"http://server.global.nomad"}}}})
	far.process = spawnEnv(t, far.dir, far.out, []string{"HTTP_PROXY=" + at, "NO_PROXY="}, far.args...)
	eventually(t, "the node is linked", func() bool {
		links := server.links()
		return len(links) == 1 && links[0].Transport == "websocket"
	})
	if n := way.tunnels.Load(); n < 2 {
		t.Errorf("%d tunnels, want one for the calls and one for the link", n)
	}
}

// A node agent that gets out only by HTTPS through a proxy registers, is called over
// its link and in reverse, with TLS on every port of the server.
func TestNodeAgentBehindAProxy(t *testing.T) {
	files := newCerts(t)
	server := newServer(t, "one", 1, nil)
	conf := files.settings("http")
	conf["server"] = settings{"enabled": true, "bootstrap_expect": 1}
	server.configure(conf)
	server.start()
	list := func(args ...string) (string, int) {
		out := &output{}
		p := spawnEnv(t, server.dir, out, []string{fmt.Sprintf("CAIRN_ADDR=https://localhost:%d", server.http),
			"CAIRN_CACERT=" + files.path("nomad-agent-ca.pem")}, args...)
		code := p.wait()
		return out.String(), code
	}
	eventually(t, "the server has a leader", func() bool { _, code := list("node", "status"); return code == 0 })

	way, at := newProxy(t, server)
	far := newAgent(t, "far", settings{"data_dir": "data",
		"client": settings{"enabled": true, "servers": []string{"127.0.0.1:1"}, "node_link": settings{"http_servers": []string{"https://server.global.nomad"}}},
		"tls": settings{"rpc": true, "verify_server_hostname": true, "ca_file": files.path("nomad-agent-ca.pem"),
			"cert_file": files.path("global-client-nomad.pem"), "key_file": files.path("global-client-nomad-key.pem")}})
	far.process = spawnEnv(t, far.dir, far.out, []string{"HTTPS_PROXY=" + at, "NO_PROXY="}, far.args...)
	eventually(t, "the node is linked", func() bool {
		out, _ := list("node", "link", "list", "-json")
		return strings.Contains(out, `"websocket"`)
	})
	id := ""
	eventually(t, "the node is ready", func() bool {
		out, code := list("node", "status", "-t", "{{range .}}{{.ID}} {{.Status}}{{end}}")
		id, _, _ = strings.Cut(out, " ")
		return code == 0 && strings.Contains(out, " ready")
	})
	for _, args := range [][]string{{"node", "ping", id}, {"node", "meta", "read", "-node-id", id}, {"node", "identity", "get", id}} {
		if out, code := list(args...); code != 0 {
			t.Errorf("cairn %s: exit code %d:\n%s", strings.Join(args, " "), code, out)
		}
	}
	if n := way.tunnels.Load(); n < 2 {
		t.Errorf("%d tunnels, want one for the calls and one for the link", n)
	}
}
