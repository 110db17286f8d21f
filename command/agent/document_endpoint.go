package agent

import (
	"net/http"

	"github.com/cairn-project/cairn/nomad"
)

func documentRoutes() []route {
	return []route{
		local[map[string]any](doc{methods: "GET", pattern: "/v1/openapi.json",
			summary: "Show this document."}, func(r *request) error {
			r.writeBody(http.StatusOK, jsonType, r.api.document)
			return nil
		}),
		local[nothing](doc{methods: "GET", pattern: "/", media: "text/plain",
			summary: "Say what answers here."}, func(r *request) error {
			r.writeBody(http.StatusOK, textType, []byte("cairn "+nomad.Version+
				": the HTTP API is at /v1, its description at /v1/openapi.json\n"))
			return nil
		}),
	}
}
