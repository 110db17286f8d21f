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
		join = "cairn-join-1-ZXhhbXBsZS1vZi1hLWpvaW4tdG9rZW4"
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
		{uuid, "reading the token", []string{"acl", "token", "info", uuid}},
		{uuid, "reading the token", []string{"acl", "token", "update", "-name", "x", uuid}},
		{uuid, "deleting the token", []string{"acl", "token", "delete", uuid}},
		{uuid, "deleting the token", []string{"acl", "token", "delete", "-force", uuid}},
		{join, "revoking the join token", []string{"operator", "join-token", "revoke", join}},
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

// The secret of a token looks like the ID by which tokens are found.
func TestSecretsInPlaceOfIDsAreNotRepeated(t *testing.T) {
	const (
		secret = "3f0c1234-aaaa-bbbb-cccc-0123456789ab"
		join   = "cairn-join-1-ZXhhbXBsZS1vZi1hLWpvaW4tdG9rZW4"
	)
	for status, reason := range map[int]string{404: "no token has this accessor ID", 403: "the token: permission denied", 500: "the token: broken"} {
		answer := reply{status: status, body: map[int]string{404: "ACL token not found", 403: "Permission denied", 500: "broken"}[status]}
		f := newFakeAgent(t, map[string]reply{
			"GET /v1/acl/token/" + secret: answer, "DELETE /v1/acl/token/" + secret: answer,
			"GET /v1/acl/tokens?filter=Type+%3D%3D+%22management%22": {body: []any{}},
			"DELETE /v1/operator/join-token/" + join:                 {status: status, body: strings.Replace(answer.body.(string), "ACL token", "join token "+join, 1)},
		})
		for _, args := range [][]string{
			{"acl", "token", "info", secret}, {"acl", "token", "update", "-name", "x", secret}, {"acl", "token", "delete", secret},
		} {
			r := f.run(args...)
			if r.expect(t, 1, nil, []string{reason}); strings.Contains(r.stdout+r.stderr, secret) {
				t.Errorf("%q shows the secret: %s", args, r.stderr)
			}
		}
		r := f.run("operator", "join-token", "revoke", join)
		if r.expect(t, 1, nil, []string{strings.Replace(strings.Replace(reason, "accessor ", "", 1), " token", " join token", 1)}); strings.Contains(r.stdout+r.stderr, join) {
			t.Errorf("the join token is shown: %s", r.stderr)
		}
	}
}
