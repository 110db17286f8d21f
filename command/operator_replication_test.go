package command

import (
	"strings"
	"testing"
)

func TestReplicationStatus(t *testing.T) {
	table := map[string]any{"Table": "acl_policy", "Index": 7, "LastSync": "2026-01-02T03:04:05Z", "Written": 3, "Deleted": 1, "Failures": 2}
	body := map[string]any{"Region": "mars", "AuthoritativeRegion": "global", "Tables": []any{table}}
	f := newFakeAgent(t, map[string]reply{"GET /v1/operator/replication": {body: body}})
	f.run("operator", "replication", "status").expect(t, 0, []string{"= mars", "= global",
		"acl_policy  7      2026-01-02T03:04:05Z  3        1        2"}, nil)
	f.run("operator", "replication", "status", "-region", "mars").expect(t, 0, nil, nil)
	if got := f.last().line; !strings.Contains(got, "region=mars") {
		t.Errorf("sent %s", got)
	}

	table["LastError"] = "No path to region \"global\""
	body["Tables"] = []any{table, map[string]any{"Table": "namespaces", "LastSync": "0001-01-01T00:00:00Z"},
		map[string]any{"Table": "node_pools", "LastSync": "2026-01-02T03:04:05Z", "LastError": table["LastError"]}}
	f = newFakeAgent(t, map[string]reply{"GET /v1/operator/replication": {body: body}})
	f.run("operator", "replication", "status").expect(t, 2, []string{"never"}, []string{`acl_policy, node_pools: No path to region "global"`, "namespaces: not in step yet"})
	f.run("operator", "replication", "status", "-json").expect(t, 2, []string{`"Index": 7`}, []string{"warning"})

	f = newFakeAgent(t, map[string]reply{"GET /v1/operator/replication": {body: map[string]any{"Region": "global", "Tables": []any{}}}})
	f.run("operator", "replication", "status").expect(t, 0, []string{"this region copies nothing"}, nil)
}

func TestReplicationAccept(t *testing.T) {
	f := newFakeAgent(t, map[string]reply{"PUT /v1/operator/replication/accept": {body: map[string]any{"ClusterID": "new", "Before": "old"}}})
	f.run("operator", "replication", "accept").expect(t, 0, []string{"Cluster = new", "Before  = old"}, nil)
	f = newFakeAgent(t, map[string]reply{"PUT /v1/operator/replication/accept": {status: 412, body: "this region copies nothing"}})
	f.run("operator", "replication", "accept").expect(t, 1, nil, []string{"copies nothing"})
}
