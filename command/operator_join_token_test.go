package command

import (
	"strings"
	"testing"
)

func joinTokenReplies() map[string]reply {
	token := map[string]any{"ID": "t1", "Name": "rack", "Role": "server", "MaxUses": 2, "Uses": 1, "ExpirationTime": "2030-01-02T03:04:05Z",
		"Joined": []any{map[string]any{"Node": "s2\x1b[31m", "Address": "10.0.0.2:5000"}}}
	return map[string]reply{
		"GET /v1/operator/join-tokens":           {body: []any{token}},
		"PUT /v1/operator/join-token":            {body: map[string]any{"JoinToken": token, "Text": "cairn-join-1-abc"}},
		"DELETE /v1/operator/join-token/t1":      {},
		"DELETE /v1/operator/join-token/gone%2F": {status: 404, body: "join token not found"},
	}
}

func TestJoinTokenCommands(t *testing.T) {
	f := newFakeAgent(t, joinTokenReplies())
	f.run("operator", "join-token", "create", "-role", "server", "-uses", "2", "-ttl", "90m", "-name", "rack").
		expect(t, 0, []string{"ID      = t1", "Expires = 2030-01-02T03:04:05Z", "\ncairn-join-1-abc\n"}, nil)
	for _, want := range []string{`"Role":"server"`, `"MaxUses":2`, `"TTL":"1h30m0s"`, `"Name":"rack"`} {
		if !strings.Contains(f.last().body, want) {
			t.Errorf("%s is missing in %s", want, f.last().body)
		}
	}
	f.run("operator", "join-token", "create", "-role", "client", "-t", "{{.Text}}").expect(t, 0, []string{"cairn-join-1-abc\n"}, nil)
	if strings.Contains(f.last().body, "TTL") {
		t.Errorf("a time to live that was not given: %s", f.last().body)
	}
	r := f.run("operator", "join-token", "list")
	r.expect(t, 0, []string{"ID  Name  Role    Uses    Expires               Joined", "t1  rack  server  1 of 2  2030-01-02T03:04:05Z  s2"}, nil)
	if strings.Contains(r.stdout, "\x1b") {
		t.Errorf("a name reaches the terminal as it is: %q", r.stdout)
	}
	f.run("operator", "join-token", "revoke", "t1").expect(t, 0, []string{"revoked join token t1"}, nil)
	f.run("operator", "join-token", "revoke", "gone/").expect(t, 1, nil, []string{"join token gone/", "join-token list"})
	f.run("operator", "join-token", "create", "-role", "king").expect(t, 1, nil, []string{`"king" is not`})
}
