package command

import (
	"encoding/base64"
	"strings"
	"testing"
)

func TestGossipKeyring(t *testing.T) {
	f := newFakeAgent(t, map[string]reply{
		"GET /v1/agent/keyring/list": {body: map[string]any{"NumNodes": 3, "Messages": map[string]string{"s3.global": "has failed"},
			"Keys": map[string]int{"b2xk": 3, "bmV3": 2}, "PrimaryKeys": map[string]int{"b2xk": 3}}},
		"PUT /v1/agent/keyring/install": {body: map[string]any{"NumNodes": 3, "Messages": map[string]string{"s3.global": "has failed"}}},
		"PUT /v1/agent/keyring/use":     {body: map[string]any{"NumNodes": 3}},
		"PUT /v1/agent/keyring/remove":  {status: 500, body: "remove: 2 of 3 members are done; s3.global: disk full"},
	})
	f.run("operator", "gossip", "keyring", "list").expect(t, 0, []string{
		"Key   Members  Primary Of\nb2xk  3/3      3/3\nbmV3  2/3      0/3\n"}, []string{"s3.global: has failed"})
	f.run("operator", "gossip", "keyring", "list", "-json").expect(t, 0, []string{`"NumNodes": 3`}, []string{"warning"})
	f.run("operator", "gossip", "keyring", "install", "bmV3").expect(t, 0, []string{"installed the gossip key on 3 members"}, []string{"s3.global"})
	if got := f.last().body; got != `{"Key":"bmV3"}` {
		t.Errorf("sent %s", got)
	}
	f.run("operator", "gossip", "keyring", "use", "bmV3").expect(t, 0, []string{"switched to the gossip key on 3 members"}, nil)
	f.run("operator", "gossip", "keyring", "remove", "bmV3").expect(t, 1, nil, []string{"removing the gossip key", "s3.global: disk full"})
	f.run("operator", "gossip", "keyring", "use").expect(t, 1, nil, []string{"too few arguments"})
}

func TestGossipKeyGenerate(t *testing.T) {
	one, two := invocation{}.run("operator", "gossip", "keyring", "generate"), invocation{}.run("operator", "gossip", "keyring", "generate")
	one.expect(t, 0, nil, nil)
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(one.stdout))
	if err != nil || len(key) != 32 || one.stdout == two.stdout {
		t.Errorf("printed %q, then %q", one.stdout, two.stdout)
	}
}
