package command

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/nomad/api"
)

var web = map[string]any{
	"Name": "web", "Description": "web shop", "Meta": map[string]string{"team": "a"},
	"Capabilities": map[string]any{"EnabledTaskDrivers": []string{"docker", "exec"}}, "ModifyIndex": 9,
}

func TestNamespaceReads(t *testing.T) {
	f := newFakeAgent(t, map[string]reply{
		"GET /v1/namespaces":              {body: []map[string]any{{"Name": "web", "Description": "web shop"}, {"Name": "default"}}},
		"GET /v1/namespaces?prefix=zz":    {body: []any{}},
		"GET /v1/namespace/web":           {body: web},
		"GET /v1/namespace/a%2Fb%3Fc":     {status: 403, body: "Permission denied"},
		"GET /v1/namespaces?filter=n%3D1": {body: []any{}},
	})
	f.run("namespace", "list").expect(t, 0, []string{"Name     Description\ndefault  -\nweb      web shop\n"}, nil)
	f.run("namespace", "list", "zz").expect(t, 0, []string{"no namespaces found"}, nil)
	f.run("namespace", "list", "-filter", "n=1").expect(t, 0, []string{"no namespaces found"}, nil)
	f.run("namespace", "status", "web").expect(t, 0, []string{"Name            = web\n", "Enabled Drivers = docker, exec\n", "Metadata\nteam = a\n"}, nil)
	f.run("namespace", "status", "-json", "web").expect(t, 0, []string{`"Name": "web"`}, nil)
	f.run("namespace", "inspect", "web").expect(t, 0, []string{`"Description": "web shop"`, `"team": "a"`}, nil)
	f.run("namespace", "inspect", "-t", "{{.Name}}", "web").expect(t, 0, []string{"web\n"}, nil)
	f.run("namespace", "status", "nope").expect(t, 1, nil, []string{"namespace nope: ", "cairn namespace list"})
	f.run("namespace", "status", "a/b?c").expect(t, 1, nil, []string{"permission denied"})
}

func TestNamespaceDelete(t *testing.T) {
	f := newFakeAgent(t, map[string]reply{
		"DELETE /v1/namespace/web":     {},
		"DELETE /v1/namespace/default": {status: 400, body: "Cannot delete it"},
	})
	f.run("namespace", "delete", "web").expect(t, 0, []string{"deleted namespace web\n"}, nil)
	f.run("namespace", "delete", "default").expect(t, 1, nil, []string{"deleting namespace default: cannot delete it (HTTP 400)"})
}

func TestNamespaceApply(t *testing.T) {
	full := write(t, "web.hcl", `
name        = "web"
description = "from a file"
quota       = "q"
meta { team = "a" }
capabilities {
  enabled_task_drivers  = ["docker"]
  disabled_network_modes = ["host"]
}
node_pool_config {
  default = "gpu"
  allowed = ["gpu", "cpu"]
}
vault { default = "v" }
consul { denied = ["c"] }
`)
	want := &api.Namespace{
		Name: "web", Description: "from a file", Quota: "q", Meta: map[string]string{"team": "a"},
		Capabilities:          &api.NamespaceCapabilities{EnabledTaskDrivers: []string{"docker"}, DisabledNetworkModes: []string{"host"}},
		NodePoolConfiguration: &api.NamespaceNodePoolConfiguration{Default: "gpu", Allowed: []string{"gpu", "cpu"}},
		VaultConfiguration:    &api.NamespaceVaultConfiguration{Default: "v"},
		ConsulConfiguration:   &api.NamespaceConsulConfiguration{Denied: []string{"c"}},
	}
	kept := &api.Namespace{
		Name: "web", Description: "new", Meta: map[string]string{"team": "a"}, ModifyIndex: 9,
		Capabilities: &api.NamespaceCapabilities{EnabledTaskDrivers: []string{"docker", "exec"}},
	}
	described := *want
	described.Description = "flag"
	for _, tc := range []struct {
		args  []string
		stdin string
		want  *api.Namespace
	}{
		{[]string{"fresh"}, "", &api.Namespace{Name: "fresh"}},
		{[]string{"-description", "d", "-quota", "q", "fresh"}, "", &api.Namespace{Name: "fresh", Description: "d", Quota: "q"}},
		{[]string{"-description", "new", "web"}, "", kept},
		{[]string{full}, "", want},
		{[]string{"-description", "flag", full}, "", &described},
		{[]string{"-"}, `{"Name":"j","Meta":{"a":"b"}}`, &api.Namespace{Name: "j", Meta: map[string]string{"a": "b"}}},
		{[]string{"-"}, `name = "h"` + "\n" + `meta = { a = "b" }`, &api.Namespace{Name: "h", Meta: map[string]string{"a": "b"}}},
	} {
		f := newFakeAgent(t, map[string]reply{"GET /v1/namespace/web": {body: web}, "PUT /v1/namespace": {}})
		i := invocation{env: map[string]string{"CAIRN_ADDR": f.URL}, stdin: strings.NewReader(tc.stdin)}
		i.run(append([]string{"namespace", "apply"}, tc.args...)...).expect(t, 0, []string{"applied namespace " + tc.want.Name}, nil)
		var sent api.Namespace
		if err := json.Unmarshal([]byte(f.last().body), &sent); err != nil {
			t.Fatalf("%q sent %q", tc.args, f.last().body)
		}
		if diff := cmp.Diff(tc.want, &sent); diff != "" {
			t.Errorf("%q (-want +sent):\n%s", tc.args, diff)
		}
	}
}

func TestNamespaceApplyRefuses(t *testing.T) {
	f := newFakeAgent(t, map[string]reply{"GET /v1/namespace/denied": {status: 403, body: "Permission denied"}})
	f.run("namespace", "apply", write(t, "a.hcl", `description = "x"`)).expect(t, 1, nil, []string{"name is missing"})
	f.run("namespace", "apply", write(t, "b.hcl", `nam = "x"`)).expect(t, 1, nil, []string{"nam"})
	f.run("namespace", "apply", write(t, "c.json", `{"Nam":"x"}`)).expect(t, 1, nil, []string{"Nam"})
	f.run("namespace", "apply", "-json", write(t, "d.hcl", `name = "x"`)).expect(t, 1, nil, []string{"d.hcl"})
	f.run("namespace", "apply", "./missing").expect(t, 1, nil, []string{"no such file"})
	f.run("namespace", "apply", "denied").expect(t, 1, nil, []string{"permission denied"})
	for _, line := range f.asked() {
		if strings.HasPrefix(line, "PUT") {
			t.Errorf("wrote although it failed: %s", line)
		}
	}
}

func FuzzParseNamespace(f *testing.F) {
	f.Add([]byte(`name = "a"`), false)
	f.Add([]byte("meta { a = 1 }\nmeta { }"), false)
	f.Add([]byte(`{"Name":"a"}`), true)
	f.Fuzz(func(t *testing.T, src []byte, isJSON bool) {
		n, err := parseNamespace(src, "fuzz", isJSON)
		if (n == nil) == (err == nil) {
			t.Fatalf("namespace %v, error %v", n, err)
		}
	})
}
