package command

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/jsonrpc"
	_ "github.com/cairn-project/cairn/internal/testenv"
)

func TestMain(m *testing.M) {
	_ = os.Setenv("NO_PROXY", "*") // whoever runs the tests may have a proxy
	testscript.Main(m, map[string]func(){
		"cairn": func() {
			os.Exit(Run(os.Args[1:], Options{Version: "0.0.0", Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}))
		},
	})
}

// TestStories runs the scripts against a small model of the API; the end-to-end
// tests run the same ones against real servers.
func TestStories(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			srv := httptest.NewServer(newModel())
			env.Defer(srv.Close)
			env.Setenv("CAIRN_ADDR", srv.URL)
			return nil
		},
	})
}

// model keeps namespaces and variables in maps.
type model struct {
	mu         sync.Mutex
	index      uint64
	namespaces map[string]*api.Namespace
	variables  map[[2]string]*api.Variable
	saved      map[[2]string]*api.Variable // what an archive has
}

func newModel() http.Handler {
	m := &model{index: 10, namespaces: map[string]*api.Namespace{"default": {Name: "default"}}, variables: map[[2]string]*api.Variable{}}
	mux := http.NewServeMux()
	for pattern, v := range clusterReplies() {
		if strings.HasPrefix(pattern, "GET ") {
			mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) { answer(w, v.body) })
		}
	}
	mux.HandleFunc("GET /v1/agent/self", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"stats": map[string]any{"raft": map[string]string{"term": "1"}}})
	})
	mux.Handle("POST /v1/rpc", m.operatorNode().HTTP(func(*http.Request) jsonrpc.Caller { return jsonrpc.Caller{Transport: jsonrpc.TransportHTTP} }))
	mux.HandleFunc("GET /v1/metrics", func(w http.ResponseWriter, _ *http.Request) { answer(w, map[string]any{"Gauges": nil}) })
	serveAutopilot(mux)
	serveNodes(func(pattern string, h http.HandlerFunc) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			m.mu.Lock()
			defer m.mu.Unlock()
			h(w, r)
		})
	})
	for pattern, h := range map[string]http.HandlerFunc{
		"GET /v1/namespaces": m.listNamespaces, "PUT /v1/namespace": m.putNamespace,
		"GET /v1/namespace/{name}": m.getNamespace, "DELETE /v1/namespace/{name}": m.deleteNamespace,
		"GET /v1/event/stream": m.streamEvents,
		"GET /v1/vars":         m.listVariables, "GET /v1/var/{path...}": m.getVariable,
		"GET /v1/operator/snapshot": m.saveSnapshot, "PUT /v1/operator/snapshot": m.restoreSnapshot,
		"PUT /v1/var/{path...}": m.putVariable, "DELETE /v1/var/{path...}": m.deleteVariable,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			m.mu.Lock()
			defer m.mu.Unlock()
			h(w, r)
		})
	}
	return mux
}

// operatorNode offers a few of the methods that an agent has, over the model.
func (m *model) operatorNode() *jsonrpc.Server {
	srv, err := jsonrpc.New(jsonrpc.DefaultConfig())
	if err != nil {
		panic(err)
	}
	type names struct{ Name string }
	type upsert struct{ Namespaces []*api.Namespace }
	for _, method := range []jsonrpc.Method{
		{Name: "namespace_get", Params: json.RawMessage(`{"type":"object","additionalProperties":false,"properties":{"Name":{"type":"string"}}}`),
			Handler: jsonrpc.Func(func(_ context.Context, p names) (map[string]any, error) {
				m.mu.Lock()
				defer m.mu.Unlock()
				if n := m.namespaces[p.Name]; n != nil {
					return map[string]any{"Namespace": n, "Index": m.index}, nil
				}
				return nil, errs.New(errs.NotFound, "not found")
			})},
		{Name: "namespace_upsert", Params: json.RawMessage(`{"type":"object","additionalProperties":false,"properties":{"Namespaces":{"type":"array"}}}`),
			Handler: jsonrpc.Func(func(_ context.Context, p upsert) (map[string]any, error) {
				m.mu.Lock()
				defer m.mu.Unlock()
				for _, n := range p.Namespaces {
					m.namespaces[n.Name] = n
				}
				m.index++
				return map[string]any{"Index": m.index}, nil
			})},
		{Name: "mark", Kind: jsonrpc.KindNotification, Handler: jsonrpc.Func(func(context.Context, any) (any, error) { return nil, nil })},
		{Name: "admin_set_log_level", Privileged: true, Handler: jsonrpc.Func(func(context.Context, any) (any, error) { return nil, nil })},
	} {
		if err := srv.Register(method); err != nil {
			panic(err)
		}
	}
	return srv
}

func answer(w http.ResponseWriter, v any) {
	if text, ok := v.(string); ok {
		_, _ = w.Write([]byte(text))
		return
	}
	_ = json.NewEncoder(w).Encode(v)
}

func sorted[K cmp.Ordered, V any](m map[K]V) []V {
	var out []V
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[k])
	}
	return out
}

// streamEvents tells of the namespace that is asked for, and no more.
func (m *model) streamEvents(w http.ResponseWriter, r *http.Request) {
	topic, key, keyed := strings.Cut(r.URL.Query().Get("topic"), ":")
	switch {
	case topic != "Namespace" && topic != "Node":
		http.Error(w, fmt.Sprintf("unknown topic %q: the topics are Namespace, Node, and * for all", topic), http.StatusBadRequest)
		return
	case keyed && key == "":
		http.Error(w, "Invalid topic", http.StatusBadRequest)
		return
	}
	n, _ := json.Marshal(m.namespaces[key])
	fmt.Fprintf(w, "{}\n"+`{"Index":%d,"Events":[{"Topic":"Namespace","Type":"NamespaceUpserted","Key":%q,"Namespace":"","FilterKeys":null,"Index":%d,"Payload":{"Namespace":%s}}]}`+"\n",
		m.index, key, m.index, n)
}

func (m *model) listNamespaces(w http.ResponseWriter, r *http.Request) {
	list := slices.DeleteFunc(sorted(m.namespaces), func(n *api.Namespace) bool {
		return !strings.HasPrefix(n.Name, r.URL.Query().Get("prefix"))
	})
	answer(w, list)
}

func (m *model) putNamespace(w http.ResponseWriter, r *http.Request) {
	var n api.Namespace
	if err := json.NewDecoder(r.Body).Decode(&n); err != nil || !regexp.MustCompile(`^[a-zA-Z0-9-]+$`).MatchString(n.Name) {
		http.Error(w, "invalid namespace", http.StatusInternalServerError)
		return
	}
	m.namespaces[n.Name] = &n
}

func (m *model) getNamespace(w http.ResponseWriter, r *http.Request) {
	if n := m.namespaces[r.PathValue("name")]; n != nil {
		answer(w, n)
		return
	}
	http.Error(w, "Namespace not found", http.StatusNotFound)
}

func (m *model) deleteNamespace(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	for k := range m.variables {
		if k[0] == name {
			http.Error(w, "namespace has variables", http.StatusInternalServerError)
			return
		}
	}
	if name == "default" {
		http.Error(w, "can not delete default", http.StatusBadRequest)
		return
	}
	delete(m.namespaces, name)
}

// key is the namespace and path of a request.
func (m *model) key(r *http.Request) [2]string {
	return [2]string{cmp.Or(r.URL.Query().Get("namespace"), "default"), r.PathValue("path")}
}

func (m *model) listVariables(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	rows := map[string]*api.VariableMetadata{}
	for k, v := range m.variables {
		ns := m.key(r)[0]
		if (ns == "*" || k[0] == ns) && strings.HasPrefix(k[1], q.Get("prefix")) {
			rows[k[0]+"."+k[1]] = v.Metadata()
		}
	}
	list := sorted(rows)
	w.Header().Set("X-Nomad-Index", "1")
	w.Header().Set("X-Nomad-LastContact", "0")
	if n, _ := strconv.Atoi(q.Get("per_page")); n > 0 && len(list) > n {
		w.Header().Set("X-Nomad-NextToken", list[n].Namespace+"."+list[n].Path)
		list = list[:n]
	}
	answer(w, list)
}

func (m *model) getVariable(w http.ResponseWriter, r *http.Request) {
	if v := m.variables[m.key(r)]; v != nil {
		answer(w, v)
		return
	}
	http.Error(w, "variable not found", http.StatusNotFound)
}

func conflict(w http.ResponseWriter, v *api.Variable) {
	w.WriteHeader(http.StatusConflict)
	answer(w, v)
}

func (m *model) putVariable(w http.ResponseWriter, r *http.Request) {
	k, q := m.key(r), r.URL.Query()
	var in api.Variable
	_ = json.NewDecoder(r.Body).Decode(&in)
	old := cmp.Or(m.variables[k], &api.Variable{Namespace: k[0], Path: k[1]})
	if old.Lock != nil && old.LockID() != in.LockID() {
		conflict(w, &api.Variable{Namespace: k[0], Path: k[1]})
		return
	}
	if q.Has("cas") && q.Get("cas") != fmt.Sprint(old.ModifyIndex) {
		conflict(w, old)
		return
	}
	next := old.Copy()
	switch {
	case q.Has("lock-acquire"):
		next.Lock = &api.VariableLock{ID: fmt.Sprint("lock-", m.index), TTL: in.Lock.TTL, LockDelay: in.Lock.LockDelay}
	case q.Has("lock-release"):
		next.Lock = nil
	case !q.Has("lock-renew"):
		next.Items = in.Items
	}
	m.index++
	next.ModifyIndex = m.index
	m.variables[k] = next
	answer(w, next)
}

func (m *model) deleteVariable(w http.ResponseWriter, r *http.Request) {
	delete(m.variables, m.key(r))
	w.WriteHeader(http.StatusNoContent)
}
