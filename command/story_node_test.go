package command

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/hashicorp/nomad/api"
)

// poolModel keeps node pools in a map; there are no nodes.
type poolModel map[string]*api.NodePool

// serveNodes adds node pools, and a list of no nodes, to the model of the API.
func serveNodes(handle func(pattern string, h http.HandlerFunc)) {
	m := poolModel{"all": {Name: "all"}, "default": {Name: "default"}}
	handle("GET /v1/nodes", func(w http.ResponseWriter, _ *http.Request) { answer(w, []any{}) })
	handle("GET /v1/node/links", func(w http.ResponseWriter, _ *http.Request) { answer(w, map[string]any{"Links": []any{}}) })
	handle("GET /v1/node/pool/{name}/nodes", func(w http.ResponseWriter, _ *http.Request) { answer(w, []any{}) })
	handle("GET /v1/node/pools", m.list)
	handle("PUT /v1/node/pools", m.put)
	handle("GET /v1/node/pool/{name}", func(w http.ResponseWriter, r *http.Request) {
		if p := m[r.PathValue("name")]; p != nil {
			answer(w, p)
			return
		}
		http.Error(w, "node pool not found", http.StatusNotFound)
	})
	handle("DELETE /v1/node/pool/{name}", func(w http.ResponseWriter, r *http.Request) {
		if name := r.PathValue("name"); name == "all" || name == "default" {
			http.Error(w, "it is built in", http.StatusBadRequest)
			return
		}
		delete(m, r.PathValue("name"))
	})
}

func (m poolModel) list(w http.ResponseWriter, r *http.Request) {
	out := []*api.NodePool{}
	for name, p := range m {
		if strings.HasPrefix(name, r.URL.Query().Get("prefix")) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *api.NodePool) int { return strings.Compare(a.Name, b.Name) })
	answer(w, out)
}

func (m poolModel) put(w http.ResponseWriter, r *http.Request) {
	var p api.NodePool
	if err := json.NewDecoder(r.Body).Decode(&p); err != nil || p.Name == "" {
		http.Error(w, "bad node pool", http.StatusBadRequest)
		return
	}
	m[p.Name] = &p
}
