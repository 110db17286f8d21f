package command

import (
	"strings"
	"testing"
)

// What a user put in the wrong place may be a secret, and messages are copied.
func TestErrorsShowNoSecrets(t *testing.T) {
	const (
		jwt  = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
		uuid = "3f0c1234-aaaa-bbbb-cccc-0123456789ab"
		key  = "5Jkqh3sCcKhfYc5cXqkqrA=="
		pass = "hunter2"
	)
	for _, tc := range []struct {
		secret, want string
		args         []string
	}{
		{jwt, "not expected", []string{"login", jwt}},
		{jwt, "-login-token: the file cannot be read", []string{"login", "-method", "gh", "-type", "jwt", "-login-token", "@" + jwt}},
		{jwt, "unknown command", []string{jwt}},
		{uuid, "read from a file", []string{"acl", "bootstrap", uuid}},
		{uuid, "unknown subcommand", []string{"acl", "token", uuid}},
		{uuid, "not expected", []string{"acl", "token", "self", uuid}},
		{key, "not expected", []string{"operator", "gossip", "keyring", "install", "x", key}},
		{key, "unknown subcommand", []string{"operator", "gossip", "keyring", key}},
		{pass, "item 2 of the command line", []string{"var", "put", "a/b", "user=x", pass}},
		{pass, "item 1 of the command line", []string{"var", "put", "a/b", "=" + pass}},
		{pass, "where the path is expected", []string{"var", "put", "password=" + pass}},
		{uuid, `bad header "X-Nomad-Token"`, []string{"operator", "api", "-H", "X-Nomad-Token " + uuid, "/v1/regions"}},
		{uuid, `bad header "X-Nomad-Token"`, []string{"operator", "api", "-H", "X-Nomad-Token=" + uuid, "/v1/regions"}},
		{uuid, "bad header a word of 36 characters", []string{"operator", "api", "-H", uuid, "/v1/regions"}},
		{pass, "is an agent running at http://u:xxxxx@127.0.0.1:1?", []string{"node", "status", "-address", "http://u:" + pass + "@127.0.0.1:1"}},
		{pass, "bad address", []string{"node", "status", "-address", "http://u:%zz" + pass + "@127.0.0.1:1"}},
		{pass, "bad address", []string{"operator", "api", "-address", "http://u:%zz" + pass + "@127.0.0.1:1", "/v1/regions"}},
	} {
		r := invocation{env: map[string]string{"CAIRN_ADDR": "http://127.0.0.1:1"}}.run(tc.args...)
		if said := r.stdout + r.stderr; r.code == 0 || strings.Contains(said, tc.secret) || !strings.Contains(said, tc.want) {
			t.Errorf("%q ends with %d, want %q and not the secret:\n%s", tc.args, r.code, tc.want, said)
		}
	}
}
