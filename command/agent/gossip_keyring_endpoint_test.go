package agent

import (
	"strings"
	"testing"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/nomad/structs"
)

func TestGossipKeyring(t *testing.T) {
	f := newFake()
	h := testAPI(t, f)
	for _, op := range []string{"list", "install", "use", "remove"} {
		body, want := "", [2]string{op, ""}
		if op != "list" {
			body, want = `{"Key":"k"}`, [2]string{op, "k"}
		}
		w := call(h, "PUT", "/v1/agent/keyring/"+op, body)
		if w.Code != 200 || f.gossipKey != want {
			t.Errorf("%s: %d %s, asked for %v", op, w.Code, w.Body, f.gossipKey)
		}
		if got := decode[structs.GossipKeyResponse](t, w); got.NumNodes != 1 || got.Keys["a"] != 1 {
			t.Errorf("%s answers %+v", op, got)
		}
	}
	if w := call(h, "GET", "/v1/agent/keyring/list", ""); w.Code != 200 {
		t.Errorf("list by GET: %d", w.Code)
	}
	if w := call(h, "PUT", "/v1/agent/keyring/install", `{"Key":"bad"}`); w.Code != 500 || !strings.Contains(w.Body.String(), "n2.global: disk full") {
		t.Errorf("a member failed: %d %s", w.Code, w.Body)
	}
	if w := call(h, "GET", "/v1/agent/keyring/install", ""); w.Code != 405 {
		t.Errorf("install by GET: %d", w.Code)
	}
	f.rights, f.gossipKey = acl.DenyAll, [2]string{}
	if w := call(h, "PUT", "/v1/agent/keyring/list", ""); w.Code != 403 || f.gossipKey[0] != "" {
		t.Errorf("without the right: %d", w.Code)
	}
}
